"""Who was told what, for which purpose; and what those who run the bus did. Names and times, never data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from bus.message.formats import is_date, is_date_time
from bus.message.identity import parse_tracking
from bus.message.instant import Instant, from_rfc3339, to_rfc3339
from bus.message.text import Text
from bus.operations.caller import Caller
from bus.operations.conflict import request_unknown
from bus.operations.context import Context
from bus.operations.given import After, Most
from bus.operations.operation import Given
from bus.ports import Act, Disclosure, Place

#: How the bus itself is named where a field names an agency.
BUS = "bus"
# So many digits stay below the greatest key that a store holds.
_CURSOR = re.compile(r"([0-9]{1,15})-([0-9]{1,18}|[1-8][0-9]{18})-([0-9]{1,9})", re.ASCII)


def _is_cursor(text: str) -> str:
    if text and not _CURSOR.fullmatch(text):
        raise PydanticCustomError("cursor", "This is no cursor of the audit; give the next of the page before")
    return text


def _is_time(text: str | None) -> str | None:
    if text is not None and not (is_date(text) or is_date_time(text)):
        raise PydanticCustomError("not-a-time", "Write a day (2026-01-05) or a time (2026-01-05T08:30:00Z)")
    return text


_When = Annotated[str | None, Field(max_length=40), AfterValidator(_is_time)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListDisclosures:
    """Which disclosures to list."""

    request: Annotated[
        str | None,
        Field(min_length=1, max_length=64),
        Given(
            place="query",
            summary=Text(en="Of this request, by id or tracking code.", ar="ما يخص هذا الطلب، بمعرّفه أو رمز متابعته."),
        ),
    ] = None
    agency: Annotated[
        str | None,
        Field(min_length=1, max_length=64),
        Given(
            place="query",
            summary=Text(en="Where this agency asks or is asked.", ar="ما كانت هذه الجهة طالبةً فيه أو مطلوبًا منها."),
        ),
    ] = None
    purpose: Annotated[
        str | None,
        Field(min_length=1, max_length=64),
        Given(place="query", summary=Text(en="For this purpose.", ar="ما كان لهذا الغرض.")),
    ] = None
    from_: Annotated[
        _When,
        Given(
            place="query",
            header="from",
            summary=Text(en="From this day or time on.", ar="ابتداءً من هذا اليوم أو الوقت."),
        ),
    ] = None
    to: Annotated[
        _When,
        Given(place="query", summary=Text(en="Before this day or time.", ar="ما قبل هذا اليوم أو الوقت.")),
    ] = None
    after: Annotated[
        str,
        Field(max_length=48),
        AfterValidator(_is_cursor),
        Given(
            place="query",
            summary=Text(en="Only what comes after this cursor.", ar="ما يأتي بعد هذا المؤشر فقط."),
        ),
    ] = ""
    most: Most = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class DisclosureView:
    """One time that somebody was told fields of a request."""

    cursor: str
    at: str
    request_id: str
    service: str
    step: str | None
    item: int | None
    #: The fact that says so.
    kind: str
    #: Who told whom: agencies, or ``bus``.
    told_by: str
    told: str
    purpose: str | None
    legal_basis: str | None
    #: Names of the fields, never their values.
    fields: tuple[str, ...]
    #: The official, clerk or administrator who acted, where one did.
    actor: str | None
    message_id: str | None
    #: Salted SHA-256 of the message's bytes, and the hash of the fact in its chain.
    digest: str | None
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DisclosureViews:
    """A page, oldest first; ``next`` is the cursor to go on from, None at the end."""

    items: tuple[DisclosureView, ...]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListActs:
    """Which acts to list."""

    after: After = 0
    most: Most = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class ActView:
    """What somebody who runs the bus did to an agency or a token."""

    cursor: str
    at: str
    actor: str
    what: str
    title: Text
    target: str
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActViews:
    """A page, oldest first; ``next`` is the cursor to go on from, None at the end."""

    items: tuple[ActView, ...]
    next: str | None


_ACTS = {
    "agency_paused": Text(en="Paused an agency", ar="إيقاف الإرسال إلى جهة"),
    "agency_resumed": Text(en="Resumed an agency", ar="استئناف الإرسال إلى جهة"),
    "journal_retired": Text(en="Declared a journal lost", ar="إعلان فقدان سجل جهة"),
    "journal_restored": Text(en="Restored a journal from a backup", ar="استعادة سجل جهة من نسخة احتياطية"),
    "token_added": Text(en="Gave a token", ar="منح رمز دخول"),
    "tokens_removed": Text(en="Took tokens back", ar="سحب رموز الدخول"),
}


def list_disclosures(context: Context, _caller: Caller, given: ListDisclosures) -> DisclosureViews:
    """Who was told what, oldest first. NotFoundError where a request is named that is not there."""
    found = context.store.disclosures(
        after=max(_place(given.after), (_instant(given.from_) or 0, 0, 0)),
        until=_instant(given.to),
        most=given.most,
        request_id=None if given.request is None else _request_id(context, given.request),
        agency=given.agency,
        purpose=given.purpose,
    )
    following = _cursor(found[-1].place) if len(found) == given.most else None
    return DisclosureViews(items=tuple(_disclosure(context, each) for each in found), next=following)


def list_acts(context: Context, _caller: Caller, given: ListActs) -> ActViews:
    """What those who run the bus did, oldest first."""
    acts = context.store.acts(after=given.after, most=given.most)
    following = str(acts[-1].key) if len(acts) == given.most else None
    return ActViews(items=tuple(_act(act) for act in acts), next=following)


def _request_id(context: Context, name: str) -> str:
    try:
        name = parse_tracking(name)
    except ValueError:
        name = name.strip().lower()
    id_ = context.store.find(name)
    if id_ is None:
        raise request_unknown()
    return id_


def _disclosure(context: Context, disclosure: Disclosure) -> DisclosureView:
    fact = disclosure.fact
    definition, _ = context.pinned(disclosure.revision)
    purpose = definition.purposes.get(fact.purpose or "")
    told_by, told = _parties(disclosure)
    return DisclosureView(
        cursor=_cursor(disclosure.place),
        at=to_rfc3339(fact.at),
        request_id=fact.request_id,
        service=disclosure.service,
        step=fact.step,
        item=fact.item,
        kind=fact.kind,
        told_by=told_by,
        told=told,
        purpose=fact.purpose,
        legal_basis=purpose.legal_basis if purpose else None,
        fields=fact.fields,
        actor=fact.actor,
        message_id=fact.message_id,
        digest=fact.digest,
        hash=fact.hash,
    )


def _parties(disclosure: Disclosure) -> tuple[str, str]:
    """Who told whom. What an agency asks back goes to the consumer, who brings it; what it answers, to the bus."""
    consumer, provider = disclosure.fact.consumer or "", disclosure.fact.provider or ""
    match disclosure.fact.kind:
        case "ended":
            return BUS, consumer
        case "step_dispatched":
            return BUS, provider
        case "step_returned":
            return provider, consumer
        case "step_ready":
            return consumer, BUS
    return (consumer, BUS) if disclosure.fact.step is None else (provider, BUS)


def _act(act: Act) -> ActView:
    return ActView(
        cursor=str(act.key),
        at=to_rfc3339(act.at),
        actor=act.actor,
        what=act.what,
        title=_ACTS.get(act.what, Text(en=act.what, ar=act.what)),
        target=act.target,
        reason=act.reason,
    )


def _place(cursor: str) -> Place:
    found = _CURSOR.fullmatch(cursor)
    return (int(found[1]), int(found[2]), int(found[3])) if found else (0, 0, 0)


def _instant(text: str | None) -> Instant | None:
    if text is None:
        return None
    return max(0, from_rfc3339(f"{text}T00:00:00Z" if is_date(text) else text))


def _cursor(place: Place) -> str:
    return "-".join(map(str, place))
