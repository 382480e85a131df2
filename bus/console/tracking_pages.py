"""The citizen's page: how his request stands and since when, in both languages at once; no cookie, no data."""

from __future__ import annotations

from urllib.parse import quote

from starlette.responses import Response

from bus.console.house import House, see_other
from bus.console.language import languages
from bus.console.visit import PageError, Visit, address
from bus.errors import NotFoundError
from bus.message.instant import from_rfc3339
from bus.operations.tracking import ANYONE, TRACK, Track, Tracked

_LONGEST_CODE = 200


async def ask(house: House, visit: Visit) -> Response:
    """Where the code is typed; a typed one leads to its page, whatever it is."""
    code = visit.http.query_params.get("code", "").strip()[:_LONGEST_CODE]
    return see_other(f"/track/{quote(code, safe='')}") if code else _page(house, visit)


async def show(house: House, visit: Visit) -> Response:
    """How the request of a code stands; a code of nobody and one that cannot be are told alike."""
    if not visit.http.path_params["code"]:
        return see_other("/track")
    wait = house.lookups.wait(address(visit.http))
    if wait:
        raise PageError(429, retry_after=wait)
    house.lookups.count(address(visit.http))
    try:
        given = Track(code=visit.http.path_params["code"][:_LONGEST_CODE])
        found: Tracked = await house.door.perform(TRACK, ANYONE, given)
    except NotFoundError:
        return _page(house, visit, status=404, unknown=True)
    return _page(house, visit, found=found)


def _page(
    house: House, visit: Visit, *, status: int = 200, found: Tracked | None = None, unknown: bool = False
) -> Response:
    # Arabic first: it is the language of most who come here.
    both = [languages()["ar"], languages()["en"]]
    return house.page(visit, "track.html", status, found=found, unknown=unknown, both=both, at=from_rfc3339)
