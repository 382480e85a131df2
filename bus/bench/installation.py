"""The bus as a contender: its roles and its agencies' hosts in processes of their own, everything on."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from bus.bench import fanout
from bus.bench.contender import Contender, Machines, Ready, program
from bus.bench.layout import ENV, USERS, lay
from bus.bench.recount import recount
from bus.bench.services.kept import Kept
from bus.bench.services.waiting import wait_until
from bus.bootstrap import load_workspace, store_of
from bus.bootstrap.stores import migrate_store
from bus.bootstrap.topology import make
from bus.operations.caller import Role, mint_token
from bus.ports import Store

_GATEWAY: Final = "gateway"
_BUS_SIDE: Final = ("process-manager", "relay", "timekeeper")
_AGENCIES: Final = tuple(f"agency:{name}" for name in fanout.AGENCIES)
#: Process -> roles. Two processes beside the loader: one for the bus's side, one for all hosts.
TOGETHER: Final[Mapping[str, Sequence[str]]] = {"process manager": _BUS_SIDE, "hosts": _AGENCIES}
#: As ministries would run it: each host alone.
APART: Final[Mapping[str, Sequence[str]]] = {
    "process manager": _BUS_SIDE,
    **{f"host {role[-1]}": (role,) for role in _AGENCIES},
}

#: With the gateway in a process of its own, which is spoken to over HTTP.
OVER_HTTP: Final[Mapping[str, Sequence[str]]] = {_GATEWAY: (_GATEWAY,), **TOGETHER}

#: Seconds for all processes to start, also on a busy machine.
_START: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """A workspace on a virtual host and a database of its own."""

    name: str
    workspace: Path
    folder: Path
    #: The URL of its database, for an administrator.
    database: str

    def store(self) -> Store:
        """Its store; close it."""
        return store_of(load_workspace(self.workspace, ENV), self.folder / "loader")

    def contender(self, processes: Mapping[str, Sequence[str]] = TOGETHER, name: str = "bus") -> Contender:
        """The installation with its roles spread over these processes."""
        return Contender(name=name, open=partial(self.open, processes))

    @contextmanager
    def open(self, processes: Mapping[str, Sequence[str]]) -> Iterator[Ready]:
        """Run it."""
        url = self.folder / _GATEWAY / "url"
        url.unlink(missing_ok=True)
        with ExitStack() as stack:
            store = stack.enter_context(closing(self.store()))
            before = _starts(store)
            kept = {name: stack.enter_context(self._serve(name, roles)) for name, roles in processes.items()}
            # A request that comes before the hosts were admitted would wait for the next look at what waits.
            admitted = len(fanout.AGENCIES)
            self._wait("every host is admitted", lambda: len(_starts(store) - before) == admitted, "hosts", kept)
            programs = {name: one.pids for name, one in kept.items()}
            if _GATEWAY in processes:
                self._wait("the gateway listens", url.exists, _GATEWAY, kept)
                where = {"url": url.read_text(encoding="ascii").strip(), "token": _token(store)}
                yield Ready(load=_program("http_load"), where=where, programs=programs)
            else:
                where = {"workspace": str(self.workspace), "data": str(self.folder / "loader")}
                yield Ready(load=_program("bus_load"), where=where, programs=programs)

    def recount(self, *, least: int = 0) -> int:
        """How many submissions its store ever accepted; BenchError if it does not add up, or has fewer than these."""
        with closing(self.store()) as store:
            return recount(store, least=least)

    @contextmanager
    def _serve(self, name: str, roles: Sequence[str]) -> Iterator[Kept]:
        called = name.replace(" ", "-")
        # However hosts are spread over processes, an agency has one journal.
        data = self.folder / ("hosts" if set(roles) <= set(_AGENCIES) else _GATEWAY if _GATEWAY in roles else "bus")
        where = ("--workspace", str(self.workspace), "--env", ENV, "--data", str(data), "--port", "0")
        written = [part for role in roles for part in ("--role", role)]
        with program("bus", "serve", *where, *written, log=self.folder / f"{called}.log") as kept:
            yield kept

    def _wait(self, what: str, look: Callable[[], bool], whose: str, kept: Mapping[str, Kept]) -> None:
        """Wait for it; ServiceError quotes that log if it never comes, or one of the processes ends."""
        log = self.folder / f"{whose}.log"
        wait_until(what, look, within=_START, log=log, alive=lambda: all(one.alive for one in kept.values()))


def _program(name: str) -> Sequence[str]:
    """A loader, as a command."""
    return (sys.executable, "-m", f"bus.bench.{name}")


def _token(store: Store) -> str:
    """Of one more user of the consumer."""
    return mint_token(store, f"bench-{secrets.token_hex(4)}", Role.CONSUMER, fanout.CONSUMER)


def _starts(store: Store) -> set[str]:
    """The starts of hosts that the bus has heard of."""
    return {row.start_id for row in store.agencies().values() if row.start_id}


def install(machines: Machines, folder: Path, meta: Path, name: str) -> Installation:
    """Lay out a workspace, make its virtual host with everything in it, and its database with an empty store."""
    admin = machines.rabbit.admin
    database = machines.postgres.make_database(f"{name}_{secrets.token_hex(4)}")
    made = Installation(name=name, workspace=folder / name / "workspace", folder=folder / name, database=database)
    lay(
        made.workspace,
        meta,
        broker=admin.url(name),
        management={"url": admin.management, "user": admin.user, "password": admin.password},
        store=database,
        passwords={user: f"{machines.secret}-{user}" for user in USERS},
    )
    workspace = load_workspace(made.workspace, ENV)
    for _ in make(workspace):
        pass
    migrate_store(workspace, made.folder / "loader")
    return made
