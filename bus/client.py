"""The HTTP client of the bus; the command line uses it, and so may every consumer."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from bus.errors import (
    BusError,
    ConflictError,
    Fault,
    ForbiddenError,
    InvalidMessageError,
    NotFoundError,
    PermanentError,
    TransientError,
    UnauthenticatedError,
)

#: What an operation answers: a JSON object.
Json = dict[str, Any]

_TRIES = 4
#: Seconds for one answer, beside those that the asker wants to wait.
_PATIENCE = 30.0
_MOST_WAIT = 30
_THIS_MACHINE = frozenset({"127.0.0.1", "localhost", "::1"})
_KINDS: Mapping[int, type[BusError]] = {
    401: UnauthenticatedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    429: TransientError,
    502: TransientError,
    503: TransientError,
    504: TransientError,
}
#: The connection failed, rather than the gateway being slow: worth another try at once.
_BROKEN = (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ConnectTimeout)
_MALFORMED = frozenset({400, 405, 413, 415, 422})


class Client:
    """One gateway, asked with one token. Every method is one operation and returns what the gateway answers.

    Errors are those of `bus.errors`: the code is the problem's, the mend is in English and, in the next line, in
    Arabic. What may be repeated (reading, and submitting under a key) is tried again when the connection fails.
    ``agency`` is for administrators: whom they act for.
    """

    def __init__(
        self, url: str, token: str, *, agency: str | None = None, transport: httpx.BaseTransport | None = None
    ) -> None:
        headers = _headers({"Authorization": f"Bearer {token}", "Bus-Agency": agency})
        base = httpx.URL(f"{url.rstrip('/')}/v1")
        # The proxy of the machine must never see a token that is meant for this machine.
        self._http = httpx.Client(
            base_url=base, headers=headers, transport=transport, trust_env=base.host not in _THIS_MACHINE
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()

    # --- requests ---------------------------------------------------------------------------------------------------

    def submit(  # noqa: PLR0913  # every one of them is a header of its own
        self,
        service: str,
        data: Json,
        *,
        key: str,
        purpose: str | None = None,
        actor: str | None = None,
        reference: str | None = None,
        on_behalf_of: str | None = None,
        test: bool = False,
        wait: int = 0,
    ) -> Json:
        """Submit a request, once: the same key is the same request for ever.

        The receipt (``request_id``, ``tracking``, ``expected_by``, ...); or, where the request ends within ``wait``
        seconds (at most 30), the request as `request_show` gives it, with its ``result``.
        """
        headers = {
            "Idempotency-Key": key,
            "Bus-Purpose": purpose,
            "Bus-Actor": actor,
            "Bus-Reference": reference,
            "Bus-On-Behalf-Of": on_behalf_of,
            "Bus-Test": "true" if test else None,
        }
        path = f"/services/{_part(service)}/requests"
        return self._send("POST", path, body=data, headers=headers, wait=wait, repeatable=True)

    def event_submit(self, event: Json, *, wait: int = 0) -> Json:
        """Submit one CloudEvent of the type ``bus.request.submitted.v1``, once: its ``id`` is the submission key.

        What is answered is that of `submit`.
        """
        headers = {"Content-Type": "application/cloudevents+json"}
        return self._send("POST", "/events", body=event, headers=headers, wait=wait, repeatable=True)

    def request_list(
        self,
        *,
        state: str | Sequence[str] = (),
        reference: str | None = None,
        on_behalf_of: str | None = None,
        after: int = 0,
        most: int = 50,
    ) -> Json:
        """A page of requests, by the time they were accepted: ``items``, and the ``next`` cursor or None.

        ``state``: one or several; ``reference`` and ``on_behalf_of``: what was said when they were submitted.
        """
        states = [state] if isinstance(state, str) else list(state)
        query = {"state": states, "reference": reference, "after": after, "most": most}
        headers = {"Bus-On-Behalf-Of": on_behalf_of}
        return self._send("GET", "/requests", query=query, headers=headers, repeatable=True)

    def request_show(self, request: str, *, wait: int = 0, version: int | None = None) -> Json:
        """One request, by its id or tracking code: its ``state``, ``steps``, what is ``asked``, its ``result``.

        With ``wait`` it is answered when the request has ended, asks the applicant, or has a version beyond
        ``version``; in any case after so many seconds (at most 30).
        """
        return self._read(f"/requests/{_part(request)}", wait=wait, version=version)

    def request_facts(self, request: str) -> Json:
        """Everything that happened to a request, oldest first, each fact with its hash in the request's chain."""
        return self._read(f"/requests/{_part(request)}/facts")

    def request_cancel(self, request: str, *, reason: str) -> Json:
        """Take a request back. ConflictError once its final step was sent, or where it is closing already."""
        return self._send("POST", f"/requests/{_part(request)}/cancel", body={"reason": reason})

    def request_supplement(
        self,
        request: str,
        values: Json,
        *,
        step: str | None = None,
        item: int | None = None,
        attempt: int | None = None,
    ) -> Json:
        """Bring what was asked for: JSON pointer to value, for the pointers that ``asked`` of the request names."""
        body = _present({"values": values, "step": step, "item": item, "attempt": attempt})
        return self._send("POST", f"/requests/{_part(request)}/supplement", body=body)

    # --- results ----------------------------------------------------------------------------------------------------

    def result_list(self, *, after: int = 0, most: int = 50, wait: int = 0) -> Json:
        """The feed after a cursor: ``items``, each with its ``message`` (a CloudEvent), and the ``next`` cursor."""
        return self._read("/results", after=after, most=most, wait=wait)

    def result_ack(self, cursors: Sequence[int]) -> Json:
        """These results are safe with you; how many had not been ``collected`` before."""
        return self._send(
            "POST", "/results/ack", body={"cursors": [str(cursor) for cursor in cursors]}, repeatable=True
        )

    # --- desk -------------------------------------------------------------------------------------------------------

    def desk_list(self, *, state: str = "waiting", after: int = 0, most: int = 50, wait: int = 0) -> Json:
        """Tasks of the desk."""
        return self._read("/desk", state=state, after=after, most=most, wait=wait)

    def desk_show(self, row: int) -> Json:
        """One task."""
        return self._read(f"/desk/{row}")

    def desk_claim(self, row: int) -> Json:
        """Take a task."""
        return self._send("POST", f"/desk/{row}/claim", repeatable=True)

    def desk_release(self, row: int) -> Json:
        """Give a task back."""
        return self._send("POST", f"/desk/{row}/release")

    def desk_draft(self, row: int, data: Json) -> Json:
        """Keep an unfinished answer."""
        return self._send("PUT", f"/desk/{row}/draft", body=data, repeatable=True)

    def desk_answer(self, row: int, data: Json) -> Json:
        """Complete a task."""
        return self._send("POST", f"/desk/{row}/answer", body=data)

    def desk_return(self, row: int, *, needs: Sequence[Json], within: str | None = None) -> Json:
        """Ask the applicant for what is missing."""
        return self._send("POST", f"/desk/{row}/return", body=_present({"needs": list(needs), "within": within}))

    def desk_refuse(self, row: int, *, reason_code: str, text: Mapping[str, str]) -> Json:
        """Refuse a task."""
        return self._send("POST", f"/desk/{row}/refuse", body={"reason_code": reason_code, "text": dict(text)})

    # --- running the bus --------------------------------------------------------------------------------------------

    def failure_list(self, *, state: str = "open", cause: str | None = None, after: int = 0, most: int = 50) -> Json:
        """What needs a person."""
        return self._read("/failures", state=state, cause=cause, after=after, most=most)

    def failure_show(self, failure: int) -> Json:
        """One failure."""
        return self._read(f"/failures/{failure}")

    def failure_replay(self, failure: int, *, reason: str) -> Json:
        """Try its step again."""
        return self._send("POST", f"/failures/{failure}/replay", body={"reason": reason})

    def failure_close(self, failure: int) -> Json:
        """Close one on which no step waits."""
        return self._send("POST", f"/failures/{failure}/close")

    def failure_giveup(self, failure: int, *, reason: str) -> Json:
        """End its step for good."""
        return self._send("POST", f"/failures/{failure}/giveup", body={"reason": reason})

    def agency_list(self) -> Json:
        """The providers and how they are."""
        return self._read("/agencies")

    def agency_pause(self, agency: str, *, reason: str | None = None) -> Json:
        """Send it nothing more. The list of acts says who did it, and why."""
        body = _present({"reason": reason})
        return self._send("POST", f"/agencies/{_part(agency)}/pause", body=body, repeatable=True)

    def agency_resume(self, agency: str, *, reason: str | None = None) -> Json:
        """Send to it again. The list of acts says who did it, and why."""
        body = _present({"reason": reason})
        return self._send("POST", f"/agencies/{_part(agency)}/resume", body=body, repeatable=True)

    def agency_retire(self, agency: str, *, journal: str, reason: str | None = None) -> Json:
        """Declare its journal lost. The list of acts says who did it, and why."""
        body = _present({"journal": journal, "reason": reason})
        return self._send("POST", f"/agencies/{_part(agency)}/retire", body=body, repeatable=True)

    def service_list(self) -> Json:
        """What can be asked for."""
        return self._read("/services")

    def service_show(self, service: str) -> Json:
        """One service: contracts, a ``sample`` request, deadline, steps, purposes, granted fields, test persons."""
        return self._read(f"/services/{_part(service)}")

    # --- the audit --------------------------------------------------------------------------------------------------

    def audit_list(
        self,
        *,
        request: str | None = None,
        agency: str | None = None,
        purpose: str | None = None,
        from_: str | None = None,
        to: str | None = None,
        after: str | None = None,
        most: int = 50,
    ) -> Json:
        """Who was told which fields, for which purpose, oldest first: ``items``, and the ``next`` cursor or None.

        ``from_`` and ``to``: a day (``2026-01-05``) or a time (``2026-01-05T08:30:00Z``); ``to`` itself is left out.
        """
        query = {"request": request, "agency": agency, "purpose": purpose, "from": from_, "to": to, "after": after}
        return self._read("/audit", **query, most=most)

    def audit_acts(self, *, after: int = 0, most: int = 50) -> Json:
        """What was done to agencies and tokens, and by whom, oldest first."""
        return self._read("/audit/acts", after=after, most=most)

    # --- how it is --------------------------------------------------------------------------------------------------

    def status(self) -> Json:
        """How the bus is doing."""
        return self._read("/status")

    def health(self) -> Json:
        """Whether the gateway works."""
        return self._read("/health")

    # --- the wire ---------------------------------------------------------------------------------------------------

    def _read(self, path: str, **query: str | int | None) -> Json:
        return self._send("GET", path, query=query, wait=int(query.get("wait") or 0), repeatable=True)

    def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int | list[str] | None] | None = None,
        headers: Mapping[str, str | None] | None = None,
        body: Json | None = None,
        wait: int = 0,
        repeatable: bool = False,
    ) -> Json:
        patience = _PATIENCE + min(wait, _MOST_WAIT)
        preference = {"Prefer": f"wait={wait}" if wait and method != "GET" else None}
        request = self._http.build_request(
            method,
            path,
            params=_present(query or {}),
            headers=_headers({**(headers or {}), **preference}),
            json=body,
            timeout=patience,
        )
        answer = self._sent(request, tries=_TRIES if repeatable else 1)
        if answer.is_success:
            return _object(answer)
        raise _error(answer)

    def _sent(self, request: httpx.Request, *, tries: int) -> httpx.Response:
        again = Retrying(
            retry=retry_if_exception_type(_BROKEN),
            stop=stop_after_attempt(tries),
            wait=wait_random_exponential(multiplier=0.1, max=2),
            sleep=time.sleep,
            reraise=True,
        )
        try:
            return again(self._http.send, request)
        except httpx.TransportError as error:
            raise TransientError(
                f"The gateway at {self._http.base_url.host}:{self._http.base_url.port} cannot be reached.",
                code="gateway-unreachable",
                mend="Start it with `bus serve`, or name another in BUS_URL.\n"
                "شغّل البوابة بالأمر bus serve أو اذكر عنوانًا آخر في BUS_URL.",
            ) from error


