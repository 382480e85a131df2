"""Puts a bus together: the only place that names concrete brokers, stores and journals."""

from __future__ import annotations

import fcntl
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bus.adapter import Adapter
from bus.brokers.kombu import KombuBroker
from bus.catalog import Workspace, load_adapter, load_simulator, load_workspace, reveal
from bus.console.pages import pages
from bus.errors import ConfigurationError, Fault, TransientError
from bus.journals.sqlite import SqliteJournal
from bus.logs import bind
from bus.message.channel import replies as replies_of
from bus.message.instant import Milliseconds
from bus.message.key import NODES, Keys
from bus.operations.context import Context
from bus.ports import Broker, Store
from bus.process.closure import from_closure
from bus.process.definition import StepDefinition
from bus.runtime.dispatcher import Dispatcher
from bus.runtime.epoch import connect
from bus.runtime.host import AgencyHost
from bus.runtime.hosts import Hosts
from bus.runtime.library import Library
from bus.runtime.loop import Loop, Loops
from bus.runtime.process_manager import ProcessManager
from bus.runtime.relay import Relay
from bus.runtime.replies import ReplyConsumer
from bus.runtime.timekeeper import Timekeeper
from bus.runtime.webhook import Webhook
from bus.runtime.webhook_signature import secret_of
from bus.runtime.work import Tools
from bus.stores.sqlite import SqliteStore, migrate

_log = bind(role="bootstrap")
_SECRET_BYTES = 32


# --- an installation's folder ---------------------------------------------------------------------------------------


def open_store(data: Path) -> SqliteStore:
    """The store of an installation, made or brought up to date if need be; the folder is for its owner alone."""
    _private(data)
    migrate(data / "store.db")
    return SqliteStore(data / "store.db")


def has_store(data: Path) -> bool:
    """Whether the bus itself keeps its store in the folder; beside an agency's host alone there is none."""
    return (data / "store.db").is_file()


def open_journal(data: Path, agency: str) -> SqliteJournal:
    """The journal of an agency's host."""
    _private(data)
    return SqliteJournal(data / "journals" / f"{agency}.db")


def embedded_broker() -> Broker:
    """The broker of a bus in one process."""
    return KombuBroker()


def installation_secret(data: Path) -> bytes:
    """The secret from which ids and pseudonyms are made; made once, part of every backup."""
    _private(data)
    file = data / "secret"
    if not file.exists():
        write_once(file, secrets.token_bytes(_SECRET_BYTES))
    secret = file.read_bytes()
    if len(secret) != _SECRET_BYTES:
        fault = Fault(
            code="secret-damaged",
            message=f"The installation's secret has {len(secret)} bytes in place of {_SECRET_BYTES}.",
            mend="Put it back from the backup: without it, known requests get other ids.",
            file=str(file),
        )
        raise ConfigurationError((fault,))
    return secret


def write_once(file: Path, content: bytes) -> None:
    """Make a file that only its owner may read, whole or not at all; one that is there already stays as it is."""
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}-") as new:
        new.write(content)
        new.flush()
        os.fsync(new.fileno())
        try:
            os.link(new.name, file)
        except FileExistsError:
            return


@contextmanager
def claimed(data: Path) -> Iterator[None]:
    """This process alone runs the installation until the end of the ``with``; TransientError if another one does.

    The claim is a lock on an open file, so that it ends with its process, however that dies.
    """
    _private(data)
    with (data / "lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TransientError(
                f"Another `bus serve` runs on {data}.",
                code="data-in-use",
                mend="Stop it first, or give this one a folder of its own with --data.",
            ) from error
        yield


def simulator_folder(data: Path, agency: str) -> Path:
    """Where the simulator of an agency keeps its system, its ledger and its orders."""
    return data / "simulators" / agency


def _private(data: Path) -> None:
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    data.chmod(0o700)


# --- the bus --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What all roles of one process share."""

    workspace: Workspace
    data: Path
    store: Store
    broker: Broker
    tools: Tools
    manager: ProcessManager
    dispatcher: Dispatcher

    @property
    def context(self) -> Context:
        """What the gateway's operations work with."""
        tools = self.tools
        return Context(
            store=self.store,
            decider=self.manager,
            workspace=self.workspace,
            keys=tools.keys,
            secret=tools.secret,
            settings=tools.settings,
        )


def assemble(workspace: Workspace, data: Path, *, store: Store | None = None, broker: Broker | None = None) -> Parts:
    """Build the parts over the embedded store and broker; nothing runs yet."""
    store = store or open_store(data)
    broker = broker or embedded_broker()
    for service in workspace.services.values():
        store.save_definition(service.revision, service.closure)
    _refuse_missing_operations(workspace, store)
    settings = workspace.env.settings
    tools = Tools(
        library=Library(store),
        keys=Keys(store.now, secrets.randbelow(NODES)),
        secret=installation_secret(data),
        settings=settings,
    )
    dispatcher = Dispatcher(store, settings)
    manager = ProcessManager(store=store, publisher=broker.publisher, tools=tools, dispatcher=dispatcher)
    return Parts(
        workspace=workspace,
        data=data,
        store=store,
        broker=broker,
        tools=tools,
        manager=manager,
        dispatcher=dispatcher,
    )


