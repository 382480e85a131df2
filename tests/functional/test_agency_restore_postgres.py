"""`bus agency restore` for a journal that the hosts of an agency share in PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from click.testing import CliRunner, Result

from bus.bootstrap import open_journal, open_store
from bus.cli.restore import restore
from bus.errors import ConfigurationError, StoreUnavailableError, TransientError
from bus.journals.postgres import PostgresJournal
from bus.message.reply import Effect
from bus.receiver.row import State
from bus.stores.postgres_backup import _run as run_program
from tests.conformance.journal_contract import a_row, load, write
from tests.support.workspaces.copies import Edit, copy_of_repository

AGENCY = "commercial_registry"
SCHEMA = f"journal_{AGENCY}"
PASSWORD = "not-to-be-told"  # of nobody


@pytest.fixture
def workspace(database: str, tmp_path: Path) -> Path:
    """A workspace whose environment `dev` names a database for the agency's journal."""
    secret = tmp_path / "journal-password"
    secret.write_text(PASSWORD, encoding="ascii")
    journal = f"journal: {{url: {json.dumps(database)}, password: {{file: {json.dumps(str(secret))}}}}}"
    plain = f"{AGENCY}: {{use: simulator}}"
    edit = Edit(old=plain, new=f"{plain[:-1]}, {journal}}}", file="env/dev.yaml")
    return copy_of_repository(tmp_path, edit)[0]


@pytest.fixture
def host(database: str) -> Iterator[PostgresJournal]:
    """What a host of the agency has of the journal."""
    with closing(PostgresJournal(database, agency=AGENCY)) as journal:
        yield journal


def declare(workspace: Path, *more: str, agency: str = AGENCY, env: str = "dev") -> Result:
    data = str(workspace.parent / "data")
    return CliRunner().invoke(
        restore, [agency, "--workspace", str(workspace), "--env", env, "--data", data, *more], catch_exceptions=True
    )


def test_a_shared_journal_that_was_put_back_is_another_one_and_what_it_may_have_lost_is_in_doubt(
    workspace: Path, host: PostgresJournal, database: str, tmp_path: Path
) -> None:
    # Given a backup of the journal, made as docs/operating.md says, of before an effect
    write(host, rows=[a_row("done", state=State.COMPLETED), a_row("begun-later")])
    before, dumped = host.identity(), tmp_path / "journal.dump"
    run_program(["pg_dump", "--format=custom", f'--schema="{SCHEMA}"', f"--file={dumped}"], database, None)
    write(host, rows=[a_row("begun-later", state=State.COMPLETED, effect=Effect.DONE), a_row("unknown-to-the-backup")])
    host.close()
    put_back = ["--clean", "--if-exists", "--single-transaction", "--exit-on-error"]
    run_program(["pg_restore", *put_back, str(dumped)], database, None)

    # When the operator declares it, while the hosts are stopped
    ran = declare(workspace)

    # Then it has another identity, and what was open is unknown; what was answered stays answered
    assert ran.exit_code == 0, (ran.output, ran.exception)
    with closing(PostgresJournal(database, agency=AGENCY)) as journal:
        after = journal.identity()
        found = load(journal, "done", "begun-later", "unknown-to-the-backup")
    assert after.journal_id != before.journal_id
    assert before.journal_id in ran.output
    assert after.journal_id in ran.output
    assert {name: row.state for name, row in found.items()} == {
        "done": State.COMPLETED,
        "begun-later": State.UNKNOWN,
    }
    # And no file was made that a host could take for a journal, nor was the password told
    assert not (tmp_path / "data" / "journals").exists()
    assert PASSWORD not in ran.output


def test_the_list_of_acts_says_so_where_the_store_stands_in_the_folder(workspace: Path, host: PostgresJournal) -> None:
    before = host.identity().journal_id
    host.close()
    open_store(workspace.parent / "data").close()

    assert declare(workspace).exit_code == 0

    with closing(open_store(workspace.parent / "data")) as store:
        (act,) = store.acts(after=0, most=9)
    assert (act.what, act.target) == ("journal_restored", f"{AGENCY}/{before}")


