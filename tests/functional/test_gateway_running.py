"""Running the bus over HTTP: failures are tried again or given up with a reason, agencies are paused."""

from __future__ import annotations

import hashlib
import io
import json
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count
from pathlib import Path

import httpx
import pytest

from bus import logs
from bus.errors import ConflictError, InvalidMessageError, NotFoundError
from bus.operations.caller import Role
from bus.ports import FailureRow, Payload
from bus.process.state import StepKey, StepState
from tests.support.gateway_rig import BUSINESS, DESK, JOURNAL, NAME, PORTAL, REGISTRY, Rig, business, gateway

_KEYS = count()


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with gateway(Path(tmp_path_factory.mktemp("gateway"))) as rig:
        rig.admit_host()
        yield rig


@pytest.fixture
def request_(rig: Rig) -> str:
    """A request whose first step failed and waits for a person."""
    with rig.client(Role.CONSUMER, PORTAL) as portal:
        request = portal.submit(BUSINESS, business(), key=f"failed-{next(_KEYS)}")["request_id"]
    rig.fail(request, "name")
    return str(request)


@pytest.fixture
def failure(rig: Rig, request_: str) -> int:
    with rig.client(Role.OPERATOR) as operator:
        lines = operator.failure_list(most=200)["items"]
    return next(int(line["failure"]) for line in lines if line["request_id"] == request_)


def _state(rig: Rig, request: str) -> StepState:
    read = rig.parts.store.request(request)
    assert read is not None
    return read.steps[StepKey(step="name")].state


def test_a_failure_shows_its_step_as_it_is_now_and_no_data(rig: Rig, request_: str, failure: int) -> None:
    with rig.client(Role.OPERATOR) as operator:
        view = operator.failure_show(failure)
        request = operator.request_show(request_)

    assert (view["step_state"], view["effect"]) == ("parked", "none")
    assert view["failure"]["agency"] == REGISTRY
    assert request["waiting_for"] == "operator"
    assert [line["key"] for line in request["failures"]] == [str(failure)]
    assert NAME not in repr((view, request))


def test_a_replay_sends_the_step_again_and_names_who_wanted_it_and_why(rig: Rig, request_: str, failure: int) -> None:
    with rig.client(Role.OPERATOR, user="samir") as operator:
        operator.failure_replay(failure, reason="disk is larger now")
        closed = operator.failure_show(failure)

    facts = rig.parts.store.facts(request_)
    assert _state(rig, request_) is StepState.DISPATCHED
    assert ("samir", "disk is larger now") in {(fact.actor, fact.reason) for fact in facts}
    assert closed["failure"]["closed_at"] is not None


def test_giving_up_ends_the_step_and_the_request_with_it(rig: Rig, request_: str, failure: int) -> None:
    with rig.client(Role.OPERATOR) as operator:
        operator.failure_giveup(failure, reason="system was shut down")

    request = rig.parts.store.request(request_)
    assert _state(rig, request_) is StepState.FAILED
    assert request is not None
    assert request.state == "failed"


def test_a_second_command_on_one_failure_learns_who_when_and_what_it_is_now(rig: Rig, failure: int) -> None:
    with rig.client(Role.OPERATOR, user="samir") as samir:
        samir.failure_replay(failure, reason="again please")
    with rig.http(rig.token(Role.OPERATOR, user="huda")) as huda:
        late = huda.post(f"/failures/{failure}/giveup", json={"reason": "no use"})

    assert late.status_code == 409
    assert late.json()["code"] == "failure-closed"
    assert "dispatched" in late.json()["state"]
    assert late.json()["changed_at"] is not None


def test_of_many_commands_at_once_exactly_one_wins(rig: Rig, failure: int) -> None:
    token = rig.token(Role.OPERATOR)

    def act(number: int) -> int:
        with rig.http(token) as http:
            verb = "replay" if number % 2 else "giveup"
            return http.post(f"/failures/{failure}/{verb}", json={"reason": "at once"}).status_code

    with ThreadPoolExecutor(10) as threads:
        statuses = sorted(threads.map(act, range(10)))

    assert statuses == [200] + [409] * 9


def test_a_command_wants_a_reason(rig: Rig, failure: int) -> None:
    with rig.client(Role.OPERATOR) as operator, pytest.raises(InvalidMessageError):
        operator.failure_replay(failure, reason="")


def test_a_failure_without_a_step_cannot_be_tried_again(rig: Rig) -> None:
    key, payload = rig.parts.tools.keys.take(2)
    row = FailureRow(
        key=key,
        request_key=None,
        request_id=None,
        step=None,
        agency=DESK,
        code="orphan",
        cause="orphan",
        payload_id=payload,
        opened_at=rig.parts.store.now(),
    )
    rig.parts.store.note_failure(row, Payload(id=payload, request_key=None, bytes=b"raw"))

    with rig.client(Role.OPERATOR) as operator:
        view = operator.failure_show(key)
        assert view["evidence_bytes"] == 3
        # Whoever guesses the bytes cannot see that he guessed right.
        assert view["evidence_digest"] != hashlib.sha256(b"raw").hexdigest()
        with pytest.raises(ConflictError) as refused:
            operator.failure_replay(key, reason="why not")
        with pytest.raises(NotFoundError):
            operator.failure_show(1)

    assert refused.value.code == "failure-without-step"