def hosted(workspace: Workspace) -> tuple[str, ...]:
    """The agencies whose adapter runs beside the bus in this environment."""
    return tuple(
        name
        for name, agency in workspace.agencies.items()
        if agency.adapter is not None and workspace.env.agencies[name].use in {"real", "simulator"}
    )


@contextmanager
def running(parts: Parts, *, hosts: bool = True) -> Iterator[Loops]:
    """All roles but the gateway, as threads of this process, until the end of the ``with``."""
    agencies = tuple(name for name, agency in parts.workspace.agencies.items() if agency.adapter is not None)
    loops = Loops()
    settings = parts.tools.settings
    keys = parts.tools.keys
    relay = Relay(parts.store, parts.broker, parts.manager, keys, settings)
    timekeeper = Timekeeper(
        store=parts.store,
        manager=parts.manager,
        publisher=parts.broker.publisher,
        agencies=agencies,
        keys=keys,
        settings=settings,
    )
    webhooks = _webhooks(parts, os.environ)
    connect(parts.broker, parts.store, parts.manager, agencies)
    relay.drain(lambda: False)
    heard = [replies_of(agency) for agency in agencies]
    replies = ReplyConsumer(
        lambda: parts.broker.consumer(heard, 4 * settings.batch_most), parts.manager, Hosts(keys), keys, settings
    )
    # Started first, stopped last: a receiver that hangs keeps nobody else from ending well.
    for consumer, webhook in webhooks.items():
        loops.start(Loop(role=f"webhook:{consumer}", step=webhook.step, rest=0.2, close=webhook.close))
    loops.start(Loop(role="relay", step=relay.step, rest=0.2))
    loops.start(Loop(role="timekeeper", step=timekeeper.step, rest=0.05, close=timekeeper.close))
    loops.start(Loop(role="dispatcher", step=lambda: _sweep(parts), rest=0.1))
    loops.run("process-manager", lambda stop: replies.run(stop.is_set))
    try:
        served = hosted(parts.workspace) if hosts else ()
        loops.run_beside({f"agency:{name}": partial(_host, parts, name) for name in served})
        yield loops
    finally:
        # The hosts end their calls and answer, then the replies that are there are settled, then the rest stops.
        _log.info("drain_began")
        done = loops.stop(settings.drain_within / 1000)
        parts.manager.close()
        parts.broker.close()
        parts.store.close()
        _log.info("drain_ended", how="whole" if done else "time-is-up")


def _webhooks(parts: Parts, environ: Mapping[str, str]) -> dict[str, Webhook]:
    """One for each consumer that the environment names; ConfigurationError with every secret that is none."""
    uses, faults = parts.workspace.env.webhooks, []
    made: dict[str, Webhook] = {}
    written = reveal({consumer: use.secret for consumer, use in uses.items()}, parts.workspace.root, environ)
    for consumer, use in uses.items():
        try:
            secret = secret_of(written[consumer])
        except ValueError as error:
            mend, place = "Make one with `openssl rand -base64 32`, and write whsec_ before it.", use.secret
            faults.append(
                Fault(code="webhook-secret", message=str(error), mend=mend, file=place.asked_in, line=place.line)
            )
            continue
        tools = parts.tools
        made[consumer] = Webhook(
            consumer=consumer,
            url=use.url,
            secret=secret,
            store=parts.store,
            keys=tools.keys,
            settings=tools.settings,
        )
    if faults:
        raise ConfigurationError(tuple(faults))
    return made


def _sweep(parts: Parts) -> None:
    parts.dispatcher.look(parts.store.now())
    backlog = parts.dispatcher.backlog()
    if backlog:
        parts.manager.dispatch_waiting(backlog)


def _host(parts: Parts, agency: str, stop: threading.Event) -> None:
    with hosting(parts.workspace, parts.data, agency, parts.broker) as host:
        host.run(stop)


def wall_clock() -> Milliseconds:
    """Now, by the machine's clock."""
    return time.time_ns() // 1_000_000


@contextmanager
def hosting(
    workspace: Workspace,
    data: Path,
    agency: str,
    broker: Broker,
    *,
    clock: Callable[[], Milliseconds] = wall_clock,
) -> Iterator[AgencyHost]:
    """The host of one agency with its journal and its adapter, which are closed at the end of the ``with``."""
    manifest, use = workspace.adapters[agency], workspace.env.agencies[agency]
    # Beside a real system the simulator takes the tasks that are tests: they can never reach the real one.
    simulated = _simulated(workspace, data, agency) if _is_simulated(workspace, agency) else None
    real = load_adapter(manifest, reveal(use.settings, workspace.root, os.environ)) if use.use == "real" else None
    with ExitStack() as stack:
        journal = stack.enter_context(closing(open_journal(data, agency)))
        for adapter in (real, simulated):
            if adapter is not None:
                stack.enter_context(closing(adapter))
        host = AgencyHost(
            agency=agency,
            adapter=real or simulated,
            simulator=simulated,
            operations=manifest.operations,
            contracts=workspace.contracts,
            journal=journal,
            broker=broker,
            settings=workspace.env.settings,
            clock=clock,
            versions={"bus": _version(), "adapter": manifest.id},
        )
        # Also one that broke lets go of its messages, so that the next one gets them.
        with closing(host):
            yield host


