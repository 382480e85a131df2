"""A service of four agencies that answer at once: the workspace of the benchmarks in one process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bus.catalog import Agency, AgencyUse, Environment, OperationManifest, Service, Workspace
from bus.config import Settings
from bus.message.contract import Contracts, urn
from bus.message.instant import SECOND
from bus.message.reply import Data
from bus.message.text import Text
from bus.process.closure import revision, to_closure
from bus.process.definition import Definition, Grant, Purpose, Repeat, StepDefinition
from bus.process.definition import Path as DataPath

CONSUMER = "portal"
PURPOSE = "licensing"
SERVICE = "fan-out.v1"
OPERATION = "record.check.v1"
AGENCIES = ("agency_a", "agency_b", "agency_c", "agency_d")
#: So that a task's body has the size of a real one: 1.1 to 1.3 KB.
_NOTE = "س" * 250

_TEXT: Data = {"type": "string", "maxLength": 2000}


def submission(number: int) -> Data:
    """The data of one request."""
    return {"id": f"{number:014d}", "note": _NOTE}


def workspace(settings: Settings | None = None, agencies: Sequence[str] = AGENCIES) -> Workspace:
    """A workspace that stands in no file: one service, a step for each of the agencies, side by side."""
    contracts = Contracts(schemas())
    definition = _definition(agencies)
    closure = to_closure(definition, {name: contracts.schema(name) for name in contracts.names()})
    return Workspace(
        root=Path(),
        env=Environment(
            name="bench",
            agencies={name: AgencyUse(use="real", settings={}) for name in agencies},
            settings=settings or Settings(),
        ),
        agencies={CONSUMER: _agency(CONSUMER, None), **{name: _agency(name, "null") for name in agencies}},
        services={SERVICE: Service(definition=definition, revision=revision(closure), closure=closure)},
        adapters={},
        contracts=contracts,
        test_persons={},
    )


def operations() -> dict[str, OperationManifest]:
    """What each null system offers."""
    return {OPERATION: OperationManifest(repeat=Repeat(kind="at_most_once"), timeout=30 * SECOND, batch=100)}


def schemas() -> dict[str, Data]:
    """The contracts of the service, by name."""
    members = {"id": {**_TEXT, "title": "Number"}, "note": {**_TEXT, "title": "Note"}}
    record = {"type": "object", "properties": members, "required": ["id", "note"], "additionalProperties": False}
    result = {"type": "object", "properties": dict.fromkeys(AGENCIES, _TEXT), "additionalProperties": False}
    shapes = {
        f"operation/{OPERATION}.input": record,
        f"operation/{OPERATION}.output": record,
        f"service/{SERVICE}.request": record,
        f"service/{SERVICE}.result": result,
    }
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {name: {"$schema": dialect, "$id": urn(name), **shape} for name, shape in shapes.items()}


def _definition(agencies: Sequence[str]) -> Definition:
    given = {
        "id": DataPath(root="request", step="", members=("id",)),
        "note": DataPath(root="request", step="", members=("note",)),
    }
    steps = {
        name: StepDefinition(
            name=name,
            title=_text(name),
            provider=name,
            operation=OPERATION,
            input=given,
            repeat=Repeat(kind="at_most_once"),
        )
        for name in agencies
    }
    return Definition(
        service=SERVICE,
        title=_text(SERVICE),
        request_contract=f"service/{SERVICE}.request",
        result_contract=f"service/{SERVICE}.result",
        subject=given["id"],
        consumers={CONSUMER: Grant(purposes=(PURPOSE,), fields=tuple(f"/{name}" for name in agencies))},
        purposes={PURPOSE: Purpose(title=_text(PURPOSE), legal_basis="Law 1, art. 1")},
        steps=steps,
        output={name: DataPath(root="steps", step=name, members=("id",)) for name in agencies},
    )


def _agency(name: str, adapter: str | None) -> Agency:
    return Agency(id=name, name=_text(name), adapter=adapter)


def _text(name: str) -> Text:
    return Text(en=name, ar=name)
