"""The FastAPI application: one route for each operation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from bus import logs
from bus.errors import BusError
from bus.gateway.batching import Batcher
from bus.gateway.description import describe
from bus.gateway.doorman import Doorman
from bus.gateway.problems import CONTENT_TYPE, Answer, answer_of, problem_of
from bus.gateway.reading import Reader
from bus.operations.caller import Caller
from bus.operations.context import Context
from bus.operations.door import Pages
from bus.operations.operation import Operation, permit
from bus.operations.registry import OPERATIONS

_LOG = logs.bind(place="gateway")
#: Seconds between two looks at the store for one who waits: the first, and the most.
_FIRST_LOOK = 0.1
_LAST_LOOK = 1.0
#: Answers may hold personal data: nobody on the way keeps them.
_ALWAYS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def create_app(context: Context, pages: Pages | None = None) -> FastAPI:
    """The gateway over this context, with pages beside the API. The caller binds it, by default to 127.0.0.1."""
    batcher = Batcher(context.decider, most=context.settings.batch_most, wait=context.settings.batch_wait)
    door = _Door(context, batcher)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        batcher.close()

    app = FastAPI(title="bus", openapi_url="/v1/openapi.json", docs_url=None, redoc_url=None, lifespan=lifespan)
    for operation in OPERATIONS:
        app.add_api_route(
            f"/v1{operation.path}",
            _endpoint(door, operation),
            methods=[operation.method],
            name=operation.name,
            operation_id=operation.name,
            summary=operation.summary.en,
            description=operation.summary.ar,
            response_model=None,
            openapi_extra=describe(operation),
        )
    app.router.routes += pages(door) if pages is not None else ()
    app.add_exception_handler(HTTPException, _framework_error)
    app.add_exception_handler(RequestValidationError, _framework_error)
    app.add_exception_handler(Exception, _framework_error)
    return app


class _Door:
    """Tells who is there, and does operations: many changes in one transaction, reads in threads of their own."""

    def __init__(self, context: Context, batcher: Batcher) -> None:
        self.context = context
        self.doorman = Doorman(context)
        self._batcher = batcher

    async def caller(self, token_hash: str) -> Caller:
        return await self.doorman.caller(token_hash)

    async def perform(self, operation: Operation[Any, Any], caller: Caller, given: Any) -> Any:
        permit(caller, operation)
        work = partial(operation.function, self.context, caller, given)
        return await (run_in_threadpool(work) if operation.method == "GET" else self._batcher.do(work))

    async def settled(self, operation: Operation[Any, Any], caller: Caller, given: Any) -> Any:
        """The output, or the last one before the asker's patience ended."""
        until = time.monotonic() + getattr(given, "wait", 0)
        look = _FIRST_LOOK
        while True:
            output = await self.perform(operation, caller, given)
            left = until - time.monotonic()
            if left <= 0 or operation.settled is None or operation.settled(given, output):
                return output
            await asyncio.sleep(min(look, left))
            look = min(look * 1.5, _LAST_LOOK)

    async def awaited(self, operation: Operation[Any, Any], caller: Caller, given: Any, output: Any) -> Any:
        """What is answered in place of the output of a change, if that comes in time; else None."""
        until = time.monotonic() + getattr(given, "wait", 0)
        look = _FIRST_LOOK
        while operation.awaited is not None and (left := until - time.monotonic()) > 0:
            seen = await run_in_threadpool(operation.awaited, self.context, caller, output)
            if seen is not None:
                return seen
            await asyncio.sleep(min(look, left))
            look = min(look * 1.5, _LAST_LOOK)
        return None


def _endpoint(door: _Door, operation: Operation[Any, Any]) -> Callable[[Request], Awaitable[Response]]:
    reader = Reader(operation)

    async def endpoint(http: Request) -> Response:
        try:
            caller = await door.doorman.admit(http, public=not operation.roles)
            permit(caller, operation)
            given = await reader.read(http)
            output = await door.settled(operation, caller, given)
            seen = await door.awaited(operation, caller, given, output)
        except BusError as error:
            return _refusal(error, operation)
        except Exception as error:  # noqa: BLE001  (no stack trace leaves the house)
            return _broken(error, Answer(status=500, body=answer_of("internal"), headers={}), operation)
        if seen is not None:
            return _json(200, seen, operation.headers(output))
        return _json(operation.status(output), output, operation.headers(output))

    return endpoint


def _refusal(error: BusError, operation: Operation[Any, Any]) -> Response:
    answer = problem_of(error)
    return _broken(error, answer, operation) if answer.status == 500 else _problem(answer)


def _broken(error: Exception, answer: Answer, operation: Operation[Any, Any]) -> Response:
    """Our own fault: the log says where, under the instance that the asker was told."""
    _LOG.error("unexpected_error", error=error, operation=operation.name, cause=answer.body["instance"])
    return _problem(answer)


async def _framework_error(_: Request, error: Exception) -> Response:
    """What FastAPI itself refuses: an unknown address, a wrong method."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    if isinstance(error, RequestValidationError):
        status = 422
    codes = {404: "route-unknown", 405: "method-not-allowed", 413: "too-large", 415: "media-type", 422: "input"}
    code = codes.get(status, "internal" if status >= 500 else "bad-request")
    headers: Mapping[str, str] = getattr(error, "headers", None) or {}
    body = answer_of(code)
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
