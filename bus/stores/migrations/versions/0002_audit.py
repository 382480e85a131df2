"""Acts of those who run the bus, disclosures by time, what webhooks still bring, and what was said beside data."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "act",
        sa.Column("key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_act")),
    )
    _widen_submission()
    for name in ("reference", "on_behalf_of"):
        op.create_index(
            f"ix_submission_{name}",
            "submission",
            ["consumer", name],
            unique=False,
            sqlite_where=sa.text(f"{name} IS NOT NULL"),
            postgresql_where=sa.text(f"{name} IS NOT NULL"),
        )
    op.create_index(
        "ix_fact_disclosing",
        "fact",
        ["at", "request_key", "version"],
        unique=False,
        sqlite_where=sa.text("fields <> '[]'"),
        postgresql_where=sa.text("fields <> '[]'"),
    )
    op.create_index(
        "ix_result_uncollected",
        "result",
        ["consumer", "key"],
        unique=False,
        sqlite_where=sa.text("collected_at IS NULL"),
        postgresql_where=sa.text("collected_at IS NULL"),
    )


def _widen_submission() -> None:
    """Made anew and filled again: SQLite would keep the text of an altered table, and that of a new store differs."""
    kept = "request_key, consumer, submission_key, digest, tracking, subject, reference"
    op.execute(f"CREATE TABLE submission_was AS SELECT {kept} FROM submission")
    op.drop_table("submission")
    op.create_table(
        "submission",
        sa.Column(
            "request_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("submission_key", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("tracking", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("on_behalf_of", sa.Text(), nullable=True),
        sa.Column("said_id", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["request_key"], ["request.key"], name=op.f("fk_submission_request_key")),
        sa.PrimaryKeyConstraint("request_key", name=op.f("pk_submission")),
        sa.UniqueConstraint("consumer", "submission_key", name=op.f("uq_submission_consumer_submission_key")),
        sa.UniqueConstraint("tracking", name=op.f("uq_submission_tracking")),
    )
    op.execute(f"INSERT INTO submission ({kept}) SELECT {kept} FROM submission_was ORDER BY request_key")
    op.drop_table("submission_was")
