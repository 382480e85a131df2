"""The API's description is enough to write a client: one made by a generator submits and follows a request."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bus.gateway.openapi import document
from bus.operations.caller import Role
from bus.operations.registry import OPERATIONS
from tests.support.gateway_rig import BUSINESS, DESK, PERMIT, PORTAL, Rig, application, business, gateway, permit

_PACKAGE = "generated_bus_client"


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with gateway(Path(tmp_path_factory.mktemp("gateway"))) as rig:
        yield rig


@pytest.fixture(scope="module")
def description(rig: Rig) -> dict[str, Any]:
    return document(rig.parts.context)


class Generated:
    """The modules of a client that a generator wrote from the description alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def module(self, name: str) -> ModuleType:
        return importlib.import_module(f"{_PACKAGE}.{name}")

    def model(self, module: str, name: str) -> Any:
        return getattr(self.module(f"models.{module}"), name)

    def call(self, where: str, client: Any, **values: Any) -> Any:
        return self.module(f"api.{where}").sync_detailed(client=client, **values)

    def client(self, url: str, token: str) -> Any:
        return self.module("client").AuthenticatedClient(base_url=url, token=token)


@pytest.fixture(scope="module")
def generated(description: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Generated]:
    folder = Path(tmp_path_factory.mktemp("generated"))
    (folder / "openapi.json").write_text(json.dumps(description, ensure_ascii=False), encoding="utf-8")
    (folder / "config.yaml").write_text(f"package_name_override: {_PACKAGE}\npost_hooks: []\n", encoding="utf-8")
    words = ["--path", "openapi.json", "--config", "config.yaml", "--meta", "none", "--output-path", _PACKAGE]
    command = [str(Path(sys.executable).with_name("openapi-python-client")), "generate", "--fail-on-warning", *words]
    made = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    sys.path.insert(0, str(folder))
    yield Generated(folder)
    sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.partition(".")[0] == _PACKAGE]:
        del sys.modules[name]


def test_the_gateway_serves_the_description_to_everybody(rig: Rig, description: dict[str, Any]) -> None:
    with rig.http() as http:
        served = http.get("/openapi.json")

    assert served.status_code == 200
    assert served.json() == json.loads(json.dumps(description))


def test_every_operation_is_described_and_every_service_has_a_path_of_its_own(description: dict[str, Any]) -> None:
    described = {(method.upper(), path) for path, methods in description["paths"].items() for method in methods}

    assert {(operation.method, f"/v1{operation.path}") for operation in OPERATIONS} <= described
    assert {("POST", f"/v1/services/{service}/requests") for service in (BUSINESS, PERMIT)} <= described


def test_every_reference_of_the_description_stays_inside_it(description: dict[str, Any]) -> None:
    def references(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            for member in node.values():
                yield from references(member)
        elif isinstance(node, list):
            for item in node:
                yield from references(item)

    kept = {f"#/components/schemas/{name}" for name in description["components"]["schemas"]}
    assert set(references(description)) <= kept


def test_the_sample_of_each_service_is_accepted(rig: Rig, description: dict[str, Any]) -> None:
    with rig.http(rig.token(Role.CONSUMER, PORTAL)) as http:
        for service in (BUSINESS, PERMIT):
            path = f"/services/{service}/requests"
            sample = description["paths"][f"/v1{path}"]["post"]["requestBody"]["content"]["application/json"]["example"]
            headers = {"Idempotency-Key": f"sample-{service}", "Bus-Purpose": "business-licensing"}
            assert http.post(path, json=sample, headers=headers).status_code == 202


def test_a_generated_client_submits_one_service_with_its_types_and_follows_the_request(
    rig: Rig, generated: Generated
) -> None:
    question = generated.model("permit_site_v1_request", "PermitSiteV1Request").from_dict(application())
    given = {"body": question, "idempotency_key": "generated", "bus_purpose": "business-licensing"}

    with generated.client(rig.url, rig.token(Role.CONSUMER, PORTAL)) as portal:
        receipt = generated.call("submit.submit_permit_site_v1", portal, **given)
        open_ = generated.call("request.request_show", portal, request=receipt.parsed.request_id)
        with rig.client(Role.CLERK, DESK) as clerk:
            clerk.desk_answer(rig.row_of(receipt.parsed.request_id), permit())
        ended = generated.call("submit.submit_permit_site_v1", portal, prefer="wait=5", **given)

    assert (receipt.status_code, type(receipt.parsed).__name__, receipt.parsed.state) == (202, "Receipt", "open")
    assert (open_.status_code, type(open_.parsed).__name__, open_.parsed.state) == (200, "RequestView", "open")
    assert (ended.status_code, type(ended.parsed).__name__) == (200, "PermitSiteV1View")
    assert ended.parsed.result.data.result.permit_number == permit()["permit_number"]
    assert ended.parsed.result.data.withheld == ["/valid_until"]


def test_a_generated_client_reads_a_refusal_as_a_problem(rig: Rig, generated: Generated) -> None:
    model = generated.model("open_business_v1_request", "OpenBusinessV1Request")
    wrong = model.from_dict(business() | {"business": {"name": " ", "kind": "sole"}})

    with generated.client(rig.url, rig.token(Role.CONSUMER, PORTAL)) as portal:
        refused = generated.call("submit.submit_open_business_v1", portal, body=wrong, idempotency_key="wrong")

    assert (refused.status_code, refused.parsed.code) == (422, "contract")
    assert [fault.pointer for fault in refused.parsed.faults] == ["/business/name"]
    assert refused.parsed.i18n.ar.mend
