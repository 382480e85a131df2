"""What every journal of an agency host must keep; written against the port, for a fixture ``open_journal``.

``open_journal()`` gives a journal over the same storage each time it is called, as a second host or a restart would.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from bus.errors import StoreUnavailableError
from bus.message.reply import Effect
from bus.ports import Journal, JournalChanges, JournalInvalid, JournalReply, JournalResult
from bus.receiver.row import FOR_EVER, JournalIdentity, Row, State

OpenJournal = Callable[[], Journal]
NOW = 1_800_000_000_000


def a_row(name: str = "a", **more: object) -> Row:
    values = {
        "interaction_id": name,
        "operation": "deed.enter.v1",
        "reference": f"REF-{name}",
        "test": False,
        "state": State.RECEIVED,
        "attempt": 1,
        "effect": Effect.NONE,
        "first_sent": NOW,
        "changed_at": NOW,
    }
    return Row(**{**values, **more})  # type: ignore[arg-type]


def a_reply(name: str = "m", body: bytes = b"{}") -> JournalReply:
    return JournalReply(message_id=name, type="bus.task.completed.v1", correlation_id="r", body=body)


def write(journal: Journal, **changes: object) -> None:
    with journal.transaction() as transaction:
        transaction.write(JournalChanges(**changes))  # type: ignore[arg-type]


def load(journal: Journal, *names: str) -> dict[str, Row]:
    with journal.transaction() as transaction:
        return transaction.load(names)


class JournalContract:
    def test_a_row_comes_back_as_it_was_written(self, open_journal: OpenJournal) -> None:
        full = a_row(
            test=True,
            state=State.BEGUN,
            attempt=3,
            effect=Effect.UNKNOWN,
            data_hash=b"\x00\xff" * 16,
            dead=2,
            dead_code="never_seen",
            supersedes="z",
            expires_at=NOW + 1,
            intent=7,
            request_hash=b"\x01" * 32,
            process="p",
            lease_until=NOW + 2,
            begun_at=NOW - 1,
            called_at=NOW,
        )
        bare = a_row("b")
        write(open_journal(), rows=[full, bare])
        assert load(open_journal(), "a", "b", "c") == {"a": full, "b": bare}

    def test_a_row_written_again_replaces_the_old_one(self, open_journal: OpenJournal) -> None:
        journal = open_journal()
        write(journal, rows=[a_row()])
        write(journal, rows=[a_row(attempt=2, state=State.COMPLETED)])
        assert load(journal, "a")["a"].attempt == 2

    def test_of_a_row_written_twice_in_one_batch_the_last_one_counts(self, open_journal: OpenJournal) -> None:
        journal = open_journal()
        results = [JournalResult(interaction_id="a", raw=raw, reply=a_reply()) for raw in (b"1", b"2")]
        write(journal, rows=[a_row(attempt=1), a_row(attempt=2)], tasks=[("a", b"1"), ("a", b"2")], results=results)
        with journal.transaction() as transaction:
            assert transaction.load(["a"]) == {"a": a_row(attempt=2)}
            assert transaction.tasks(["a"]) == {"a": b"2"}
            assert transaction.results(["a"]) == {"a": results[1]}

    def test_the_identity_stays_and_the_number_grows_with_every_transaction_that_writes_rows(
        self, open_journal: OpenJournal
    ) -> None:
        before = open_journal().identity()
        write(open_journal(), rows=[a_row("a"), a_row("b")])
        after = open_journal().identity()
        assert (after.journal_id, after.seq) == (before.journal_id, before.seq + 1)

    def test_a_transaction_knows_the_number_that_it_will_have(self, open_journal: OpenJournal) -> None:
        journal = open_journal()
        with journal.transaction() as transaction:
            told = transaction.identity()
            transaction.write(JournalChanges(rows=[a_row()]))
        assert told == journal.identity()

    def test_what_fails_leaves_nothing_behind(self, open_journal: OpenJournal) -> None:
        journal = open_journal()
        before = journal.identity()
        with contextlib.suppress(ZeroDivisionError), journal.transaction() as transaction:
            transaction.write(JournalChanges(rows=[a_row()], outbox=[a_reply()]))
            raise ZeroDivisionError
        assert load(journal, "a") == {}
        assert journal.outbox(10) == ()
        assert journal.identity() == before

    def test_two_hosts_that_read_and_then_write_lose_nothing(self, open_journal: OpenJournal) -> None:
        write(open_journal(), rows=[a_row(attempt=0)])

        def raise_attempt() -> None:
            journal = open_journal()
            for _ in range(25):
                with journal.transaction() as transaction:
                    row = transaction.load(["a"])["a"]
                    transaction.write(JournalChanges(rows=[replace(row, attempt=row.attempt + 1)]))

        hosts = [threading.Thread(target=raise_attempt) for _ in range(2)]
        for host in hosts:
            host.start()
        for host in hosts:
            host.join()
        assert load(open_journal(), "a")["a"].attempt == 50

    def test_waiting_gives_what_was_received_up_to_then_oldest_first_with_its_task(
        self, open_journal: OpenJournal
    ) -> None:
        journal = open_journal()
        rows = [a_row("late", changed_at=NOW + 9), a_row("b", changed_at=NOW + 2), a_row("a", changed_at=NOW + 1)]
        begun = a_row("begun", state=State.BEGUN)
        write(
            journal, rows=[*rows, begun], tasks=[(row.interaction_id, row.reference.encode()) for row in [*rows, begun]]
        )
        waiting = journal.waiting(NOW + 2, 10)
        assert [(row.interaction_id, body) for row, body in waiting] == [("a", b"REF-a"), ("b", b"REF-b")]
        assert len(journal.waiting(NOW + 9, 1)) == 1

    def test_interactions_are_found_by_their_reference(self, open_journal: OpenJournal) -> None:
        journal = open_journal()
        write(journal, rows=[a_row("a"), a_row("b", state=State.COMPLETED), a_row("c")])
        with journal.transaction() as transaction:
            found = transaction.referred(["REF-a", "REF-b", "REF-x"])
        assert {reference: row.interaction_id for reference, row in found.items()} == {"REF-a": "a", "REF-b": "b"}

    def test_tasks_and_results_are_kept_byte_for_byte_and_replaced(self, open_journal: OpenJournal) -> None:
        journal = open_journal()
        raw = bytes(range(256))
        result = JournalResult(interaction_id="a", raw=raw, reply=a_reply(body=raw))
        write(journal, rows=[a_row()], tasks=[("a", b"old")], results=[replace(result, raw=None)])
        write(journal, tasks=[("a", raw)], results=[result])
        with open_journal().transaction() as transaction:
            assert transaction.tasks(["a", "b"]) == {"a": raw}
            assert transaction.results(["a", "b"]) == {"a": result}

    def test_the_outbox_keeps_its_order_and_one_copy_of_each_reply(self, open_journal: OpenJournal) -> None:
        journal = open_journal()
        write(journal, outbox=[a_reply("m2"), a_reply("m1")])
        write(journal, outbox=[a_reply("m2"), a_reply("m3")])
        assert [reply.message_id for _, reply in open_journal().outbox(10)] == ["m2", "m1", "m3"]
        write(journal, confirmed=["m2", "m3"])
        assert [reply.message_id for _, reply in open_journal().outbox(10)] == ["m1"]

    def test_the_outbox_is_read_part_by_part_behind_the_last_place_that_was_read(
        self, open_journal: OpenJournal
    ) -> None:
        # Given five replies, of which two were read
        journal = open_journal()
        write(journal, outbox=[a_reply(name) for name in "abcde"])
        first = journal.outbox(2)
        # When one of them leaves, one that waits leaves, and more come
        write(journal, confirmed=["a", "d"], outbox=[a_reply("f")])
        rest = journal.outbox(10, first[-1][0])
        # Then the rest follows in order, and nothing twice
        assert [reply.message_id for _, reply in (*first, *rest)] == [*"abcef"]
        assert journal.outbox(10, rest[-1][0]) == ()

    def test_confirming_alone_does_not_raise_the_number(self, open_journal: OpenJournal) -> None:
        journal = open_journal()
        write(journal, outbox=[a_reply()])
        before = journal.identity()
        write(journal, confirmed=["m"])
        assert journal.identity() == before

    def test_the_number_that_a_reply_carries_is_the_journals_own_after_a_restart(
        self, open_journal: OpenJournal
    ) -> None:
        # Given a reply that is built anew and changes no row
        with open_journal().transaction() as transaction:
            carried = transaction.identity()
            transaction.write(JournalChanges(outbox=[a_reply()]))
        # Then nobody who heard its number takes the journal for an older copy
        assert open_journal().identity() == carried

    def test_what_could_not_be_understood_is_kept(self, open_journal: OpenJournal) -> None:
        invalid = JournalInvalid(origin="tasks.land_office", code="not-json", body=b"\xff{", at=NOW)
        write(open_journal(), invalid=[invalid])
        assert open_journal().invalid(10) == (invalid,)

    def test_of_what_could_not_be_understood_the_newest_is_shown_first(self, open_journal: OpenJournal) -> None:
        told = [JournalInvalid(origin="tasks.land_office", code=code, body=b"", at=NOW) for code in "abc"]
        write(open_journal(), invalid=told)
        assert open_journal().invalid(2) == (told[2], told[1])

    def test_an_admission_told_to_one_host_is_there_for_the_other(self, open_journal: OpenJournal) -> None:
        told = JournalIdentity(journal_id="j", seq=7)
        open_journal().admit("start", told)
        assert open_journal().admission("start") == told
        assert open_journal().admission("other") is None

    @pytest.mark.parametrize("state", list(State))
    def test_a_renewed_journal_trusts_nothing_but_final_answers(self, open_journal: OpenJournal, state: State) -> None:
        journal = open_journal()
        effect = {State.COMPLETED: Effect.DONE, State.UNREADABLE: Effect.DONE, State.BEGUN: Effect.UNKNOWN}
        write(journal, rows=[a_row(state=state, effect=effect.get(state, Effect.NONE), process="p", lease_until=NOW)])
        before = journal.identity()
        after = journal.renew(NOW + 5)
        row = load(journal, "a")["a"]
        assert after.journal_id != before.journal_id
        assert after == journal.identity()
        if state in {State.COMPLETED, State.REFUSED, State.UNREADABLE}:
            assert row.state is state
        else:
            assert (row.state, row.effect, row.called_at, row.begun_at) == (
                State.UNKNOWN,
                Effect.UNKNOWN,
                NOW + 5,
                NOW,
            )

    def test_a_renewed_journal_keeps_tombstones_that_no_attempt_outlives(self, open_journal: OpenJournal) -> None:
        journal = open_journal()
        tombstone = a_row(state=State.TOMBSTONE, dead=FOR_EVER, dead_code="superseded")
        write(journal, rows=[tombstone])
        journal.renew(NOW)
        assert load(journal, "a") == {"a": tombstone}

    def test_pruning_forgets_answered_interactions_and_says_so(self, open_journal: OpenJournal) -> None:
        journal = open_journal()
        old, new = NOW, NOW + 10
        write(
            journal,
            rows=[
                a_row("done", state=State.COMPLETED, first_sent=old),
                a_row("open", state=State.UNKNOWN, first_sent=old),
                a_row("recent", state=State.COMPLETED, first_sent=new),
            ],
            tasks=[("done", b"task")],
        )
        assert journal.prune(NOW + 5) == 1
        assert load(journal, "done", "open", "recent").keys() == {"open", "recent"}
        identity = open_journal().identity()
        assert not identity.would_hold(identity.journal_id, old)
        assert identity.would_hold(identity.journal_id, new)

    @pytest.mark.parametrize("state", list(State))
    def test_what_waits_for_an_answer_or_may_be_read_again_is_never_forgotten(
        self, open_journal: OpenJournal, state: State
    ) -> None:
        journal = open_journal()
        write(journal, rows=[a_row(state=state)], tasks=[("a", b"task")])
        kept = state in {State.RECEIVED, State.BEGUN, State.UNKNOWN, State.PENDING, State.UNREADABLE}
        assert journal.prune(NOW + 1) == (0 if kept else 1)
        assert bool(load(journal, "a")) is kept

    def test_where_nothing_is_forgotten_nothing_is_said(self, open_journal: OpenJournal) -> None:
        journal = open_journal()
        write(journal, rows=[a_row(state=State.COMPLETED), a_row("open", first_sent=NOW - 5)])
        before = journal.identity()
        assert journal.prune(NOW) == 0
        assert journal.identity() == before

    def test_a_part_is_forgotten_and_the_rest_when_asked_again(self, open_journal: OpenJournal) -> None:
        journal = open_journal()
        write(journal, rows=[a_row(f"{number}", state=State.COMPLETED) for number in range(2_500)])
        assert journal.prune(NOW + 1, 1_500) == 2_000
        assert not journal.identity().would_hold(journal.identity().journal_id, NOW)
        assert journal.prune(NOW + 1, 1_500) == 500

    def test_more_is_forgotten_than_one_transaction_takes(self, open_journal: OpenJournal) -> None:
        journal = open_journal()
        write(journal, rows=[a_row(f"{number}", state=State.COMPLETED) for number in range(2_500)])
        before = journal.identity()
        assert journal.prune(NOW + 1) == 2_500
        assert load(journal, *(f"{number}" for number in range(2_500))) == {}
        assert journal.identity().seq > before.seq

    def test_a_journal_that_was_closed_says_so(self, open_journal: OpenJournal) -> None:
        journal = open_journal()
        journal.close()
        with pytest.raises(StoreUnavailableError):
            journal.identity()

    def test_any_thread_may_use_it(self, open_journal: OpenJournal) -> None:
        journal = open_journal()

        def raise_attempt() -> None:
            for _ in range(10):
                with journal.transaction() as transaction:
                    attempt = transaction.load(["a"])["a"].attempt
                    transaction.write(JournalChanges(rows=[a_row(attempt=attempt + 1)]))

        write(journal, rows=[a_row(attempt=0)])
        with ThreadPoolExecutor(2) as threads:
            for done in [threads.submit(raise_attempt) for _ in range(2)]:
                done.result()
        assert load(journal, "a")["a"].attempt == 20

    def test_large_batches_are_one_transaction(self, open_journal: OpenJournal) -> None:
        journal = open_journal()
        write(journal, rows=[a_row(f"{number}") for number in range(2_000)])
        names = [f"{number}" for number in range(2_000)]
        assert len(load(journal, *names)) == 2_000