def test_a_journal_that_a_host_is_connected_to_is_left_as_it_is(workspace: Path, host: PostgresJournal) -> None:
    before = host.identity()

    ran = declare(workspace)

    assert isinstance(ran.exception, TransientError)
    assert (ran.exception.code, "Stop every host" in ran.exception.mend) == ("journal-in-use", True)
    assert host.identity() == before


def test_a_host_of_another_agency_on_the_same_database_is_no_hindrance(
    workspace: Path, host: PostgresJournal, database: str
) -> None:
    host.identity()
    host.close()
    with closing(PostgresJournal(database, agency="tax_authority")) as other:
        other.identity()
        assert declare(workspace).exit_code == 0


def test_a_journal_that_is_not_in_the_database_is_not_made_by_a_slip(workspace: Path, database: str) -> None:
    ran = declare(workspace)

    assert isinstance(ran.exception, ConfigurationError)
    assert ran.exception.faults[0].code == "no-journal"
    with psycopg.connect(database) as connection:
        found = connection.execute("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'journal%'").fetchone()
    assert found == (0,)


def test_an_agency_without_a_database_has_a_file_and_is_told_where_it_is_missing(workspace: Path) -> None:
    ran = declare(workspace, agency="tax_authority")

    assert isinstance(ran.exception, ConfigurationError)
    (fault,) = ran.exception.faults
    assert (fault.code, fault.file.endswith("journals/tax_authority.db")) == ("no-journal", True)


def test_a_name_that_is_no_agency_is_told_with_those_that_are(workspace: Path) -> None:
    ran = declare(workspace, agency="moon")

    assert isinstance(ran.exception, ConfigurationError)
    assert ran.exception.faults[0].code == "unknown-agency"
    assert AGENCY in str(ran.exception)


def test_a_name_of_no_environment_does_not_renew_an_old_file_in_place_of_the_database(
    workspace: Path, host: PostgresJournal, database: str
) -> None:
    # Given a journal in the database, and a file of before it was there
    before = host.identity()
    host.close()
    with closing(open_journal(workspace.parent / "data", AGENCY)) as old:
        of_file = old.identity()
    # When somebody means the database and mistypes the environment
    ran = declare(workspace, env="prodution")
    # Then he is told those that there are, and both stay what they were
    assert isinstance(ran.exception, ConfigurationError)
    (fault,) = ran.exception.faults
    assert (fault.code, "compose, demo, dev" in fault.mend) == ("unknown-environment", True)
    with closing(open_journal(workspace.parent / "data", AGENCY)) as old:
        assert old.identity() == of_file
    with closing(PostgresJournal(database, agency=AGENCY)) as again:
        assert again.identity() == before
    # And where he names the right one, what is printed says that it was the database
    assert f"the schema {SCHEMA} of the database" in declare(workspace).output


def test_a_user_without_rights_is_told_so_and_not_shown_a_traceback(
    workspace: Path, host: PostgresJournal, database: str
) -> None:
    host.identity()
    host.close()
    user = f"nobody_{uuid4().hex}"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {user} LOGIN")
    file = workspace / "env" / "dev.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("postgres@", f"{user}@"), encoding="utf-8")

    ran = declare(workspace)

    assert isinstance(ran.exception, ConfigurationError)
    assert ran.exception.faults[0].code == "journal-refused"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"DROP ROLE {user}")


def test_a_server_that_is_away_is_told_without_its_password(workspace: Path, database: str) -> None:
    file = workspace / "env" / "dev.yaml"
    away = database.replace(database.partition("@")[2].partition("/")[0], "127.0.0.1:1")
    file.write_text(file.read_text(encoding="utf-8").replace(database, away), encoding="utf-8")

    ran = declare(workspace)

    assert isinstance(ran.exception, StoreUnavailableError)
    assert AGENCY in str(ran.exception)
    assert PASSWORD not in str(ran.exception)


def test_a_workspace_that_names_no_journal_may_be_broken(workspace: Path) -> None:
    """Who puts a file back must not be stopped by what a route says."""
    (workspace / "routes.yaml").write_text("version: [", encoding="utf-8")

    ran = declare(workspace, env="demo")

    assert isinstance(ran.exception, ConfigurationError)
    assert ran.exception.faults[0].code == "no-journal"
