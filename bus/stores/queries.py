"""Reads of people and of the shell, in SQLAlchemy Core, the same for every dialect: functions on a connection."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, Select, Table, and_, func, or_, select, text, tuple_, union, union_all

from bus.errors import NotFoundError
from bus.message.instant import Instant
from bus.ports import (
    Act,
    AgencyRow,
    DeskClaim,
    DeskRow,
    Disclosure,
    FailureRow,
    Line,
    Place,
    ResultRow,
    Submission,
)
from bus.process.state import ALIVE, AWAITING, RequestState, StepKey, StepState
from bus.stores import rows, seldom_rows
from bus.stores.schema import (
    IS_DISCLOSING,
    IS_MOVING,
    IS_UNCOLLECTED,
    IS_WAITING,
    MOVING,
    WAITING,
    act,
    agency,
    definition,
    desk,
    desk_claim,
    fact,
    failure,
    payload,
    presence,
    request,
    result,
    setting,
    step,
    submission,
    token,
)

_T = TypeVar("_T")

_ALIVE = sorted(ALIVE)
_IS_MOVING = text(IS_MOVING)
_IS_DISCLOSING = text(IS_DISCLOSING)
_IS_UNCOLLECTED = text(IS_UNCOLLECTED)
_IS_WAITING = text(f"desk.{IS_WAITING}")


def _page(table: Table, after: int, most: int) -> Select[Any]:
    """A page of a table by key: the rows after ``after``, never an offset."""
    return select(table).where(table.c.key > after).order_by(table.c.key).limit(most)


def _of_step(table: Table, request_key: int, key: StepKey) -> Any:
    name, item, kind = rows.key_columns(key)
    return and_(table.c.request_key == request_key, table.c.step == name, table.c.item == item, table.c.kind == kind)


# --- requests -------------------------------------------------------------------------------------------------------


def key_of(connection: Connection, request_id: str) -> int:
    """The key of a request; NotFoundError."""
    key = connection.scalar(select(request.c.key).where(request.c.id == request_id))
    if key is None:
        raise NotFoundError(f"There is no request {request_id}.", mend="Compare the id with the receipt.")
    return int(key)


def find(connection: Connection, id_or_tracking: str) -> str | None:
    """The request that an id or a tracking code names."""
    # Two questions: with "or" between them PostgreSQL would look at every request.
    by_id = select(request.c.id).where(request.c.id == id_or_tracking)
    named = select(request.c.id).join_from(submission, request, submission.c.request_key == request.c.key)
    found: str | None = connection.scalar(
        union_all(by_id, named.where(submission.c.tracking == id_or_tracking)).limit(1)
    )
    return found


def versions(connection: Connection, request_ids: Collection[str]) -> dict[str, int]:
    """Request id -> version."""
    query = select(request.c.id, request.c.version).where(request.c.id.in_(list(request_ids)))
    return {row[0]: row[1] for row in connection.execute(query)}


def lines(
    connection: Connection,
    consumer: str | None,
    states: Collection[RequestState],
    after: int,
    most: int,
    **hashes: str | None,
) -> tuple[Line, ...]:
    """A page of requests, with what each waits for; ``hashes`` are those of the submission, by column."""
    query = _page(request, after, most).add_columns(submission.c.tracking)
    query = query.join_from(request, submission, submission.c.request_key == request.c.key)
    wanted = {name: value for name, value in hashes.items() if value is not None}
    if consumer is not None:
        # Where a hash is named, the index on it is the one to use; it begins with the submission's consumer.
        query = query.where((submission if wanted else request).c.consumer == consumer)
    for name, value in wanted.items():
        query = query.where(submission.c[name] == value)
    if states:
        query = query.where(request.c.state.in_([str(state) for state in states]))
    found = connection.execute(query).all()
    stopped = _stopped(connection, [row.key for row in found if row.state in _ALIVE])
    return tuple(_line(row, stopped.get(row.key, set())) for row in found)


def _stopped(connection: Connection, keys: list[int]) -> dict[int, set[str]]:
    """Which of the requests have steps that wait for a person."""
    waiting = [str(StepState.RETURNED), str(StepState.PARKED)]
    query = select(step.c.request_key, step.c.state).where(step.c.request_key.in_(keys), step.c.state.in_(waiting))
    stopped: dict[int, set[str]] = {}
    for key, state in connection.execute(query):
        stopped.setdefault(key, set()).add(state)
    return stopped


def _line(row: Row[Any], stopped: set[str]) -> Line:
    waiting_for = "agency" if row.state in _ALIVE else None
    if StepState.RETURNED in stopped:
        waiting_for = "applicant"
    elif StepState.PARKED in stopped:
        waiting_for = "operator"
    return Line(
        request_id=row.id,
        request_key=row.key,
        tracking=row.tracking,
        consumer=row.consumer,
        service=row.service,
        state=RequestState(row.state),
        waiting_for=waiting_for,
        accepted_at=row.accepted_at,
        ended_at=row.ended_at,
        test=bool(row.test),
    )


def submission_by(connection: Connection, condition: Any) -> Submission | None:
    """The submission that the condition names."""
    query = select(submission, request.c.id).join_from(submission, request, submission.c.request_key == request.c.key)
    row = connection.execute(query.where(condition)).one_or_none()
    return None if row is None else rows.submission_of(row[-1], row[:-1])


def submission_of(connection: Connection, request_id: str) -> Submission | None:
    """The submission that became this request."""
    return submission_by(connection, request.c.id == request_id)


def submission_under(connection: Connection, consumer: str, submission_key: str) -> Submission | None:
    """What was accepted under this key."""
    return submission_by(
        connection, and_(submission.c.consumer == consumer, submission.c.submission_key == submission_key)
    )


def accepted(connection: Connection) -> int:
    """How many submissions there are."""
    return connection.scalar(select(func.count()).select_from(submission)) or 0


def totals(connection: Connection) -> dict[RequestState, int]:
    """How many requests are in each state; states without any are there with 0."""
    counted = dict.fromkeys(RequestState, 0)
    for state, count in connection.execute(select(request.c.state, func.count()).group_by(request.c.state)):
        counted[RequestState(state)] = count
    return counted


def alive_requests(connection: Connection, after: int, most: int) -> tuple[str, ...]:
    """A page of requests that something is under way for, by key."""
    alive = select(request.c.key, request.c.id).where(request.c.state.in_(_ALIVE))
    under_way = select(step.c.request_key).where(_IS_MOVING, step.c.state != str(StepState.PARKED))
    compensating = select(request.c.key, request.c.id).where(request.c.key.in_(under_way))
    both = union(alive.where(request.c.key > after), compensating.where(request.c.key > after)).subquery()
    return tuple(connection.scalars(select(both.c.id).order_by(both.c.key).limit(most)))


def open_revisions(connection: Connection) -> set[str]:
    """Revisions of requests that live, or whose steps are not final yet."""
    # Two questions: with "or" between them PostgreSQL would look at every request.
    moving = select(step.c.request_key).where(_IS_MOVING)
    of_alive = select(request.c.revision).where(request.c.state.in_(_ALIVE))
    return set(connection.scalars(union(of_alive, select(request.c.revision).where(request.c.key.in_(moving)))))


# --- agencies and their steps ---------------------------------------------------------------------------------------


def counts(connection: Connection, state: StepState) -> dict[str, int]:
    """How many steps are in that state, by agency; those of desks left out."""
    query = select(step.c.agency, func.count()).where(step.c.state == str(state), step.c.desk.is_(False))
    if state in MOVING:
        query = query.where(_IS_MOVING)
    return {row[0]: row[1] for row in connection.execute(query.group_by(step.c.agency))}


def unanswered(connection: Connection) -> int:
    """How many rows wait for the answer of a provider; those of desks left out."""
    waiting = step.c.state.in_([str(state) for state in sorted(AWAITING)])
    query = select(func.count()).select_from(step).where(waiting, _IS_MOVING, step.c.desk.is_(False))
    return connection.scalar(query.where(step.c.answer_at.is_not(None))) or 0


def agencies(
    connection: Connection, names: Collection[str] | None = None, *, lock: bool = False
) -> dict[str, AgencyRow]:
    """The rows of these agencies, or of all; locked in the order of their names."""
    query = select(agency) if names is None else select(agency).where(agency.c.agency.in_(list(names)))
    query = query.order_by(agency.c.agency).with_for_update() if lock else query
    return {row.agency: seldom_rows.agency_of(row) for row in connection.execute(query)}


# --- the audit ------------------------------------------------------------------------------------------------------


def disclosures(
    connection: Connection,
    after: Place,
    until: Instant | None,
    most: int,
    request_id: str | None,
    agency_name: str | None,
    purpose: str | None,
) -> tuple[Disclosure, ...]:
    """Facts by which somebody was told something, oldest first."""
    place = tuple_(fact.c.at, fact.c.request_key, fact.c.version)
    query = (
        select(fact, request.c.id, request.c.service, request.c.revision)
        .join_from(fact, request, request.c.key == fact.c.request_key)
        .where(_IS_DISCLOSING, fact.c.at >= after[0], place > after)
        .order_by(fact.c.at, fact.c.request_key, fact.c.version)
        .limit(most)
    )
    if until is not None:
        query = query.where(fact.c.at < until)
    if request_id is not None:
        query = query.where(fact.c.request_key == _key_named(request_id))
    if agency_name is not None:
        query = query.where(or_(fact.c.consumer == agency_name, fact.c.provider == agency_name))
    if purpose is not None:
        query = query.where(fact.c.purpose == purpose)
    return tuple(
        Disclosure(fact=rows.fact_of(row[-3], row[:-3]), request_key=row.request_key, service=row[-2], revision=row[-1])
        for row in connection.execute(query)
    )


def acts(connection: Connection, after: int, most: int) -> tuple[Act, ...]:
    """A page of what those who run the bus did."""
    return tuple(seldom_rows.act_of(row) for row in connection.execute(_page(act, after, most)))


# --- people ---------------------------------------------------------------------------------------------------------


def uncollected(connection: Connection, consumer: str, most: int) -> tuple[tuple[ResultRow, bytes], ...]:
    """What a consumer has not acknowledged of its feed, oldest first."""
    query = _page(result, 0, most).where(result.c.consumer == consumer, _IS_UNCOLLECTED).add_columns(payload.c.bytes)
    query = query.join_from(result, payload, payload.c.id == result.c.payload_id)
    return tuple((rows.result_of(row[:-1]), row[-1]) for row in connection.execute(query))


def told(connection: Connection, request_id: str) -> tuple[bytes, ...]:
    """The messages of a request in the feed of its consumer, oldest first."""
    query = select(payload.c.bytes).join_from(result, payload, payload.c.id == result.c.payload_id)
    return tuple(connection.scalars(query.where(result.c.request_key == _key_named(request_id)).order_by(result.c.key)))


def _key_named(request_id: str) -> Any:
    return select(request.c.key).where(request.c.id == request_id).scalar_subquery()


def desk_page(
    connection: Connection, name: str | None, states: Collection[str], after: int, most: int
) -> tuple[DeskRow, ...]:
    """A page of a desk's tasks, or of all desks'."""
    query = _page(desk, after, most)
    if name is not None:
        query = query.where(desk.c.agency == name)
    if states:
        query = query.where(desk.c.state.in_(list(states)))
    if states and set(states) <= set(WAITING):
        query = query.where(_IS_WAITING)
    return tuple(seldom_rows.desk_of(row) for row in connection.execute(query))


def desk_claims(connection: Connection, request_id: str) -> tuple[DeskClaim, ...]:
    """The claims of a request's tasks, by time."""
    named = desk_claim.join(desk, desk.c.key == desk_claim.c.desk_key)
    query = (
        select(desk_claim, desk.c.step, desk.c.item, desk.c.kind)
        .select_from(named)
        .where(desk_claim.c.request_key == _key_named(request_id))
        .order_by(desk_claim.c.at, desk_claim.c.desk_key)
    )
    return tuple(
        DeskClaim(
            request_key=row.request_key,
            row=row.desk_key,
            step=rows.step_key(row.step, row.item, row.kind),
            clerk=row.clerk,
            at=row.at,
        )
        for row in connection.execute(query)
    )


