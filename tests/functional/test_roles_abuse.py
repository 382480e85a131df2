"""A whole fleet under abuse: by an agency's own user at the broker, and by those who start its roles wrongly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pika  # type: ignore[import-untyped]
import pytest

from bus.message.channel import control, host_user, replies, tasks
from bus.process.state import RequestState
from tests.support.demo_workspace import REGISTRY, ROOT
from tests.support.fleet import Fleet, fleet_on
from tests.support.ledgers import assert_all_is_well
from tests.support.load import Load, all_end
from tests.support.waiting import wait_for

# --- what an agency's own user may do to the others -------------------------------------------------------------------


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_on(tmp_path_factory.mktemp("fleet")) as running:
        yield running


@contextmanager
def agency_user(fleet: Fleet) -> Iterator[Any]:
    """A channel of AMQP of somebody who has stolen the name and the password of the registry's hosts."""
    word = (fleet.workspace / "secrets" / REGISTRY).read_text(encoding="ascii")
    parameters = pika.URLParameters(fleet.broker_url)
    parameters.credentials = pika.PlainCredentials(host_user(REGISTRY), word)
    with closing(pika.BlockingConnection(parameters)) as connection:
        yield connection.channel()


PROPERTIES = pika.BasicProperties(user_id=host_user(REGISTRY), delivery_mode=2)


def event(type_: str, /, **members: Any) -> bytes:
    """A message that an agency could make up."""
    said: dict[str, Any] = {"specversion": "1.0", "id": str(uuid4()), "source": "/x", "type": type_}
    said |= {"time": "2026-01-01T00:00:00Z", "datacontenttype": "application/json", "data": {}}
    return json.dumps(said | members).encode()


def answer(says: str = "completed", /, **members: Any) -> bytes:
    """A reply that an agency could make up."""
    said: dict[str, Any] = {
        "interactionid": str(uuid4()),
        "correlationid": str(uuid4()),
        "attempt": 1,
        "edit": 0,
        "step": "name",
    }
    return event(f"bus.task.{says}.v1", **(said | {"provider": REGISTRY, "kind": "task"} | members))


def no(reason: str) -> dict[str, Any]:
    return {"reason_code": reason, "text": {"en": "No", "ar": "لا"}}


def garbage(fleet: Fleet, ended: str) -> Mapping[str, Sequence[bytes]]:
    """Code of the failure that shows it -> what the thief sends. ``ended``: a request that has ended well."""
    with fleet.store() as store:
        request = store.request(ended)
    assert request is not None
    mine = next(step for step in request.steps.values() if step.agency == REGISTRY)
    about = {"correlationid": ended, "step": mine.key.step, "interactionid": request.interaction(mine.key)}
    far = 2**53 - 1
    start = {"provider": REGISTRY, "journalid": str(uuid4()), "journalseq": far}
    return {
        "invalid:not-utf8": [b"\xff\xfe nonsense"],
        "invalid:not-json": [b"", b"{"],
        "invalid:too-deep": [b"[" * 100_000],
        "invalid:too-large": [b"x" * 15_000_000],
        "invalid:wrong-provider": [answer(provider="tax_authority")],
        # It would let the agency choose when its own deadlines pass.
        "invalid:unvouched-sender": [event("bus.tick.v1", time="2099-01-01T00:00:00Z")],
        "invalid:unexpected-type": [
            event("bus.host.admitted.v1", **start),
            event("bus.request.submitted.v1"),
            event("bus.task.requested.v1", interactionid=str(uuid4()), attempt=1, provider=REGISTRY),
        ],
        "invalid:announcement": [event("bus.host.started.v1", **start, data={"startid": "x", "operations": 7})],
        "orphan": [answer()],
        "early": [answer(correlationid=ended), answer(correlationid=ended, step="unheard_of", item=far)],
        "contradiction": [answer("refused", **about, data=no("a"))],
    }


def test_what_a_stolen_password_of_an_agency_sends_is_shown_and_stops_nobody(fleet: Fleet) -> None:
    # Given a request that has ended well
    with Load(fleet) as load:
        load.wait_for(3)
    all_end(fleet, load)
    sent = garbage(fleet, load.accepted[0])
    before = {name: process.pid for name, process in fleet.processes.items()}

    # When all kinds of nonsense come beside the work of the day
    with Load(fleet) as load, agency_user(fleet) as amqp:
        amqp.confirm_delivery()
        for body in (body for bodies in sent.values() for body in bodies):
            amqp.basic_publish(replies(REGISTRY), replies(REGISTRY), body, PROPERTIES, mandatory=True)
        load.wait_for(10)
        outcomes = all_end(fleet, load)

    # Then nobody died of it, the work is done, and each kind shows once and counts
    assert set(outcomes) == {"completed"}
    wait_for("all of it is settled", lambda: not fleet.depths())
    assert {name: process.pid for name, process in fleet.processes.items() if process.poll() is None} == before
    shown = Counter[str]()
    for failure in fleet.failures():
        shown[str(failure["code"])] += int(str(failure["times"]))
    assert shown == {code: len(bodies) for code, bodies in sent.items()}
    assert_all_is_well(fleet)


def test_a_message_that_is_far_too_large_takes_no_more_room_than_a_large_one(fleet: Fleet) -> None:
    # Given one of 15 megabytes, as the test before has sent
    failure = fleet.wait_for_failure("invalid:too-large", agency=REGISTRY)
    # Then no more of it is kept than shows what it was
    shown = fleet.operator.failure_show(failure["failure"])
    assert shown["evidence_bytes"] == 256 * 1024 + 1


