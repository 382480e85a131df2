"""Who takes part in a benchmark: programs that work, a loader that asks, and what one turn of it came to."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeAlias

from bus.bench.broker_figures import BrokerFigures, Listening
from bus.bench.meter import Meter, Pids
from bus.bench.orders import loader
from bus.bench.pace import Order, Ran
from bus.bench.services import PostgresNode, RabbitNode, RedisNode
from bus.bench.services.kept import Kept
from bus.bench.services.place import Start


@dataclass(frozen=True, slots=True, kw_only=True)
class Machines:
    """The private services that all contenders share."""

    rabbit: RabbitNode
    postgres: PostgresNode
    redis: RedisNode
    #: Of which passwords are made: users belong to the broker, and not to one installation on it.
    secret: str = field(default_factory=partial(secrets.token_hex, 16), repr=False)

    def groups(self) -> dict[str, Pids]:
        """Their processes, by what they are."""
        rabbit, postgres, redis = self.rabbit, self.postgres, self.redis
        return {"broker": lambda: rabbit.pids, "postgresql": lambda: postgres.pids, "redis": lambda: redis.pids}


@contextmanager
def machines(folder: Path) -> Iterator[Machines]:
    """Start them in the folder; they end with the ``with``. PostgreSQL's own settings, so commits are synchronous."""
    with ExitStack() as stack:
        yield Machines(
            rabbit=stack.enter_context(RabbitNode(folder / "rabbit")),
            postgres=stack.enter_context(PostgresNode(folder / "postgres")),
            redis=stack.enter_context(RedisNode(folder / "redis")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """Programs at work, and how their loader is started."""

    load: Sequence[str]
    where: Mapping[str, str]
    #: What a program is -> its processes.
    programs: Mapping[str, Pids] = field(default_factory=dict)


#: Starts the programs; they end with the ``with``.
Open: TypeAlias = Callable[[], AbstractContextManager[Ready]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way to do the fan-out. Its programs run during its turns only, so that nobody else pays for them."""

    name: str
    open: Open


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One load of one contender."""

    ran: Ran
    #: Process -> milliseconds of CPU for each request that ended.
    cpu_ms: Mapping[str, float]
    #: What RabbitMQ told of it, where it was asked.
    broker: BrokerFigures | None = None


def take_turn(contender: Contender, order: Order, machines: Machines, log: Path) -> Turn:
    """Start it, load it, end it. BenchError if a request was lost: its loader says which."""
    with contender.open() as ready, loader(ready.load, replace(order, where=ready.where), log) as load:
        meter = Meter({**machines.groups(), **ready.programs, "loader": lambda: (load.pid,)})
        ran = load.load()
        spent = meter.spent()
    return Turn(ran=ran, cpu_ms={name: 1000 * seconds / ran.ended for name, seconds in spent.items()})


def take_watched_turn(contender: Contender, order: Order, machines: Machines, log: Path) -> Turn:
    """The same, and ask RabbitMQ what it saw of it, which takes a while before and after."""
    with Listening(machines.rabbit.admin).during() as listening:
        turn = take_turn(contender, order, machines, log)
    return replace(turn, broker=listening.figures)


@contextmanager
def program(module: str, *arguments: str, log: Path, environ: Mapping[str, str] | None = None) -> Iterator[Kept]:
    """A Python program of its own; it is asked to end at the end of the ``with``."""
    settings = [f"{name}={value}" for name, value in (environ or {}).items()]
    kept = Kept(Start(command=("/usr/bin/env", *settings, sys.executable, "-m", module, *arguments)), log)
    try:
        yield kept
    finally:
        kept.stop()
