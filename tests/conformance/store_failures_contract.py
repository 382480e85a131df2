"""What every store promises of failures that stand for a cause: one is open for each, it counts, and hides nobody."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import pytest
from sqlalchemy import Connection, insert

from bus.ports import MOST_KEPT, Alarm, Changes, FailureRow, Payload, Store
from bus.stores import schema
from tests.conformance import store_values as values
from tests.conformance.store_opened import at_once
from tests.conformance.store_values import NOW, Place, accept, accepted, put

INVALID = "tax_authority/-/invalid:not-json"


def of_cause(cause: str = INVALID, **more: object) -> FailureRow:
    """A failure that belongs to no request."""
    return values.failure_row(None, None, cause=cause, **more)


def raw(*bodies: bytes) -> tuple[Payload, ...]:
    """Messages as they came."""
    return tuple(Payload(id=values.key(), request_key=None, bytes=body) for body in bodies)


def alarm(messages: Sequence[Payload] = (), cause: str = INVALID, at: int = NOW) -> Alarm:
    """What a batch tells of one cause."""
    times = max(1, len(messages))
    return Alarm(failure=of_cause(cause, opened_at=at, times=times, last_at=at), messages=tuple(messages))


class FailuresContract:
    """The promises; ``place`` comes from the suite."""

    @pytest.fixture
    def store(self, place: Place) -> Iterator[Store]:
        store = place.open()
        yield store
        store.close()

    def test_what_comes_again_is_counted_in_the_failure_that_is_open_for_its_cause(self, store: Store) -> None:
        # Given a bad message that opened a failure, and another cause
        first, second = raw(b"one"), raw(b"two", b"three")
        opened = alarm(first)
        put(store, Changes(alarms=[opened, alarm(cause="ports/-/clock_drift")]))
        # When two more of the first cause come
        put(store, Changes(alarms=[alarm(second, at=NOW + 7)]))
        # Then one failure says so: since when, how often, when last, and with which messages
        shown, other = store.failures(is_open=True, after=0, most=9)
        assert (shown.key, shown.opened_at) == (opened.failure.key, NOW)
        assert (shown.times, shown.last_at, other.times) == (3, NOW + 7, 1)
        kept = store.failure_messages(shown.key)
        assert [store.payloads(kept)[one] for one in kept] == [b"one", b"two", b"three"]
        assert shown.payload_id == kept[0]
        assert store.recount() == ()

    def test_what_is_committed_later_and_came_earlier_counts_and_sets_no_time_back(self, store: Store) -> None:
        put(store, Changes(alarms=[alarm(at=NOW + 9)]), Changes(alarms=[alarm(at=NOW + 7)]))

        (shown,) = store.failures(is_open=True, after=0, most=9)
        assert (shown.times, shown.last_at) == (2, NOW + 9)

    def test_a_flood_is_counted_to_the_end_and_kept_up_to_a_bound(self, store: Store) -> None:
        flood = raw(*(f"bad {number}".encode() for number in range(MOST_KEPT + 30)))
        put(store, Changes(alarms=[alarm(flood[:70])]), Changes(alarms=[alarm(flood[70:])]))
        put(store, Changes(alarms=[alarm(raw(b"one more"))]))

        (shown,) = store.failures(is_open=True, after=0, most=9)

        assert shown.times == len(flood) + 1
        assert store.failure_messages(shown.key) == tuple(one.id for one in flood[:MOST_KEPT])
        assert store.payloads([one.id for one in flood[MOST_KEPT:]]) == {}

    def test_what_comes_after_a_failure_was_closed_opens_another(self, store: Store) -> None:
        old = store.note_failure(of_cause(), *raw(b"old"))
        store.close_failure(old, "mended")

        new = store.note_failure(of_cause(), *raw(b"new"))

        assert new != old
        assert [row.key for row in store.failures(is_open=True, after=0, most=9)] == [new]
        closed = store.failure(old)
        assert closed is not None
        assert (closed.times, len(store.failure_messages(old))) == (1, 1)

    def test_of_many_who_tell_of_one_cause_at_once_each_counts_in_one_failure(self, store: Store) -> None:
        rows = [of_cause() for _ in range(6)]

        keys = at_once([partial(store.note_failure, row, *raw(b"bad")) for row in rows])

        (shown,) = store.failures(is_open=True, after=0, most=9)
        assert set(keys) == {shown.key}
        assert (shown.times, len(store.failure_messages(shown.key))) == (6, 6)

    def test_what_is_open_is_told_by_cause_the_latest_first_and_what_is_closed_is_not(self, store: Store) -> None:
        # Given failures of steps, a cause that came twice, and a failure that was closed
        request = accept(store, accepted())
        rows = [values.failure_row(request, cause="tax/a/exhausted", opened_at=NOW + at) for at in (3, 1)]
        put(
            store, Changes(failures=rows, alarms=[alarm(raw(b"one"))]), Changes(alarms=[alarm(raw(b"two"), at=NOW + 9)])
        )
        store.close_failure(store.note_failure(of_cause("over/-/x"), None), "mended")
        # When the causes are asked for
        causes = store.open_causes(9)
        # Then each says how many there are and how often it came
        told = [(one.cause, one.failures, one.times, one.first_at - NOW, one.last_at - NOW) for one in causes]
        assert told == [(INVALID, 1, 2, 0, 9), ("tax/a/exhausted", 2, 2, 1, 3)]
        assert store.open_causes(1) == causes[:1]
        # And those of one can be listed without the others
        listed = store.failures(is_open=True, after=0, most=9, cause="tax/a/exhausted")
        assert [row.key for row in listed] == [row.key for row in rows]

    def test_a_kept_message_whose_bytes_are_lost_is_named_by_the_recount(self, store: Store, place: Place) -> None:
        store.note_failure(of_cause(), *raw(b"bad"))

        place.damage("UPDATE failure_message SET payload_id = 5")

        assert [said for said in store.recount() if "of failure_message names payload 5" in said]

    def test_a_kept_message_whose_failure_is_lost_is_named_by_the_recount(self, store: Store, place: Place) -> None:
        key = store.note_failure(of_cause(), *raw(b"bad"))
        (kept,) = store.failure_messages(key)

        place.damage("DELETE FROM failure")

        lost = f"The row {kept} of failure_message belongs to failure {key}, which is not there."
        assert store.recount() == (lost,)

    def test_failures_of_steps_stand_each_for_itself(self, store: Store) -> None:
        one, two = accept(store, accepted()), accept(store, accepted())
        rows = [values.failure_row(request) for request in (one, two)]

        put(store, Changes(failures=rows))

        assert store.failures(is_open=True, after=0, most=9) == tuple(rows)
        assert rows[0].cause == rows[1].cause


#: As a store of an earlier schema holds them: (cause, code, what came, when closed).
_BEFORE = (
    ("a/-/poison", "poison", b"first", None),
    ("b/-/poison", "poison", b"of another", None),
    ("a/-/poison", "poison", b"second", None),
    ("a/-/poison", "poison", b"settled long ago", NOW - 5),
    ("a/-/orphan", "orphan", b"lost reply", None),
    ("a/-/orphan", "orphan", b"another", None),
)


def leave_failures(connection: Connection) -> None:
    """What belongs to no request, one row for each message, as releases before the count wrote it."""
    for number, (cause, code, body, closed_at) in enumerate(_BEFORE):
        (message,) = raw(body)
        row = replace(of_cause(cause), key=number, code=code, payload_id=message.id, opened_at=NOW + number)
        told = ("key", "code", "cause", "payload_id", "opened_at", "agency")
        named = {name: getattr(row, name) for name in told} | {"closed_at": closed_at}
        connection.execute(insert(schema.payload), {"id": message.id, "bytes": message.bytes})
        connection.execute(insert(schema.failure), named)


def assert_joined(store: Store) -> None:
    """One is open for each cause, with the messages of all; what names a lost reply stands alone; nothing is gone."""
    shown = {row.key: (row.times, row.last_at) for row in store.failures(is_open=True, after=-1, most=9)}
    assert shown == {0: (2, NOW + 2), 1: (1, NOW + 1), 4: (None, None), 5: (None, None)}
    kept = store.failure_messages(0)
    assert [store.payloads(kept)[one] for one in kept] == [b"first", b"second"]
    joined = store.failure(2)
    assert joined is not None
    assert joined.how_closed == "joined with the oldest of its cause"
    assert store.note_failure(of_cause("a/-/poison"), None) == 0
    assert store.recount() == ()
