"""A store that was damaged says what does not add up, and names it; one that was not says nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bus.ports import Changes, Received, Store
from bus.process.state import RequestState, StepState
from tests.conformance import store_values as values
from tests.conformance.store_values import NOW, Place, accept, accepted, put

#: A row of each table that belongs to request key 77, which is nobody's.
_ORPHANS = {
    "step": "INSERT INTO step SELECT 77, 'lost', item, kind, state, effect, edit, attempt, tries, asks, answered,"
    " resends, reason, left_behind, first_sent, sent_edit, journal_id, input_id, task_id, output_id, output_digest,"
    " expires_at, clock_left, answer_at, ask_at, next_at, deadline_at, until_at, asked, superseded, changed_by,"
    " changed_at, agency, desk FROM step LIMIT 1",
    "fact": "INSERT INTO fact (request_key, version, kind, at, changes, fields, previous, hash)"
    " VALUES (77, 1, 'moved', 0, '{}', '[]', '', '')",
    "inbox": "UPDATE inbox SET request_key = 77",
    "payload": "INSERT INTO payload (id, request_key, bytes) VALUES (5, 77, 'x')",
    "outbox": "UPDATE outbox SET request_key = 77",
    "failure": "UPDATE failure SET request_key = 77",
    "desk": "UPDATE desk SET request_key = 77",
    "result": "UPDATE result SET request_key = 77",
}

#: What is done to the ended request (e), the open one (o) or the closing one (c), and what the recount says of it.
_DAMAGES = {
    "a request without submission": ("DELETE FROM submission WHERE request_key = {o.key}", "Request {o.id} has no sub"),
    "a submission without request": (
        "UPDATE submission SET request_key = 77 WHERE request_key = {o.key}",
        "request key 77 has no request",
    ),
    "a state that is none": ("UPDATE request SET state = 'lost' WHERE key = {o.key}", "{o.id} is in state 'lost'"),
    "an end of what lives": ("UPDATE request SET ended_at = 1 WHERE key = {o.key}", "{o.id} lives and has an end"),
    "no end of what ended": (
        "UPDATE request SET ended_at = NULL WHERE key = {e.key}",
        "Request {e.id} has ended and nobody knows when",
    ),
    "closing to nothing": (
        "UPDATE request SET intended = NULL WHERE key = {c.key}",
        "{c.id} is closing and nobody knows to which outcome",
    ),
    "a result too few": ("DELETE FROM result WHERE request_key = {e.key}", "{e.id} is completed and has 0 results"),
    "a result of what lives": (
        "UPDATE result SET request_key = {o.key} WHERE request_key = {e.key}",
        "{o.id} is open and has 1 results",
    ),
    "a result too many": (
        (
            "INSERT INTO result SELECT 5, request_key, request_id, consumer, type, payload_id, created_at, NULL"
            " FROM result WHERE request_key = {e.key}"
        ),
        "{e.id} is completed and has 2 results",
    ),
    "the wrong result": (
        "UPDATE result SET type = 'bus.request.failed.v1' WHERE request_key = {e.key}",
        "{e.id} is completed and has the result bus.request.failed.v1",
    ),
    "a fact taken out": (
        "DELETE FROM fact WHERE request_key = {o.key} AND version = 1",
        "{o.id} is at version 2, facts [1] are missing",
    ),
    "the last fact taken away": (
        "DELETE FROM fact WHERE request_key = {o.key} AND version = 2",
        "{o.id} is at version 2, facts [2] are missing",
    ),
    "a fact put on": (
        (
            "INSERT INTO fact SELECT request_key, 3, kind, at, changes, step, item, step_kind, consumer, provider,"
            " purpose, fields, message_id, digest, actor, reason, previous, hash, NULL FROM fact"
            " WHERE request_key = {o.key} AND version = 2"
        ),
        "{o.id} is at version 2, facts [3] are too many",
    ),
    "an altered fact": (
        "UPDATE fact SET actor = 'somebody' WHERE request_key = {o.key} AND version = 1",
        "Fact 1 of request {o.id} was altered",
    ),
    "a fact bound elsewhere": (
        "UPDATE fact SET previous = 'x' WHERE request_key = {o.key} AND version = 2",
        "Fact 2 of request {o.id} is not bound",
    ),
    "another head": ("UPDATE request SET head = 'x' WHERE key = {o.key}", "The head of request {o.id}"),
    "a timer that is not seen": (
        "UPDATE step SET ask_at = 5 WHERE request_key = {o.key}",
        "{o.id} is due at None; its least timer is 5",
    ),
    "an alarm without timer": (
        "UPDATE request SET due = 5 WHERE key = {o.key}",
        "{o.id} is due at 5; its least timer is None",
    ),
    "a task that goes on after the end": (
        "UPDATE step SET state = 'dispatched' WHERE request_key = {e.key}",
        "{e.id} has ended and its step tax is dispatched",
    ),
    "a step in no known state": (
        "UPDATE step SET state = 'lost' WHERE request_key = {o.key}",
        "Request {o.id} or one of its steps cannot be read: KeyError('lost')",
    ),
    "a fact that is no JSON": (
        "UPDATE fact SET changes = '{{' WHERE request_key = {o.key} AND version = 2",
        "Fact 2 of request {o.id} cannot be read",
    ),
    "a message without bytes": (
        "DELETE FROM payload WHERE id = {m.payload_id}",
        "row {m.key} of outbox names payload {m.payload_id}",
    ),
    "a result without bytes": (
        "DELETE FROM payload WHERE id = {r.payload_id}",
        "row {r.key} of result names payload {r.payload_id}",
    ),
    "a request without data": (
        "DELETE FROM payload WHERE id = {o.data_id}",
        "row {o.id} of request names payload {o.data_id}",
    ),
    "a submission without the words beside its data": (
        "UPDATE submission SET said_id = 5 WHERE request_key = {o.key}",
        "row {o.key} of submission names payload 5 (said_id)",
    ),
    "a step without its answer": (
        "UPDATE step SET output_id = 5 WHERE request_key = {o.key}",
        "row {o.key} of step names payload 5 (output_id)",
    ),
    "a task of a desk without bytes": ("UPDATE desk SET task_id = 5", "of desk names payload 5 (task_id)"),
    "a draft without bytes": ("UPDATE desk SET draft_id = 5", "of desk names payload 5 (draft_id)"),
    "a failure without evidence": ("UPDATE failure SET payload_id = 5", "of failure names payload 5"),
}


class RecountContract:
    """The recount; ``place`` comes from the suite."""

    @pytest.fixture
    def store(self, place: Place) -> Iterator[Store]:
        """One request of each kind, and a row in every table."""
        store = place.open()
        self.open = values.with_message(accepted(values.step()))
        self.closing = accepted(state=RequestState.CLOSING)
        self.ended = accepted(values.step(state=StepState.SUCCEEDED), state=RequestState.COMPLETED)
        put(store, values.together(self.open, self.closing, self.ended))
        request = self.open.request
        put(store, Changes(desk=[values.desk_row(request)], failures=[values.failure_row(request)]))
        with store.transaction() as transaction:
            transaction.fresh([Received(request_key=request.key, source="/s", message_id="m", digest=b"d")])
        yield store
        store.close()

    def test_a_store_that_adds_up_says_nothing(self, store: Store) -> None:
        assert store.recount() == ()

    @pytest.mark.parametrize("what", _DAMAGES)
    def test_damage_is_named(self, store: Store, place: Place, what: str) -> None:
        statement, sentence = _DAMAGES[what]
        names = {
            "o": self.open.request,
            "c": self.closing.request,
            "e": self.ended.request,
            "m": self.open.outbox[0],
            "r": self.ended.results[0],
        }

        place.damage(statement.format(**names))

        assert any(sentence.format(**names) in said for said in store.recount()), store.recount()

    @pytest.mark.parametrize("table", _ORPHANS)
    def test_a_row_that_lost_its_request_is_named(self, store: Store, place: Place, table: str) -> None:
        place.damage(_ORPHANS[table])

        assert [said for said in store.recount() if f"of {table} belongs to request key 77, which is not there" in said]

    def test_a_task_left_behind_may_outlive_its_request(self, store: Store) -> None:
        left = values.step(state=StepState.PARKED, left_behind=True)

        accept(store, accepted(left, state=RequestState.CANCELLED))

        assert store.recount() == ()

    def test_messages_on_the_way_to_an_end_are_no_end(self, store: Store) -> None:
        accept(store, values.with_result(accepted(deadline_at=NOW), "bus.request.returned.v1"))

        assert store.recount() == ()
