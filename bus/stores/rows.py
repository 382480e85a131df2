"""Between the values of the port and the rows of the tables: positional, in the order of the schema's columns.

The same functions read rows of the driver (0 and 1 for flags) and of SQLAlchemy.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import orjson

from bus.audit.fact import Fact
from bus.errors import StaleVersionError
from bus.message.channel import Channel
from bus.message.reply import Effect
from bus.ports import OutboxRow, Payload, Received, ResultRow, StepRef, Submission
from bus.process.state import Kind, Request, RequestState, Step, StepKey, StepState, Superseded

#: One row, positional.
Row: TypeAlias = Sequence[Any]

#: The item of a step that has none: a column of a key cannot be NULL.
NO_ITEM = -1

# Looking a member up is several times faster than calling the enumeration.
_STEP_STATES = {str(state): state for state in StepState}
_REQUEST_STATES: dict[str | None, RequestState | None] = {None: None} | {str(state): state for state in RequestState}
_EFFECTS = {str(effect): effect for effect in Effect}


def to_text(value: object) -> str:
    """JSON as the columns hold it."""
    return orjson.dumps(value).decode()


@lru_cache(maxsize=65_536)
def step_key(step: str, item: int, kind: str) -> StepKey:
    """The key that three columns name; the same value for every request of a service."""
    return StepKey(step=step, item=None if item == NO_ITEM else item, kind=Kind(kind))


def key_columns(key: StepKey) -> tuple[str, int, str]:
    """The three columns that name a step."""
    return key.step, NO_ITEM if key.item is None else key.item, str(key.kind)


def request_row(request: Request) -> Row:
    """A row of ``request``."""
    key, state, intended, version, head, *later = request_changes(request)
    return (
        key,
        request.id,
        request.consumer,
        request.service,
        request.revision,
        request.purpose,
        request.test,
        request.data_id,
        state,
        intended,
        version,
        head,
        request.accepted_at,
        *later,
    )


def request_changes(request: Request) -> Row:
    """The key of a request and its columns that change: `CHANGING` names them."""
    return (
        request.key,
        str(request.state),
        None if request.intended is None else str(request.intended),
        request.version,
        request.head,
        request.ended_at,
        request.deadline_at,
        request.warn_at,
        to_text(dict(request.conditions)) if request.conditions else "{}",
        request.due,
    )


#: The columns of ``request`` that change after it was accepted.
CHANGING = ("state", "intended", "version", "head", "ended_at", "deadline_at", "warn_at", "conditions", "due")


#: The columns that name a ready step.
READY = ("id", "request_key", "step", "item", "kind", "agency", "expires_at")


def request_of(row: Row, steps: Mapping[StepKey, Step]) -> Request:
    """A request of its row and its steps."""
    (
        key, id, consumer, service, revision, purpose, test, data_id, state, intended, version, head,
        accepted_at, ended_at, deadline_at, warn_at, conditions, _due,
    ) = row  # fmt: skip
    return Request(
        id=id,
        key=key,
        consumer=consumer,
        service=service,
        revision=revision,
        purpose=purpose,
        test=bool(test),
        data_id=data_id,
        state=_REQUEST_STATES[state],  # type: ignore[arg-type]  # never NULL
        intended=_REQUEST_STATES[intended],
        version=version,
        head=head,
        accepted_at=accepted_at,
        ended_at=ended_at,
        deadline_at=deadline_at,
        warn_at=warn_at,
        conditions=orjson.loads(conditions),
        steps=steps,
    )


def step_row(request_key: int, step: Step) -> Row:
    """A row of ``step``."""
    return (
        request_key,
        *key_columns(step.key),
        str(step.state),
        str(step.effect),
        step.edit,
        step.attempt,
        step.tries,
        step.asks,
        step.answered,
        step.resends,
        step.reason,
        step.left_behind,
        step.first_sent,
        step.sent_edit,
        step.journal_id,
        step.input_id,
        step.task_id,
        step.output_id,
        step.output_digest,
        step.expires_at,
        step.clock_left,
        step.answer_at,
        step.ask_at,
        step.next_at,
        step.deadline_at,
        step.until_at,
        to_text(step.asked) if step.asked else "[]",
        # orjson writes a dataclass as the object of its fields.
        None if step.superseded is None else to_text(step.superseded),
        step.changed_by,
        step.changed_at,
        step.agency,
        step.desk,
    )


def step_of(row: Row) -> Step:
    """A step of its row."""
    (
        _request_key, step, item, kind, state, effect, edit, attempt, tries, asks, answered, resends, reason,
        left_behind, first_sent, sent_edit, journal_id, input_id, task_id, output_id, output_digest, expires_at,
        clock_left, answer_at, ask_at, next_at, deadline_at, until_at, asked, superseded, changed_by,
        changed_at, agency, desk,
    ) = row  # fmt: skip
    return Step(
        key=step_key(step, item, kind),
        state=_STEP_STATES[state],
        effect=_EFFECTS[effect],
        edit=edit,
        attempt=attempt,
        tries=tries,
        asks=asks,
        answered=answered,
        resends=resends,
        reason=reason,
        left_behind=bool(left_behind),
        first_sent=first_sent,
        sent_edit=sent_edit,
        journal_id=journal_id,
        input_id=input_id,
        task_id=task_id,
        output_id=output_id,
        output_digest=output_digest,
        expires_at=expires_at,
        clock_left=clock_left,
        answer_at=answer_at,
        ask_at=ask_at,
        next_at=next_at,
        deadline_at=deadline_at,
        until_at=until_at,
        asked=() if asked == "[]" else tuple(orjson.loads(asked)),
        superseded=None if superseded is None else Superseded(**orjson.loads(superseded)),
        changed_by=changed_by,
        changed_at=changed_at,
        agency=agency,
        desk=bool(desk),
    )


def requests_of(found: Sequence[Row], found_steps: Iterable[Row]) -> list[Request]:
    """Requests of their rows, each with its steps, in the order of the first."""
    steps: dict[int, dict[StepKey, Step]] = {row[0]: {} for row in found}
    for row in found_steps:
        step = step_of(row)
        steps[row[0]][step.key] = step
    return [request_of(row, steps[row[0]]) for row in found]


def step_ref(row: Row) -> StepRef:
    """What the dispatcher takes, of the columns of `READY`."""
    request_id, request_key, step, item, kind, agency, expires_at = row
    key = step_key(step, item, kind)
    return StepRef(request_id=request_id, request_key=request_key, step=key, agency=agency, expires_at=expires_at)


def fact_row(request_key: int, fact: Fact) -> Row:
    """A row of ``fact``; its place in the tree is given later."""
    return (
        request_key,
        fact.version,
        fact.kind,
        fact.at,
        to_text(dict(fact.changes)),
        fact.step,
        fact.item,
        fact.step_kind,
        fact.consumer,
        fact.provider,
        fact.purpose,
        to_text(fact.fields) if fact.fields else "[]",
        fact.message_id,
        fact.digest,
        fact.actor,
        fact.reason,
        fact.previous,
        fact.hash,
        None,
    )


def fact_of(request_id: str, row: Row) -> Fact:
    """A fact of its row and the id of its request."""
    (
        _request_key, version, kind, at, changes, step, item, step_kind, consumer, provider, purpose, fields,
        message_id, digest, actor, reason, previous, own_hash, *_,
    ) = row  # fmt: skip
    return Fact(
        request_id=request_id,
        version=version,
        kind=kind,
        at=at,
        changes=orjson.loads(changes),
        step=step,
        item=item,
        step_kind=step_kind,
        consumer=consumer,
        provider=provider,
        purpose=purpose,
        fields=tuple(orjson.loads(fields)),
        message_id=message_id,
        digest=digest,
        actor=actor,
        reason=reason,
        previous=previous,
        hash=own_hash,
    )


def submission_row(submission: Submission) -> Row:
    """A row of ``submission``; the request's id stands with the request."""
    return (
        submission.request_key,
        submission.consumer,
        submission.submission_key,
        submission.digest,
        submission.tracking,
        submission.subject,
        submission.reference,
        submission.on_behalf_of,
        submission.said_id,
    )


