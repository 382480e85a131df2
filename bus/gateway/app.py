"""The FastAPI application: one route for each operation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from functools import cache, partial
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.routing import Route

from bus import logs
from bus.errors import BusError, TransientError
from bus.gateway.batching import Batcher
from bus.gateway.doorman import Doorman
from bus.gateway.openapi import document
from bus.gateway.problems import CONTENT_TYPE, Answer, Language, answer_of, language_of, problem_of
from bus.gateway.reading import Reader
from bus.gateway.threads import Threads
from bus.gateway.waiting import WaitingRoom
from bus.operations.caller import Caller
from bus.operations.context import Context
from bus.operations.door import Pages
from bus.operations.operation import Operation, permit
from bus.operations.registry import OPERATIONS

_LOG = logs.bind(place="gateway")
#: Seconds within which a body must be there, from its first byte on.
BODY_WITHIN = 20.0
#: Answers may hold personal data: nobody on the way keeps them.
_ALWAYS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

#: What an instrumented process would send elsewhere by itself: addresses of requests are nobody's business.
_SILENT: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False}


def create_app(context: Context, pages: Pages | None = None) -> FastAPI:
    """The gateway over this context, with pages beside the API. The caller binds it, by default to 127.0.0.1."""
    door = _Door(context)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        door.close()

    app = FastAPI(
        title="bus",
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        telemetry=_SILENT,
        # A slash too many is an unknown address: sending the asker on would send his token and his body on, too, and
        # behind a proxy that speaks TLS without it.
        redirect_slashes=False,
    )
    # Plain routes: what FastAPI would look for in a request is read by `Reader`, with the faults of the bus.
    app.router.routes += [_route(door, operation) for operation in OPERATIONS]
    app.router.routes += pages(door) if pages is not None else ()
    app.openapi = cache(partial(document, context))  # type: ignore[method-assign]  # FastAPI's own way to bring another description
    app.add_exception_handler(HTTPException, _framework_error)
    app.add_exception_handler(Exception, _framework_error)
    return app


class _Door:
    """Tells who is there, and does operations: many changes in one transaction, reads in a few threads of their own."""

    def __init__(self, context: Context) -> None:
        settings, store = context.settings, context.store
        self.context = context
        self._threads = Threads()
        self.doorman = Doorman(context, self._threads)
        self._batcher = Batcher(
            context.decider, most=settings.batch_most, wait=settings.batch_wait, tracked=store.tracked
        )
        self._waiting = WaitingRoom(store.versions)

    async def caller(self, token_hash: str) -> Caller:
        return await self.doorman.caller(token_hash)

    async def perform(self, operation: Operation[Any, Any], caller: Caller, given: Any) -> Any:
        permit(caller, operation)
        work = partial(operation.function, self.context, caller, given)
        return await (self._threads if operation.method == "GET" else self._batcher).do(work)

    async def settled(self, operation: Operation[Any, Any], caller: Caller, given: Any) -> Any:
        """The output, or what it is when the asker's patience ends."""
        output = await self.perform(operation, caller, given)
        seconds, settled = getattr(given, "wait", 0), operation.settled
        if not seconds or settled is None or settled(given, output):
            return output

        def look() -> Any:
            seen = operation.function(self.context, caller, given)
            return seen if settled(given, seen) else None

        seen = await self._waiting.wait(
            look, about=_about(output), key=(operation.name, caller, given), seconds=seconds
        )
        return await self.perform(operation, caller, given) if seen is None else seen

    async def awaited(self, operation: Operation[Any, Any], caller: Caller, given: Any, output: Any) -> Any:
        """What is answered in place of the output of a change, if that comes in time; else None."""
        seconds, awaited = getattr(given, "wait", 0), operation.awaited
        if not seconds or awaited is None:
            return None
        look = partial(awaited, self.context, caller, output)
        return await self._waiting.wait(look, about=_about(output), key=object(), seconds=seconds)

    def close(self) -> None:
        """Finish what was begun."""
        self._waiting.close()
        self._batcher.close()
        self._threads.close()


