"""``bus store reconcile``: a store that went back by itself asks first; beside a role that runs nobody declares it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from bus.bench.services import PostgresNode, PostgresStandby
from bus.bootstrap import claimed, open_store
from bus.bootstrap.backups import begin_reconcile, keeping
from bus.errors import TransientError
from bus.ports import Act, Mode, Store
from bus.stores.postgres import PostgresStore, migrate
from bus.stores.postgres_backup import dump, refuse_in_use, restore
from tests.support.restored import about_to_send, run_store
from tests.support.waiting import wait_for
from tests.support.workspaces.copies import copy_of_repository

ACT = Act(actor="tester", what="store_restored", target="store")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return about_to_send(tmp_path / "data")


def asks_first(store: Store, reason: str) -> bool:
    """Whether nothing may leave but look-ups, and the list of acts says why."""
    last = store.acts(after=0, most=99)[-1]
    return (store.mode(), store.outbox_depth(), last.what, last.reason) == (
        Mode.RECONCILE,
        0,
        "store_went_back",
        reason,
    )


def test_a_store_in_a_file_that_is_declared_to_have_gone_back_asks_first_and_says_why(data: Path) -> None:
    where = ("--data", data, "--workspace", data)
    assert run_store("reconcile", *where).exit_code == 2
    done = run_store("reconcile", "--reason", "the disk of yesterday", *where)
    assert (done.exit_code, "bus store open" in done.output) == (0, True), done.output
    with closing(open_store(data)) as store:
        assert store.accepted() == 1
        assert asks_first(store, "the disk of yesterday")
        assert store.recount() == ()


def test_a_store_that_was_asked_about_and_went_back_again_asks_again(data: Path) -> None:
    where = ("--data", data, "--workspace", data)
    for reason in ("once", "twice"):
        assert run_store("reconcile", "--reason", reason, *where).exit_code == 0
        with closing(open_store(data)) as store:
            assert asks_first(store, reason)
            assert store.save_mode(Mode.ASKED, was=Mode.RECONCILE)


def test_nobody_declares_it_while_the_bus_runs_on_the_folder(data: Path) -> None:
    with claimed(data):
        refused = run_store("reconcile", "--reason", "in a hurry", "--data", data, "--workspace", data)
    assert getattr(refused.exception, "code", "") == "data-in-use"
    with closing(open_store(data)) as store:
        assert (store.mode(), store.acts(after=0, most=9)) == (Mode.OPEN, ())


def test_nobody_declares_it_while_a_role_is_connected_to_the_database(
    make_new_database: Callable[..., str], tmp_path: Path
) -> None:
    url = make_new_database()
    migrate(url)
    kept = keeping(workspace_on(url, tmp_path), "test", tmp_path / "data")
    with closing(PostgresStore(url)) as role:
        assert role.mode() is Mode.OPEN
        with pytest.raises(TransientError) as refused:
            begin_reconcile(kept, by="anna", reason="too early")
        assert refused.value.code == "store-in-use"
        assert role.mode() is Mode.OPEN
    wait_for("it is gone", lambda: not others(url))
    begin_reconcile(kept, by="anna", reason="the standby lacked commits")
    with closing(PostgresStore(url)) as store:
        assert asks_first(store, "the standby lacked commits")
        assert store.acts(after=0, most=9)[-1].actor == "anna"


def workspace_on(url: str, folder: Path) -> Path:
    """A workspace whose environment names this database."""
    workspace, _ = copy_of_repository(folder)
    with (workspace / "env" / "test.yaml").open("a", encoding="utf-8") as file:
        # Nobody asks the broker, but where the store is shared there must be one.
        file.write(f"store: {{url: '{url}'}}\nbroker: {{url: 'amqp://127.0.0.1/bus', password: {{env: NOBODY}}}}\n")
    return workspace


def others(url: str) -> bool:
    with psycopg.connect(url) as connection:
        asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        return bool(connection.execute(asked).fetchall()[0][0])


# --- a primary and its standby, both in the address -------------------------------------------------------------------


@pytest.fixture
def both(tmp_path: Path) -> Iterator[str]:
    """An address that names the standby first; the store is in the primary, which waits for the standby."""
    settings = {"synchronous_standby_names": PostgresStandby.STANDBY}
    with (
        PostgresNode(tmp_path / "primary", settings=settings) as primary,
        PostgresStandby(tmp_path / "standby", primary) as standby,
    ):
        migrate(primary.url)
        yield f"postgresql://postgres@127.0.0.1:{standby.port},127.0.0.1:{primary.port}/postgres"


def test_of_two_servers_who_uses_the_store_is_asked_of_the_one_that_takes_writes(both: str) -> None:
    with closing(PostgresStore(both)) as role:
        assert role.mode() is Mode.OPEN
        with pytest.raises(TransientError, match="connected"):
            refuse_in_use(both, replace=True)


def test_of_two_servers_a_store_is_put_back_into_the_one_that_takes_writes(both: str, tmp_path: Path) -> None:
    with closing(PostgresStore(both)) as store:
        store.save_token(token_hash="a" * 64, user="before", role="operator", agency=None)
    dump(both, tmp_path / "dumped")
    restore(tmp_path / "dumped", both, ACT)
    with closing(PostgresStore(both)) as store:
        assert (store.mode(), store.users()) == (Mode.RECONCILE, {"before"})
