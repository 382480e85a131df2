"""The tracking code of a citizen: how the whole request stands, and nothing about whom or what it concerns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from bus.message.identity import parse_tracking
from bus.message.text import Text
from bus.operations.caller import Caller, Role
from bus.operations.conflict import request_unknown
from bus.operations.context import Context
from bus.operations.operation import Given, Operation
from bus.operations.request import when
from bus.operations.titles import REQUEST_TITLES

#: Who holds a code need not say who he is.
ANYONE = Caller(user="anyone", role=Role.CONSUMER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One tracking code as somebody wrote it."""

    code: Annotated[
        str,
        Field(max_length=200),
        Given(place="path", summary=Text(en="The tracking code.", ar="رمز المتابعة.")),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracked:
    """How the request stands. No service, agency, name or data: the code alone proves nothing about its holder."""

    #: The code in its canonical form.
    tracking: str
    state: str
    state_title: Text
    submitted_at: str
    #: Until when it should have ended; None once it has.
    expected_by: str | None
    ended_at: str | None
    #: Whether the applicant is to bring something; what it is stands in the portal that he used.
    asked: bool


def track(context: Context, _: Caller, given: Track) -> Tracked:
    """How the request of this code stands; the same NotFoundError for a code of nobody and for one misspelt."""
    try:
        code = parse_tracking(given.code)
    except ValueError as error:
        raise request_unknown() from error
    id_ = context.store.find(code)
    request = context.store.request(id_) if id_ is not None else None
    if request is None:
        raise request_unknown()
    return Tracked(
        tracking=code,
        state=request.state.value,
        state_title=REQUEST_TITLES[request.state],
        submitted_at=when(request.accepted_at) or "",
        expected_by=when(request.deadline_at) if request.ended_at is None else None,
        ended_at=when(request.ended_at),
        asked=request.waiting_for == "applicant",
    )


TRACK: Operation[Track, Tracked] = Operation(
    noun="track",
    verb="",
    method="GET",
    path="/track/{code}",
    roles=frozenset(),
    input=Track,
    output=Tracked,
    summary=Text(en="Ask how the request of a tracking code stands.", ar="الاستعلام عن حالة طلب برمز المتابعة."),
    function=track,
)
