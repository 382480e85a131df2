"""The tables of the store, the same for every dialect.

Personal data stands in ``payload.bytes`` and nowhere else: every other column holds ids, codes, pointers, sizes and
times. Whoever adds a column keeps it so; encryption and erasure rest on it. Instants are milliseconds since the epoch,
JSON is text that only the codecs read, and an absent item of a step is -1 because a key has no NULL.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
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
)

from bus.stores.schema_columns import flag, key, number, of_request, partial, words

#: States of steps that are on their way or wait for somebody; the index on steps holds these rows only.
MOVING = ("ready", "dispatched", "returned", "pending", "retrying", "unknown", "parked")
#: States of a desk's tasks that wait for a clerk; another index holds these rows only.
WAITING = ("open", "claimed")
#: Facts by which somebody was told fields of a request.
IS_DISCLOSING = "fields <> '[]'"
#: Messages of a feed that their consumer has not acknowledged.
IS_UNCOLLECTED = "collected_at IS NULL"
#: The conditions of those indexes.
IS_MOVING = f"state IN ({', '.join(repr(state) for state in MOVING)})"
IS_WAITING = f"state IN ({', '.join(repr(state) for state in WAITING)})"
#: Failures that stand for a cause and are not closed: of each cause there is one.
IS_COUNTED = "closed_at IS NULL AND times IS NOT NULL"

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: Narrow on purpose: it is written again at every step of a request.
request = Table(
    "request",
    metadata,
    key(),
    Column("id", Text, nullable=False, unique=True),
    words("consumer"),
    words("service"),
    words("revision"),
    words("purpose"),
    flag("test"),
    number("data_id"),
    words("state"),
    words("intended", null=True),
    number("version"),
    words("head"),
    number("accepted_at"),
    number("ended_at", null=True),
    number("deadline_at", null=True),
    number("warn_at", null=True),
    words("conditions"),
    number("due", null=True),
    Index(None, "consumer", "key"),
    Index(None, "state", "key"),
    partial("ix_request_due", "due", where="due IS NOT NULL"),
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
    words("consumer"),
    words("submission_key"),
    Column("digest", LargeBinary, nullable=False),
    Column("tracking", Text, nullable=False, unique=True),
    words("subject"),
    words("reference", null=True),
    words("on_behalf_of", null=True),
    number("said_id", null=True),
    UniqueConstraint("consumer", "submission_key"),
    partial("ix_submission_reference", "consumer", "reference", where="reference IS NOT NULL"),
    partial("ix_submission_on_behalf_of", "consumer", "on_behalf_of", where="on_behalf_of IS NOT NULL"),
)

step = Table(
    "step",
    metadata,
    number("request_key"),
    words("step"),
    Column("item", Integer, nullable=False),
    words("kind"),
    words("state"),
    words("effect"),
    Column("edit", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("asks", Integer, nullable=False),
    Column("answered", Integer, nullable=False),
    Column("resends", Integer, nullable=False),
    words("reason", null=True),
    flag("left_behind"),
    number("first_sent", null=True),
    Column("sent_edit", Integer, nullable=True),
    words("journal_id", null=True),
    number("input_id", null=True),
    number("task_id", null=True),
    number("output_id", null=True),
    words("output_digest", null=True),
    number("expires_at", null=True),
    number("clock_left", null=True),
    number("answer_at", null=True),
    number("ask_at", null=True),
    number("next_at", null=True),
    number("deadline_at", null=True),
    number("until_at", null=True),
    words("asked"),
    words("superseded", null=True),
    words("changed_by", null=True),
    number("changed_at", null=True),
    words("agency"),
    flag("desk"),
    PrimaryKeyConstraint("request_key", "step", "item", "kind"),
    # What the dispatcher takes next, and how much is in flight: answered from the index alone.
    partial("ix_step_moving", "agency", "state", "expires_at", "desk", where=IS_MOVING),
    sqlite_with_rowid=False,
)

fact = Table(
    "fact",
    metadata,
    number("request_key"),
    Column("version", Integer, nullable=False),
    words("kind"),
    number("at"),
    words("changes"),
    words("step", null=True),
    Column("item", Integer, nullable=True),
    words("step_kind", null=True),
    words("consumer", null=True),
    words("provider", null=True),
    words("purpose", null=True),
    words("fields"),
    words("message_id", null=True),
    words("digest", null=True),
    words("actor", null=True),
    words("reason", null=True),
    words("previous"),
    words("hash"),
    #: Place in the audit tree, given later.
    number("leaf_index", null=True),
    PrimaryKeyConstraint("request_key", "version"),
    # Who was told what, over all requests, by time.
    partial("ix_fact_disclosing", "at", "request_key", "version", where=IS_DISCLOSING),
    sqlite_with_rowid=False,
)

inbox = Table(
    "inbox",
    metadata,
    number("request_key"),
    words("source"),
    words("message_id"),
    Column("digest", LargeBinary, nullable=False),
    PrimaryKeyConstraint("request_key", "source", "message_id", "digest"),
    sqlite_with_rowid=False,
)

outbox = Table(
    "outbox",
    metadata,
    key(),
    words("channel"),
    words("message_id"),
    words("type"),
    words("correlation_id"),
    number("payload_id"),
    number("request_key", null=True),
    number("lease_until", null=True),
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
    key("id"),
    number("request_key", null=True),
    #: The key that the bytes are encrypted with; NULL while they are not.
    number("key_id", null=True),
    Column("bytes", LargeBinary, nullable=False),
)

failure = Table(
    "failure",
    metadata,
    key(),
    number("request_key", null=True),
    words("request_id", null=True),
    words("step", null=True),
    Column("item", Integer, nullable=True),
    words("kind", null=True),
    words("agency", null=True),
    words("code"),
    words("cause"),
    number("payload_id", null=True),
    number("opened_at"),
    number("closed_at", null=True),
    words("how_closed", null=True),
    #: How often its cause came, and when last; NULL for a failure that stands for itself alone.
    number("times", null=True),
    number("last_at", null=True),
    partial("ix_failure_counted", "cause", where=IS_COUNTED, unique=True),
    partial("ix_failure_open", "request_key", where="closed_at IS NULL"),
    # What people look at: a few among all that were ever closed.
    partial("ix_failure_open_key", "key", where="closed_at IS NULL"),
)

#: The raw messages that are kept of a failure that stands for a cause.
failure_message = Table(
    "failure_message",
    metadata,
    number("failure_key"),
    number("payload_id"),
    PrimaryKeyConstraint("failure_key", "payload_id"),
    sqlite_with_rowid=False,
)

desk = Table(
    "desk",
    metadata,
    key(),
    of_request(),
    words("request_id"),
    words("step"),
    Column("item", Integer, nullable=False),
    words("kind"),
    words("agency"),
    words("operation"),
    words("interaction_id"),
    Column("edit", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    number("task_id"),
    words("state"),
    number("opened_at"),
    number("due_at", null=True),
    words("clerk", null=True),
    number("changed_at", null=True),
    number("draft_id", null=True),
    UniqueConstraint("request_key", "step", "item", "kind"),
    Index(None, "agency", "key"),
    partial("ix_desk_waiting", "agency", "key", where=IS_WAITING),
)

#: Who took which task: only ever added to.
desk_claim = Table(
    "desk_claim",
    metadata,
    number("request_key"),
    number("desk_key"),
    number("at"),
    words("clerk"),
    PrimaryKeyConstraint("request_key", "desk_key", "at", "clerk"),
    sqlite_with_rowid=False,
)

#: What those who run the bus did to agencies and tokens: only ever added to. Its keys follow the commits.
act = Table(
    "act",
    metadata,
    Column("key", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    number("at"),
    words("actor"),
    words("what"),
    words("target"),
    words("reason", null=True),
)

result = Table(
    "result",
    metadata,
    key(),
    of_request(),
    words("request_id"),
    words("consumer"),
    words("type"),
    number("payload_id"),
    number("created_at"),
    number("collected_at", null=True),
    Index(None, "consumer", "key"),
    Index(None, "request_key"),
    # What a webhook looks for again and again stays few, however long the feed becomes.
    partial("ix_result_uncollected", "consumer", "key", where=IS_UNCOLLECTED),
)

agency = Table(
    "agency",
    metadata,
    Column("agency", Text, primary_key=True),
    flag("paused"),
    words("start_id", null=True),
    words("journal_id", null=True),
    number("journal_seq"),
    number("alive_at", null=True),
    words("operations"),
    words("breaker"),
    Column("troubles", Integer, nullable=False),
    number("probe_at", null=True),
    number("probe_wait"),
    number("heard_at", null=True),
    words("retired"),
)

#: Starts of agencies' hosts, to know which run side by side.
host = Table(
    "host",
    metadata,
    words("agency"),
    words("start_id"),
    words("operations"),
    number("started_at"),
    number("seen_at"),
    PrimaryKeyConstraint("agency", "start_id"),
    sqlite_with_rowid=False,
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
    words("role"),
    words("agency", null=True),
)

#: Process managers that are there, and up to when each has settled what it was handed.
presence = Table(
    "presence",
    metadata,
    Column("process", Text, primary_key=True),
    number("seen_at"),
    number("settled_to"),
)

setting = Table("setting", metadata, Column("name", Text, primary_key=True), Column("value", Text, nullable=False))
