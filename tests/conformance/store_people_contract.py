"""What every store promises to people: feeds, desks, failures, lists, and what stands once."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from bus.ports import Changes, DeskRow, Payload, ResultRow, Store
from bus.process.decision import FailureClosed
from bus.process.state import Kind, RequestState, StepKey
from tests.conformance import store_values as values
from tests.conformance.store_audit_contract import AuditContract
from tests.conformance.store_opened import at_once
from tests.conformance.store_requests_contract import RequestsContract
from tests.conformance.store_values import NAME, NOW, PARTNER, TAX, accept, accepted, put


class PeopleContract(RequestsContract, AuditContract):
    """The promises; ``place`` comes from the suite."""

    # --- results --------------------------------------------------------------------------------------------------

    def test_a_feed_is_read_by_cursor_and_belongs_to_its_consumer(self, store: Store) -> None:
        rows = [self._result(store, "one_stop_shop") for _ in range(3)]
        other = self._result(store, "portal")

        feed = store.results("one_stop_shop", after=0, most=2)
        assert feed == tuple((row, f"result {row.request_id}".encode()) for row in rows[:2])
        assert [row for row, _ in store.results("one_stop_shop", after=feed[-1][0].key, most=2)] == rows[2:]
        assert [row for row, _ in store.results("portal", after=0, most=9)] == [other]

    def test_a_result_is_collected_once_and_by_its_consumer_only(self, store: Store) -> None:
        rows = [self._result(store, "one_stop_shop") for _ in range(2)]
        keys = [row.key for row in rows]

        assert store.collect("portal", keys) == 0
        assert store.collect("one_stop_shop", keys[:1]) == 1
        assert store.collect("one_stop_shop", keys) == 1

        collected = [row.collected_at for row, _ in store.results("one_stop_shop", after=0, most=9)]
        assert all(when is not None and when <= store.now() for when in collected)

    def test_what_is_not_collected_is_found_oldest_first_however_much_is(self, store: Store) -> None:
        rows = [self._result(store, "one_stop_shop") for _ in range(4)]
        self._result(store, "portal")
        store.collect("one_stop_shop", [rows[0].key, rows[2].key])

        left = store.uncollected("one_stop_shop", most=9)
        assert left == tuple((row, f"result {row.request_id}".encode()) for row in (rows[1], rows[3]))
        assert store.uncollected("one_stop_shop", most=1) == left[:1]
        store.collect("one_stop_shop", [rows[1].key, rows[3].key])
        assert store.uncollected("one_stop_shop", most=9) == ()

    def test_what_a_consumer_was_told_of_one_request_is_found_without_its_feed(self, store: Store) -> None:
        rows = [self._result(store, "one_stop_shop") for _ in range(3)]

        assert [store.told(row.request_id) for row in rows] == [(f"result {row.request_id}".encode(),) for row in rows]
        assert store.told("nobody") == ()

    def test_what_is_written_later_comes_later_in_the_feed_whatever_key_was_asked_for(self, store: Store) -> None:
        early, late = (accepted(state=RequestState.COMPLETED) for _ in range(2))
        accept(store, late)
        ((read, _),) = store.results("one_stop_shop", after=0, most=9)

        accept(store, early)

        assert read.key == late.results[0].key > early.results[0].key
        ((behind, body),) = store.results("one_stop_shop", after=read.key, most=9)
        assert (behind.request_id, body) == (early.request.id, f"result {early.request.id}".encode())
        assert store.collect("one_stop_shop", [read.key, behind.key]) == 2

    def test_of_many_who_acknowledge_the_same_results_each_counts_once(self, store: Store) -> None:
        keys = [self._result(store, "one_stop_shop").key for _ in range(20)]

        orders = [keys, keys[::-1]] * 3
        counted = at_once([partial(store.collect, "one_stop_shop", order) for order in orders])

        assert sum(counted) == 20

    def _result(self, store: Store, consumer: str) -> ResultRow:
        each = accepted(state=RequestState.COMPLETED, consumer=consumer)
        accept(store, each)
        return each.results[0]

    # --- desk -----------------------------------------------------------------------------------------------------

    def test_a_task_of_a_desk_is_found_by_key_and_by_step_and_listed_by_agency_and_state(self, store: Store) -> None:
        request = accept(store, accepted())
        row, item = values.desk_row(request), values.desk_row(request, PARTNER, agency="cairo", state="answered")
        put(store, Changes(desk=[row, item]))

        assert store.desk_row(row.key) == row
        with store.transaction() as transaction:
            assert transaction.desk_row(request.key, PARTNER) == item
            assert transaction.desk_row(request.key, NAME) is None
        assert store.desk("giza", states=["open"], after=0, most=9) == (row,)
        assert store.desk("giza", states=["answered"], after=0, most=9) == ()
        assert store.desk(None, states=[], after=0, most=9) == (row, item)
        assert store.desk(None, states=[], after=row.key, most=9) == (item,)

    def test_a_new_attempt_replaces_the_task_and_keeps_its_key(self, store: Store) -> None:
        request = accept(store, accepted())
        row = values.desk_row(request)
        again = replace(row, key=values.key(), attempt=2, state="claimed", clerk="mona")
        put(store, Changes(desk=[row]), Changes(desk=[again]))

        assert store.desk(None, states=[], after=0, most=9) == (replace(again, key=row.key),)

    def test_of_many_clerks_exactly_one_gets_the_task(self, store: Store) -> None:
        row = self._task(store)
        clerks = [f"clerk{number}" for number in range(8)]

        claimed = at_once([partial(store.claim, row.key, clerk, None) for clerk in clerks])

        now = store.desk_row(row.key)
        assert claimed.count(True) == 1
        assert now is not None
        assert (now.state, now.clerk) == ("claimed", clerks[claimed.index(True)])
        assert [claim.clerk for claim in store.desk_claims(row.request_id)] == [now.clerk]

    def test_a_draft_replaces_the_one_before_and_only_its_clerk_writes_it(self, store: Store) -> None:
        row = self._task(store)
        drafts = [Payload(id=values.key(), request_key=row.request_key, bytes=b"draft") for _ in range(3)]

        assert store.claim(row.key, "mona", drafts[0])
        assert not store.claim(row.key, "omar", drafts[1])
        assert store.claim(row.key, "mona", drafts[2])
        assert store.claim(row.key, "mona", None)

        now = store.desk_row(row.key)
        assert now is not None
        assert now.draft_id == drafts[2].id
        assert set(store.payloads([draft.id for draft in drafts])) == {drafts[2].id}

    def test_of_drafts_that_one_clerk_saves_at_once_one_stays_and_the_others_are_gone(self, store: Store) -> None:
        row = self._task(store)
        drafts = [Payload(id=values.key(), request_key=row.request_key, bytes=b"draft") for _ in range(6)]

        assert all(at_once([partial(store.claim, row.key, "mona", draft) for draft in drafts]))

        now = store.desk_row(row.key)
        assert now is not None
        assert set(store.payloads([draft.id for draft in drafts])) == {now.draft_id}
        assert len(store.desk_claims(row.request_id)) == 1

    def test_only_its_clerk_gives_a_task_back_and_then_anybody_may_take_it(self, store: Store) -> None:
        row = self._task(store)
        store.claim(row.key, "mona", None)

        assert not store.release(row.key, "omar")
        assert store.release(row.key, "mona")
        assert not store.release(row.key, "mona")
        assert store.claim(row.key, "omar", None)

    def test_who_takes_an_open_task_is_kept_for_ever_and_who_has_it_already_is_not_told_twice(
        self, store: Store
    ) -> None:
        row = self._task(store)
        assert store.desk_claims(row.request_id) == ()

        store.claim(row.key, "mona", None)
        store.claim(row.key, "mona", Payload(id=values.key(), request_key=row.request_key, bytes=b"draft"))
        store.claim(row.key, "omar", None)
        store.release(row.key, "mona")
        store.claim(row.key, "omar", None)

        claims = store.desk_claims(row.request_id)
        assert [(claim.clerk, claim.row, claim.step) for claim in claims] == [
            ("mona", row.key, row.step),
            ("omar", row.key, row.step),
        ]
        assert claims[0].at <= claims[1].at <= store.now()

    @pytest.mark.parametrize("state", ["answered", "withdrawn"])
    def test_a_task_that_is_over_cannot_be_claimed(self, store: Store, state: str) -> None:
        row = self._task(store, state=state, clerk="mona")

        assert not store.claim(row.key, "mona", None)
        assert not store.claim(values.key(), "mona", None)

    def _task(self, store: Store, **more: Any) -> DeskRow:
        row = values.desk_row(accept(store, accepted()), **more)
        put(store, Changes(desk=[row]))
        return row

    # --- failures -------------------------------------------------------------------------------------------------

    def test_failures_of_a_step_close_together_and_leave_those_of_others_open(self, store: Store) -> None:
        request, other = (accept(store, accepted()) for _ in range(2))
        mine = [values.failure_row(request), values.failure_row(request, code="poison")]
        rest = [
            values.failure_row(request, NAME),
            values.failure_row(request, StepKey(step="tax", kind=Kind.COMPENSATION)),
            values.failure_row(request, None),
            values.failure_row(other),
        ]
        put(store, Changes(failures=[*mine, *rest]))

        put(store, Changes(failures_closed=[(request.key, FailureClosed(step=TAX, how="answered late"), NOW + 5)]))

        closed = tuple(replace(row, closed_at=NOW + 5, how_closed="answered late") for row in mine)
        assert store.failures(is_open=False, after=0, most=9) == closed
        assert store.failures(is_open=True, after=0, most=9) == tuple(rest)
        assert store.open_failures(request.id) == tuple(rest[:3])
        assert store.open_failures("nobody") == ()
        assert store.failures(is_open=None, after=mine[0].key, most=2) == (closed[1], rest[0])
        assert store.failure(mine[0].key) == closed[0]
        assert store.failure(1) is None

    def test_a_failure_is_closed_once(self, store: Store) -> None:
        row = values.failure_row(None, None)
        store.note_failure(row, None)
        assert [store.close_failure(row.key, "settled"), store.close_failure(row.key, "again")] == [True, False]
        found = store.failure(row.key)
        assert found is not None
        assert (found.how_closed, found.closed_at is None) == ("settled", False)

    def test_of_many_who_close_one_failure_exactly_one_does(self, store: Store) -> None:
        row = values.failure_row(None, None)
        store.note_failure(row, None)

        assert at_once([partial(store.close_failure, row.key, "settled")] * 6).count(True) == 1

    def test_failures_of_the_request_itself_close_without_those_of_its_steps(self, store: Store) -> None:
        request = accept(store, accepted())
        own, of_step = values.failure_row(request, None), values.failure_row(request)
        put(store, Changes(failures=[own, of_step]))

        put(store, Changes(failures_closed=[(request.key, FailureClosed(step=None, how="ended"), NOW)]))

        assert store.failures(is_open=True, after=0, most=9) == (of_step,)

    def test_a_failure_that_closes_before_one_opens_leaves_the_new_one_open(self, store: Store) -> None:
        request = accept(store, accepted())
        old, new = values.failure_row(request), values.failure_row(request)
        put(store, Changes(failures=[old]))

        over = (request.key, FailureClosed(step=TAX, how="replayed"), NOW)
        put(store, Changes(failures=[new], failures_closed=[over]))

        assert store.failures(is_open=True, after=0, most=9) == (new,)

    def test_what_belongs_to_no_request_is_kept_with_its_raw_bytes(self, store: Store) -> None:
        raw = Payload(id=values.key(), request_key=None, bytes=b"\xff\x00not json")
        failure = values.failure_row(None, None, payload_id=raw.id, cause="tax/-/invalid")
        bare = values.failure_row(None, None, cause="tax/-/clock_drift")

        assert [store.note_failure(failure, raw), store.note_failure(bare, None)] == [failure.key, bare.key]

        shown = tuple(replace(row, times=1, last_at=NOW) for row in (failure, bare))
        assert store.failures(is_open=True, after=0, most=9) == shown
        assert store.payloads([raw.id]) == {raw.id: raw.bytes}
        assert store.recount() == ()