def _error(answer: httpx.Response) -> BusError:
    problem = _object(answer)
    code = str(problem.get("code", "error"))
    mend = _mend(problem)
    message = str(problem.get("detail") or f"The gateway answered {answer.status_code}.")
    if answer.status_code in _MALFORMED:
        error = InvalidMessageError(_faults(problem, code, message), raw=answer.content)
        error.code = code
        error.mend = mend
        return error
    return _KINDS.get(answer.status_code, PermanentError)(message, code=code, mend=mend)


def _mend(problem: Json) -> str:
    arabic = problem.get("i18n", {}).get("ar", {}).get("mend", "")
    return "\n".join(text for text in (str(problem.get("mend", "")), str(arabic)) if text)


def _faults(problem: Json, code: str, message: str) -> tuple[Fault, ...]:
    faults = [
        Fault(code=fault["code"], message=fault["message"], mend=fault["mend"], pointer=fault["pointer"])
        for fault in problem.get("faults", ())
    ]
    return tuple(faults) or (Fault(code=code, message=message),)


def _object(answer: httpx.Response) -> Json:
    try:
        value = answer.json()
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {}


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _headers(values: Mapping[str, str | None]) -> dict[str, str]:
    """What a header may carry; InvalidMessageError for letters that HTTP has no place for."""
    present = {name: value for name, value in values.items() if value is not None}
    faults = tuple(
        Fault(
            code="header-letters",
            message=f"{name} holds letters that an HTTP header cannot carry.",
            mend="Write it with Latin letters, digits and signs.\nاكتبه بحروف لاتينية وأرقام وعلامات فقط.",
        )
        for name, value in present.items()
        if not (value.isascii() and value.isprintable())
    )
    if faults:
        raise InvalidMessageError(faults)
    return present


def _part(text: str) -> str:
    """One part of a path: whatever a person typed stays one part."""
    if text in {"", ".", ".."}:
        message = "A name is empty or stands for a folder."
        fault = Fault(code="no-name", message=message, mend="Give the id or the code.\nاكتب الرقم أو الرمز.")
        raise InvalidMessageError((fault,))
    return quote(text, safe="")
