"""Signing in and out. The token is typed once, looked up by its hash and not kept."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import replace
from urllib.parse import quote

from starlette.responses import Response

from bus.console.house import ENTRY, House, keep_entry, see_other
from bus.console.refusals import WRONG_ROLE, tell
from bus.console.session import Session
from bus.console.visit import PageError, Pairs, Visit, address
from bus.errors import UnauthenticatedError
from bus.operations.caller import Role, token_hash

#: The addresses to which a sign-in may lead.
_NEXT = re.compile(r"/desk(/[0-9]{1,19}(/(answer|return|refuse))?)?")
#: Not carried over a sign-in: they belong to the session that is over.
_OF_THE_SESSION = frozenset({"form_token", "do"})


async def show(house: House, visit: Visit) -> Response:
    """The form of the sign-in."""
    return _form(house, visit, following=visit.http.query_params.get("next", ""))


def sign_in_again(house: House, visit: Visit, *, carries: bool) -> Response:
    """Nobody is signed in (any more). What was typed into a form of the session that is over is carried along."""
    path = visit.http.url.path
    if visit.http.method != "POST":
        return see_other(f"/desk/sign-in?next={quote(path)}" if path != "/desk" else "/desk/sign-in")
    form = [pair for pair in visit.form if pair[0] not in _OF_THE_SESSION]
    carried = json.dumps(form) if carries and form and _NEXT.fullmatch(path) else ""
    return _form(house, visit, status=401, following=path, carried=carried, late=True)


async def sign_in(house: House, visit: Visit) -> tuple[Visit, str, Pairs] | Response:
    """Who has this token: his visit, the address that he wants, and the fields that he carries; or a page that says no.

    Tokens that nobody has are counted by address, so that a whole ministry behind one address can still sign in.
    """
    entry = visit.http.cookies.get(ENTRY, "")
    if not entry or not house.seal.is_own_form(entry, visit.one("form_token")):
        raise PageError(403)
    wait = house.attempts.wait(address(visit.http))
    if wait:
        raise PageError(429, retry_after=wait)
    following, carried = visit.one("next"), visit.one("carried")
    hash_ = token_hash(visit.one("token").strip())
    try:
        caller = await house.door.caller(hash_)
    except UnauthenticatedError:
        house.attempts.count(address(visit.http))
        return _form(house, visit, status=401, following=following, carried=carried, wrong=True)
    if caller.role not in {Role.CLERK, Role.ADMIN}:
        return tell(house, visit, 403, WRONG_ROLE)
    nonce = secrets.token_urlsafe(18)
    session = Session(token_hash=hash_, agency=None, nonce=nonce, started=visit.now, seen=visit.now)
    entered = replace(visit, session=session, caller=caller, form_token=house.seal.form_token(nonce))
    return entered, following if _NEXT.fullmatch(following) else "/desk", _pairs(carried)


async def sign_out(house: House, visit: Visit) -> Response:
    """The cookie counts no more, here and in the browser."""
    if visit.session is not None:
        house.seal.end(visit.session, visit.now)
    response = see_other("/desk/sign-in?note=out")
    house.keep_session(response, visit, None)
    return response


async def show_agencies(house: House, visit: Visit) -> Response:
    """An administrator belongs to no agency: for which one does he work now?"""
    return _agencies(house, visit, visit.http.query_params.get("next", ""))


async def choose_agency(house: House, visit: Visit) -> Response:
    """The administrator's session is for this agency from now on; every fact then names him and the agency."""
    chosen = visit.one("agency")
    if visit.who.role is not Role.ADMIN or visit.session is None:
        raise PageError(403)
    if chosen not in _desks(house):
        return _agencies(house, visit, visit.one("next"), status=422)
    following = visit.one("next")
    response = see_other(following if _NEXT.fullmatch(following) else "/desk")
    house.keep_session(response, visit, replace(visit.session, agency=chosen, seen=visit.now))
    return response


def _desks(house: House) -> list[str]:
    workspace = house.door.context.workspace
    used = {name for name, use in workspace.env.agencies.items() if use.use == "desk"}
    return sorted(name for name, agency in workspace.agencies.items() if agency.desk or name in used)


def _agencies(house: House, visit: Visit, following: str, status: int = 200) -> Response:
    names = [(name, visit.language.of(house.door.context.agency_name(name))) for name in _desks(house)]
    return house.page(visit, "agency.html", status, desks=names, following=following)


def _form(
    house: House,
    visit: Visit,
    *,
    status: int = 200,
    following: str = "",
    carried: str = "",
    wrong: bool = False,
    late: bool = False,
) -> Response:
    nonce = secrets.token_urlsafe(18)
    visit = replace(visit, form_token=house.seal.form_token(nonce), session=None, caller=None)
    note = visit.http.query_params.get("note", "")
    values = {"following": following, "carried": carried, "wrong": wrong, "late": late, "note": note}
    response = house.page(visit, "sign_in.html", status, **values)
    keep_entry(response, visit, nonce)
    return response


def _pairs(carried: str) -> Pairs:
    """The fields that the browser carried over its sign-in; nothing where it made them up."""
    try:
        pairs = tuple((str(name), str(value)) for name, value in json.loads(carried)) if carried else ()
    except (ValueError, TypeError, RecursionError):
        return ()
    # A sign-in shows a form again and presses none of its buttons.
    return tuple(pair for pair in pairs if pair[0] not in _OF_THE_SESSION)
