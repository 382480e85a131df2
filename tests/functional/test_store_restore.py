"""``bus store backup`` and ``restore``: whole or not at all, never by accident, and never without asking first."""

from __future__ import annotations

import io
import os
import resource
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from bus.bootstrap import claimed, installation_secret, open_store
from bus.errors import ConfigurationError, TransientError
from bus.operations.caller import Role, mint_token
from bus.ports import Act, Mode
from bus.stores.backup import unpacked, write_backup
from bus.stores.postgres import PostgresStore
from bus.stores.postgres import migrate as migrate_postgres
from bus.stores.postgres_backup import dump as dump_postgres
from bus.stores.postgres_backup import refuse_in_use
from bus.stores.postgres_backup import restore as restore_postgres
from tests.support.restored import about_to_send, run_store

ACT = Act(actor="tester", what="store_restored", target="store")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return about_to_send(tmp_path / "data")


def back_up(data: Path, file: Path) -> Path:
    done = run_store("backup", file, "--data", data, "--workspace", data)
    assert done.exit_code == 0, (done.output, done.exception)
    return file


def restore(data: Path, file: Path, *more: str) -> BaseException | None:
    """Restore; the error that it ended with, if any."""
    done = run_store("restore", file, "--data", data, "--workspace", data.parent, *more)
    return None if isinstance(done.exception, SystemExit) else done.exception


def code_of(error: BaseException | None) -> str:
    if isinstance(error, ConfigurationError):
        return error.faults[0].code
    assert isinstance(error, TransientError), error
    return error.code


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and file.name != "lock"
    }


def test_a_restored_store_has_the_requests_and_the_secret_asks_first_and_forgets_what_it_was_about_to_send(
    data: Path, tmp_path: Path
) -> None:
    # Given a backup
    backup = back_up(data, tmp_path / "backup")
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    secret = installation_secret(data)
    with closing(open_store(data)) as store:
        before, installation = store.accepted(), store.installation()
        assert store.outbox_depth()
    # When it is put where nothing is
    fresh = tmp_path / "elsewhere" / "data"
    fresh.parent.mkdir()
    assert restore(fresh, backup) is None
    # Then all is there, and it may not be acted on
    assert installation_secret(fresh) == secret
    assert stat.S_IMODE((fresh / "store.db").stat().st_mode) == 0o600
    with closing(open_store(fresh)) as store:
        assert (store.accepted(), store.installation()) == (before, installation)
        assert (store.mode(), store.outbox_depth()) == (Mode.RECONCILE, 0)
        assert store.recount() == ()
        assert [act.what for act in store.acts(after=0, most=9)] == ["store_restored"]
    assert not list(fresh.glob(".restore-*"))


