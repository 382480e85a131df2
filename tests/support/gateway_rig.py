"""A gateway that listens on a free port, over a real store, and a workspace where clerks answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree
from typing import Any

import httpx
import orjson

from bus.bootstrap import Parts, assemble, load_workspace
from bus.client import Client
from bus.gateway.server import serving
from bus.message.channel import tasks
from bus.message.reply import Effect, Failed
from bus.operations.caller import Role, mint_token
from bus.ports import AgencyRow, Incoming, Payload
from bus.process.event import Replied
from bus.process.state import StepKey

ROOT = Path(__file__).parents[2]
PORTAL, PRESS = "one_stop_shop", "press_office"
DESK, REGISTRY, TAX = "municipality", "commercial_registry", "tax_authority"
BUSINESS, PERMIT = "open-business.v1", "permit-site.v1"
#: A purpose that both consumers have.
STATISTICS = "statistics"
NUMBER, NAME = "29801011234567", "منى الشريف"
JOURNAL = "6f1c1d0e-6d5f-4a34-9a59-0d8f8f7f8a11"

#: A service of one step, which a clerk answers; one consumer has two purposes, the other one.
_PERMIT_SERVICE = """
  permit-site.v1:
    title: {en: Site permit, ar: رخصة موقع}
    request: service/permit-site.v1.request.json
    result: service/permit-site.v1.result.json
    subject: request.national_id
    consumers:
      one_stop_shop: {purposes: [business-licensing, statistics], fields: [/permit_number]}
      press_office: {purposes: [statistics], fields: []}
    deadline: 10d
    steps:
      permit:
        title: {en: Site permit, ar: رخصة الموقع}
        provider: municipality
        operation: site.permit.v1
        input: {address: request.address, lease_number: request.lease_number}
    output: {permit_number: steps.permit.permit_number, valid_until: steps.permit.valid_until}
"""
_REQUEST = {
    "national_id": {"type": "string", "pattern": "^[0-9]{14}$"},
    "name": {"type": "string", "minLength": 1},
    "address": {"type": "string", "minLength": 1},
    "lease_number": {"type": "string", "minLength": 1},
}
_RESULT = {"permit_number": {"type": "string"}, "valid_until": {"type": "string", "format": "date"}}


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Rig:
    """The listening gateway; nothing else of the bus runs, so that only the tests move a request."""

    parts: Parts
    url: str

    def __repr__(self) -> str:
        return f"Rig({self.url})"

    def token(self, role: Role, agency: str | None = None, user: str = "test") -> str:
        return mint_token(self.parts.store, user, role, agency)

    def client(self, role: Role, agency: str | None = None, user: str = "test") -> Client:
        return Client(self.url, self.token(role, agency, user))

    def http(self, token: str | None = None) -> httpx.Client:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=f"{self.url}/v1", headers=headers, timeout=30)

    def row_of(self, request: str) -> int:
        """The desk row of a request."""
        rows = self.parts.store.desk(DESK, states={"open", "claimed", "answered", "withdrawn"}, after=0, most=1000)
        return next(row.key for row in rows if row.request_id == request)

    def admit_host(self, agency: str = REGISTRY) -> None:
        """The agency has a host that was heard a moment ago, so that its steps leave."""
        store = self.parts.store
        row = AgencyRow(
            agency=agency,
            start_id="start",
            journal_id=JOURNAL,
            alive_at=store.now() + 3_600_000,
            operations=dict.fromkeys(self.parts.workspace.adapters[agency].operations, ""),
        )
        self.parts.broker.apply([tasks(agency)])
        store.save_agency(row, store.agencies().get(agency))

    def fail(self, request: str, step: str) -> None:
        """The registry's system failed for good, without an effect: the step waits for a person."""
        read = self.parts.store.request(request)
        assert read is not None
        key = StepKey(step=step)
        evidence = Payload(id=self.parts.tools.keys.next(), request_key=read.key, bytes=b"{}")
        event = Replied(
            interaction_id=read.interaction(key),
            provider=REGISTRY,
            attempt=read.steps[key].attempt,
            reply=Failed(code="disk_full", effect=Effect.NONE, retryable=False),
            message_id="7b1cf39a-3a85-4e54-8f0a-6a4f4f5f1f10",
            payload_id=evidence.id,
            digest="0" * 64,
        )
        self.parts.manager.decide([Incoming(request_id=request, event=event, payloads=(evidence,), step=key)])


def application(number: str = NUMBER) -> dict[str, Any]:
    """What the site permit asks for."""
    return {"national_id": number, "name": NAME, "address": "شارع النيل 5"}


def business() -> dict[str, Any]:
    """What opening a business asks for."""
    applicant = {"national_id": NUMBER, "name": NAME, "birth_date": "1998-01-01"}
    return {"applicant": applicant, "business": {"name": "نور", "kind": "sole"}}


def permit() -> dict[str, Any]:
    """What the clerk answers."""
    return {"permit_number": "P-7", "valid_until": "2030-01-01"}


def make_workspace(folder: Path) -> Path:
    """The demo workspace with one more consumer, purpose and service."""
    for name in ("schemas", "adapters", "env", "routes", "groups"):
        copytree(ROOT / name, folder / name)
    routes = (ROOT / "routes.yaml").read_text(encoding="utf-8").rstrip("\n") + _PERMIT_SERVICE
    purpose = "purposes:\n  statistics: {title: {en: Statistics, ar: الإحصاء}, legal_basis: Law 1}\n"
    consumer = "agencies:\n  press_office: {name: {en: Press office, ar: المكتب الصحفي}}\n"
    routes = routes.replace("purposes:\n", purpose, 1).replace("agencies:\n", consumer, 1)
    (folder / "routes.yaml").write_text(routes, encoding="utf-8")
    _schema(folder, "request", _REQUEST, ["national_id", "name", "address"])
    _schema(folder, "result", _RESULT, ["permit_number", "valid_until"])
    return folder


@contextmanager
def gateway(folder: Path) -> Iterator[Rig]:
    """A gateway in this process."""
    parts = assemble(load_workspace(make_workspace(folder / "workspace"), "test"), folder / "data")
    try:
        with serving(parts.context) as url:
            yield Rig(parts=parts, url=url)
    finally:
        parts.manager.close()
        parts.broker.close()
        parts.store.close()


def _schema(folder: Path, name: str, properties: dict[str, Any], required: list[str]) -> None:
    titled = {field: {"title": field, "x-title-ar": "حقل", **schema} for field, schema in properties.items()}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:bus:service:permit-site.v1.{name}",
        "title": name,
        "x-title-ar": "رخصة موقع",
        "type": "object",
        "required": required,
        "additionalProperties": False,
        "properties": titled,
    }
    (folder / "schemas" / "service" / f"permit-site.v1.{name}.json").write_bytes(orjson.dumps(schema))
