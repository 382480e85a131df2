"""One open failure for each cause of what belongs to no request, with a count (many are joined); starts of hosts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_KEPT = (
    "key, request_key, request_id, step, item, kind, agency, code, cause, payload_id, opened_at, closed_at, how_closed"
)
#: Of these each names a request that the store lacks, or a reply that this code could not take in: each stays alone.
_OF_A_CAUSE = "request_id IS NULL AND closed_at IS NULL AND code NOT IN ('orphan', 'definition_missing')"


def upgrade() -> None:
    _widen_failure()
    op.create_table(
        "failure_message",
        sa.Column("failure_key", sa.BigInteger(), nullable=False),
        sa.Column("payload_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("failure_key", "payload_id", name=op.f("pk_failure_message")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "host",
        sa.Column("agency", sa.Text(), nullable=False),
        sa.Column("start_id", sa.Text(), nullable=False),
        sa.Column("operations", sa.Text(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("agency", "start_id", name=op.f("pk_host")),
        sqlite_with_rowid=False,
    )
    _join_open()
    op.create_index(
        "ix_failure_counted",
        "failure",
        ["cause"],
        unique=True,
        sqlite_where=sa.text("closed_at IS NULL AND times IS NOT NULL"),
        postgresql_where=sa.text("closed_at IS NULL AND times IS NOT NULL"),
    )


def _widen_failure() -> None:
    """Two columns at the end, where the schema has them; in PostgreSQL whoever was given rights keeps them."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE failure ADD COLUMN times bigint, ADD COLUMN last_at bigint")
        return
    _make_failure_anew()
    for name, column in (("ix_failure_open", "request_key"), ("ix_failure_open_key", "key")):
        op.create_index(
            name,
            "failure",
            [column],
            unique=False,
            sqlite_where=sa.text("closed_at IS NULL"),
            postgresql_where=sa.text("closed_at IS NULL"),
        )


def _make_failure_anew() -> None:
    """And filled again: SQLite would keep the text of an altered table, and that of a new store differs."""
    op.execute(f"CREATE TABLE failure_was AS SELECT {_KEPT} FROM failure")
    op.drop_table("failure")
    op.create_table(
        "failure",
        sa.Column("key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("request_key", sa.BigInteger(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("step", sa.Text(), nullable=True),
        sa.Column("item", sa.Integer(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=True),
        sa.Column("agency", sa.Text(), nullable=True),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("payload_id", sa.BigInteger(), nullable=True),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.Column("how_closed", sa.Text(), nullable=True),
        sa.Column("times", sa.BigInteger(), nullable=True),
        sa.Column("last_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_failure")),
    )
    op.execute(f"INSERT INTO failure ({_KEPT}) SELECT {_KEPT} FROM failure_was ORDER BY key")
    op.drop_table("failure_was")


def _join_open() -> None:
    """The oldest of each cause counts for all of them and holds their messages; the others are closed."""
    op.execute(
        "CREATE TABLE failure_joined AS SELECT min(key) AS oldest, cause AS of_cause, count(*) AS times,"
        f" max(opened_at) AS last_at FROM failure WHERE {_OF_A_CAUSE} GROUP BY cause"
    )
    op.execute(
        "INSERT INTO failure_message (failure_key, payload_id) SELECT oldest, payload_id FROM failure"
        f" JOIN failure_joined ON cause = of_cause WHERE {_OF_A_CAUSE} AND payload_id IS NOT NULL"
    )
    op.execute(
        "UPDATE failure SET closed_at = (SELECT last_at FROM failure_joined WHERE of_cause = cause),"
        f" how_closed = 'joined with the oldest of its cause' WHERE {_OF_A_CAUSE}"
        " AND key NOT IN (SELECT oldest FROM failure_joined)"
    )
    for name in ("times", "last_at"):
        joined = f"(SELECT failure_joined.{name} FROM failure_joined WHERE oldest = key)"
        op.execute(f"UPDATE failure SET {name} = {joined} WHERE key IN (SELECT oldest FROM failure_joined)")
    op.drop_table("failure_joined")
