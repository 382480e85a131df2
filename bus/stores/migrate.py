"""Brings a database to the newest schema, with Alembic and without any ini file."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from bus.errors import ConfigurationError, Fault
from bus.stores import commands, queries

_MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(connection: Connection) -> None:
    """Run what was not run yet, and give a new store its id. All of it commits with the connection, or none.

    ConfigurationError if the store is newer than this code.
    """
    config = config_on(connection)
    _refuse_newer(connection, ScriptDirectory.from_config(config))
    command.upgrade(config, "head")
    if queries.setting_value(connection, "installation") is None:
        commands.save_setting(connection, "installation", str(uuid4()))


def is_behind(connection: Connection) -> bool:
    """Whether there is a store of an earlier schema than this code's; ConfigurationError if it is newer."""
    scripts = ScriptDirectory.from_config(config_on(connection))
    return _refuse_newer(connection, scripts) not in (None, scripts.get_current_head())


def check(connection: Connection) -> None:
    """ConfigurationError if the store does not have the schema of this code."""
    scripts = ScriptDirectory.from_config(config_on(connection))
    found = _refuse_newer(connection, scripts)
    if found != scripts.get_current_head():
        _refuse(
            "store-not-migrated",
            f"The store has {'no schema' if found is None else f'schema {found}'}; this code needs schema"
            f" {scripts.get_current_head()}.",
            "Run `bus store migrate` once, then start again.",
        )


def _refuse_newer(connection: Connection, scripts: ScriptDirectory) -> str | None:
    """The revision of the store; refused if this code does not know it."""
    found = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in scripts.walk_revisions()}
    if found is not None and found not in known:
        _refuse(
            "store-too-new",
            f"The store has schema {found}, which this code does not know: a newer release made it.",
            "Install that release, or the newest one.",
        )
    return found


def _refuse(code: str, message: str, mend: str) -> None:
    raise ConfigurationError((Fault(code=code, message=message, mend=mend),))


def config_on(connection: Connection) -> Config:
    """Alembic's settings for the migrations of the store, on a connection that the caller commits."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
