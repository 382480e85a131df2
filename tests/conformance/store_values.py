"""Values to put into a store: plain ones that belong together, and strategies for any that the types allow."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol
from uuid import uuid4

from hypothesis import strategies as st

from bus.audit.fact import GENESIS, Fact, chain
from bus.message.channel import tasks
from bus.message.reply import Effect
from bus.ports import Changes, DeskRow, FailureRow, OutboxRow, Payload, ResultRow, Store, Submission
from bus.process.state import Kind, Request, RequestState, Step, StepKey, StepState, Superseded

NOW = 1_700_000_000_000

TAX = StepKey(step="tax")
NAME = StepKey(step="name")
PARTNER = StepKey(step="partners", item=0)

_keys = itertools.count(1_000)


def key() -> int:
    """A key that no other value of this run has."""
    return next(_keys)


class Place(Protocol):
    """Where one store is: opened as often as a test likes, also by another process, and damaged behind its back."""

    #: Python that binds ``store`` to the store, for another process.
    source: str

    def open(self) -> Store: ...

    def damage(self, statement: str) -> None: ...


@dataclass
class Accepted:
    """One request with everything that a healthy store keeps of it."""

    request: Request
    facts: tuple[Fact, ...]
    submission: Submission
    payloads: tuple[Payload, ...]
    results: tuple[ResultRow, ...] = ()
    outbox: tuple[OutboxRow, ...] = field(default=())

    def changes(self) -> Changes:
        return together(self)


def together(*accepted: Accepted) -> Changes:
    """One batch of them."""

    def flat(pick: Callable[[Accepted], Any]) -> list[Any]:
        return [value for each in accepted for value in pick(each)]

    return Changes(
        submissions=[each.submission for each in accepted],
        requests=[each.request for each in accepted],
        steps=flat(lambda each: [(each.request.key, step) for step in each.request.steps.values()]),
        facts=flat(lambda each: [(each.request.key, fact) for fact in each.facts]),
        payloads=flat(lambda each: each.payloads),
        outbox=flat(lambda each: each.outbox),
        results=flat(lambda each: each.results),
    )


def facts(request_id: str, first: int, count: int, previous: str = GENESIS) -> tuple[Fact, ...]:
    """So many facts, bound to one another."""
    kinds = [Fact(request_id=request_id, version=first + n, kind="moved", at=NOW + n) for n in range(count)]
    return chain(tuple(kinds), previous)


def accepted(
    *steps: Step,
    state: RequestState = RequestState.OPEN,
    consumer: str = "one_stop_shop",
    revision: str = "r1",
    deadline_at: int | None = None,
) -> Accepted:
    """A healthy request: two facts, its steps, its data, and its one result if it has ended."""
    request_key, request_id, data = key(), str(uuid4()), key()
    told = facts(request_id, 1, 2)
    ended = state not in {RequestState.OPEN, RequestState.CLOSING}
    request = Request(
        id=request_id,
        key=request_key,
        consumer=consumer,
        service="open-business.v1",
        revision=revision,
        purpose="business-licensing",
        data_id=data,
        state=state,
        intended=RequestState.CANCELLED if state is RequestState.CLOSING else None,
        version=2,
        head=told[-1].hash,
        accepted_at=NOW,
        ended_at=NOW + 1 if ended else None,
        deadline_at=deadline_at,
        steps={step.key: step for step in steps},
    )
    made = Accepted(
        request=request,
        facts=told,
        submission=submission(request),
        payloads=(Payload(id=data, request_key=request_key, bytes=b'{"a": 1}'),),
    )
    return with_result(made, f"bus.request.{state}.v1") if ended else made


def submission(request: Request) -> Submission:
    return Submission(
        request_key=request.key,
        request_id=request.id,
        consumer=request.consumer,
        submission_key=f"key of {request.id}",
        digest=b"d" * 32,
        tracking=f"T-{request.id}",
        subject="SUBJECT",
        reference="REFERENCE",
    )


def with_result(each: Accepted, type: str) -> Accepted:
    """With one more message for its consumer."""
    body = Payload(id=key(), request_key=each.request.key, bytes=f"result {each.request.id}".encode())
    row = ResultRow(
        key=key(),
        request_key=each.request.key,
        request_id=each.request.id,
        consumer=each.request.consumer,
        type=type,
        payload_id=body.id,
        created_at=NOW,
    )
    return replace(each, payloads=(*each.payloads, body), results=(*each.results, row))


def with_message(each: Accepted, agency: str = "tax_authority") -> Accepted:
    """With one more message to be published."""
    body = Payload(id=key(), request_key=each.request.key, bytes=f"task {each.request.id}".encode())
    row = OutboxRow(
        key=key(),
        channel=tasks(agency),
        message_id=str(uuid4()),
        type="bus.task.requested.v1",
        correlation_id=each.request.id,
        payload_id=body.id,
        request_key=each.request.key,
    )
    return replace(each, payloads=(*each.payloads, body), outbox=(*each.outbox, row))


def moved(request: Request, *steps: Step, **changes: Any) -> tuple[Request, Changes]:
    """The request one fact later, and what that writes."""
    told = facts(request.id, request.version + 1, 1, request.head)
    new = replace(
        request,
        version=request.version + 1,
        head=told[-1].hash,
        steps={**request.steps, **{step.key: step for step in steps}},
        **changes,
    )
    return new, Changes(
        updates=[(new, request.version)],
        steps=[(request.key, step) for step in steps],
        facts=[(request.key, told[0])],
    )


def step(of: StepKey = TAX, state: StepState = StepState.READY, agency: str = "tax_authority", **more: Any) -> Step:
    return Step(key=of, state=state, agency=agency, **more)


def desk_row(request: Request, of: StepKey = TAX, **more: Any) -> DeskRow:
    values: dict[str, Any] = {
        "key": key(),
        "request_key": request.key,
        "request_id": request.id,
        "step": of,
        "agency": "giza",
        "operation": "site.permit.v1",
        "interaction_id": str(uuid4()),
        "edit": 0,
        "attempt": 1,
        "task_id": request.data_id,
        "state": "open",
        "opened_at": NOW,
        "due_at": NOW + 1,
    }
    return DeskRow(**{**values, **more})


def failure_row(request: Request | None, of: StepKey | None = TAX, **more: Any) -> FailureRow:
    values: dict[str, Any] = {
        "key": key(),
        "request_key": request.key if request else None,
        "request_id": request.id if request else None,
        "step": of,
        "agency": "tax_authority",
        "code": "exhausted",
        "cause": "tax_authority clearance.issue.v1 exhausted",
        "payload_id": None,
        "opened_at": NOW,
    }
    return FailureRow(**{**values, **more})


def put(store: Store, *changes: Changes) -> None:
    """Write each in a transaction of its own."""
    for each in changes:
        with store.transaction() as transaction:
            transaction.write(each)


def accept(store: Store, each: Accepted) -> Request:
    put(store, each.changes())
    return each.request


# --- any value that the types allow -----------------------------------------------------------------------------

_numbers = st.integers(0, 2**62)
_small = st.integers(0, 2**31 - 1)
_instants = st.none() | _numbers
#: Neither NUL, which PostgreSQL refuses, nor half characters, which are no text.
_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
_words = st.none() | _texts
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=6,
)
_ids = st.none() | _numbers

step_keys = st.builds(StepKey, step=_texts, item=st.none() | _small, kind=st.sampled_from(Kind))
steps = st.builds(
    Step,
    key=step_keys,
    state=st.sampled_from(StepState),
    effect=st.sampled_from(Effect),
    edit=_small,
    attempt=_small,
    tries=_small,
    asks=_small,
    answered=_small,
    resends=_small,
    reason=_words,
    left_behind=st.booleans(),
    first_sent=_instants,
    sent_edit=st.none() | _small,
    journal_id=_words,
    input_id=_ids,
    task_id=_ids,
    output_id=_ids,
    output_digest=_words,
    expires_at=_instants,
    clock_left=_instants,
    answer_at=_instants,
    ask_at=_instants,
    next_at=_instants,
    deadline_at=_instants,
    until_at=_instants,
    asked=st.lists(_texts, max_size=3).map(tuple),
    superseded=st.none() | st.builds(Superseded, edit=_small, attempt=_small, input_id=_ids, doubtful=st.booleans()),
    changed_by=_words,
    changed_at=_instants,
    agency=_texts,
    desk=st.booleans(),
)


def _request(many: list[Step], **values: Any) -> Request:
    return Request(id=str(uuid4()), key=key(), steps={step.key: step for step in many}, **values)


_changing: dict[str, st.SearchStrategy[Any]] = {
    "state": st.sampled_from(RequestState),
    "intended": st.none() | st.sampled_from(RequestState),
    "version": _small,
    "head": _texts,
    "ended_at": _instants,
    "deadline_at": _instants,
    "warn_at": _instants,
    "conditions": st.dictionaries(_texts, st.booleans(), max_size=4),
}
requests = st.builds(
    _request,
    st.lists(steps, max_size=5),
    consumer=_texts,
    service=_texts,
    revision=_texts,
    purpose=_texts,
    test=st.booleans(),
    data_id=_numbers,
    accepted_at=_numbers,
    **_changing,
)
#: What may become of a request: new values of what changes, and rows of steps.
later = st.tuples(st.fixed_dictionaries(_changing), st.lists(steps, max_size=3))
any_facts = st.builds(
    Fact,
    request_id=st.just(""),
    version=st.just(1),
    kind=_texts,
    at=_numbers,
    changes=st.dictionaries(_texts, _json, max_size=4),
    step=_words,
    item=st.none() | _small,
    step_kind=_words,
    consumer=_words,
    provider=_words,
    purpose=_words,
    fields=st.lists(_texts, max_size=3).map(tuple),
    message_id=_words,
    digest=_words,
    actor=_words,
    reason=_words,
)
