"""A private PostgreSQL that follows another one by streaming replication, and may take its place."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import psycopg

from bus.bench.services.place import Start
from bus.bench.services.postgres import SUPERUSER, PostgresNode
from bus.bench.services.waiting import ServiceError

#: Seconds until it is connected to the one that it follows, and until it takes writes after a promotion.
_CONNECTS, _PROMOTION = 30.0, 60
_FOLLOWS: Final = "SELECT 1 FROM pg_stat_replication WHERE application_name = %s AND state = 'streaming'"


class PostgresStandby(PostgresNode):
    """A copy of ``primary``, made at its first start, that follows it; whoever connects to it may read and not write.

    The primary waits for it with every commit where its ``synchronous_standby_names`` has ``STANDBY``.
    """

    #: What it is called at the one that it follows.
    STANDBY: Final = "standby"

    def __init__(self, folder: Path, primary: PostgresNode, *, port: int | None = None) -> None:
        """``port`` leads to the primary by another way than straight, as through a proxy."""
        super().__init__(folder)
        self._primary = primary
        self._through = port or primary.port

    def promote(self) -> None:
        """Follow nobody any more, and take writes."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            done = connection.execute("SELECT pg_promote(true, %s)", [_PROMOTION]).fetchall()
        if done != [(True,)]:
            raise ServiceError(f"The standby took no writes within {_PROMOTION} s of its promotion: {self.log}")

    def _fill(self) -> Start:
        source = f"host=127.0.0.1 port={self._through} user={SUPERUSER} application_name={self.STANDBY}"
        copy = ("-D", self._inside("data"), "-d", source, "--write-recovery-conf", "--checkpoint=fast", "--no-sync")
        return self._place.start("pg_basebackup", *copy, folder=self.folder)

    def _started(self) -> None:
        if (self.folder / "data" / "standby.signal").exists():
            self._wait("the standby follows", self._follows, _CONNECTS)

    def _follows(self) -> bool:
        with psycopg.connect(self._primary.url) as connection:
            return bool(connection.execute(_FOLLOWS, [self.STANDBY]).fetchall())
