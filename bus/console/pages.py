"""Every address of the pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from bus.console import answering, desk_pages, sending_back, sign_in, tracking_pages
from bus.console.guard import at_the_desk, in_the_open
from bus.console.house import STYLE, STYLE_PATH, House, Page, environments, see_other
from bus.console.limiting import Limit
from bus.console.refusals import refusal
from bus.console.session import Seal
from bus.console.visit import PageError, Pairs, Visit
from bus.errors import BusError
from bus.operations.door import Door

#: Slashes in the address of a form: ``/desk/ROW/ACTION``.
_PARTS_OF_A_FORM = 3
#: Tokens that nobody has, and tracking codes, that one address may try.
ATTEMPTS, LOOKUPS = "10 per 5 minutes", "30 per minute"


def pages(door: Door) -> Sequence[BaseRoute]:
    """The desk of clerks under ``/desk``, the citizen's page under ``/track``, and their style sheet."""
    house = House(
        door=door,
        seal=Seal(door.context.secret),
        attempts=Limit(ATTEMPTS),
        lookups=Limit(LOOKUPS),
        environments=environments(),
    )
    opened, desk = in_the_open, at_the_desk
    return [
        Route(STYLE_PATH, _style),
        Route("/", _entrance),
        Route("/track", opened(house, tracking_pages.ask)),
        Route("/track/{code:path}", opened(house, tracking_pages.show)),
        Route("/desk/sign-in", opened(house, sign_in.show)),
        Route("/desk/sign-in", opened(house, _sign_in), methods=["POST"]),
        Route("/desk/sign-out", desk(house, sign_in.sign_out, chosen=False), methods=["POST"]),
        Route("/desk/agency", desk(house, sign_in.show_agencies, chosen=False)),
        Route("/desk/agency", desk(house, sign_in.choose_agency, chosen=False), methods=["POST"]),
        Route("/desk", desk(house, desk_pages.show_list)),
        Route("/desk/{row}", desk(house, desk_pages.show_task)),
        Route("/desk/{row}/claim", desk(house, desk_pages.claim), methods=["POST"]),
        Route("/desk/{row}/release", desk(house, desk_pages.release), methods=["POST"]),
        Route("/desk/{row}/answer", desk(house, answering.answer), methods=["POST"]),
        Route("/desk/{row}/return", desk(house, sending_back.show("return"))),
        Route("/desk/{row}/return", desk(house, sending_back.send("return")), methods=["POST"]),
        Route("/desk/{row}/refuse", desk(house, sending_back.show("refuse"))),
        Route("/desk/{row}/refuse", desk(house, sending_back.send("refuse")), methods=["POST"]),
        Route("/desk/{row}/{action}", desk(house, desk_pages.go_to_task)),
        Route("/desk/{rest:path}", desk(house, _nowhere, chosen=False)),
    ]


async def _entrance(_: Request) -> Response:
    """Whoever types the address alone wants the desk, or is shown the way to it."""
    return see_other("/desk")


async def _style(_: Request) -> Response:
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
    return Response(STYLE, media_type="text/css", headers=headers)


async def _sign_in(house: House, visit: Visit) -> Response:
    """After the sign-in: the page that was wanted, or the form as it was typed before the session ended."""
    entered = await sign_in.sign_in(house, visit)
    if isinstance(entered, Response):
        return entered
    visit, following, carried = entered
    response = see_other(following)
    if carried and visit.who.agency is not None and following.count("/") == _PARTS_OF_A_FORM:
        response = await _resume(house, visit, following, carried)
    house.keep_session(response, visit, visit.session)
    return response


async def _resume(house: House, visit: Visit, following: str, carried: Pairs) -> Response:
    _, _, row, action = following.split("/")
    scope = {**visit.http.scope, "path": following, "query_string": b"", "path_params": {"row": row}}
    visit = replace(visit, http=Request(scope), form=carried)
    try:
        return await _RESUMED[action](house, visit)
    except BusError as error:
        return refusal(house, visit, error)


_RESUMED: Mapping[str, Page] = {
    "answer": answering.resume,
    "return": sending_back.send("return"),
    "refuse": sending_back.send("refuse"),
}


async def _nowhere(_: House, visit: Visit) -> Response:
    if visit.http.path_params["rest"]:
        raise PageError(404)
    return see_other("/desk")
