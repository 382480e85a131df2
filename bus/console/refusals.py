"""Pages for what cannot be done: what happened and the mend, in both languages on one page."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from bus.console.house import LATER, House
from bus.console.language import languages, other
from bus.console.visit import PageError, Visit
from bus.errors import BusError, ForbiddenError, InvalidMessageError, NotFoundError, TransientError


def gettext_noop(text: str) -> str:
    """Marks a text that is translated where it is shown."""
    return text


#: By status: what happened, and what the reader can do.
TELLINGS: Mapping[int, tuple[str, str]] = {
    400: (
        gettext_noop("The page sent something that cannot be read."),
        gettext_noop("Go back, load the page again and repeat what you did."),
    ),
    401: (gettext_noop("You are not signed in."), gettext_noop("Sign in and go on.")),
    403: (
        gettext_noop("The form does not come from this page, or it is too old."),
        gettext_noop("Open the page again and send the form from there. Nothing was changed."),
    ),
    404: (
        gettext_noop("There is no such page."),
        gettext_noop("The address is misspelt, or what it names belongs to another agency."),
    ),
    413: (
        gettext_noop("The form is too large."),
        gettext_noop("Write less text. Documents are handed over in another way, and the answer refers to them."),
    ),
    415: (
        gettext_noop("The page sent something that cannot be read."),
        gettext_noop("Go back, load the page again and repeat what you did."),
    ),
    422: (
        gettext_noop("Something in the form cannot be taken."),
        gettext_noop("Go back and look at the form again. Nothing was changed."),
    ),
    429: (
        gettext_noop("Too many attempts from your address."),
        gettext_noop("Wait a moment and try again."),
    ),
    500: (
        gettext_noop("Something is wrong on our side."),
        gettext_noop("Try again. If it stays so, tell those who run this service when it happened."),
    ),
    503: (
        gettext_noop("This cannot be done now."),
        gettext_noop("Wait a moment and try again. Nothing was changed."),
    ),
}
#: Who has a token of another kind.
WRONG_ROLE = (
    gettext_noop("This desk is for clerks."),
    gettext_noop("Your token is of another kind. Ask an administrator for a clerk's token of your agency."),
)


def refusal(house: House, visit: Visit, error: BusError) -> Response:
    """The page that tells an error."""
    status = status_of(error)
    telling = WRONG_ROLE if isinstance(error, ForbiddenError) else TELLINGS[status]
    response = tell(house, visit, status, telling)
    if status in {429, 503}:
        response.headers["Retry-After"] = str(getattr(error, "retry_after", 0) or LATER)
    return response


def tell(house: House, visit: Visit, status: int, telling: tuple[str, str]) -> Response:
    """A page with this text, first in the reader's language."""
    both = (visit.language, other(visit.language))
    known = languages()
    return house.page(visit, "refusal.html", status, telling=telling, both=[known[each.code] for each in both])


def status_of(error: BusError) -> int:
    """The HTTP status by which a page tells an error."""
    if isinstance(error, PageError):
        return error.status
    kinds = ((NotFoundError, 404), (ForbiddenError, 403), (InvalidMessageError, 422), (TransientError, 503))
    return next((status for kind, status in kinds if isinstance(error, kind)), 500)