def submission_of(request_id: str, row: Row) -> Submission:
    """A submission of its row and the id of its request."""
    request_key, consumer, submission_key, digest, tracking, subject, reference, on_behalf_of, said_id = row
    return Submission(
        request_key=request_key,
        request_id=request_id,
        consumer=consumer,
        submission_key=submission_key,
        digest=digest,
        tracking=tracking,
        subject=subject,
        reference=reference,
        on_behalf_of=on_behalf_of,
        said_id=said_id,
    )


def payload_row(payload: Payload) -> Row:
    """A row of ``payload``, not encrypted."""
    return payload.id, payload.request_key, None, payload.bytes


def inbox_row(received: Received) -> tuple[Any, ...]:
    """A row of ``inbox``."""
    return received.request_key, received.source, received.message_id, received.digest


def which_are_new(received: Sequence[Row], inserted: Collection[Row]) -> tuple[bool, ...]:
    """Of rows in the order of a batch, which were inserted; the same one twice is new once."""
    left, told = set(inserted), []
    for row in received:
        told.append(row in left)
        left.discard(row)
    return tuple(told)


def outbox_row(row: OutboxRow) -> Row:
    """A row of ``outbox`` that nobody leases."""
    return row.key, row.channel, row.message_id, row.type, row.correlation_id, row.payload_id, row.request_key, None


def outbox_of(row: Row) -> OutboxRow:
    """A message to be published, of its row."""
    key, channel, message_id, type, correlation_id, payload_id, request_key, _lease_until = row
    return OutboxRow(
        key=key,
        channel=Channel(channel),
        message_id=message_id,
        type=type,
        correlation_id=correlation_id,
        payload_id=payload_id,
        request_key=request_key,
    )


def result_row(row: ResultRow) -> Row:
    """A row of ``result``."""
    return (
        row.key,
        row.request_key,
        row.request_id,
        row.consumer,
        row.type,
        row.payload_id,
        row.created_at,
        row.collected_at,
    )


def result_of(row: Row) -> ResultRow:
    """A result of its row."""
    key, request_key, request_id, consumer, type, payload_id, created_at, collected_at = row
    return ResultRow(
        key=key,
        request_key=request_key,
        request_id=request_id,
        consumer=consumer,
        type=type,
        payload_id=payload_id,
        created_at=created_at,
        collected_at=collected_at,
    )


def results_behind(last: int, results: Sequence[ResultRow]) -> list[Row]:
    """Rows of ``result`` with keys behind the last one: each its own, or a greater one where it must be."""
    placed: list[Row] = []
    for row in sorted(results, key=lambda row: row.key):
        last = max(row.key, last + 1)
        placed.append((last, *result_row(row)[1:]))
    return placed


def overtaken(stale: int, updates: int) -> StaleVersionError:
    """What to raise where so many of the requests to update are not as they were read."""
    return StaleVersionError(
        f"{stale} of {updates} requests are not in the version that was read.", mend="Load them again and decide again."
    )
