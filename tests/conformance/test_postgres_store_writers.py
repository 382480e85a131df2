"""Several processes write to one PostgreSQL store at once: nothing is lost, and nothing comes behind who has read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pytest

from bus.audit.fact import GENESIS, Fact, chain
from bus.errors import StaleVersionError, StoreUnavailableError
from bus.ports import Act, AgencyRow, Changes, Transaction
from bus.process.state import RequestState
from bus.stores.merging import merged
from bus.stores.postgres import PostgresStore
from tests.conformance import store_values as values
from tests.conformance.store_postgres_place import PostgresPlace, emptied, place, until
from tests.conformance.store_values import NOW, accept, accepted, put

TAX = AgencyRow(agency="tax_authority", journal_id="j1", start_id="s1", journal_seq=7, alive_at=NOW, heard_at=NOW)
__all__ = ["emptied", "place"]


@pytest.fixture
def one(place: PostgresPlace) -> Iterator[PostgresStore]:
    store = PostgresStore(place.url)
    yield store
    store.close()


@pytest.fixture
def other(place: PostgresPlace) -> Iterator[PostgresStore]:
    store = PostgresStore(place.url)
    yield store
    store.close()


@contextmanager
def beside(place: PostgresPlace, call: Callable[[], Any]) -> Iterator[Future[Any]]:
    """Another thread that is in the call, and waits for a lock that this one holds."""
    with ThreadPoolExecutor(1) as pool:
        called = pool.submit(call)
        waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        until(lambda: bool(place.look(waiting)))
        yield called


# --- requests ---------------------------------------------------------------------------------------------------------


def test_a_writer_waits_for_who_has_read_the_request_and_reads_what_he_wrote(
    one: PostgresStore, other: PostgresStore, place: PostgresPlace
) -> None:
    request = accept(one, accepted(values.step()))

    def read() -> tuple[int, int]:
        with other.transaction() as transaction:
            found = transaction.load([request.id])[request.id]
            return found.version, found.steps[values.TAX].tries

    with ExitStack() as waits:
        with one.transaction() as transaction:
            transaction.load([request.id])
            transaction.write(values.moved(request, values.step(tries=4))[1])
            called = waits.enter_context(beside(place, read))

        # Request and step are of one state: the steps are read once the lock is held.
        assert called.result() == (3, 4)


def test_who_waits_too_long_for_a_request_is_told(one: PostgresStore, place: PostgresPlace) -> None:
    request = accept(one, accepted())
    impatient = PostgresStore(place.url, patience=200)

    with one.transaction() as transaction:
        transaction.load([request.id])
        with pytest.raises(StoreUnavailableError, match="lock timeout"), impatient.transaction() as late:
            late.load([request.id])

    with impatient.transaction() as late:
        assert late.load([request.id]) == {request.id: request}
    impatient.close()


def test_two_who_wait_for_one_another_do_not_wait_for_ever_and_one_of_them_repeats(
    one: PostgresStore, other: PostgresStore
) -> None:
    first, second = (accept(one, accepted()).id for _ in range(2))
    both_hold = threading.Barrier(2)
    repeated: list[StaleVersionError] = []

    def move(store: PostgresStore, order: tuple[str, str], *, is_first: bool = True) -> None:
        try:
            with store.transaction() as transaction:
                mine = transaction.load(order[:1])
                if is_first:
                    both_hold.wait()
                mine |= transaction.load(order[1:])
                for request in mine.values():
                    transaction.write(values.moved(request)[1])
        except StaleVersionError as error:
            repeated.append(error)
            move(store, order, is_first=False)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(move, one, (first, second)), pool.submit(move, other, (second, first))]:
            done.result()

    assert len(repeated) == 1
    assert one.versions([first, second]) == {first: 4, second: 4}
    assert one.recount() == ()


def test_of_two_who_accept_the_same_submission_at_once_one_decides_again(
    one: PostgresStore, other: PostgresStore, place: PostgresPlace
) -> None:
    mine, same = accepted(), accepted()
    same.submission = replace(same.submission, submission_key=mine.submission.submission_key)

    with ExitStack() as waits:
        with one.transaction() as transaction:
            transaction.write(mine.changes())
            called = waits.enter_context(beside(place, lambda: accept(other, same)))

        with pytest.raises(StaleVersionError):
            called.result()
    assert one.accepted() == 1
    assert one.recount() == ()


# --- dispatcher and relay ---------------------------------------------------------------------------------------------


def test_ready_steps_of_a_request_that_another_one_holds_are_passed_over(
    one: PostgresStore, other: PostgresStore
) -> None:
    held, free, last = (accept(one, accepted(values.step(expires_at=NOW + n))).id for n in range(3))

    with one.transaction() as holder, other.transaction() as taker:
        holder.load([held])
        assert [ref.request_id for ref in taker.ready("tax_authority", 1)] == [free]
        assert [ref.request_id for ref in holder.ready("tax_authority", 9)] == [held, last]
        # Who got them holds them.
        assert taker.ready("tax_authority", 9) == taker.ready("tax_authority", 1)


def test_two_relays_at_once_never_take_the_same_message(one: PostgresStore, other: PostgresStore) -> None:
    put(one, values.together(*[values.with_message(accepted()) for _ in range(40)]))
    before, start = values.key(), threading.Barrier(4)

    def take(store: PostgresStore) -> list[int]:
        start.wait()
        taken: list[int] = []
        while rows := store.leftovers(before, 3, 60_000):
            taken += [row.key for row, _ in rows]
        return taken

    with ThreadPoolExecutor(4) as pool:
        taken = [key for keys in pool.map(take, [one, one, other, other]) for key in keys]

    assert len(taken) == len(set(taken)) == 40


# --- the feed ---------------------------------------------------------------------------------------------------------


def _ended() -> values.Accepted:
    return accepted(state=RequestState.COMPLETED)


def test_a_key_taken_before_a_commit_does_not_put_its_result_behind_who_has_read_that(
    one: PostgresStore, other: PostgresStore
) -> None:
    slow, quick = _ended(), _ended()

    with one.transaction() as transaction:
        accept(other, quick)
        ((read, _),) = other.results("one_stop_shop", after=0, most=9)
        transaction.write(slow.changes())

    ((behind, _),) = other.results("one_stop_shop", after=read.key, most=9)
    assert slow.results[0].key < quick.results[0].key < behind.key
    assert behind.request_id == slow.request.id


def test_a_result_that_is_written_and_not_committed_makes_the_next_one_wait_for_its_place(
    one: PostgresStore, other: PostgresStore, place: PostgresPlace
) -> None:
    small, great = _ended(), _ended()

    with ExitStack() as waits:
        with one.transaction() as transaction:
            transaction.write(great.changes())
            called = waits.enter_context(beside(place, lambda: accept(other, small)))
            assert one.results("one_stop_shop", after=0, most=9) == ()
        called.result()

    feed = one.results("one_stop_shop", after=0, most=9)
    assert [row.request_id for row, _ in feed] == [great.request.id, small.request.id]


def test_a_reader_of_the_feed_who_goes_on_from_his_cursor_misses_nothing_of_many_writers(
    one: PostgresStore, other: PostgresStore
) -> None:
    batches = [[_ended() for _ in range(4)] for _ in range(60)]
    writing = threading.Event()
    read: list[str] = []

    def follow() -> None:
        cursor, go_on = 0, True
        while go_on:
            go_on = writing.is_set()
            while page := other.results("one_stop_shop", after=cursor, most=5):
                cursor = page[-1][0].key
                read.extend(row.request_id for row, _ in page)

    writing.set()
    reader = threading.Thread(target=follow)
    reader.start()
    with ThreadPoolExecutor(4) as pool:
        stores = [one, other, one, other]
        list(pool.map(lambda n: put(stores[n % 4], values.together(*batches[n])), range(len(batches))))
    writing.clear()
    reader.join()

    assert len(read) == 240
    assert set(read) == {each.request.id for batch in batches for each in batch}


# --- disclosures ------------------------------------------------------------------------------------------------------


def _telling(transaction: Transaction) -> values.Accepted:
    """A request that tells somebody something now."""
    each = accepted()
    told = Fact(request_id=each.request.id, version=1, kind="told", at=transaction.now(), fields=("/name",))
    each.facts = chain([told], GENESIS)
    each.request = replace(each.request, version=1, head=each.facts[-1].hash)
    transaction.write(each.changes())
    return each


def test_what_somebody_was_told_is_not_shown_while_an_older_transaction_may_yet_come_before_it(
    one: PostgresStore, other: PostgresStore
) -> None:
    def shown() -> list[int]:
        return [told.request_key for told in other.disclosures(after=(0, 0, 0), until=None, most=9)]

    with other.transaction() as transaction:
        before = _telling(transaction).request.key
    until(lambda: shown() == [before])
    with one.transaction() as slow:
        until(lambda: other.now() > slow.now() + 5)
        with other.transaction() as quick:
            after = _telling(quick).request.key
        # However long it takes: the older one has written nothing yet, and holds nothing that anybody waits for.
        later = other.now() + 1_500

        def still() -> bool:
            assert shown() == [before]
            return other.now() > later

        until(still)
        between = _telling(slow).request.key

    until(lambda: len(shown()) == 3)
    assert shown() == [before, between, after]


def test_who_only_reads_does_not_keep_what_was_told_from_others(one: PostgresStore, other: PostgresStore) -> None:
    with one.reading():
        with other.transaction() as transaction:
            told = _telling(transaction).request.key

        until(lambda: [each.request_key for each in other.disclosures(after=(0, 0, 0), until=None, most=9)] == [told])


# --- agencies ---------------------------------------------------------------------------------------------------------


def test_what_two_heard_of_one_agency_at_once_becomes_what_both_heard(one: PostgresStore, other: PostgresStore) -> None:
    put(one, Changes(agencies=[(AgencyRow(agency="tax_authority"), TAX)]))

    with one.transaction() as second:
        second.agencies(["tax_authority"])
        put(other, Changes(agencies=[(TAX, replace(TAX, journal_seq=12, alive_at=NOW + 5))]))
        second.write(Changes(agencies=[(TAX, replace(TAX, journal_seq=9, alive_at=NOW + 8, heard_at=NOW + 2))]))

    assert one.agencies()["tax_authority"] == replace(TAX, journal_seq=12, alive_at=NOW + 8, heard_at=NOW + 2)


def test_who_decided_on_a_row_that_an_operator_has_changed_decides_again(
    one: PostgresStore, other: PostgresStore
) -> None:
    put(one, Changes(agencies=[(AgencyRow(agency="tax_authority"), TAX)]))
    each = accepted()

    def decide() -> None:
        with one.transaction() as transaction:
            read = transaction.agencies(["tax_authority"])["tax_authority"]
            assert other.save_agency(replace(read, paused=True), read)
            transaction.write(replace(each.changes(), agencies=[(read, replace(read, troubles=1))]))

    with pytest.raises(StaleVersionError, match="tax_authority"):
        decide()

    assert one.agencies()["tax_authority"] == replace(TAX, paused=True)
    assert one.request(each.request.id) is None


def test_of_two_who_write_the_first_row_of_an_agency_at_once_neither_loses_what_the_other_heard(
    one: PostgresStore, other: PostgresStore, place: PostgresPlace
) -> None:
    none = AgencyRow(agency="tax_authority")

    with ExitStack() as waits:
        with one.transaction() as transaction:
            transaction.write(Changes(agencies=[(none, replace(none, heard_at=NOW + 9))]))
            late = Changes(agencies=[(none, replace(none, heard_at=NOW + 3))])
            called = waits.enter_context(beside(place, lambda: put(other, late)))

        with pytest.raises(StaleVersionError):
            called.result()
    put(other, late)
    assert one.agencies()["tax_authority"].heard_at == NOW + 9


def test_two_who_write_the_same_agencies_in_another_order_never_wait_for_one_another(
    one: PostgresStore, other: PostgresStore
) -> None:
    names = [f"agency{number}" for number in range(10)]
    start = threading.Barrier(2)

    def hear(store: PostgresStore, order: list[str], first: int) -> None:
        start.wait()
        for seq in range(first, first + 40, 2):
            with store.transaction() as transaction:
                read = transaction.agencies(order)
                heard = [(read[name], replace(read[name], journal_seq=seq)) for name in order]
                transaction.write(Changes(agencies=heard))

    put(one, Changes(agencies=[(AgencyRow(agency=name),) * 2 for name in names]))
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(hear, one, names, 1), pool.submit(hear, other, names[::-1], 2)]:
            done.result()

    assert {row.journal_seq for row in one.agencies().values()} == {40}


def test_signs_of_life_that_lie_ahead_of_a_clock_that_was_set_back_count_no_more() -> None:
    ahead = replace(TAX, heard_at=NOW + 60_000, alive_at=NOW + 60_000)

    assert merged(ahead, ahead, replace(ahead, heard_at=NOW - 5, alive_at=NOW), NOW) == replace(
        TAX, heard_at=NOW - 5, alive_at=NOW
    )
    # Another machine's clock may be a little ahead of this one's.
    near = replace(TAX, heard_at=NOW + 10, alive_at=NOW + 10)
    assert merged(near, TAX, replace(TAX, heard_at=NOW + 1, alive_at=NOW), NOW) == near


def test_a_new_journal_counts_anew_whatever_was_heard_of_the_old_one() -> None:
    admitted = replace(TAX, journal_id="j2", journal_seq=1, start_id="s2", alive_at=NOW + 1)
    heard = replace(TAX, journal_seq=9, alive_at=NOW + 2, heard_at=NOW + 3)

    assert merged(heard, TAX, admitted, NOW + 5) == replace(admitted, heard_at=NOW + 3)
    assert merged(heard, TAX, TAX.retire_journal(), NOW + 5) == replace(TAX.retire_journal(), heard_at=NOW + 3)


def test_who_declares_a_host_dead_is_not_overruled_by_what_was_heard_before() -> None:
    heard = replace(TAX, journal_seq=9, alive_at=NOW + 2)

    assert merged(heard, TAX, replace(TAX, alive_at=None), NOW + 5) == replace(TAX, journal_seq=9, alive_at=None)


# --- what stands once -------------------------------------------------------------------------------------------------


def test_what_is_done_at_once_to_agencies_is_kept_in_the_order_of_commits(
    one: PostgresStore, other: PostgresStore
) -> None:
    writing = threading.Event()
    read: list[int] = []

    def follow() -> None:
        after, go_on = 0, True
        while go_on:
            go_on = writing.is_set()
            for act in other.acts(after=after, most=100):
                after = act.key
                read.append(act.key)

    writing.set()
    reader = threading.Thread(target=follow)
    reader.start()
    with ThreadPoolExecutor(4) as pool:
        stores = [one, other, one, other]
        list(pool.map(lambda n: stores[n % 4].note_act(Act(actor="root", what="x", target=str(n))), range(80)))
    writing.clear()
    reader.join()

    assert len(read) == 80


def test_the_clock_is_that_of_the_database_and_not_of_the_machine(
    one: PostgresStore, place: PostgresPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    clock = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"

    before = place.look(clock)[0][0]
    told = one.now()
    after = place.look(clock)[0][0]

    assert isinstance(before, int)
    assert isinstance(after, int)
    assert before - 500 <= told <= after + 500
