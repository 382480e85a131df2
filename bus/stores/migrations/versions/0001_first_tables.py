"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "agency",
        sa.Column("agency", sa.Text(), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("start_id", sa.Text(), nullable=True),
        sa.Column("journal_id", sa.Text(), nullable=True),
        sa.Column("journal_seq", sa.BigInteger(), nullable=False),
        sa.Column("alive_at", sa.BigInteger(), nullable=True),
        sa.Column("operations", sa.Text(), nullable=False),
        sa.Column("breaker", sa.Text(), nullable=False),
        sa.Column("troubles", sa.Integer(), nullable=False),
        sa.Column("probe_at", sa.BigInteger(), nullable=True),
        sa.Column("probe_wait", sa.BigInteger(), nullable=False),
        sa.Column("heard_at", sa.BigInteger(), nullable=True),
        sa.Column("retired", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("agency", name=op.f("pk_agency")),
    )
    op.create_table(
        "definition",
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("closure", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("revision", name=op.f("pk_definition")),
    )
    op.create_table(
        "fact",
        sa.Column("request_key", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("changes", sa.Text(), nullable=False),
        sa.Column("step", sa.Text(), nullable=True),
        sa.Column("item", sa.Integer(), nullable=True),
        sa.Column("step_kind", sa.Text(), nullable=True),
        sa.Column("consumer", sa.Text(), nullable=True),
        sa.Column("provider", sa.Text(), nullable=True),
        sa.Column("purpose", sa.Text(), nullable=True),
        sa.Column("fields", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=True),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("previous", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("leaf_index", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("request_key", "version", name=op.f("pk_fact")),
        sqlite_with_rowid=False,
    )
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
        sa.PrimaryKeyConstraint("key", name=op.f("pk_failure")),
    )
    op.create_index(
        "ix_failure_open",
        "failure",
        ["request_key"],
        unique=False,
        sqlite_where=sa.text("closed_at IS NULL"),
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.create_index(
        "ix_failure_open_key",
        "failure",
        ["key"],
        unique=False,
        sqlite_where=sa.text("closed_at IS NULL"),
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.create_table(
        "inbox",
        sa.Column("request_key", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("request_key", "source", "message_id", "digest", name=op.f("pk_inbox")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "outbox",
        sa.Column("key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("correlation_id", sa.Text(), nullable=False),
        sa.Column("payload_id", sa.BigInteger(), nullable=False),
        sa.Column("request_key", sa.BigInteger(), nullable=True),
        sa.Column("lease_until", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_outbox")),
    )
    op.create_table(
        "payload",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("request_key", sa.BigInteger(), nullable=True),
        sa.Column("key_id", sa.BigInteger(), nullable=True),
        sa.Column("bytes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payload")),
    )
    op.create_table(
        "request",
        sa.Column("key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("test", sa.Boolean(), nullable=False),
        sa.Column("data_id", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("intended", sa.Text(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("head", sa.Text(), nullable=False),
        sa.Column("accepted_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("deadline_at", sa.BigInteger(), nullable=True),
        sa.Column("warn_at", sa.BigInteger(), nullable=True),
        sa.Column("conditions", sa.Text(), nullable=False),
        sa.Column("due", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_request")),
        sa.UniqueConstraint("id", name=op.f("uq_request_id")),
    )
    op.create_index(op.f("ix_request_consumer_key"), "request", ["consumer", "key"], unique=False)
    op.create_index(
        "ix_request_due",
        "request",
        ["due"],
        unique=False,
        sqlite_where=sa.text("due IS NOT NULL"),
        postgresql_where=sa.text("due IS NOT NULL"),
    )
    op.create_index(op.f("ix_request_state_key"), "request", ["state", "key"], unique=False)
    op.create_table(
        "setting",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_setting")),
    )
    op.create_table(
        "step",
        sa.Column("request_key", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("effect", sa.Text(), nullable=False),
        sa.Column("edit", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("asks", sa.Integer(), nullable=False),
        sa.Column("answered", sa.Integer(), nullable=False),
        sa.Column("resends", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("left_behind", sa.Boolean(), nullable=False),
        sa.Column("first_sent", sa.BigInteger(), nullable=True),
        sa.Column("sent_edit", sa.Integer(), nullable=True),
        sa.Column("journal_id", sa.Text(), nullable=True),
        sa.Column("input_id", sa.BigInteger(), nullable=True),
        sa.Column("task_id", sa.BigInteger(), nullable=True),
        sa.Column("output_id", sa.BigInteger(), nullable=True),
        sa.Column("output_digest", sa.Text(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("clock_left", sa.BigInteger(), nullable=True),
        sa.Column("answer_at", sa.BigInteger(), nullable=True),
        sa.Column("ask_at", sa.BigInteger(), nullable=True),
        sa.Column("next_at", sa.BigInteger(), nullable=True),
        sa.Column("deadline_at", sa.BigInteger(), nullable=True),
        sa.Column("until_at", sa.BigInteger(), nullable=True),
        sa.Column("asked", sa.Text(), nullable=False),
        sa.Column("superseded", sa.Text(), nullable=True),
        sa.Column("changed_by", sa.Text(), nullable=True),
        sa.Column("changed_at", sa.BigInteger(), nullable=True),
        sa.Column("agency", sa.Text(), nullable=False),
        sa.Column("desk", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("request_key", "step", "item", "kind", name=op.f("pk_step")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_step_moving",
        "step",
        ["agency", "state", "expires_at", "desk"],
        unique=False,
        sqlite_where=sa.text(
            "state IN ('ready', 'dispatched', 'returned', 'pending', 'retrying', 'unknown', 'parked')"
        ),
        postgresql_where=sa.text(
            "state IN ('ready', 'dispatched', 'returned', 'pending', 'retrying', 'unknown', 'parked')"
        ),
    )
    op.create_table(
        "token",
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("agency", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_token")),
    )
    op.create_table(
        "desk",
        sa.Column("key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("request_key", sa.BigInteger(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("agency", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("interaction_id", sa.Text(), nullable=False),
        sa.Column("edit", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("clerk", sa.Text(), nullable=True),
        sa.Column("changed_at", sa.BigInteger(), nullable=True),
        sa.Column("draft_id", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["request_key"], ["request.key"], name=op.f("fk_desk_request_key")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_desk")),
        sa.UniqueConstraint("request_key", "step", "item", "kind", name=op.f("uq_desk_request_key_step_item_kind")),
    )
    op.create_index(op.f("ix_desk_agency_key"), "desk", ["agency", "key"], unique=False)
    op.create_index(
        "ix_desk_waiting",
        "desk",
        ["agency", "key"],
        unique=False,
        sqlite_where=sa.text("state IN ('open', 'claimed')"),
        postgresql_where=sa.text("state IN ('open', 'claimed')"),
    )
    op.create_table(
        "desk_claim",
        sa.Column("request_key", sa.BigInteger(), nullable=False),
        sa.Column("desk_key", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("clerk", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("request_key", "desk_key", "at", "clerk", name=op.f("pk_desk_claim")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "result",
        sa.Column("key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("request_key", sa.BigInteger(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("payload_id", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("collected_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["request_key"], ["request.key"], name=op.f("fk_result_request_key")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_result")),
    )
    op.create_index(op.f("ix_result_consumer_key"), "result", ["consumer", "key"], unique=False)
    op.create_index(op.f("ix_result_request_key"), "result", ["request_key"], unique=False)
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
        sa.ForeignKeyConstraint(["request_key"], ["request.key"], name=op.f("fk_submission_request_key")),
        sa.PrimaryKeyConstraint("request_key", name=op.f("pk_submission")),
        sa.UniqueConstraint("consumer", "submission_key", name=op.f("uq_submission_consumer_submission_key")),
        sa.UniqueConstraint("tracking", name=op.f("uq_submission_tracking")),
    )
