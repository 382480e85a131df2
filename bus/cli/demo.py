"""``bus demo``: three people open a business, live, against a registry and a clerk that let the bus down."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from bus import logs
from bus.bootstrap import Parts, assemble, embedded_broker, load_workspace, running, simulator_folder, simulators
from bus.cli.losing import LosingBroker
from bus.cli.transcript import Transcript, tell_ledger, tell_result
from bus.client import Client
from bus.gateway.server import serving
from bus.message.envelope import MessageType
from bus.operations.caller import Role, mint_token
from bus.process.state import ALIVE, FINAL, StepState
from bus.simulator import Control, Ledger, Misbehaviour

_SERVICE = "open-business.v1"
_REGISTRY_STEP, _DESK_STEP = "name", "permit"
#: Seconds that one scene may take; longer means that somebody does not answer.
_PATIENCE = 25.0
_PARTS = ("routes.yaml", "env", "schemas", "adapters", "docs/samples")


class _StuckError(Exception):
    """Nothing moves any more; says which agency and which step."""


@click.command()
@click.option("--workspace", type=click.Path(path_type=Path, file_okay=False, exists=True), default=Path(), hidden=True)
def demo(workspace: Path) -> None:
    """Show one service at work: outage, lost reply, a missing paper, a refusal, an unknown outcome. Under a minute.

    It runs in a temporary copy of the workspace, on free ports, and leaves nothing behind.
    """
    logs.configure(json=True, level="error")
    with tempfile.TemporaryDirectory(prefix="bus-demo-") as name:
        copy = _copied(workspace.resolve(), Path(name))
        try:
            doubled = _play(copy)
        except _StuckError as error:
            click.echo(f"\nThe demo cannot go on: {error}", err=True)
            raise SystemExit(1) from error
    raise SystemExit(1 if doubled else 0)


def _copied(workspace: Path, target: Path) -> Path:
    for part in _PARTS:
        source = workspace / part
        if source.is_dir():
            shutil.copytree(source, target / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target / part)
    return target


def _play(workspace: Path) -> int:
    read = load_workspace(workspace, "demo")
    broker = LosingBroker(embedded_broker())
    parts = assemble(read, workspace / ".bus", broker=broker)
    with simulators(read, parts.data) as children, running(parts), serving(parts.context) as address:
        stage = _Stage(parts=parts, broker=broker, children=children, address=address)
        for scene in (_first, _second, _third):
            scene(stage)
        stage.tell_end()
        return tell_ledger(stage.registry, Ledger(simulator_folder(parts.data, stage.registry) / "ledger.db"))


@dataclass
class _Stage:
    """The running bus, seen by a portal and a clerk."""

    parts: Parts
    broker: LosingBroker
    children: Mapping[str, subprocess.Popen[bytes]]
    address: str
    requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.definition = self.parts.workspace.services[_SERVICE].definition
        self.registry = self.definition.steps[_REGISTRY_STEP].party
        desk = self.definition.steps[_DESK_STEP].party
        token = mint_token(self.parts.store, "demo", Role.ADMIN)
        self.portal = Client(self.address, token, agency=next(iter(self.definition.consumers)))
        self.clerk = Client(self.address, token, agency=desk)
        self.control = Control(simulator_folder(self.parts.data, self.registry) / "control.db")
        self.transcript = Transcript(self.definition, self.parts.store.now())

    def submit(self, title: str, file: str) -> None:
        """Submit a file as the portal does."""
        click.echo(f"\n{title}")
        data = json.loads((self.parts.workspace.root / "docs" / "samples" / file).read_bytes())
        receipt = self.portal.submit(_SERVICE, data, key=f"demo-{len(self.requests) + 1}")
        self.requests.append(receipt["request_id"])
        row = self.parts.store.key_of(receipt["request_id"])
        self.tell(
            "request", f"{len(self.requests)} row {row}", f"{receipt['request_id']} tracking {receipt['tracking']}"
        )

    def tell(self, who: str, row: str, what: str) -> None:
        """One line that is no fact, with the id of its row."""
        click.echo(f"  {who:<10} {row}  {what}")

    def watch(self, until: Callable[[], Any]) -> Any:
        """Print facts as they are written until something is so."""
        end = time.monotonic() + _PATIENCE
        while True:
            self._tell_new()
            seen = until()
            if seen:
                self._tell_new()
                return seen
            if time.monotonic() > end:
                raise _StuckError(self._stuck())
            time.sleep(0.05)

    def desk_row(self) -> Any:
        """The row that waits for the clerk, once there is one."""
        rows = self.watch(lambda: self.clerk.desk_list()["items"])
        return rows[0]["row"]

    def ended(self) -> None:
        """Watch the present request to its end and print its result."""
        request = self.requests[-1]
        self.watch(lambda: self._over(request))
        results = self.portal.result_list(most=100)["items"]
        mine = [one for one in results if one["request_id"] == request and "outcome" in one["message"]["data"]]
        tell_result(mine[-1]["cursor"], mine[-1]["message"]["data"], self.definition)
        self.portal.result_ack([int(one["cursor"]) for one in mine])

    def tell_end(self) -> None:
        """What the store says of itself."""
        faults = self.parts.store.recount()
        facts = sum(len(self.parts.store.facts(request)) for request in self.requests)
        click.echo(f"\nThe store: {len(self.requests)} requests, {facts} facts; {'; '.join(faults) or 'it adds up'}")

    def _over(self, request: str) -> bool:
        found = self.parts.store.request(request)
        return found is not None and found.state not in ALIVE

    def _tell_new(self) -> None:
        for number, request in enumerate(self.requests, 1):
            self.transcript.tell(number, self.parts.store.facts(request))

    def _stuck(self) -> str:
        request = self.parts.store.request(self.requests[-1])
        steps = request.steps.values() if request else ()
        for step in steps:
            if step.state not in FINAL | {StepState.WAITING}:
                child = self.children.get(step.agency)
                dead = " (its legacy system is not running)" if child is not None and child.poll() is not None else ""
                title = self.definition.steps[step.key.step].title.en
                return f"{step.agency} does not answer{dead}; step {step.key.step} ({title}) is {step.state.value}."
        return "nothing happens."


def _first(stage: _Stage) -> None:
    stage.control.arm(Misbehaviour.DOWN, seconds=2.0)
    stage.broker.lose_next(MessageType.TASK_COMPLETED)
    stage.submit("1. The registry is down; then its reply is lost; then a paper is missing", "open-business.json")
    row = stage.desk_row()
    stage.clerk.desk_claim(row)
    need = {
        "pointer": "/lease_number",
        "reason_code": "lease_missing",
        "text": {"en": "The number of the lease is missing.", "ar": "رقم عقد الإيجار ناقص."},
    }
    stage.clerk.desk_return(row, needs=[need])
    stage.tell("clerk", f"desk row {row}", "returns it: the number of the lease is missing · رقم عقد الإيجار ناقص")
    stage.watch(lambda: stage.portal.request_show(stage.requests[-1])["waiting_for"] == "applicant")
    stage.portal.request_supplement(stage.requests[-1], {"/lease_number": "L-2026-0042"})
    stage.tell("applicant", "request 1", "brings it · أحضره مقدم الطلب")
    row = stage.desk_row()
    stage.clerk.desk_answer(row, {"permit_number": "P-2026-0042", "valid_until": "2027-12-31"})
    stage.tell("clerk", f"desk row {row}", "grants the permit · يمنح الرخصة")
    stage.ended()


def _second(stage: _Stage) -> None:
    stage.submit("2. The clerk refuses; the reserved name is released", "open-business-refused.json")
    row = stage.desk_row()
    stage.clerk.desk_claim(row)
    text = {"en": "No workshop may open in this street.", "ar": "لا يجوز فتح ورشة في هذا الشارع."}
    stage.clerk.desk_refuse(row, reason_code="zoning", text=text)
    stage.tell("clerk", f"desk row {row}", "refuses: no workshop in this street · لا يجوز فتح ورشة في هذا الشارع")
    stage.ended()


def _third(stage: _Stage) -> None:
    operation = stage.definition.steps[_REGISTRY_STEP].operation
    stage.control.arm(Misbehaviour.EFFECT_THEN_TIMEOUT, operation=operation)
    stage.submit(
        "3. The registry does its work and never answers: unknown, until it is asked", "open-business-at-home.json"
    )
    stage.ended()
