"""Brings a database to the newest schema, with Alembic and without any ini file."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from bus.stores import commands, queries

_MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(connection: Connection) -> None:
    """Run what was not run yet, and give a new store its id. All of it commits with the connection, or none."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    if queries.setting_value(connection, "installation") is None:
        commands.save_setting(connection, "installation", str(uuid4()))