class LocalHosts:
    """The agency hosts of this process, of which each can be stopped, and started again with a workspace read anew."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._loops: dict[str, Loops] = {}

    def start(self, agency: str, workspace: Workspace | None = None) -> None:
        """Run the host of one agency, with another ``workspace`` than that of the process where one is given."""
        loops = self._loops[agency] = Loops()
        parts = self._parts if workspace is None else replace(self._parts, workspace=workspace)
        loops.run(f"agency:{agency}", partial(_host, parts, agency))

    def stop(self, agency: str) -> bool:
        """Let the host end its call and answer, within `Settings.drain_within`; whether it did."""
        loops = self._loops.pop(agency, Loops())
        return loops.stop(self._parts.tools.settings.drain_within / 1000)


@contextmanager
def local_hosts(parts: Parts) -> Iterator[LocalHosts]:
    """What ``running(parts)`` runs of hosts, within ``running(parts, hosts=False)``, so that each can be reached."""
    hosts = LocalHosts(parts)
    served = hosted(parts.workspace)
    try:
        for agency in served:
            hosts.start(agency)
        yield hosts
    finally:
        for agency in served:
            hosts.stop(agency)


def _simulated(workspace: Workspace, data: Path, agency: str) -> Adapter:
    """The adapter on the stand-in, which says itself how it is reached; the rest is set by the environment.

    Beside a real system nothing of that system's settings is handed to what serves trials.
    """
    manifest, use = workspace.adapters[agency], workspace.env.agencies[agency]
    reach = load_simulator(manifest).settings(simulator_folder(data, agency))
    written = reveal(use.settings, workspace.root, os.environ) if use.use == "simulator" else {}
    return load_adapter(manifest, {**written, **reach})


def _is_simulated(workspace: Workspace, agency: str) -> bool:
    """Whether the agency's folder brings a stand-in of its legacy system."""
    return (workspace.adapters[agency].folder / "simulator.py").is_file()


def _version() -> str:
    try:
        return version("g2g-bus")
    except PackageNotFoundError:
        return "not installed"


def _refuse_missing_operations(workspace: Workspace, store: Store) -> None:
    faults = []
    for revision in sorted(store.open_revisions()):
        closure = store.definition(revision)
        if closure is None:
            continue
        definition, _ = from_closure(closure)
        faults += [
            Fault(
                code="operation-in-use",
                message=f"Open requests of {definition.service} need {operation} of {agency}; it is gone.",
                mend="Offer it until those requests have ended.",
            )
            for step in definition.steps.values()
            for agency in step.providers
            if not step.is_desk(agency)
            for operation in sorted(_operations(step) - _offered(workspace, agency))
        ]
    if faults:
        raise ConfigurationError(tuple(faults))


def _operations(step: StepDefinition) -> set[str]:
    return {step.operation} | ({step.compensate.operation} if step.compensate else set())


def _offered(workspace: Workspace, agency: str) -> set[str]:
    manifest = workspace.adapters.get(agency)
    return set(manifest.operations) if manifest else set()


# --- simulators -----------------------------------------------------------------------------------------------------


@contextmanager
def simulators(workspace: Workspace, data: Path) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """One process for each stand-in of a legacy system, in every environment, for tests or for all tasks.

    Each ends with its standard input, so none outlives the bus.
    """
    wanted = [name for name in hosted(workspace) if _is_simulated(workspace, name)]
    running_now = {name: start_simulator(workspace, data, name) for name in wanted}
    try:
        yield running_now
    finally:
        for process in running_now.values():
            if process.stdin:
                process.stdin.close()
        for process in running_now.values():
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def start_simulator(workspace: Workspace, data: Path, agency: str) -> subprocess.Popen[bytes]:
    """The simulator of one agency, as a process of its own."""
    simulator_folder(data, agency).mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "bus", "simulator", "run", agency]
    where = ["--workspace", str(workspace.root), "--env", workspace.env.name, "--data", str(data)]
    return subprocess.Popen([*command, *where], stdin=subprocess.PIPE)


__all__ = [
    "LocalHosts",
    "Parts",
    "assemble",
    "claimed",
    "embedded_broker",
    "has_store",
    "hosted",
    "hosting",
    "installation_secret",
    "load_workspace",
    "local_hosts",
    "open_journal",
    "open_store",
    "pages",
    "running",
    "simulator_folder",
    "simulators",
    "start_simulator",
    "write_once",
]
