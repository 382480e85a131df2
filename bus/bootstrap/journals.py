"""The journals of agency hosts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bus.bootstrap.folder import claimed, private
from bus.catalog import DatabaseUse, Workspace, load_workspace, reveal
from bus.catalog.document import read_document
from bus.catalog.environment import environment_file
from bus.errors import ConfigurationError, Fault
from bus.journals.sqlite import SqliteJournal
from bus.ports import Journal

if TYPE_CHECKING:
    from bus.journals.postgres import PostgresJournal


def open_journal(data: Path, agency: str) -> SqliteJournal:
    """The journal of an agency's host in the folder."""
    private(data)
    return SqliteJournal(_file(data, agency))


def journal_of(workspace: Workspace, data: Path, agency: str) -> Journal:
    """The journal that the environment names for the agency's hosts, else that of the folder."""
    use = workspace.env.agencies[agency].journal
    if use is None:
        return open_journal(data, agency)
    return _in_postgres(*_address(workspace, use), agency)


# --- a journal that was put back --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """Where an agency's hosts keep their journal: in the folder, or where the environment says."""

    agency: str
    data: Path
    #: None where the environment says nothing of any journal.
    workspace: Workspace | None

    @contextmanager
    def open(self) -> Iterator[Journal]:
        """The journal, while no host of the agency runs.

        ConfigurationError where there is none: a slip must not make a new one. TransientError while a host runs.
        """
        address = self._address
        if address is None:
            self._refuse_missing()
            with claimed(self.data), closing(open_journal(self.data, self.agency)) as journal:
                yield journal
            return
        url, password = address
        with closing(_in_postgres(url, password, self.agency)) as shared:
            from bus.journals.postgres_restore import refuse_unready  # noqa: PLC0415  # a file needs no driver

            refuse_unready(url, agency=self.agency, password=password)
            yield shared

    @property
    def place(self) -> str:
        """Where it stands, for a person, who may have meant another one."""
        address = self._address
        if address is None:
            return f"the file {_file(self.data, self.agency)}"
        from bus.journals.postgres_restore import place_of  # noqa: PLC0415  # a file needs no driver

        return place_of(address[0], self.agency)

    @property
    def _address(self) -> tuple[str, str | None] | None:
        use = self._use
        return _address(self.workspace, use) if self.workspace is not None and use is not None else None

    @property
    def _use(self) -> DatabaseUse | None:
        if self.workspace is None:
            return None
        env = self.workspace.env
        if self.agency not in env.agencies:
            mend = f"Name one of: {', '.join(sorted(env.agencies))}."
            raise _refused("unknown-agency", f"There is no agency {self.agency}.", mend, f"env/{env.name}.yaml")
        return env.agencies[self.agency].journal

    def _refuse_missing(self) -> None:
        file = _file(self.data, self.agency)
        if not file.is_file():
            mend = "Put the backup back first, or name the folder with --data, or the environment with --env."
            raise _refused("no-journal", f"There is no journal of {self.agency} here.", mend, file)


def shelf(agency: str, workspace: Path, env: str, data: Path, *, is_named: bool) -> Shelf:
    """Where the agency's journal stands.

    ``is_named``: somebody said which workspace or environment. ConfigurationError where that, or a workspace that is at
    hand, has no such environment: by a slip, another journal would be taken for the one that was meant.

    A workspace that names no journal is not read: its faults stop nobody from declaring what he put back.
    """
    file = workspace / environment_file(env)
    if not file.is_file() and (is_named or file.parent.is_dir()):
        raise _unknown(env, file)
    read = load_workspace(workspace.resolve(), env) if file.is_file() and _names_journals(file) else None
    return Shelf(agency=agency, data=data.resolve(), workspace=read)


def _unknown(env: str, file: Path) -> ConfigurationError:
    names = ", ".join(sorted(other.stem for other in file.parent.glob("*.yaml")))
    mend = (
        f"Name one of these with --env: {names}."
        if names
        else "Name the folder of the workspace with --workspace. A file in the folder of --data is meant where no "
        "workspace is at hand and neither --workspace, --env nor BUS_ENV says anything."
    )
    message = f"There is no environment {env}, which would say where the journal stands."
    return _refused("unknown-environment", message, mend, file)


def _names_journals(file: Path) -> bool:
    document, faults = read_document(file.name, file.read_bytes())
    said: Any = document.value.get("agencies", {}) if isinstance(document.value, dict) else {}
    uses = said.values() if isinstance(said, dict) else ()
    return bool(faults) or any(isinstance(use, dict) and "journal" in use for use in uses)


def _file(data: Path, agency: str) -> Path:
    return data / "journals" / f"{agency}.db"


def _address(workspace: Workspace, use: DatabaseUse) -> tuple[str, str | None]:
    told = reveal({"url": use.url, "password": use.password}, workspace.root, os.environ)
    return told["url"], told["password"]


def _in_postgres(url: str, password: str | None, agency: str) -> PostgresJournal:
    from bus.journals.postgres import PostgresJournal  # noqa: PLC0415  # a host with a file needs no driver

    return PostgresJournal(url, agency=agency, password=password)


def _refused(code: str, message: str, mend: str, file: Path | str) -> ConfigurationError:
    return ConfigurationError((Fault(code=code, message=message, mend=mend, file=str(file)),))
