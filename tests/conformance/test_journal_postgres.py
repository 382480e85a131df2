"""The PostgreSQL journal keeps the journal's contract, and its own promises about the database."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from uuid import uuid4

import psycopg
import pytest

from bus.bench.services import PostgresNode
from bus.errors import ConfigurationError, StoreUnavailableError
from bus.journals.postgres import PostgresJournal
from bus.ports import Journal, JournalChanges
from bus.receiver.row import State
from tests.conformance.journal_contract import JournalContract, OpenJournal, a_row, load, write

AGENCY = "land_office"
#: The longest name that an agency may have.
LONG = "a" * 64
INDEX = "interaction_first_sent"
NUMBER = f"SELECT oid FROM pg_class WHERE relname = '{INDEX}'"


@pytest.fixture
def open_journal(database: str) -> Iterator[OpenJournal]:
    opened: list[PostgresJournal] = []

    def one_more() -> PostgresJournal:
        opened.append(PostgresJournal(database, agency=AGENCY))
        return opened[-1]

    yield one_more
    for journal in opened:
        journal.close()


def sql(database: str, statement: str, schema: str = f"journal_{AGENCY}") -> list[tuple[object, ...]]:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f'SET search_path = "{schema}"')
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


class TestPostgresJournal(JournalContract):
    def test_nobody_is_asked_before_the_first_use(self) -> None:
        PostgresJournal("postgresql://bus@127.0.0.1:1/nowhere", agency=AGENCY).close()

    def test_agencies_that_share_a_database_have_each_their_own(self, database: str) -> None:
        names = [AGENCY, "land-office", LONG, LONG[:-1] + "b"]
        journals = [PostgresJournal(database, agency=name) for name in names]
        for journal, name in zip(journals, names, strict=True):
            write(journal, rows=[a_row(name)])
        for journal, name in zip(journals, names, strict=True):
            assert load(journal, *names).keys() == {name}
            journal.close()

    def test_hosts_that_start_together_make_one_journal(self, database: str) -> None:
        told: list[str] = []

        def start() -> None:
            journal = PostgresJournal(database, agency=AGENCY)
            told.append(journal.identity().journal_id)
            journal.close()

        hosts = [threading.Thread(target=start) for _ in range(8)]
        for host in hosts:
            host.start()
        for host in hosts:
            host.join()
        assert len(told) == 8
        assert len({*told}) == 1

    def test_a_user_who_may_not_make_schemas_uses_the_one_that_was_made_for_him(self, database: str) -> None:
        user = f"host_{uuid4().hex}"
        sql(database, f"CREATE ROLE {user} LOGIN")
        sql(database, f"CREATE SCHEMA journal_{AGENCY} AUTHORIZATION {user}")
        journal = PostgresJournal(database.replace("postgres@", f"{user}@"), agency=AGENCY)
        write(journal, rows=[a_row()])
        assert load(journal, "a")
        journal.close()
        sql(database, f"DROP OWNED BY {user}")
        sql(database, f"DROP ROLE {user}")

    def test_every_commit_reaches_the_disk_whatever_the_database_does_otherwise(
        self, database: str, open_journal: OpenJournal
    ) -> None:
        name = database.rpartition("/")[2]
        sql(database, f"ALTER DATABASE {name} SET synchronous_commit = off")
        with open_journal().transaction() as transaction:
            found = transaction._connection.execute("SHOW synchronous_commit").fetchone()  # type: ignore[attr-defined]  # noqa: SLF001
        assert found == ("on",)

    def test_a_lost_connection_is_told_once_and_the_next_use_connects_anew(
        self, database: str, open_journal: OpenJournal
    ) -> None:
        journal = open_journal()
        write(journal, rows=[a_row()])
        kill_all(database)
        with pytest.raises(StoreUnavailableError):
            journal.identity()
        assert load(journal, "a").keys() == {"a"}

    def test_a_connection_lost_within_a_transaction_leaves_nothing_of_it(
        self, database: str, open_journal: OpenJournal
    ) -> None:
        journal = open_journal()
        before = journal.identity()
        with pytest.raises(StoreUnavailableError), journal.transaction() as transaction:  # noqa: PT012
            transaction.write(JournalChanges(rows=[a_row()]))
            kill_all(database)
        assert load(journal, "a") == {}
        assert journal.identity() == before

    def test_a_host_that_hangs_within_a_transaction_does_not_hold_up_the_others_for_ever(
        self, open_journal: OpenJournal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given limits that a test can wait for
        limits = {"lock_timeout": 300, "statement_timeout": 5_000, "idle_in_transaction_session_timeout": 3_000}
        monkeypatch.setattr("bus.journals.postgres_link._LIMITS", limits)
        hanging, other = open_journal(), open_journal()
        write(other, rows=[a_row("before")])
        # When one host stays within its transaction
        with pytest.raises(StoreUnavailableError), hanging.transaction() as transaction:  # noqa: PT012
            transaction.write(JournalChanges(rows=[a_row("hanging")]))
            # Then the other is told so, in time
            with pytest.raises(StoreUnavailableError, match="55P03"):
                write(other, rows=[a_row("other")])
            # And comes through in the end
            insist(other, "other")
        # And nothing of the hanging one is left
        assert load(other, "before", "hanging", "other").keys() == {"before", "other"}

    def test_a_server_that_stands_still_does_not_take_the_host_along(
        self, postgres_node: PostgresNode, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("bus.journals.postgres_link._ANSWER", 0.5)
        monkeypatch.setattr("bus.journals.postgres_link._CONNECT", 2)
        journal = PostgresJournal(postgres_node.url, agency=AGENCY)
        write(journal, rows=[a_row()])
        # Once on a connection that was good, once where there is none
        postgres_node.pause()
        try:
            for _ in range(2):
                with pytest.raises(StoreUnavailableError):
                    journal.identity()
        finally:
            postgres_node.resume()
        assert load(journal, "a").keys() == {"a"}
        journal.close()

    def test_no_text_of_an_error_holds_a_password(self) -> None:
        secret = "a-secret-of-the-ministry"
        with pytest.raises(ConfigurationError) as misread:
            PostgresJournal(f"postgresql://bus:{secret}@[nowhere", agency=AGENCY)
        journal = PostgresJournal("postgresql://bus@127.0.0.1:1/journal", agency=AGENCY, password=secret)
        with pytest.raises(StoreUnavailableError) as unreachable:
            journal.identity()
        journal.close()
        error: BaseException | None
        for error in (misread.value, unreachable.value, unreachable.value.__cause__):
            assert secret not in str(error)

    @pytest.mark.parametrize("url", ["", "journal.db", "mysql://bus@host/journal", "host=localhost"])
    def test_an_address_of_something_else_is_refused_with_the_mend(self, url: str) -> None:
        with pytest.raises(ConfigurationError, match="postgresql://user@host"):
            PostgresJournal(url, agency=AGENCY)

    def test_an_older_copy_that_took_its_place_is_found_out_and_begins_nothing(
        self, database: str, open_journal: OpenJournal
    ) -> None:
        # Given a host that has written, and a database that knows less since
        journal = open_journal()
        for name in "abc":
            write(journal, rows=[a_row(name)])
        sql(database, "DELETE FROM interaction WHERE interaction_id = 'c'")
        sql(database, "UPDATE journal SET seq = seq - 1")
        # Then nothing is begun on it, however often the host asks
        for _ in range(2):
            with pytest.raises(StoreUnavailableError) as found:
                write(journal, rows=[a_row("d")])
            assert found.value.code == "journal-rolled-back"
        # Until it is declared another one, in which a missing row proves nothing
        before = load(open_journal(), "a", "b", "c", "d")
        assert before.keys() == {"a", "b"}
        renewed = journal.renew(0)
        assert not renewed.would_hold("the old one", 0)
        write(journal, rows=[a_row("d")])
        assert load(journal, "d").keys() == {"d"}

    def test_what_was_forgotten_counts_for_the_guard_and_an_older_copy_forgets_nothing(
        self, database: str, open_journal: OpenJournal
    ) -> None:
        # Given a host that has written and forgotten
        journal = open_journal()
        write(journal, rows=[a_row("old", state=State.COMPLETED, first_sent=1), a_row("new", first_sent=9)])
        assert journal.prune(5) == 1
        # When the database is as it was just before that
        sql(database, "UPDATE journal SET seq = seq - 1, oldest = 0")
        sql(database, "UPDATE interaction SET state = 'completed', first_sent = 1")
        # Then it is found out, and nothing that would hide it is done: it neither forgets nor raises the number
        for use in (lambda: journal.prune(5), journal.identity):
            with pytest.raises(StoreUnavailableError) as found:
                use()
            assert found.value.code == "journal-rolled-back"
        assert load(open_journal(), "new").keys() == {"new"}

    def test_a_large_journal_gets_its_index_however_long_it_takes_while_its_other_hosts_write(
        self, database: str, open_journal: OpenJournal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Given a journal of an earlier version, one of its hosts, and a backup for which making an index has to wait
        sister = open_journal()
        write(sister, rows=[a_row("before")])
        earlier_version(database)
        with psycopg.connect(database) as backup:
            backup.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            backup.execute(f"SELECT count(*) FROM journal_{AGENCY}.interaction")
            # When another host starts, whose limits are shorter than that
            monkeypatch.setattr("bus.journals.postgres_link._ANSWER", 1.0)
            limits = {"lock_timeout": 300, "statement_timeout": 300, "idle_in_transaction_session_timeout": 600}
            monkeypatch.setattr("bus.journals.postgres_link._LIMITS", limits)
            host = open_journal()
            started = threading.Thread(target=host.identity)
            started.start()
            until(lambda: sql(database, NUMBER) != [])
            # Then its sister goes on writing
            for number in range(20):
                write(sister, rows=[a_row(f"meanwhile-{number}")])
                started.join(0.1)
            assert started.is_alive()
        # And the host starts once the backup is done, with its limits as they were
        started.join()
        assert is_indexed(database)
        with host.transaction() as transaction:
            told = transaction._connection.execute("SHOW statement_timeout").fetchone()  # type: ignore[attr-defined]  # noqa: SLF001
        assert told == ("300ms",)
        assert load(host, "before", "meanwhile-19").keys() == {"before", "meanwhile-19"}

    def test_an_index_that_was_broken_off_is_made_anew(self, database: str, open_journal: OpenJournal) -> None:
        open_journal().identity()
        sql(database, f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{INDEX}'::regclass")
        open_journal().identity()
        assert is_indexed(database)

    def test_hosts_that_start_together_on_an_earlier_journal_make_one_index(
        self, database: str, open_journal: OpenJournal
    ) -> None:
        # Given an earlier journal, and a backup for which making an index has to wait
        write(open_journal(), rows=[a_row()])
        earlier_version(database)
        found: list[int] = []
        hosts = [
            threading.Thread(target=lambda one=one: found.append(one.identity().seq))
            for one in [open_journal() for _ in range(6)]
        ]
        with psycopg.connect(database) as backup:
            backup.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            backup.execute(f"SELECT count(*) FROM journal_{AGENCY}.interaction")
            # When its hosts start together
            for host in hosts:
                host.start()
            until(lambda: sql(database, NUMBER) != [])
            begun = sql(database, NUMBER)
            hosts[0].join(1.5)
            # Then none of them starts before it is made, nor takes it for one that was broken off
            assert found == []
        for host in hosts:
            host.join()
        assert found == [1] * 6
        assert (sql(database, NUMBER), is_indexed(database)) == (begun, True)

    @pytest.mark.parametrize("steps", [1, 2])
    def test_hosts_of_the_release_before_that_had_no_index_go_on_beside_those_of_this_one(
        self, database: str, open_journal: OpenJournal, steps: int
    ) -> None:
        # Given a journal as an earlier release left it, or as the one did that made the index and called it a step
        write(open_journal(), rows=[a_row()])
        if steps == 1:
            earlier_version(database)
        sql(database, f"UPDATE version SET steps = {steps}")
        # When a host of this release uses it
        assert load(open_journal(), "a").keys() == {"a"}
        # Then it has the index, and a host that knows one step finds no second one, which it would refuse
        assert is_indexed(database)

    def test_a_journal_of_a_newer_version_is_left_alone(self, database: str, open_journal: OpenJournal) -> None:
        open_journal().identity()
        sql(database, "UPDATE version SET steps = 99")
        with pytest.raises(StoreUnavailableError, match="newer version"):
            open_journal().identity()


def earlier_version(database: str) -> None:
    """The journal is as the version made it that had no index for what is forgotten."""
    sql(database, f"DROP INDEX {INDEX}")


def is_indexed(database: str) -> bool:
    """The index is there and whole, and the version says no more than before it was."""
    valid = f"SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('{INDEX}')"
    return (sql(database, valid), sql(database, "SELECT steps FROM version")) == ([(True,)], [(1,)])


def until(true: Callable[[], bool]) -> None:
    """The time-out of the test bounds it."""
    while not true():
        threading.Event().wait(0.05)


def kill_all(database: str) -> None:
    """As if the server had lost every other connection to the database."""
    sql(
        database,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )


def insist(journal: Journal, name: str) -> None:
    """Write until it is taken; the time-out of the test bounds it."""
    while True:
        try:
            write(journal, rows=[a_row(name)])
        except StoreUnavailableError:
            continue
        return
