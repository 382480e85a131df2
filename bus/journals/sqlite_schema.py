"""The tables of the journal in a SQLite file, and how an older file gets them."""

from __future__ import annotations

import sqlite3
from uuid import uuid4

from bus.errors import StoreUnavailableError

#: The file's schema, step by step; ``PRAGMA user_version`` says how many steps it has. A file of the agency's own, with
#: a handful of tables that only this room reads, needs no more machinery than that.
#:
#: From the second step on everything of an interaction stands at its ``place``, which is given in the order of arrival:
#: what is written about one batch lies on few pages, however many interactions there are. Under their random ids each
#: of them changes pages of its own, and each changed page is written, flushed and copied whole.
STEPS: tuple[str, ...] = (
    """
    CREATE TABLE journal (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        journal_id TEXT NOT NULL,
        seq INTEGER NOT NULL,
        oldest INTEGER NOT NULL
    );
    CREATE TABLE interaction (
        interaction_id TEXT PRIMARY KEY,
        operation TEXT NOT NULL,
        reference TEXT NOT NULL,
        test INTEGER NOT NULL,
        state TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        effect TEXT NOT NULL,
        data_hash BLOB,
        dead INTEGER NOT NULL,
        dead_code TEXT NOT NULL,
        supersedes TEXT,
        first_sent INTEGER NOT NULL,
        expires_at INTEGER,
        intent INTEGER NOT NULL,
        request_hash BLOB,
        process TEXT NOT NULL,
        lease_until INTEGER NOT NULL,
        begun_at INTEGER,
        called_at INTEGER,
        changed_at INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX interaction_waiting ON interaction (changed_at) WHERE state = 'received';
    CREATE INDEX interaction_reference ON interaction (reference);
    CREATE TABLE task (interaction_id TEXT NOT NULL PRIMARY KEY, body BLOB NOT NULL);
    CREATE TABLE result (
        interaction_id TEXT NOT NULL PRIMARY KEY,
        raw BLOB,
        message_id TEXT NOT NULL,
        type TEXT NOT NULL,
        correlation_id TEXT NOT NULL,
        body BLOB NOT NULL
    );
    CREATE TABLE outbox (
        place INTEGER PRIMARY KEY AUTOINCREMENT,
        message_id TEXT NOT NULL UNIQUE,
        type TEXT NOT NULL,
        correlation_id TEXT NOT NULL,
        body BLOB NOT NULL
    );
    CREATE TABLE invalid (
        place INTEGER PRIMARY KEY AUTOINCREMENT,
        origin TEXT NOT NULL,
        code TEXT NOT NULL,
        body BLOB NOT NULL,
        at INTEGER NOT NULL
    );
    CREATE TABLE admission (
        start_id TEXT PRIMARY KEY,
        journal_id TEXT NOT NULL,
        seq INTEGER NOT NULL
    ) WITHOUT ROWID;
    """,
    """
    ALTER TABLE interaction RENAME TO interaction_1;
    ALTER TABLE task RENAME TO task_1;
    ALTER TABLE result RENAME TO result_1;
    CREATE TABLE interaction (
        place INTEGER PRIMARY KEY,
        interaction_id TEXT NOT NULL UNIQUE,
        operation TEXT NOT NULL,
        reference TEXT NOT NULL,
        test INTEGER NOT NULL,
        state TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        effect TEXT NOT NULL,
        data_hash BLOB,
        dead INTEGER NOT NULL,
        dead_code TEXT NOT NULL,
        supersedes TEXT,
        first_sent INTEGER NOT NULL,
        expires_at INTEGER,
        intent INTEGER NOT NULL,
        request_hash BLOB,
        process TEXT NOT NULL,
        lease_until INTEGER NOT NULL,
        begun_at INTEGER,
        called_at INTEGER,
        changed_at INTEGER NOT NULL
    );
    CREATE TABLE task (place INTEGER PRIMARY KEY, body BLOB NOT NULL);
    CREATE TABLE result (
        place INTEGER PRIMARY KEY,
        raw BLOB,
        message_id TEXT NOT NULL,
        type TEXT NOT NULL,
        correlation_id TEXT NOT NULL,
        body BLOB NOT NULL
    );
    INSERT INTO interaction SELECT NULL, * FROM interaction_1 ORDER BY first_sent;
    INSERT INTO task SELECT place, body FROM task_1 JOIN interaction USING (interaction_id);
    INSERT INTO result SELECT place, raw, message_id, type, correlation_id, body
        FROM result_1 JOIN interaction USING (interaction_id);
    DROP TABLE interaction_1;
    DROP TABLE task_1;
    DROP TABLE result_1;
    CREATE INDEX interaction_waiting ON interaction (changed_at) WHERE state = 'received';
    CREATE INDEX interaction_first_sent ON interaction (first_sent);
    """,
)

#: Only what collects answers that come later asks by reference. All others are spared an index under random keys, of
#: which each interaction changes a page; it is made when it is first needed.
REFERENCE_INDEX = "CREATE INDEX IF NOT EXISTS interaction_reference ON interaction (reference)"


def upgrade(connection: sqlite3.Connection) -> None:
    """Bring the tables up to date, or make them with a random identity; within a transaction of the caller."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(STEPS):
        raise StoreUnavailableError(
            f"The journal has schema {version}, this host knows {len(STEPS)}: run the newer version of the bus."
        )
    for step in STEPS[version:]:
        # Not executescript: it would commit the transaction.
        for statement in filter(None, map(str.strip, step.split(";"))):
            connection.execute(statement)
    if version == 0:
        connection.execute("INSERT INTO journal VALUES (1, ?, 0, 0)", (str(uuid4()),))
    connection.execute(f"PRAGMA user_version = {len(STEPS)}")
