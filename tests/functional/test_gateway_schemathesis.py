"""Whatever is sent to the documented addresses, the gateway never breaks, and answers only what it documents."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bus.gateway.openapi import document
from bus.operations.caller import Role
from bus.operations.registry import OPERATIONS
from tests.support.gateway_rig import BUSINESS, DESK, PERMIT, PORTAL, REGISTRY, Rig, application, business, gateway

with warnings.catch_warnings():
    # Libraries of its own that it tells of when it is imported; nothing of what it tests.
    warnings.simplefilter("ignore")
    import schemathesis
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

_CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
]
#: Asked for with nothing at all, so that nothing can be wrong.
_WITHOUT_INPUT = {"/v1/health"}
_ADDRESSES = sorted(
    {(operation.method, f"/v1{operation.path}") for operation in OPERATIONS}
    | {("POST", f"/v1/services/{service}/requests") for service in (BUSINESS, PERMIT)}
)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with gateway(Path(tmp_path_factory.mktemp("gateway"))) as rig:
        rig.admit_host()
        yield rig


@pytest.fixture(scope="module")
def description(rig: Rig) -> Any:
    return schemathesis.openapi.from_dict(document(rig.parts.context))


@pytest.fixture(scope="module")
def token(rig: Rig) -> str:
    return rig.token(Role.ADMIN, user="root")


@pytest.fixture(scope="module")
def known(rig: Rig) -> dict[str, str]:
    """Things that are there, so that not every odd question ends at "there is no such thing"."""
    with rig.client(Role.CONSUMER, PORTAL) as portal:
        request = portal.submit(PERMIT, application(), key="known", purpose="business-licensing")["request_id"]
        failed = portal.submit(BUSINESS, business(), key="failed")["request_id"]
    rig.fail(failed, "name")
    failure = rig.parts.store.open_failures(failed)[0].key
    return {
        "request": request,
        "row": str(rig.row_of(request)),
        "failure": str(failure),
        "agency": REGISTRY,
        "service": PERMIT,
    }


_RIGHT, _WRONG = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE
_QUESTIONS = [
    pytest.param(method, path, mode, id=f"{mode.value} {method} {path}")
    for method, path in _ADDRESSES
    for mode in (_RIGHT, _WRONG)
    if mode is _RIGHT or path not in _WITHOUT_INPUT
]


@pytest.mark.parametrize(("method", "path", "mode"), _QUESTIONS)
def test_no_question_breaks_the_gateway_or_gets_an_answer_that_is_not_documented(
    rig: Rig, description: Any, token: str, known: dict[str, str], method: str, path: str, mode: Any
) -> None:
    headers = {"Authorization": f"Bearer {token}", "Bus-Agency": DESK if "/desk" in path else PORTAL}

    @settings(max_examples=12, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(case=description[path][method].as_strategy(generation_mode=mode), is_known=st.booleans())
    def ask(case: Any, *, is_known: bool) -> None:
        if is_known:
            case.path_parameters |= {name: known[name] for name in case.path_parameters if name in known}
        _hurry(case)
        case.call_and_validate(base_url=rig.url, headers=headers, checks=_CHECKS)

    ask()


def _hurry(case: Any) -> None:
    """Nobody waits for an outcome that will not come."""
    if str(case.query.get("wait", "")).strip() not in {"", "0"}:
        case.query["wait"] = 0
    if "wait" in str(case.headers.get("Prefer", "")):
        del case.headers["Prefer"]
