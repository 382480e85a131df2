"""The way from a browser's request to a page: language, session, and for each form its origin and its token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeAlias
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from bus import logs
from bus.console.house import SESSION, House, Page, see_other
from bus.console.refusals import refusal, status_of
from bus.console.session import Session
from bus.console.sign_in import sign_in_again
from bus.console.visit import PageError, Visit, is_from_here, read_form
from bus.errors import BusError, UnauthenticatedError
from bus.operations.caller import Role

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]
_LOG = logs.bind(place="console")


def at_the_desk(house: House, page: Page, *, chosen: bool = True) -> Endpoint:
    """A page for those who are signed in; others are sent to sign in first.

    With ``chosen`` an administrator must have said for which agency he works.
    """

    async def endpoint(http: Request) -> Response:
        visit = _arrive(house, http)
        try:
            session = house.seal.session(http.cookies.get(SESSION))
            if http.method == "POST":
                form = await _own_form(house, visit, session)
                visit = replace(visit, form=form)
            if session is None or not session.is_alive(visit.now):
                return sign_in_again(house, visit, carries=session is not None)
            visit = await _enter(house, visit, session)
            if chosen and visit.who.role is Role.ADMIN and visit.who.agency is None:
                return see_other(f"/desk/agency?next={quote(http.url.path)}")
            response = await page(house, visit)
        except UnauthenticatedError:
            response = see_other("/desk/sign-in")
        except Exception as error:  # noqa: BLE001  (no stack trace leaves the house)
            response = tell_error(house, visit, error)
        house.refresh(response, visit)
        return response

    return endpoint


def in_the_open(house: House, page: Page) -> Endpoint:
    """A page for everybody; what it does with a posted form it checks itself."""

    async def endpoint(http: Request) -> Response:
        visit = _arrive(house, http)
        try:
            if http.method == "POST":
                if not is_from_here(http):
                    raise PageError(403)
                visit = replace(visit, form=await read_form(http))
            response = await page(house, visit)
        except Exception as error:  # noqa: BLE001  (no stack trace leaves the house)
            response = tell_error(house, visit, error)
        if http.url.path.startswith("/desk"):
            house.refresh(response, visit)
        return response

    return endpoint


def tell_error(house: House, visit: Visit, error: Exception) -> Response:
    """The page of an error; what is our own fault goes to the log."""
    known = error if isinstance(error, BusError) else BusError(code="internal")
    if status_of(known) == 500:
        _LOG.error("unexpected_error", error=error)
    return refusal(house, visit, known)


def _arrive(house: House, http: Request) -> Visit:
    language = house.language(http.query_params, http.cookies, http.headers.get("accept-language", ""))
    return Visit(http=http, language=language, now=house.door.context.store.now())


async def _own_form(house: House, visit: Visit, session: Session | None) -> tuple[tuple[str, str], ...]:
    """The posted fields, if the form is one that we gave to this session."""
    if not is_from_here(visit.http):
        raise PageError(403)
    form = tuple(await read_form(visit.http))
    token = next((value for name, value in form if name == "form_token"), "")
    if session is not None and not house.seal.is_own_form(session.nonce, token):
        raise PageError(403)
    return form


async def _enter(house: House, visit: Visit, session: Session) -> Visit:
    caller = await house.door.caller(session.token_hash)
    if caller.agency is None and session.agency is not None:
        caller = replace(caller, agency=session.agency)
    return replace(visit, session=session, caller=caller, form_token=house.seal.form_token(session.nonce))
