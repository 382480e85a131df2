"""What every SQL store does alike: the port, put together from its parts."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import func, select

from bus.message.channel import Channel
from bus.message.instant import Milliseconds
from bus.ports import OutboxRow
from bus.stores import commands, recount, rows
from bus.stores.schema import outbox
from bus.stores.sql_installation import Installation
from bus.stores.sql_people import People
from bus.stores.sql_requests import Requests


class SqlStore(Requests, People, Installation):
    """The part of the port that is the same for every dialect."""

    def confirm(self, keys: Collection[int]) -> None:
        """Delete confirmed outbox rows."""
        if keys:
            with self.writing() as connection:
                commands.confirm(connection, keys)

    def leftovers(self, before: int, most: int, lease: Milliseconds) -> tuple[tuple[OutboxRow, bytes], ...]:
        """Outbox rows with keys below ``before`` that nobody leases, leased to the caller, with their bytes."""
        with self.writing() as connection:
            leased = self.hot(connection).lease(before, most, self.now(), lease)
        return tuple((rows.outbox_of(row[:-1]), row[-1]) for row in leased)

    def outbox_depth(self) -> int:
        """How many messages wait to be published."""
        with self.looking() as connection:
            return connection.scalar(select(func.count()).select_from(outbox)) or 0

    def outbox_depths(self) -> dict[Channel, int]:
        """How many messages wait to be published, by channel; one for which none waits is absent."""
        counted = select(outbox.c.channel, func.count()).group_by(outbox.c.channel)
        with self.looking() as connection:
            return {Channel(channel): count for channel, count in connection.execute(counted)}

    def recount(self) -> tuple[str, ...]:
        """What does not add up, one sentence each; empty if all is well."""
        with self.reading_at_length() as connection:
            return recount.recount(connection)