def desk_row(connection: Connection, key: int, *, lock: bool = False) -> DeskRow | None:
    """One task of a desk."""
    query = select(desk).where(desk.c.key == key)
    query = query.with_for_update() if lock else query
    return _only(seldom_rows.desk_of(row) for row in connection.execute(query))


def desk_row_of(connection: Connection, request_key: int, key: StepKey) -> DeskRow | None:
    """The desk's task of a step, locked."""
    query = select(desk).where(_of_step(desk, request_key, key)).with_for_update()
    return _only(seldom_rows.desk_of(row) for row in connection.execute(query))


def failures(
    connection: Connection,
    is_open: bool | None,  # noqa: FBT001  # the port's word
    after: int,
    most: int,
    cause: str | None = None,
) -> tuple[FailureRow, ...]:
    """A page of failures."""
    query = _page(failure, after, most)
    if cause is not None:
        query = query.where(failure.c.cause == cause)
    if is_open is not None:
        query = query.where(failure.c.closed_at.is_(None) if is_open else failure.c.closed_at.is_not(None))
    return tuple(seldom_rows.failure_of(row) for row in connection.execute(query))


def open_failures(connection: Connection, request_id: str) -> tuple[FailureRow, ...]:
    """The open failures of a request, by key."""
    of_request = and_(failure.c.request_key == _key_named(request_id), failure.c.closed_at.is_(None))
    query = select(failure).where(of_request).order_by(failure.c.key)
    return tuple(seldom_rows.failure_of(row) for row in connection.execute(query))


