"""The tables of the store, the same for every dialect.

Personal data stands in ``payload.bytes`` and nowhere else: every other column holds ids, codes, pointers, sizes and
times. Whoever adds a column keeps it so; encryption and erasure rest on it. Instants are milliseconds since the epoch,
JSON is text that only the codecs read, and an absent item of a step is -1 because a key has no NULL.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)

#: States of steps that are on their way or wait for somebody; the index on steps holds these rows only.
MOVING = ("ready", "dispatched", "returned", "pending", "retrying", "unknown", "parked")
#: States of a desk's tasks that wait for a clerk; another index holds these rows only.
WAITING = ("open", "claimed")
#: Facts by which somebody was told fields of a request.
IS_DISCLOSING = "fields <> '[]'"
#: Messages of a feed that their consumer has not acknowledged.
IS_UNCOLLECTED = "collected_at IS NULL"
#: The conditions of those indexes: a query says them word for word, or the index is not used.
IS_MOVING = f"state IN ({', '.join(repr(state) for state in MOVING)})"
IS_WAITING = f"state IN ({', '.join(repr(state) for state in WAITING)})"

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _key(name: str = "key") -> Column[int]:
    """A primary key made by the application: time-ordered, so that new rows lie together."""
    return Column(name, BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False)


def _text(name: str, *, null: bool = False) -> Column[str]:
    return Column(name, Text, nullable=null)


def _number(name: str, *, null: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=null)


def _flag(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False)


def _of_request() -> Column[int]:
    """The request of a row that few requests have; rows that every request has are checked by the recount."""
    return Column("request_key", BigInteger, ForeignKey("request.key"), nullable=False)


#: Narrow on purpose: it is written again at every step of a request.
request = Table(
    "request",
    metadata,
    _key(),
    Column("id", Text, nullable=False, unique=True),
    _text("consumer"),
    _text("service"),
    _text("revision"),
    _text("purpose"),
    _flag("test"),
    _number("data_id"),
    _text("state"),
    _text("intended", null=True),
    _number("version"),
    _text("head"),
    _number("accepted_at"),
    _number("ended_at", null=True),
    _number("deadline_at", null=True),
    _number("warn_at", null=True),
    _text("conditions"),
    _number("due", null=True),
    Index(None, "consumer", "key"),
    Index(None, "state", "key"),
    Index("ix_request_due", "due", sqlite_where=text("due IS NOT NULL"), postgresql_where=text("due IS NOT NULL")),
    # A page is filled by half, so that an update stays on it and touches no index unless state or timer changes:
    # measured, the table is smaller that way than with full pages. Updates of steps nearly always change the index.
    postgresql_with={"fillfactor": 50},
)

submission = Table(
    "submission",
    metadata,
    Column(
        "request_key",
        BigInteger().with_variant(Integer, "sqlite"),
        ForeignKey("request.key"),
        primary_key=True,
        autoincrement=False,
    ),
    _text("consumer"),
    _text("submission_key"),
    Column("digest", LargeBinary, nullable=False),
    Column("tracking", Text, nullable=False, unique=True),
    _text("subject"),
    _text("reference", null=True),
    _text("on_behalf_of", null=True),
    _number("said_id", null=True),
    UniqueConstraint("consumer", "submission_key"),
    Index(
        "ix_submission_reference",
        "consumer",
        "reference",
        sqlite_where=text("reference IS NOT NULL"),
        postgresql_where=text("reference IS NOT NULL"),
    ),
    Index(
        "ix_submission_on_behalf_of",
        "consumer",
        "on_behalf_of",
        sqlite_where=text("on_behalf_of IS NOT NULL"),
        postgresql_where=text("on_behalf_of IS NOT NULL"),
    ),
)

step = Table(
    "step",
    metadata,
    _number("request_key"),
    _text("step"),
    Column("item", Integer, nullable=False),
    _text("kind"),
    _text("state"),
    _text("effect"),
    Column("edit", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("asks", Integer, nullable=False),
    Column("answered", Integer, nullable=False),
    Column("resends", Integer, nullable=False),
    _text("reason", null=True),
    _flag("left_behind"),
    _number("first_sent", null=True),
    Column("sent_edit", Integer, nullable=True),
    _text("journal_id", null=True),
    _number("input_id", null=True),
    _number("task_id", null=True),
    _number("output_id", null=True),
    _text("output_digest", null=True),
    _number("expires_at", null=True),
    _number("clock_left", null=True),
    _number("answer_at", null=True),
    _number("ask_at", null=True),
    _number("next_at", null=True),
    _number("deadline_at", null=True),
    _number("until_at", null=True),
    _text("asked"),
    _text("superseded", null=True),
    _text("changed_by", null=True),
    _number("changed_at", null=True),
    _text("agency"),
    _flag("desk"),
    PrimaryKeyConstraint("request_key", "step", "item", "kind"),
    # What the dispatcher takes next, and how much is in flight: answered from the index alone.
    Index(
        "ix_step_moving",
        "agency",
        "state",
        "expires_at",
        "desk",
        sqlite_where=text(IS_MOVING),
        postgresql_where=text(IS_MOVING),
    ),
    sqlite_with_rowid=False,
)

fact = Table(
    "fact",
    metadata,
    _number("request_key"),
    Column("version", Integer, nullable=False),
    _text("kind"),
    _number("at"),
    _text("changes"),
    _text("step", null=True),
    Column("item", Integer, nullable=True),
    _text("step_kind", null=True),
    _text("consumer", null=True),
    _text("provider", null=True),
    _text("purpose", null=True),
    _text("fields"),
    _text("message_id", null=True),
    _text("digest", null=True),
    _text("actor", null=True),
    _text("reason", null=True),
    _text("previous"),
    _text("hash"),
    #: Place in the audit tree, given later.
    _number("leaf_index", null=True),
    PrimaryKeyConstraint("request_key", "version"),
    # Who was told what, over all requests, by time.
    Index(
        "ix_fact_disclosing",
        "at",
        "request_key",
        "version",
        sqlite_where=text(IS_DISCLOSING),
        postgresql_where=text(IS_DISCLOSING),
    ),
    sqlite_with_rowid=False,
)

inbox = Table(
    "inbox",
    metadata,
    _number("request_key"),
    _text("source"),
    _text("message_id"),
    Column("digest", LargeBinary, nullable=False),
    PrimaryKeyConstraint("request_key", "source", "message_id", "digest"),
    sqlite_with_rowid=False,
)

outbox = Table(
    "outbox",
    metadata,
    _key(),
    _text("channel"),
    _text("message_id"),
    _text("type"),
    _text("correlation_id"),
    _number("payload_id"),
    _number("request_key", null=True),
    _number("lease_until", null=True),
    # Every row is soon deleted again: without this the dead ones pile up before those that wait.
    postgresql_with={
        "autovacuum_vacuum_scale_factor": 0.01,
        "autovacuum_vacuum_threshold": 1_000,
        "autovacuum_vacuum_cost_delay": 0,
    },
)

payload = Table(
    "payload",
    metadata,
    _key("id"),
    _number("request_key", null=True),
    #: The key that the bytes are encrypted with; NULL while they are not.
    _number("key_id", null=True),
    Column("bytes", LargeBinary, nullable=False),
)

failure = Table(
    "failure",
    metadata,
    _key(),
    _number("request_key", null=True),
    _text("request_id", null=True),
    _text("step", null=True),
    Column("item", Integer, nullable=True),
    _text("kind", null=True),
    _text("agency", null=True),
    _text("code"),
    _text("cause"),
    _number("payload_id", null=True),
    _number("opened_at"),
    _number("closed_at", null=True),
    _text("how_closed", null=True),
    Index(
        "ix_failure_open",
        "request_key",
        sqlite_where=text("closed_at IS NULL"),
        postgresql_where=text("closed_at IS NULL"),
    ),
    # What people look at: a few among all that were ever closed.
    Index(
        "ix_failure_open_key",
        "key",
        sqlite_where=text("closed_at IS NULL"),
        postgresql_where=text("closed_at IS NULL"),
    ),
)

desk = Table(
    "desk",
    metadata,
    _key(),
    _of_request(),
    _text("request_id"),
    _text("step"),
    Column("item", Integer, nullable=False),
    _text("kind"),
    _text("agency"),
    _text("operation"),
    _text("interaction_id"),
    Column("edit", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    _number("task_id"),
    _text("state"),
    _number("opened_at"),
    _number("due_at", null=True),
    _text("clerk", null=True),
    _number("changed_at", null=True),
    _number("draft_id", null=True),
    UniqueConstraint("request_key", "step", "item", "kind"),
    Index(None, "agency", "key"),
    Index("ix_desk_waiting", "agency", "key", sqlite_where=text(IS_WAITING), postgresql_where=text(IS_WAITING)),
)

#: Who took which task: only ever added to.
desk_claim = Table(
    "desk_claim",
    metadata,
    _number("request_key"),
    _number("desk_key"),
    _number("at"),
    _text("clerk"),
    PrimaryKeyConstraint("request_key", "desk_key", "at", "clerk"),
    sqlite_with_rowid=False,
)

#: What those who run the bus did to agencies and tokens: only ever added to. Its keys follow the commits.
act = Table(
    "act",
    metadata,
    Column("key", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    _number("at"),
    _text("actor"),
    _text("what"),
    _text("target"),
    _text("reason", null=True),
)

result = Table(
    "result",
    metadata,
    _key(),
    _of_request(),
    _text("request_id"),
    _text("consumer"),
    _text("type"),
    _number("payload_id"),
    _number("created_at"),
    _number("collected_at", null=True),
    Index(None, "consumer", "key"),
    Index(None, "request_key"),
    # What a webhook looks for again and again stays few, however long the feed becomes.
    Index(
        "ix_result_uncollected",
        "consumer",
        "key",
        sqlite_where=text(IS_UNCOLLECTED),
        postgresql_where=text(IS_UNCOLLECTED),
    ),
)

agency = Table(
    "agency",
    metadata,
    Column("agency", Text, primary_key=True),
    _flag("paused"),
    _text("start_id", null=True),
    _text("journal_id", null=True),
    _number("journal_seq"),
    _number("alive_at", null=True),
    _text("operations"),
    _text("breaker"),
    Column("troubles", Integer, nullable=False),
    _number("probe_at", null=True),
    _number("probe_wait"),
    _number("heard_at", null=True),
    _text("retired"),
)

definition = Table(
    "definition", metadata, Column("revision", Text, primary_key=True), Column("closure", LargeBinary, nullable=False)
)

token = Table(
    "token",
    metadata,
    #: SHA-256 of the token, never the token.
    Column("token_hash", Text, primary_key=True),
    Column("user", Text, nullable=False),
    _text("role"),
    _text("agency", null=True),
)

#: Process managers that are there, and up to when each has settled what it was handed.
presence = Table(
    "presence",
    metadata,
    Column("process", Text, primary_key=True),
    _number("seen_at"),
    _number("settled_to"),
)

setting = Table("setting", metadata, Column("name", Text, primary_key=True), Column("value", Text, nullable=False))
