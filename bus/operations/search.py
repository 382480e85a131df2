"""Finding requests: by state, by the consumer's own reference, by whom they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from bus.message.instant import to_rfc3339
from bus.message.text import Text
from bus.operations.caller import Caller
from bus.operations.context import Context
from bus.operations.given import After, Most, OnBehalfOf
from bus.operations.operation import Given
from bus.operations.request import when
from bus.operations.submission import hidden_principal, hidden_reference
from bus.operations.titles import REQUEST_TITLES
from bus.ports import Line
from bus.process.state import RequestState


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRequests:
    """Which requests to list, by the time they were accepted."""

    state: Annotated[
        tuple[RequestState, ...],
        Field(max_length=len(RequestState)),
        Given(place="query", summary=Text(en="Only requests in these states.", ar="الطلبات في هذه الحالات فقط.")),
    ] = ()
    reference: Annotated[
        str | None,
        Field(max_length=128),
        Given(place="query", summary=Text(en="Only those with your file number.", ar="ما يحمل رقم ملفك فقط.")),
    ] = None
    on_behalf_of: OnBehalfOf = None
    after: After = 0
    most: Most = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLine:
    """One request in a list."""

    request_id: str
    tracking: str
    consumer: str
    service: str
    state: str
    state_title: Text
    waiting_for: str | None
    accepted_at: str
    ended_at: str | None
    test: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLines:
    """A page of requests; ``next`` is the cursor of the following page."""

    items: tuple[RequestLine, ...]
    next: str | None


def list_requests(context: Context, caller: Caller, given: ListRequests) -> RequestLines:
    """A page of the caller's requests, or of all for those who run the bus.

    References are each consumer's own: whoever searches by one, or by whom it is asked for, is or acts for a consumer.
    """
    searching = given.reference is not None or given.on_behalf_of is not None
    consumer = None if caller.sees_all and not searching else caller.acting_agency()
    lines = context.store.requests(
        consumer=consumer,
        states=given.state,
        after=given.after,
        most=given.most,
        reference=hidden_reference(context, consumer or "", given.reference),
        on_behalf_of=hidden_principal(context, given.on_behalf_of),
    )
    following = str(lines[-1].request_key) if len(lines) == given.most else None
    return RequestLines(items=tuple(_line(line) for line in lines), next=following)


def _line(line: Line) -> RequestLine:
    return RequestLine(
        request_id=line.request_id,
        tracking=line.tracking,
        consumer=line.consumer,
        service=line.service,
        state=line.state.value,
        state_title=REQUEST_TITLES[line.state],
        waiting_for=line.waiting_for,
        accepted_at=to_rfc3339(line.accepted_at),
        ended_at=when(line.ended_at),
        test=line.test,
    )