def failure_row(connection: Connection, key: int) -> FailureRow | None:
    """One failure."""
    return _only(seldom_rows.failure_of(row) for row in connection.execute(select(failure).where(failure.c.key == key)))


# --- what stands once ----------------------------------------------------------------------------------------------


def closure(connection: Connection, revision: str) -> bytes | None:
    """The bytes of a definition's closure."""
    return connection.scalar(select(definition.c.closure).where(definition.c.revision == revision))


def presences(connection: Connection, since: Instant) -> dict[str, Instant]:
    """Process -> up to when it has settled, of those seen since."""
    query = select(presence.c.process, presence.c.settled_to).where(presence.c.seen_at >= since)
    return {row[0]: row[1] for row in connection.execute(query)}


def setting_value(connection: Connection, name: str) -> str | None:
    """A setting of the installation."""
    return connection.scalar(select(setting.c.value).where(setting.c.name == name))


def users(connection: Connection) -> set[str]:
    """Who has a token."""
    return set(connection.scalars(select(token.c.user).distinct()))


def token_of(connection: Connection, token_hash: str) -> tuple[str, str, str | None] | None:
    """(user, role, agency) of a token."""
    query = select(token.c.user, token.c.role, token.c.agency).where(token.c.token_hash == token_hash)
    row = connection.execute(query).one_or_none()
    return None if row is None else (row[0], row[1], row[2])


def _only(found: Iterable[_T]) -> _T | None:
    return next(iter(found), None)
