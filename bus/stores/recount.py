"""Whether the store adds up: every check gives one sentence for each thing that does not, naming its ids."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from sqlalchemy import Column, Connection, Table, func, or_, select

from bus.audit.fact import GENESIS, seal
from bus.process.state import ALIVE, FINAL, OUTCOMES, Kind, Request, RequestState
from bus.stores import rows
from bus.stores.schema import (
    desk,
    desk_claim,
    fact,
    failure,
    failure_message,
    inbox,
    outbox,
    payload,
    request,
    result,
    step,
    submission,
)

#: How many rows are fetched at once.
_AT_ONCE = 500


def recount(connection: Connection) -> tuple[str, ...]:
    """Everything that does not add up in the one state that this connection sees; empty if all is well."""
    checks = (_conservation, _states, _results, _orphans, _bytes, _timelines, _timers_and_steps)
    return tuple(sentence for check in checks for sentence in check(connection))


def _conservation(connection: Connection) -> Iterator[str]:
    """Accepted = open + closing + the six outcomes: each submission is one request in one state, and the reverse."""
    unaccepted = request.outerjoin(submission, submission.c.request_key == request.c.key)
    for id in connection.scalars(
        select(request.c.id).select_from(unaccepted).where(submission.c.request_key.is_(None))
    ):
        yield f"Request {id} has no submission."
    lost = submission.outerjoin(request, submission.c.request_key == request.c.key)
    for key in connection.scalars(select(submission.c.request_key).select_from(lost).where(request.c.key.is_(None))):
        yield f"The submission with request key {key} has no request: an accepted request is lost."
    known = [str(state) for state in RequestState]
    for id, state in connection.execute(select(request.c.id, request.c.state).where(request.c.state.not_in(known))):
        yield f"Request {id} is in state {state!r}, which counts nowhere."


def _states(connection: Connection) -> Iterator[str]:
    """A living request has no end, an ended one has; a closing one knows what it closes to."""
    alive, ended = sorted(ALIVE), sorted(OUTCOMES)
    for id in connection.scalars(
        select(request.c.id).where(request.c.state.in_(alive), request.c.ended_at.is_not(None))
    ):
        yield f"Request {id} lives and has an end."
    for id in connection.scalars(select(request.c.id).where(request.c.state.in_(ended), request.c.ended_at.is_(None))):
        yield f"Request {id} has ended and nobody knows when."
    closing = request.c.state == str(RequestState.CLOSING)
    for id in connection.scalars(select(request.c.id).where(closing, request.c.intended.is_(None))):
        yield f"Request {id} is closing and nobody knows to which outcome."


def _results(connection: Connection) -> Iterator[str]:
    """An ended request has exactly one result, of the type of its outcome; a living one has none."""
    outcomes = {f"bus.request.{outcome}.v1" for outcome in OUTCOMES}
    ends = (
        select(result.c.request_key, func.count().label("count"), func.min(result.c.type).label("type"))
        .where(result.c.type.in_(sorted(outcomes)))
        .group_by(result.c.request_key)
        .subquery()
    )
    expected = "bus.request." + request.c.state + ".v1"
    both = request.outerjoin(ends, ends.c.request_key == request.c.key)
    count = func.coalesce(ends.c.count, 0)
    wrong = select(request.c.id, request.c.state, count, ends.c.type).select_from(both)
    alive = request.c.state.in_(sorted(ALIVE))
    for id, state, number, _type in connection.execute(wrong.where(alive, count != 0)):
        yield f"Request {id} is {state} and has {number} results of an end."
    for id, state, number, type in connection.execute(wrong.where(~alive, or_(count != 1, ends.c.type != expected))):
        what = f"{number} results of an end" if number != 1 else f"the result {type}"
        yield f"Request {id} is {state} and has {what}; it must have one bus.request.{state}.v1."


def _orphans(connection: Connection) -> Iterator[str]:
    """Every row that names a request names one that is there, and every kept message its failure."""
    named: tuple[tuple[Table, Column[Any]], ...] = (
        (step, step.c.step),
        (fact, fact.c.version),
        (inbox, inbox.c.message_id),
        (payload, payload.c.id),
        (outbox, outbox.c.key),
        (failure, failure.c.key),
        (desk, desk.c.key),
        (desk_claim, desk_claim.c.desk_key),
        (result, result.c.key),
    )
    for table, name in named:
        # An inbox row with request key 0 belongs to none, and so do rows of other tables without one.
        there = table.outerjoin(request, request.c.key == table.c.request_key)
        lost = select(table.c.request_key, name).select_from(there)
        lost = lost.where(request.c.key.is_(None), table.c.request_key.is_not(None), table.c.request_key != 0)
        for key, which in connection.execute(lost):
            yield f"The row {which} of {table.name} belongs to request key {key}, which is not there."
    kept = failure_message.outerjoin(failure, failure.c.key == failure_message.c.failure_key)
    alone = select(failure_message.c.failure_key, failure_message.c.payload_id).select_from(kept)
    for key, which in connection.execute(alone.where(failure.c.key.is_(None))):
        yield f"The row {which} of failure_message belongs to failure {key}, which is not there."


def _bytes(connection: Connection) -> Iterator[str]:
    """Every payload that a row names is there."""
    named: tuple[tuple[Table, Column[Any], Column[Any]], ...] = (
        (outbox, outbox.c.key, outbox.c.payload_id),
        (result, result.c.key, result.c.payload_id),
        (failure, failure.c.key, failure.c.payload_id),
        (failure_message, failure_message.c.failure_key, failure_message.c.payload_id),
        (desk, desk.c.key, desk.c.task_id),
        (desk, desk.c.key, desk.c.draft_id),
        (request, request.c.id, request.c.data_id),
        (submission, submission.c.request_key, submission.c.said_id),
        (step, step.c.request_key, step.c.input_id),
        (step, step.c.request_key, step.c.task_id),
        (step, step.c.request_key, step.c.output_id),
    )
    for table, name, payload_id in named:
        there = table.outerjoin(payload, payload.c.id == payload_id)
        lost = select(name, payload_id).select_from(there)
        for which, id in connection.execute(
            lost.where(payload.c.id.is_(None), payload_id.is_not(None), payload_id != 0)
        ):
            yield f"The row {which} of {table.name} names payload {id} ({payload_id.name}), which is not there."


def _timelines(connection: Connection) -> Iterator[str]:
    """The facts of a request are 1, 2, 3 … version, each bound to the one before, the last one its head."""
    query = (
        select(request.c.key, request.c.id, request.c.version, request.c.head, fact)
        .select_from(request.outerjoin(fact, fact.c.request_key == request.c.key))
        .order_by(request.c.key, fact.c.version)
        .execution_options(yield_per=_AT_ONCE)
    )
    for (_key, id, version, head), told in groupby(connection.execute(query), key=lambda row: tuple(row[:4])):
        yield from _timeline(id, version, head, [row[4:] for row in told if row[4] is not None])


def _timeline(id: str, version: int, head: str, told: list[rows.Row]) -> Iterator[str]:
    versions = [row[1] for row in told]
    if versions != list(range(1, version + 1)):
        missing = sorted(set(range(1, version + 1)) - set(versions))
        extra = sorted(set(versions) - set(range(1, version + 1)))
        yield (
            f"Request {id} is at version {version}"
            + (f", facts {missing} are missing" if missing else "")
            + (f", facts {extra} are too many" if extra else "")
            + "."
        )
        return
    previous = GENESIS
    for row in told:
        try:
            one = rows.fact_of(id, row)
        except ValueError as error:
            yield f"Fact {row[1]} of request {id} cannot be read: {error!r}."
            return
        if one.previous != previous:
            yield f"Fact {one.version} of request {id} is not bound to the fact before it."
        elif seal(one, one.previous).hash != one.hash:
            yield f"Fact {one.version} of request {id} was altered: its hash is another."
        previous = one.hash
    if head != previous:
        yield f"The head of request {id} is not the hash of its last fact."


def _timers_and_steps(connection: Connection) -> Iterator[str]:
    """``due`` is the least timer; an ended request has no task that goes on, unless it is listed as left behind."""
    query = (
        select(request, step)
        .select_from(request.outerjoin(step, step.c.request_key == request.c.key))
        .where(request.c.state.in_([str(state) for state in RequestState]))
        .order_by(request.c.key)
        .execution_options(yield_per=_AT_ONCE)
    )
    width = len(request.columns)
    for row, group in groupby(connection.execute(query), key=lambda row: tuple(row[:width])):
        try:
            steps = [rows.step_of(each[width:]) for each in group if each[width] is not None]
            one = rows.request_of(row, {step.key: step for step in steps})
        except (KeyError, ValueError) as error:
            yield f"Request {row[1]} or one of its steps cannot be read: {error!r}."
            continue
        stored = row[-1]
        if stored != one.due:
            yield f"Request {one.id} is due at {stored}; its least timer is {one.due}."
        if one.state in OUTCOMES:
            yield from _unfinished(one)


def _unfinished(one: Request) -> Iterator[str]:
    for key, row in one.steps.items():
        if key.kind is Kind.TASK and row.state not in FINAL and not row.left_behind:
            item = "" if key.item is None else f"/{key.item}"
            yield f"Request {one.id} has ended and its step {key.step}{item} is {row.state}."