@pytest.mark.parametrize("channel", ["tasks", "control", "replies of another", "poison", "amq.direct", ""])
def test_an_agency_writes_into_its_own_replies_and_nowhere_else(fleet: Fleet, channel: str) -> None:
    own = {"tasks": tasks(REGISTRY), "control": control(REGISTRY), "replies of another": "replies.tax_authority"}
    name = own.get(channel, channel)
    with agency_user(fleet) as amqp:
        amqp.confirm_delivery()
        with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="403"):
            amqp.basic_publish(name, name or tasks(REGISTRY), b"{}", PROPERTIES, mandatory=True)


@pytest.mark.long
def test_a_flood_of_nonsense_from_one_agency_delays_the_others_by_seconds(fleet: Fleet) -> None:
    with agency_user(fleet) as amqp:
        for number in range(50_000):
            body = answer() if number % 2 else b"nonsense %d" % number
            amqp.basic_publish(replies(REGISTRY), replies(REGISTRY), body, PROPERTIES)
        with Load(fleet) as load:
            load.wait_for(20)
            assert set(all_end(fleet, load)) == {"completed"}
    wait_for("all of it is settled", lambda: not fleet.depths(), 100)
    assert fleet.is_alive


# --- who starts it wrongly --------------------------------------------------------------------------------------------


def started(fleet: Fleet, *roles: str, env: str | None = None, data: Path | None = None) -> tuple[int, str]:
    """`bus serve` with these roles, which ends by itself: its exit code, and what it says."""
    if env is not None:
        (fleet.workspace / "env" / "wrong.yaml").write_text(env, encoding="utf-8")
    where = ["--workspace", str(fleet.workspace), "--env", "test" if env is None else "wrong"]
    command = [sys.executable, "-m", "bus", "serve", *where, "--data", str(data or fleet.folder / "elsewhere")]
    told = [part for role in roles for part in ("--role", role)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BUS_")}
    done = subprocess.run(
        [*command, *told, "--port", "0", "--no-simulators"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def changed(fleet: Fleet, old: str, new: str) -> str:
    """The environment with one thing wrong."""
    text = (fleet.workspace / "env" / "test.yaml").read_text(encoding="utf-8")
    assert old in text
    return text.replace(old, new)


def test_a_host_that_lacks_what_the_environment_promises_is_refused_with_the_place(fleet: Fleet) -> None:
    vault = fleet.workspace / "secrets"
    (vault / "folder").mkdir(exist_ok=True)
    (vault / "url").write_text("no address at all", encoding="ascii")
    role = f"agency:{REGISTRY}"
    for old, new, code in (
        (f"secrets/{REGISTRY}", "secrets/folder", "secret-missing"),
        ("timeout_s: 0.7", "timeout_s: {file: secrets/nowhere}", "secret-missing"),
        (f"{REGISTRY}: {{use: real,", f"{REGISTRY}: {{use: real, journal: {{url: {{file: secrets/url}}}},", "journal"),
    ):
        ended, said = started(fleet, role, env=changed(fleet, old, new))
        assert (ended, code in said, "Traceback" in said) == (2, True, False), said


@pytest.mark.long
def test_a_role_of_the_bus_without_its_store_or_its_secret_is_refused_with_the_mend(fleet: Fleet) -> None:
    bare = fleet.postgres.make_database("bare")
    for old, new, code, mend in (
        (fleet.store_url, bare, 2, "bus store migrate"),
        (fleet.store_url, f"{fleet.store_url}_no", 2, "store-refused"),
        ("secrets/installation", "secrets/nowhere", 2, "secret-missing"),
        ("secrets/installation", "secrets/bus", 2, "installation-secret-damaged"),
    ):
        ended, said = started(fleet, "gateway", env=changed(fleet, old, new))
        assert (ended, mend in said, "Traceback" in said) == (code, True, False), said


def test_a_journal_is_not_declared_restored_under_a_living_host(fleet: Fleet) -> None:
    before = fleet.known_journal()
    command = [sys.executable, "-m", "bus", "agency", "restore", REGISTRY, "--data", str(fleet.data)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, "data-in-use" in done.stderr, fleet.known_journal()) == (3, True, before)


def test_no_secret_is_told_to_whoever_looks_at_the_processes_or_the_log(fleet: Fleet) -> None:
    words = [file.read_text(encoding="utf-8") for file in (fleet.workspace / "secrets").iterdir() if file.is_file()]
    told = [Path(f"/proc/{process.pid}/cmdline").read_bytes().decode() for process in fleet.processes.values()]
    told.append(fleet.log.read_text(encoding="utf-8"))
    assert len(told) > 4
    assert not [word for word in words if any(word in text for text in told) and word != "admin"]


def test_the_whole_bus_in_one_process_works_over_the_same_services(fleet: Fleet) -> None:
    # Given no roles, and so all of them
    fleet.kill()
    (fleet.data / "url").unlink()
    fleet.process = fleet.spawn()
    wait_for("the address of the gateway", (fleet.data / "url").exists)
    with Load(fleet) as load:
        load.wait_for(20)
        load.stop()
        with fleet.store() as store:
            wait_for("the end of all", lambda: not store.totals()[RequestState.OPEN])
    assert not load.wrong
    # When it is told to stop while the broker is away, then it does
    fleet.rabbit.stop()
    try:
        assert fleet.terminate(within=40) == 0
    finally:
        fleet.rabbit.start()
        fleet.start()
    assert_all_is_well(fleet)
