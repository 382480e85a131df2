"""What every store promises to people: feeds, desks, failures, lists, and what stands once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import pytest

from bus.audit.fact import GENESIS, Fact, chain
from bus.errors import NotFoundError
from bus.message.instant import DAY
from bus.ports import Act, AgencyRow, Changes, DeskRow, Payload, ResultRow, Store
from bus.process.decision import FailureClosed
from bus.process.state import Kind, RequestState, Step, StepKey, StepState
from tests.conformance import store_values as values
from tests.conformance.store_values import NAME, NOW, PARTNER, TAX, Place, accept, accepted, put

_T = TypeVar("_T")


def at_once(calls: Sequence[Callable[[], _T]]) -> list[_T]:
    """Call all at the same moment, each on a thread of its own; what each gave."""
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], _T]) -> _T:
        start.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def _act(what: str, target: str, reason: str | None = None) -> Act:
    return Act(actor="root", what=what, target=target, reason=reason)


class PeopleContract:
    """The promises; ``place`` comes from the suite."""

    @pytest.fixture
    def store(self, place: Place) -> Iterator[Store]:
        store = place.open()
        yield store
        store.close()

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

    # --- lists and what stands once -------------------------------------------------------------------------------

    def test_requests_are_listed_by_key_consumer_and_state_with_what_they_wait_for(self, store: Store) -> None:
        parked, returned = values.step(state=StepState.PARKED), values.step(NAME, state=StepState.RETURNED)
        made = [
            accept(store, accepted(values.step())),
            accept(store, accepted(parked)),
            accept(store, accepted(parked, returned, state=RequestState.CLOSING, consumer="portal")),
            accept(store, accepted(replace(parked, left_behind=True), state=RequestState.COMPLETED)),
        ]

        lines = store.requests(consumer=None, states=[], after=0, most=9)

        assert [line.request_id for line in lines] == [request.id for request in made]
        assert [line.waiting_for for line in lines] == [request.waiting_for for request in made]
        assert [line.waiting_for for line in lines] == ["agency", "operator", "applicant", None]
        assert [line.state for line in lines] == [request.state for request in made]
        assert [line.ended_at for line in lines] == [request.ended_at for request in made]
        assert lines[0].tracking == f"T-{made[0].id}"
        assert store.requests(consumer="portal", states=[], after=0, most=9) == lines[2:3]
        assert store.requests(consumer=None, states=[RequestState.OPEN], after=0, most=9) == lines[:2]
        assert store.requests(consumer=None, states=[], after=lines[0].request_key, most=2) == lines[1:3]

    def test_every_request_is_counted_in_its_state(self, store: Store) -> None:
        for state in RequestState:
            accept(store, accepted(state=state))
        accept(store, accepted())

        assert store.totals() == {state: 2 if state is RequestState.OPEN else 1 for state in RequestState}
        assert store.accepted() == sum(store.totals().values())

    def test_an_accepted_submission_counts_also_when_its_request_is_lost(self, store: Store, place: Place) -> None:
        lost = accepted()
        accept(store, lost)
        place.damage(f"DELETE FROM request WHERE key = {lost.request.key}")

        assert (store.accepted(), sum(store.totals().values())) == (1, 0)

    def test_alive_are_open_and_closing_requests_and_ended_ones_that_still_compensate(self, store: Store) -> None:
        def undoing(state: StepState) -> Step:
            return values.step(StepKey(step="name", kind=Kind.COMPENSATION), state=state)

        done, cancelled = values.step(state=StepState.SUCCEEDED), RequestState.CANCELLED
        alive = [
            accept(store, accepted(done, revision="r1")),
            accept(store, accepted(state=RequestState.CLOSING, revision="r2")),
            accept(store, accepted(undoing(StepState.DISPATCHED), state=cancelled, revision="r3")),
        ]
        accept(store, accepted(undoing(StepState.SUCCEEDED), state=cancelled, revision="r4"))
        accept(store, accepted(done, state=RequestState.COMPLETED, revision="r5"))
        ids = tuple(request.id for request in alive)

        assert store.alive_requests(0, 9) == ids
        assert store.alive_requests(0, 2) == ids[:2]
        assert store.alive_requests(store.key_of(ids[1]), 9) == ids[2:]
        assert store.open_revisions() == {"r1", "r2", "r3"}

    def test_the_key_of_an_unknown_request_is_not_found(self, store: Store) -> None:
        request = accept(store, accepted())

        assert store.key_of(request.id) == request.key
        with pytest.raises(NotFoundError):
            store.key_of("nobody")

    def test_definitions_epoch_tokens_and_the_installation_outlive_the_process(
        self, store: Store, place: Place
    ) -> None:
        assert (store.definition("r1"), store.epoch(), store.token("h")) == (None, None, None)

        store.save_definition("r1", b"closure")
        store.save_definition("r1", b"closure")
        store.save_epoch("e1")
        store.save_epoch("e2")
        store.save_token(token_hash="h", user="mona", role="clerk", agency="giza")
        store.save_token(token_hash="h", user="mona", role="operator", agency=None)

        other = place.open()
        assert (other.definition("r1"), other.epoch()) == (b"closure", "e2")
        assert other.token("h") == ("mona", "operator", None)
        assert other.installation() == store.installation() != ""
        other.close()

    def test_the_tokens_of_one_user_are_taken_back_together(self, store: Store) -> None:
        for token, user in (("h1", "mona"), ("h2", "mona"), ("h3", "omar")):
            store.save_token(token_hash=token, user=user, role="operator", agency=None)

        assert store.remove_tokens("mona") == 2
        assert store.remove_tokens("mona") == 0
        assert [store.token(token) for token in ("h1", "h2")] == [None, None]
        assert store.token("h3") == ("omar", "operator", None)
        assert store.users() == {"omar"}

    def test_process_managers_are_there_as_long_as_they_say_so(self, store: Store) -> None:
        before = store.now()
        assert store.presences(0) == {}

        store.be_present("one", NOW)
        store.be_present("other", NOW + 5)
        store.be_present("one", NOW + 7)

        assert store.presences(before) == {"one": NOW + 7, "other": NOW + 5}
        assert store.presences(store.now() + 1) == {}
        store.leave("other")
        store.leave("nobody")
        assert store.presences(before) == {"one": NOW + 7}

    def test_process_managers_that_were_not_seen_for_a_day_are_forgotten(self, store: Store) -> None:
        store.be_present("gone", NOW)
        setattr(store, "offset", DAY + 1_000)  # noqa: B010  # the port has no such member: only tests set it

        store.be_present("here", NOW)

        assert set(store.presences(0)) == {"here"}

    def test_a_user_of_many_tokens_is_one_user(self, store: Store) -> None:
        assert store.users() == set()
        for token, user in (("h1", "mona"), ("h2", "mona"), ("h3", "omar")):
            store.save_token(token_hash=token, user=user, role="operator", agency=None)

        assert store.users() == {"mona", "omar"}

    # --- the audit ------------------------------------------------------------------------------------------------

    def test_what_is_done_to_agencies_and_tokens_is_kept_in_the_order_in_which_it_was_done(self, store: Store) -> None:
        row = AgencyRow(agency="giza", paused=True)

        store.save_token(token_hash="h", user="mona", role="clerk", agency="giza", act=_act("token_added", "mona"))
        assert store.save_agency(row, None, _act("agency_paused", "giza", "storm"))
        assert store.remove_tokens("mona", _act("tokens_removed", "mona")) == 1
        store.note_act(_act("journal_restored", "giza/j"))

        acts = store.acts(after=0, most=9)
        assert [(act.actor, act.what, act.target, act.reason) for act in acts] == [
            ("root", "token_added", "mona", None),
            ("root", "agency_paused", "giza", "storm"),
            ("root", "tokens_removed", "mona", None),
            ("root", "journal_restored", "giza/j", None),
        ]
        assert [act.key for act in acts] == sorted({act.key for act in acts})
        assert all(0 < act.at <= store.now() for act in acts)
        assert store.acts(after=acts[0].key, most=1) == acts[1:2]

    def test_of_many_commands_on_one_agency_at_once_exactly_one_is_done_and_kept(self, store: Store) -> None:
        def pause(expected: AgencyRow | None, wait: int) -> bool:
            row = AgencyRow(agency="giza", paused=expected is None, probe_wait=wait)
            return store.save_agency(row, expected, _act("agency_changed", f"{wait}"))

        first = at_once([partial(pause, None, wait) for wait in range(1, 7)])
        was = store.agencies()["giza"]
        second = at_once([partial(pause, was, wait) for wait in range(11, 17)])

        assert [first.count(True), second.count(True)] == [1, 1]
        assert store.agencies()["giza"].probe_wait == 11 + second.index(True)
        assert [act.target for act in store.acts(after=0, most=9)] == [
            str(1 + first.index(True)),
            str(11 + second.index(True)),
        ]

    def test_what_was_not_done_is_not_kept(self, store: Store) -> None:
        assert not store.save_agency(
            AgencyRow(agency="giza"), AgencyRow(agency="giza", paused=True), _act("agency_resumed", "giza")
        )
        assert store.remove_tokens("nobody", _act("tokens_removed", "nobody")) == 0

        assert store.acts(after=0, most=9) == ()

    def test_disclosures_are_those_facts_that_told_somebody_something_by_time_over_all_requests(
        self, store: Store
    ) -> None:
        first, second = (self._telling(store, values.accepted()) for _ in range(2))

        told = store.disclosures(after=(0, 0, 0), until=None, most=9)

        assert [(one.request_key, one.fact) for one in told] == sorted(
            [(each.request.key, fact) for each in (first, second) for fact in each.facts if fact.kind != "moved"],
            key=lambda one: (one[1].at, one[0], one[1].version),
        )
        assert {(one.service, one.revision) for one in told} == {("open-business.v1", "r1")}
        assert store.disclosures(after=told[0].place, until=None, most=2) == told[1:3]
        assert store.disclosures(after=told[-1].place, until=None, most=9) == ()

    def test_disclosures_are_found_by_request_party_purpose_and_time(self, store: Store) -> None:
        each = self._telling(store, values.accepted())
        self._telling(store, values.accepted(), provider="cairo", purpose="statistics")

        def kinds(**wanted: Any) -> list[str]:
            until = wanted.pop("until", None)
            found = store.disclosures(after=(0, 0, 0), until=until, most=9, **wanted)
            return [one.fact.kind for one in found if one.request_key == each.request.key]

        assert kinds(request_id=each.request.id) == ["accepted", "step_dispatched", "ended"]
        assert kinds(request_id="nobody") == []
        assert kinds(agency="giza") == ["step_dispatched"]
        assert kinds(agency="one_stop_shop") == ["accepted", "step_dispatched", "ended"]
        assert kinds(agency="cairo") == []
        assert kinds(purpose="licensing") == ["accepted", "step_dispatched", "ended"]
        assert kinds(purpose="statistics") == []
        assert kinds(until=NOW + 2) == ["accepted"]

    def _telling(
        self, store: Store, each: values.Accepted, provider: str = "giza", purpose: str = "licensing"
    ) -> values.Accepted:
        """A request whose facts tell somebody something, but for one."""
        kinds = ("accepted", "moved", "step_dispatched", "ended")
        facts = [
            Fact(
                request_id=each.request.id,
                version=number + 1,
                kind=kind,
                at=NOW + number,
                consumer="one_stop_shop",
                provider=provider if kind == "step_dispatched" else None,
                purpose=purpose,
                fields=("/name",) if kind != "moved" else (),
            )
            for number, kind in enumerate(kinds)
        ]
        each.facts = chain(facts, GENESIS)
        each.request = replace(each.request, version=len(facts), head=each.facts[-1].hash)
        accept(store, each)
        return each

    def test_requests_are_found_by_what_the_consumer_said_of_them(self, store: Store) -> None:
        mine, other, foreign = (values.accepted(consumer=name) for name in ("shop", "shop", "press"))
        for each, reference, principal in ((mine, "r1", "p1"), (other, "r2", None), (foreign, "r1", "p1")):
            each.submission = replace(each.submission, reference=reference, on_behalf_of=principal, said_id=7)
            accept(store, each)

        def found(consumer: str | None, **wanted: str) -> list[str]:
            lines = store.requests(consumer=consumer, states=(), after=0, most=9, **wanted)
            return [line.request_id for line in lines]

        assert found("shop", reference="r1") == [mine.request.id]
        assert found("shop", on_behalf_of="p1") == [mine.request.id]
        assert found("shop", reference="r2", on_behalf_of="p1") == []
        assert found(None, reference="r1") == [mine.request.id, foreign.request.id]
        assert store.submission_of(mine.request.id) == mine.submission
        assert store.submission_under("shop", mine.submission.submission_key) == mine.submission
        assert store.submission_under("press", mine.submission.submission_key) is None

    def test_the_clock_of_a_transaction_stands_still(self, store: Store) -> None:
        before = store.now()
        with store.transaction() as transaction:
            now = transaction.now()
            setattr(store, "offset", 3_600_000)  # noqa: B010  # the port has no such member: only tests set it

            assert transaction.now() == now
        assert before <= now < before + 3_600_000 <= store.now()