def _about(output: Any) -> str | None:
    """The request that an output tells of: while its version stays, so does what is told."""
    return getattr(output, "request_id", None)


def _route(door: _Door, operation: Operation[Any, Any]) -> Route:
    route = Route(f"/v1{operation.path}", _endpoint(door, operation), methods=[operation.method], name=operation.name)
    # Starlette adds HEAD to every GET; this API does not offer it.
    route.methods = {operation.method}
    return route


def _endpoint(door: _Door, operation: Operation[Any, Any]) -> Callable[[Request], Awaitable[Response]]:
    reader = Reader(operation)

    async def endpoint(http: Request) -> Response:
        try:
            caller = await door.doorman.admit(http, public=not operation.roles)
            permit(caller, operation)
            given = await _read(reader, http)
            if getattr(given, "wait", 0):
                return await _unless_gone(http, _answer(door, operation, caller, given))
            return await _answer(door, operation, caller, given)
        except BusError as error:
            return _refusal(error, operation, _language(http))
        except Exception as error:  # noqa: BLE001  (no stack trace leaves the house)
            body = answer_of("internal", lang=_language(http))
            return _broken(error, Answer(status=500, body=body, headers={}), operation)

    return endpoint


async def _answer(door: _Door, operation: Operation[Any, Any], caller: Caller, given: Any) -> Response:
    output = await door.settled(operation, caller, given)
    seen = await door.awaited(operation, caller, given, output)
    if seen is not None:
        return _json(200, seen, operation.headers(given, output))
    return _json(operation.status(output), output, operation.headers(given, output))


async def _read(reader: Reader, http: Request) -> Any:
    """What is given; who sends his body drop by drop is told so, and his connection closed."""
    try:
        async with asyncio.timeout(BODY_WITHIN):
            return await reader.read(http)
    except TimeoutError as error:
        raise TransientError("The body did not come in time.", code="too-slow", mend="Send it at once.") from error


async def _unless_gone(http: Request, answering: Coroutine[Any, Any, Response]) -> Response:
    """The answer; who hangs up while he waits is waited for no longer. What was decided stays decided."""
    answer, gone = asyncio.create_task(answering), asyncio.create_task(_hang_up(http))
    try:
        await asyncio.wait([answer, gone], return_when=asyncio.FIRST_COMPLETED)
        return answer.result() if answer.done() else Response(status_code=204)
    finally:
        answer.cancel()
        gone.cancel()


async def _hang_up(http: Request) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass


def _language(http: Request) -> Language:
    return language_of(http.headers.get("accept-language", ""))


def _refusal(error: BusError, operation: Operation[Any, Any], lang: Language) -> Response:
    answer = problem_of(error, lang)
    return _broken(error, answer, operation) if answer.status == 500 else _problem(answer)


def _broken(error: Exception, answer: Answer, operation: Operation[Any, Any]) -> Response:
    """Our own fault: the log says where, under the instance that the asker was told."""
    _LOG.error("unexpected_error", error=error, operation=operation.name, cause=answer.body["instance"])
    return _problem(answer)


async def _framework_error(http: Request, error: Exception) -> Response:
    """What FastAPI itself refuses: an unknown address, a wrong method."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    codes = {404: "route-unknown", 405: "method-not-allowed", 413: "too-large", 415: "media-type"}
    code = codes.get(status, "internal" if status >= 500 else "bad-request")
    headers: Mapping[str, str] = getattr(error, "headers", None) or {}
    body = answer_of(code, lang=_language(http))
    return _problem(Answer(status=body["status"], body=body, headers=dict(headers)))


def _problem(answer: Answer) -> Response:
    content = orjson.dumps(answer.body)
    return Response(content, answer.status, headers={**_ALWAYS, **answer.headers}, media_type=CONTENT_TYPE)


def _json(status: int, output: Any, headers: Mapping[str, str]) -> Response:
    content = orjson.dumps(output, default=_plain)
    return Response(content, status, headers={**_ALWAYS, **headers}, media_type="application/json")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError
