"""Process managers that are there, and room and tidiness for the tables of PostgreSQL that change most."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_KEPT = {
    "request": "fillfactor = 50",
    "outbox": "autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000,"
    " autovacuum_vacuum_cost_delay = 0",
}


def upgrade() -> None:
    op.create_table(
        "presence",
        sa.Column("process", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("settled_to", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("process", name=op.f("pk_presence")),
    )
    if op.get_bind().dialect.name == "postgresql":
        for table, kept in _KEPT.items():
            op.execute(f"ALTER TABLE {table} SET ({kept})")
