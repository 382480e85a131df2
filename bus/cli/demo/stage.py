"""The running bus as those see it who take part: a portal, clerks, an operator, and who makes the trouble."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from bus.bootstrap import (
    LocalHosts,
    Parts,
    assemble,
    embedded_broker,
    load_workspace,
    local_hosts,
    pages,
    running,
    simulator_folder,
    simulators,
)
from bus.catalog import Workspace
from bus.cli.demo.losing import LosingBroker
from bus.cli.demo.scenes import Mend, Script, Trouble
from bus.client import Client
from bus.gateway.server import serving
from bus.message.channel import replies
from bus.message.envelope import MessageType
from bus.message.instant import Instant
from bus.operations.caller import Role, mint_token
from bus.process.definition import StepDefinition
from bus.process.state import Request
from bus.simulator import Control, Misbehaviour

#: Seconds that a legacy system may take to start.
_STARTING = 20.0
#: Outages that last until the bus has noticed them.
OUTAGES = frozenset({Misbehaviour.DOWN, Misbehaviour.CLOSED})


class StuckError(Exception):
    """Nothing moves any more; says which agency and which step."""


@dataclass(kw_only=True)
class Stage:
    """Everything that runs, from the beginning to the end of a demo."""

    parts: Parts
    script: Script
    broker: LosingBroker
    hosts: LocalHosts
    systems: Mapping[str, subprocess.Popen[bytes]]
    address: str
    requests: list[str] = field(default_factory=list)
    _tokens: dict[str | None, str] = field(default_factory=dict)
    _armed: list[tuple[Control, int, str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.consumer = next(iter(self.script.definition.consumers))
        self.portal = self._client("portal", Role.CONSUMER, self.consumer)
        self.operator = self._client("operator", Role.OPERATOR, None)
        steps = self.script.definition.steps.values()
        desks = sorted({agency for step in steps for agency in step.providers if step.is_desk(agency)})
        self.clerks = {agency: self._client(f"clerk.{agency}", Role.CLERK, agency) for agency in desks}
        self.controls = {
            agency: Control(simulator_folder(self.parts.data, agency) / "control.db") for agency in self.systems
        }

    def token(self, agency: str) -> str:
        """The token of this run for an agency that asks, or for the clerk of one that answers."""
        return self._tokens[agency]

    @property
    def now(self) -> Instant:
        """By the store's clock."""
        return self.parts.store.now()

    def close(self) -> None:
        """Let go of connections and files."""
        for client in (self.portal, self.operator, *self.clerks.values()):
            client.close()
        for control in self.controls.values():
            control.close()

    def request(self, request_id: str) -> Request:
        """How a request stands in the store."""
        found = self.parts.store.request(request_id)
        if found is None:
            raise LookupError(f"the store has lost {request_id}")
        return found

    # --- trouble ----------------------------------------------------------------------------------------------------

    def arm(self, trouble: Trouble) -> None:
        """Have it go wrong: once, or in the case of an outage until the bus has noticed it."""
        step = self.script.steps[trouble.operation]
        for agency in step.providers:
            if trouble.misbehaviour is None:
                self.broker.lose_next(replies(agency), MessageType.TASK_COMPLETED)
            elif agency in self.controls:
                control = self.controls[agency]
                operation = "" if trouble.misbehaviour in OUTAGES else trouble.operation
                number = control.arm(trouble.misbehaviour, operation=operation, seconds=trouble.seconds)
                self._armed.append((control, number, agency, step.name if trouble.misbehaviour in OUTAGES else ""))

    def noticed(self, agency: str | None, step: str | None) -> None:
        """The bus has met a step's outage: the system is up again."""
        for control, number, of, outage in self._armed:
            if (of, outage) == (agency, step):
                control.disarm(number)

    def disarm(self) -> None:
        """What has not gone wrong by now will not."""
        for control, number, _, _ in self._armed:
            control.disarm(number)
        self._armed.clear()

    def dead_system(self, agency: str) -> bool:
        """Whether the legacy system of an agency has stopped for good."""
        system = self.systems.get(agency)
        return system is not None and system.poll() is not None

    # --- the mend ---------------------------------------------------------------------------------------------------

    def mend(self, step: StepDefinition, mend: Mend) -> None:
        """Write the settings into the environment, read the workspace anew, and start the hosts concerned again."""
        workspace = self.parts.workspace
        file = workspace.root / "env" / f"{workspace.env.name}.yaml"
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        agencies = [agency for agency in step.providers if agency in self.systems]
        for agency in agencies:
            use = content["agencies"].setdefault(agency, {"use": workspace.env.agencies[agency].use})
            use["settings"] = {**use.get("settings", {}), **mend.settings}
        file.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding="utf-8")
        mended = load_workspace(workspace.root, workspace.env.name)
        for agency in agencies:
            self.hosts.stop(agency)
            self.hosts.start(agency, mended)

    def _client(self, user: str, role: Role, agency: str | None) -> Client:
        token = self._tokens[agency] = mint_token(self.parts.store, user, role, agency)
        return Client(self.address, token)


@contextmanager
def stage(workspace: Workspace, data: Path, script: Script) -> Iterator[Stage]:
    """The whole bus over a broker that can lose things, with every legacy system as a process of its own."""
    broker = LosingBroker(embedded_broker())
    parts = assemble(workspace, data, broker=broker)
    with ExitStack() as stack:
        systems = stack.enter_context(simulators(workspace, parts.data))
        stack.enter_context(running(parts, hosts=False))
        hosts = stack.enter_context(local_hosts(parts))
        address = stack.enter_context(serving(parts.context, pages))
        _wait_for_systems(parts.data, systems)
        made = Stage(parts=parts, script=script, broker=broker, hosts=hosts, systems=systems, address=address)
        stack.callback(made.close)
        yield made


def copied(workspace: Workspace, target: Path) -> Workspace:
    """A copy of the workspace's files below ``target``: what is mended in the demo stays there."""
    routes = workspace.routes
    places = () if routes is None else (*routes.values.values(), *routes.names.values())
    for name in {place.file for place in places}:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(workspace.root / name, target / name)
    for part in ("adapters", "docs/samples", "env", "schemas"):
        shutil.copytree(workspace.root / part, target / part, ignore=shutil.ignore_patterns("__pycache__"))
    return load_workspace(target, workspace.env.name)


def _wait_for_systems(data: Path, systems: Mapping[str, subprocess.Popen[bytes]]) -> None:
    """Until each legacy system has opened its books, or has died: only then can it be told to go down."""
    end = time.monotonic() + _STARTING
    books = {agency: simulator_folder(data, agency) / "ledger.db" for agency in systems}
    while time.monotonic() < end:
        if all(books[agency].exists() or system.poll() is not None for agency, system in systems.items()):
            return
        time.sleep(0.02)
