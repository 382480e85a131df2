"""Who else uses the store: its tables are not changed under a process that knows them as they were."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, text

from bus.errors import TransientError

#: What a session of the store is called, where its address gives it no other name.
SESSION: Final = "bus"
#: What a session that migrates is called: several may come at once, and one does it.
MIGRATING: Final = "bus migrate"
#: The name of a session is shown to everybody; whether it is a client's only to those who may see more.
_OTHERS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = :session
"""


def refuse_in_use(connection: Connection, session: str) -> None:
    """TransientError while sessions of that name are connected to the database of the store."""
    others = connection.scalar(text(_OTHERS), {"session": session}) or 0
    if others:
        raise TransientError(
            f"{others} connections of the bus are open to the store, whose tables have to change.",
            code="store-in-use",
            mend="Stop every role of the bus that uses it, then try again.",
        )
