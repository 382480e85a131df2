"""The feed of a consumer: everything that it is told, until it says that it has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from pydantic import Field

from bus.message.instant import to_rfc3339
from bus.message.text import Text
from bus.operations.caller import Caller
from bus.operations.context import Context
from bus.operations.given import After, Most, Wait
from bus.operations.operation import Given


@dataclass(frozen=True, slots=True, kw_only=True)
class ListResults:
    """What comes after a cursor."""

    after: After = 0
    most: Most = 50
    wait: Wait = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultItem:
    """One message for the consumer. ``message`` is the CloudEvent, its exact bytes."""

    cursor: str
    request_id: str
    type: str
    created_at: str
    collected: bool
    message: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultItems:
    """A page of the feed; ``next`` is the cursor to go on from."""

    items: tuple[ResultItem, ...]
    next: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledge:
    """These messages are safe with the consumer."""

    cursors: Annotated[
        tuple[Annotated[int, Field(ge=0, lt=2**63)], ...],
        Field(min_length=1, max_length=200),
        Given(place="member", summary=Text(en="Cursors of the messages.", ar="مؤشرات الرسائل المستلمة.")),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """How many of them were not acknowledged before."""

    collected: int


def list_results(context: Context, caller: Caller, given: ListResults) -> ResultItems:
    """The feed after the cursor, acknowledged messages included: the cursor alone says where the reader is."""
    page = context.store.results(caller.acting_agency(), after=given.after, most=given.most)
    items = tuple(
        ResultItem(
            cursor=str(row.key),
            request_id=row.request_id,
            type=row.type,
            created_at=to_rfc3339(row.created_at),
            collected=row.collected_at is not None,
            message=orjson.Fragment(raw),
        )
        for row, raw in page
    )
    return ResultItems(items=items, next=items[-1].cursor if items else str(given.after))


def has_results(_: ListResults, found: ResultItems) -> bool:
    """Whether there is anything to read."""
    return bool(found.items)


def acknowledge(context: Context, caller: Caller, given: Acknowledge) -> Acknowledged:
    """The bus need not offer them again. Cursors of other consumers' messages count for nothing."""
    return Acknowledged(collected=context.store.collect(caller.acting_agency(), given.cursors))
