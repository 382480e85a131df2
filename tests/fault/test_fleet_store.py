"""Many processes under load, and their database dies, stands still, is slow, held up, full, or takes no writes."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from bus.bench.services import PostgresNode, RabbitNode
from bus.errors import BusError
from bus.process.state import RequestState
from tests.support.accounts import Watch, assert_it_added_up
from tests.support.demo_workspace import SERVICE, application
from tests.support.fleet import VHOST, Fleet
from tests.support.ledgers import assert_all_is_well
from tests.support.load import Load, all_end
from tests.support.waiting import wait_for

#: Seconds for which something is in the way: longer than the bus's patience with a lock.
IN_THE_WAY = 8.0
#: Seconds for which the database is slow: a few times that patience, and longer than a client waits for an answer.
SLOW_FOR = 30.0
#: What the server writes down of each transaction that it could not put in order with the others: SQLSTATE 40001.
UNSERIALIZABLE = "could not serialize access"
#: Ends every session but the one that asks, so that what was set for new ones counts.
END_SESSIONS = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
)
#: Bytes of a disk on which a database has room for its life and for little more.
SMALL_DISK = 200 << 20


@contextmanager
def fleet_over(folder: Path, postgres: PostgresNode) -> Iterator[Fleet]:
    """A fleet with a RabbitMQ of its own, on this PostgreSQL."""
    with RabbitNode(folder / "rabbit") as rabbit, postgres:
        rabbit.admin.make_vhost(VHOST)
        (folder / "fleet").mkdir()
        with Fleet(folder / "fleet", rabbit, postgres) as fleet:
            all_work(fleet)
            yield fleet


def all_work(fleet: Fleet) -> None:
    """Wait until requests end, every process manager listens and a timekeeper ticks.

    Who finds no store when it starts ends again, and this is not what is tested.
    """
    fleet.start()
    with fleet.store() as store, Load(fleet, rate=5) as load:
        begun = store.now()
        wait_for("ticks come", lambda: [row for row in store.agencies().values() if (row.heard_at or 0) > begun])
        wait_for("one is completed", lambda: store.totals()[RequestState.COMPLETED])
        managers = sum("process-manager" in roles for roles in fleet.roles.values())
        wait_for("all process managers listen", lambda: len(store.presences(store.now() - 5_000)) >= managers)
    assert not load.wrong


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    # Who waits for one another is found out sooner than anybody gives up.
    with fleet_over(folder, PostgresNode(folder / "postgres", settings={"deadlock_timeout": "20ms"})) as running:
        yield running


@pytest.fixture(autouse=True)
def _all_run(fleet: Fleet) -> Iterator[None]:
    yield
    fleet.postgres.resume()
    fleet.postgres.start()
    fleet.start()


def restart(fleet: Fleet) -> None:
    fleet.postgres.stop()
    time.sleep(2)
    fleet.postgres.start()


def kill(fleet: Fleet) -> None:
    fleet.postgres.kill()
    time.sleep(2)
    fleet.postgres.start()


def pause(fleet: Fleet) -> None:
    fleet.postgres.pause()
    time.sleep(IN_THE_WAY)
    fleet.postgres.resume()


def stranger(fleet: Fleet) -> psycopg.Connection[tuple[object, ...]]:
    """Somebody else who works in the same database."""
    return psycopg.connect(fleet.database, autocommit=True, application_name="stranger")


def for_a_while(act: Callable[[], object], every: float) -> None:
    until = time.monotonic() + IN_THE_WAY
    while time.monotonic() < until:
        act()
        time.sleep(every)


def disconnect(fleet: Fleet) -> None:
    with stranger(fleet) as connection:
        for_a_while(lambda: connection.execute(END_SESSIONS), 0.3)


def lock(fleet: Fleet) -> None:
    with stranger(fleet) as connection, connection.transaction():
        connection.execute("LOCK TABLE request IN ACCESS EXCLUSIVE MODE")
        time.sleep(IN_THE_WAY)


def entangle(fleet: Fleet) -> None:
    """Lock rows the other way round than the bus does."""
    with stranger(fleet) as connection:

        def once() -> None:
            with suppress(psycopg.errors.DeadlockDetected), connection.transaction():
                newest = connection.execute("SELECT key FROM request ORDER BY key DESC LIMIT 40").fetchall()
                for (key,) in newest:
                    connection.execute("SELECT key FROM request WHERE key = %s FOR UPDATE", [key])
                    time.sleep(0.02)

        def deadlocks() -> int:
            connection.execute("SELECT pg_stat_clear_snapshot()")
            counted = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
            return int(str(connection.execute(counted).fetchall()[0][0]))

        before = deadlocks()
        for_a_while(once, 0)

        def entangled() -> bool:
            once()
            return deadlocks() > before

        wait_for("somebody waited for one another", entangled)


def serialize(fleet: Fleet) -> None:
    """Every transaction that writes has to be in order with all the others, and those that are not fail."""
    with stranger(fleet) as connection:

        def begin_anew(setting: str) -> None:
            connection.execute(f'ALTER DATABASE "{connection.info.dbname}" {setting}'.encode())
            connection.execute(END_SESSIONS)

        def failed() -> int:
            return fleet.postgres.log.read_text(encoding="utf-8", errors="replace").count(UNSERIALIZABLE)

        before = failed()
        begin_anew("SET default_transaction_isolation = 'serializable'")
        try:
            # Nobody but the bus writes here: what failed was a batch of the bus.
            wait_for("transactions could not be put in order", lambda: failed() >= before + 20)
        finally:
            begin_anew("RESET default_transaction_isolation")


def slow(fleet: Fleet) -> None:
    """It works for a tenth of each second."""
    until = time.monotonic() + SLOW_FOR
    while time.monotonic() < until:
        fleet.postgres.pause()
        time.sleep(0.9)
        fleet.postgres.resume()
        time.sleep(0.1)


def take_no_writes(fleet: Fleet) -> None:
    def begin_anew(setting: str) -> None:
        with stranger(fleet) as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {setting}".encode())
            connection.execute("SELECT pg_reload_conf()")

    begin_anew("on")
    try:
        time.sleep(5)
    finally:
        begin_anew("off")


#: What happens, and whether submissions must have been told to come again.
ACCIDENTS: dict[Callable[[Fleet], None], bool] = {
    restart: True,
    kill: True,
    pause: False,
    disconnect: False,
    lock: True,
    entangle: False,
    serialize: False,
    slow: False,
    take_no_writes: True,
}
#: Run every time; the others by `make test-faults`.
_ALWAYS = (kill, disconnect)


@pytest.mark.parametrize(
    "accident",
    [pytest.param(one, id=one.__name__, marks=() if one in _ALWAYS else (pytest.mark.long,)) for one in ACCIDENTS],
)
def test_an_accident_of_the_database_under_load_costs_time_and_nothing_else(
    fleet: Fleet, accident: Callable[[Fleet], None]
) -> None:
    said = fleet.log.stat().st_size
    with Load(fleet, rate=20) as load:
        load.wait_for(20)
        fleet.fault_begins()
        accident(fleet)
        load.wait_for(20)
        outcomes = all_end(fleet, load)

    assert set(outcomes) == {"completed"}
    assert_all_is_well(fleet)
    # Every batch that failed was decided again as a whole: none was cut up in search of a culprit.
    assert b"unexpected_error" not in fleet.log.read_bytes()[said:]
    assert set(load.refused) <= {"store-unavailable", "stale-version", "outbox-full"}, load.refused
    assert load.refused["store-unavailable"] or not ACCIDENTS[accident]
    # Nobody has died of it.
    assert fleet.is_alive


def test_a_submission_that_is_refused_meanwhile_is_accepted_whole_or_not_at_all(fleet: Fleet) -> None:
    # Given submissions, each sent once, while the database loses every connection again and again
    told: dict[str, str] = {}
    keys = [f"once-{number}" for number in range(120)]
    fleet.fault_begins()
    with Watch(fleet.store) as watch:
        accident = threading.Thread(target=disconnect, args=(fleet,))
        accident.start()
        for key in keys:
            with suppress(BusError, OSError):
                receipt = fleet.portal.submit(SERVICE, application(premises=False), key=key)
                told[key] = str(receipt["request_id"])
        accident.join()
        # When each is sent again
        again = {key: str(fleet.submit(key, premises=False)) for key in keys}
        # Then it is the one request that it was told to be, and each is there once
        assert told.items() <= again.items()
        assert len(set(again.values())) == len(keys)
        for request in again.values():
            wait_for(f"the end of {request}", lambda request=request: fleet.state(request) == "completed")  # type: ignore[misc]
    assert_it_added_up(watch, fault_at=fleet.fault_at)
    assert_all_is_well(fleet)


# --- a full disk ------------------------------------------------------------------------------------------------------


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own with little room; it needs root."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "tmpfs", str(folder)], check=True)
    with ExitStack() as stack:
        stack.callback(subprocess.run, ["umount", "--lazy", str(folder)], check=True)
        yield folder


def fill(folder: Path) -> Path:
    """Leave no room in the file system of the folder; the file to delete."""
    ballast = folder / "ballast"
    # Without a buffer, which would be written once more, and in vain, when the file is closed.
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\0" * (1 << 16))
    return ballast


@pytest.mark.long
def test_a_database_whose_disk_is_full_refuses_and_goes_on_when_there_is_room_again(tmp_path: Path) -> None:
    small = {"max_wal_size": "32MB", "min_wal_size": "32MB", "shared_buffers": "16MB"}
    with (
        small_disk(tmp_path / "disk") as disk,
        fleet_over(tmp_path, PostgresNode(disk / "postgres", settings=small)) as fleet,
        Load(fleet, rate=40) as load,
    ):
        load.wait_for(30)
        # When there is no room, a submission is refused
        fleet.fault_begins()
        ballast = fill(disk)
        wait_for("submissions are told to come again", lambda: load.refused["store-unavailable"])
        time.sleep(3)
        # And when there is room again, and a server that gave up was started again as a machine's services are
        ballast.unlink()
        fleet.postgres.start()
        load.wait_for(30)
        # Then everything goes on by itself
        outcomes = all_end(fleet, load)
        assert set(outcomes) == {"completed"}
        assert_all_is_well(fleet)
        assert fleet.is_alive