def test_a_failure_without_a_step_is_closed_once_by_whoever_settled_it(rig: Rig) -> None:
    key = rig.parts.tools.keys.next()
    row = FailureRow(
        key=key,
        request_key=None,
        request_id=None,
        step=None,
        agency=DESK,
        code="clock_drift",
        cause="-/-/clock_drift",
        payload_id=None,
        opened_at=rig.parts.store.now(),
    )
    rig.parts.store.note_failure(row, None)

    with rig.client(Role.OPERATOR, user="samir") as operator:
        closed = operator.failure_close(key)["failure"]
        with pytest.raises(ConflictError) as again:
            operator.failure_close(key)

    assert (closed["how_closed"], closed["closed_at"] is None) == ("closed by samir", False)
    assert again.value.code == "failure-closed"


def test_a_failure_that_a_step_waits_on_is_replayed_or_given_up_and_not_closed(rig: Rig, request_: str) -> None:
    failure = next(line for line in _open_failures(rig) if line["request_id"] == request_)

    with rig.client(Role.OPERATOR) as operator, pytest.raises(ConflictError) as refused:
        operator.failure_close(int(failure["failure"]))

    assert refused.value.code == "failure-holds-a-step"


def test_a_paused_agency_gets_nothing_until_it_is_resumed(rig: Rig) -> None:
    with rig.client(Role.OPERATOR) as operator, rig.client(Role.CONSUMER, PORTAL) as portal:
        assert operator.agency_pause(REGISTRY)["paused"]
        request = portal.submit(BUSINESS, business(), key="paused")["request_id"]
        paused = _state(rig, request)
        assert not operator.agency_resume(REGISTRY)["paused"]
        rig.parts.manager.dispatch_waiting([REGISTRY])
        with pytest.raises(NotFoundError):
            operator.agency_pause("moon")

    assert (paused, _state(rig, request)) == (StepState.READY, StepState.DISPATCHED)


def test_a_retired_journal_is_remembered_and_its_host_must_announce_itself_again(tmp_path: Path) -> None:
    with gateway(tmp_path) as rig, rig.client(Role.OPERATOR) as operator:
        rig.admit_host()

        view = operator.agency_retire(REGISTRY, journal=JOURNAL)
        again = operator.agency_retire(REGISTRY, journal=JOURNAL)

    assert (view["retired"], view["journal_id"], view["alive"]) == ([JOURNAL], None, False)
    assert again == view


def test_a_journal_that_nobody_knows_cannot_be_retired(tmp_path: Path) -> None:
    with gateway(tmp_path) as rig, rig.client(Role.OPERATOR) as operator:
        rig.admit_host()

        with pytest.raises(ConflictError) as refused:
            operator.agency_retire(REGISTRY, journal="a-slip-of-the-pen")

        assert (refused.value.code, JOURNAL in str(refused.value)) == ("journal-unknown", True)
        assert rig.parts.store.agencies()[REGISTRY].retired == ()


def test_commands_on_one_agency_at_once_are_all_kept(tmp_path: Path) -> None:
    with gateway(tmp_path) as rig:
        rig.admit_host()
        token = rig.token(Role.OPERATOR)

        def send(command: str) -> httpx.Response:
            with rig.http(token) as http:
                body = {"journal": JOURNAL} if command == "retire" else None
                return http.post(f"/agencies/{REGISTRY}/{command}", json=body)

        with ThreadPoolExecutor(10) as threads:
            answers = list(threads.map(send, ["pause", "retire"] * 5))

        assert {answer.status_code for answer in answers} == {200}
        row = rig.parts.store.agencies()[REGISTRY]
        assert (row.paused, row.retired, row.journal_id) == (True, (JOURNAL,), None)


def test_the_status_counts_every_request_once(rig: Rig, request_: str) -> None:
    with rig.client(Role.OPERATOR) as operator:
        status = operator.status()

    assert status["adds_up"]
    assert status["alive"] + status["ended"] == sum(status["requests"].values()) == status["accepted"]
    assert status["requests"]["open"] >= 1
    assert status["open_failures"] >= 1
    registry = next(agency for agency in status["agencies"] if agency["agency"] == REGISTRY)
    assert registry["alive"]
    assert registry["use"] == "simulator"
    assert request_ in {line["request_id"] for line in _open_failures(rig)}


def test_the_status_says_so_when_an_accepted_request_is_lost(tmp_path: Path) -> None:
    with gateway(tmp_path) as rig, rig.client(Role.CONSUMER, PORTAL) as portal, rig.client(Role.OPERATOR) as operator:
        request = portal.submit(BUSINESS, business(), key="lost")["request_id"]
        with closing(sqlite3.connect(tmp_path / "data" / "store.db", isolation_level=None)) as damage:
            damage.execute("DELETE FROM request WHERE id = ?", (request,))

        status = operator.status()

    assert (status["accepted"], status["alive"], status["adds_up"]) == (1, 0, False)


def test_the_log_names_who_paused_resumed_or_retired(tmp_path: Path) -> None:
    lines = io.StringIO()
    logs.configure(json=True, stream=lines)
    try:
        with gateway(tmp_path) as rig, rig.client(Role.OPERATOR, user="samir") as operator:
            rig.admit_host()
            operator.agency_pause(REGISTRY)
            operator.agency_resume(REGISTRY)
            operator.agency_retire(REGISTRY, journal=JOURNAL)
    finally:
        logs.configure(json=True, level="warning")

    told = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert [(line["event"], line["agency"], line["user"]) for line in told if "user" in line] == [
        ("agency_paused", REGISTRY, "samir"),
        ("agency_resumed", REGISTRY, "samir"),
        ("journal_retired", REGISTRY, "samir"),
    ]


def _open_failures(rig: Rig) -> list[dict[str, str]]:
    with rig.client(Role.OPERATOR) as operator:
        lines: list[dict[str, str]] = operator.failure_list(most=200)["items"]
    return lines