def test_a_backup_never_takes_the_place_of_a_file(data: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("precious")
    done = run_store("backup", there, "--data", data, "--workspace", data)
    assert code_of(done.exception) == "backup-exists"
    assert there.read_text() == "precious"


def test_a_store_that_is_there_stays_unless_told_and_then_it_is_kept_beside(data: Path, tmp_path: Path) -> None:
    backup = back_up(data, tmp_path / "backup")
    with closing(open_store(data)) as store:
        mint_token(store, "later", Role.OPERATOR)
    before = files_of(data)
    assert code_of(restore(data, backup)) == "store-exists"
    assert files_of(data) == before
    assert restore(data, backup, "--replace") is None
    with closing(open_store(data)) as store:
        assert "later" not in store.users()
    (kept,) = data.glob("store.db.replaced-*[0-9]")
    kept.rename(tmp_path / "store.db")
    with closing(open_store(tmp_path)) as old:
        assert "later" in old.users()


def test_a_token_that_the_restored_store_does_not_know_is_taken_away(data: Path, tmp_path: Path) -> None:
    # Given this machine's token, given before the backup or after it
    with closing(open_store(data)) as store:
        known = mint_token(store, "local", Role.ADMIN)
    backup = back_up(data, tmp_path / "backup")
    (data / "token").write_text(f"{known}\n")
    assert restore(data, backup, "--replace") is None
    assert (data / "token").exists()
    (data / "token").write_text("bus_unknown\n")
    assert restore(data, backup, "--replace") is None
    assert not (data / "token").exists()


def test_a_store_in_use_is_left_alone(data: Path, tmp_path: Path) -> None:
    backup = back_up(data, tmp_path / "backup")
    with claimed(data):
        assert code_of(restore(data, backup, "--replace")) == "data-in-use"


def test_another_installations_secret_is_not_lost_by_accident(data: Path, tmp_path: Path) -> None:
    backup = back_up(data, tmp_path / "backup")
    (tmp_path / "other").mkdir()
    mine = installation_secret(tmp_path / "other" / "data")
    assert code_of(restore(tmp_path / "other" / "data", backup)) == "secret-differs"
    assert installation_secret(tmp_path / "other" / "data") == mine


def _cut(backup: Path) -> None:
    os.truncate(backup, backup.stat().st_size * 2 // 3)


def _cut_at_once(backup: Path) -> None:
    os.truncate(backup, 100)


def _flip(backup: Path) -> None:
    content = bytearray(backup.read_bytes())
    content[len(content) // 2] ^= 1
    backup.write_bytes(content)


def _without_secret(backup: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(backup) as old, tarfile.open(fileobj=out, mode="w:") as new:
        for member in old:
            if member.name != "secret":
                new.addfile(member, old.extractfile(member))
    backup.write_bytes(out.getvalue())


@pytest.mark.parametrize(
    ("harm", "named"),
    [(_cut, "store.db"), (_cut_at_once, "cannot be read"), (_flip, "store.db"), (_without_secret, "secret")],
)
def test_a_backup_that_is_not_whole_is_named_and_changes_nothing(
    data: Path, tmp_path: Path, harm: Callable[[Path], None], named: str
) -> None:
    backup = back_up(data, tmp_path / "backup")
    harm(backup)
    before = files_of(data)
    error = restore(data, backup, "--replace")
    assert code_of(error) == "backup-damaged"
    assert named in str(error)
    assert files_of(data) == before


def test_a_backup_that_cannot_be_finished_leaves_nothing(tmp_path: Path) -> None:
    def breaks(into: Path) -> None:
        into.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    folder = tmp_path / "backups"
    folder.mkdir()
    with pytest.raises(TransientError):
        write_backup(folder / "one", engine="sqlite", dump=breaks, secret=b"s", installation="i", now=0)
    assert list(folder.iterdir()) == []


def test_a_backup_that_finds_no_room_to_be_unpacked_is_named_and_changes_nothing(data: Path, tmp_path: Path) -> None:
    backup = back_up(data, tmp_path / "backup")
    before = files_of(data)
    # A limit on the size of files stands for the end of the disk.
    limit, most = 64 * 1024, resource.RLIM_INFINITY
    script = (
        "import resource, signal, sys; from bus.cli import main; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {most})); sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", script, "store", "restore", str(backup), "--data", str(data), "--replace"]
    done = subprocess.run([*command, "--workspace", str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (3, False), done.stderr
    assert f"cannot be unpacked in {data}: File too large." in done.stderr
    assert files_of(data) == before


def test_the_store_is_opened_once_by_a_person_with_a_reason(data: Path, tmp_path: Path) -> None:
    # Given a restored store, about which nothing was asked yet
    restore(data, back_up(data, tmp_path / "backup"), "--replace")
    where = ("--data", data, "--workspace", data)
    # When somebody opens it without a reason, too early, and then although it is too early
    assert run_store("open", *where).exit_code == 2
    early = run_store("open", "--reason", "in a hurry", *where)
    assert getattr(early.exception, "code", "") == "reconcile-unfinished"
    forced = run_store("open", "--reason", "the agency is gone", "--force", *where)
    # Then only the last counts, and the list of acts says why
    assert forced.exit_code == 0, forced.output
    with closing(open_store(data)) as store:
        assert store.mode() is Mode.OPEN
        last = store.acts(after=0, most=99)[-1]
    assert (last.what, "the agency is gone" in (last.reason or "")) == ("store_opened", True)
    again = run_store("open", "--reason", "twice", *where)
    assert getattr(again.exception, "code", "") == "store-open"


# --- PostgreSQL -------------------------------------------------------------------------------------------------------


def test_a_store_in_postgresql_is_put_back_whole_and_asks_first(
    make_new_database: Callable[..., str], tmp_path: Path
) -> None:
    # Given a store in a database, its backup, and what came after
    url = make_new_database()
    migrate_postgres(url)
    with closing(PostgresStore(url)) as store:
        store.save_token(token_hash="a" * 64, user="before", role="operator", agency=None)
        installation, now = store.installation(), store.now()
    backup = tmp_path / "backup"
    write_backup(
        backup,
        engine="postgresql",
        dump=lambda into: dump_postgres(url, into),
        secret=b"s" * 32,
        installation=installation,
        now=now,
    )
    with closing(PostgresStore(url)) as store:
        store.save_token(token_hash="b" * 64, user="after", role="operator", agency=None)
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE made_by_a_newer_release (x int)")
    # When it is put back
    with pytest.raises(ConfigurationError, match="not empty"):
        refuse_in_use(url)
    refuse_in_use(url, replace=True)
    with unpacked(backup, tmp_path) as (manifest, folder):
        assert manifest.installation == installation
        restore_postgres(folder / "store.dump", url, ACT)
    # Then it is as it was, and may not be acted on
    with closing(PostgresStore(url)) as store:
        assert store.users() == {"before"}
        assert store.installation() == installation
        assert store.mode() is Mode.RECONCILE
        assert [act.what for act in store.acts(after=0, most=9)] == ["store_restored"]
        assert store.recount() == ()
        assert not store.save_mode(Mode.OPEN, was=Mode.ASKED)
        assert store.save_mode(Mode.ASKED, was=Mode.RECONCILE)


def test_a_database_that_others_use_is_left_alone(make_new_database: Callable[..., str]) -> None:
    url = make_new_database()
    with psycopg.connect(url), pytest.raises(TransientError) as refused:
        refuse_in_use(url, replace=True)
    assert refused.value.code == "store-in-use"


def test_a_dump_that_breaks_on_the_way_leaves_the_store_as_it_was(
    make_new_database: Callable[..., str], tmp_path: Path
) -> None:
    url = make_new_database()
    migrate_postgres(url)
    dumped = tmp_path / "store.dump"
    dump_postgres(url, dumped)
    dumped.write_bytes(dumped.read_bytes()[: dumped.stat().st_size // 2])
    with closing(PostgresStore(url)) as store:
        store.save_token(token_hash="a" * 64, user="kept", role="operator", agency=None)
    with pytest.raises(TransientError):
        restore_postgres(dumped, url, ACT)
    with closing(PostgresStore(url)) as store:
        assert store.users() == {"kept"}
        assert store.mode() is Mode.OPEN
