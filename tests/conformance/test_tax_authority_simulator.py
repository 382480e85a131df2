"""The simulated tax authority, driven by a foreign client: XML by hand over a socket, and nothing of the adapter."""

from __future__ import annotations

import base64
import os
import re
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from adapters.tax_authority.simulator import Simulator
from bus.simulator import Behaviour, Ledger, Misbehaviour

ROOT = Path(__file__).parents[2]
PERSON = "28501011234567"
#: 2026-01-05T08:30:00Z.
START = 1_767_601_800_000
SOAP, TAX = "http://schemas.xmlsoap.org/soap/envelope/", "http://tax.example.gov/clearance/1"


def envelope(inner: str) -> str:
    return f'<e:Envelope xmlns:e="{SOAP}"><e:Body>{inner}</e:Body></e:Envelope>'


def issue(reference: str = "R1", person: str = PERSON, taxpayer: str = "") -> str:
    number = f"<TaxpayerNumber>{taxpayer}</TaxpayerNumber>" if taxpayer else ""
    inner = f"<ExternalReference>{reference}</ExternalReference><NationalNumber>{person}</NationalNumber>{number}"
    return envelope(f'<IssueClearance xmlns="{TAX}">{inner}</IssueClearance>')


def cancel(number: str, reference: str = "C1") -> str:
    inner = f"<x:ExternalReference>{reference}</x:ExternalReference><x:CertificateNumber>{number}</x:CertificateNumber>"
    return envelope(f'<x:CancelClearance xmlns:x="{TAX}">{inner}</x:CancelClearance>')


def find(reference: str = "R1") -> str:
    inner = f"<ExternalReference>{reference}</ExternalReference>"
    return envelope(f'<FindClearance xmlns="{TAX}">{inner}</FindClearance>')


class World:
    """A simulator on a clock that stands still, and a client that knows only HTTP and XML."""

    def __init__(self, folder: Path) -> None:
        self.time = START
        self.folder = folder
        self.simulator = Simulator(folder, now=lambda: self.time, late_s=0.05)
        self.simulator.come_up()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.simulator.place.port), timeout=30)

    def send(self, body: str, *, path: str = "/clearance", password: str | None = None) -> socket.socket:
        place, stream = self.simulator.place, self.connect()
        pair = f"{place.user}:{place.password if password is None else password}".encode()
        raw = body.encode()
        head = f"POST {path} HTTP/1.1\r\nHost: tax\r\nContent-Type: text/xml\r\nContent-Length: {len(raw)}\r\n"
        credentials = f"Authorization: Basic {base64.b64encode(pair).decode()}\r\n\r\n"
        try:
            stream.sendall(f"{head}{credentials}".encode() + raw)
        except OSError:
            stream.close()
            raise
        return stream

    def raw(self, body: str, **how: Any) -> bytes:
        """All that comes back until the connection ends."""
        with self.send(body, **how) as stream:
            return b"".join(iter(lambda: stream.recv(65_536), b""))

    def ask(self, body: str, **how: Any) -> tuple[int, str]:
        """Status and body; a body that is not UTF-8 is no answer."""
        head, content = self.raw(body, **how).split(b"\r\n\r\n", 1)
        return int(head.split(b" ")[1]), content.decode()

    def fault(self, body: str) -> str:
        """The code of the fault that comes back."""
        status, text = self.ask(body)
        assert status == 500, text
        [code] = re.findall("<faultstring>(TAX-[0-9]{4}): ", text)
        return str(code)

    def number(self, body: str) -> str:
        status, text = self.ask(body)
        assert status == 200, text
        [number] = re.findall("<t:CertificateNumber>(.+?)</t:CertificateNumber>", text)
        return str(number)

    def arm(self, what: Misbehaviour, **limits: Any) -> int:
        return self.simulator.control.arm(what, **limits)

    def effects(self) -> list[tuple[str, str]]:
        return [(entry.operation, entry.reference) for entry in self.simulator.ledger.entries()]

    def states(self, reference: str = "R1") -> list[str]:
        """What the request book says of a reference."""
        return re.findall("<t:State>(.+?)</t:State>", self.ask(find(reference))[1])

    def person(self, behaviour: Behaviour) -> str:
        listed = self.simulator.persons.all
        [found] = [one for one in listed if (one.agency, one.behaviour) == (Simulator.agency, behaviour)]
        return found.national_id


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.simulator.close()


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


# --- what it does ---------------------------------------------------------------------------------------------------


def test_a_certificate_is_issued_with_its_days_and_its_office(world: World) -> None:
    status, text = world.ask(issue())
    assert status == 200
    for part in (
        "<t:ExternalReference>R1<",
        "<t:CertificateNumber>2026-000001<",
        "<t:IssuedOn>2026-01-05<",
        "<t:ValidUntil>2026-04-05<",
        "<t:IssuingOffice>مأمورية ضرائب المنصورة<",
    ):
        assert part in text
    assert world.effects() == [("clearance.issue.v1", "R1")]
    assert world.states() == ["DONE"]


def test_it_knows_no_retry_the_same_reference_twice_is_two_certificates(world: World) -> None:
    assert [world.number(issue()), world.number(issue())] == ["2026-000001", "2026-000002"]
    assert world.simulator.ledger.counts() == {"R1": 2}
    assert world.states() == ["DONE", "DONE"]


def test_a_certificate_is_cancelled_once(world: World) -> None:
    number = world.number(issue())
    status, text = world.ask(cancel(number))
    assert (status, "<t:CancelledOn>2026-01-05<" in text) == (200, True)
    assert world.fault(cancel(number, "C2")) == "TAX-0406"
    assert world.fault(cancel("2020-000001", "C3")) == "TAX-0405"
    assert world.effects() == [("clearance.issue.v1", "R1"), ("clearance.cancel.v1", "C1")]
    assert [world.states(reference) for reference in ("C1", "C2", "C3", "C4")] == [["DONE"], *[["REJECTED"]] * 2, []]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (issue(person="98765432101234"), "TAX-0404"),
        (issue(person="28501011200000"), "TAX-0414"),
        (issue(taxpayer="000000000"), "TAX-0423"),
    ],
)
def test_the_authority_has_rules_and_says_no_in_the_words_of_a_fault(world: World, body: str, code: str) -> None:
    assert world.fault(body) == code
    assert (world.effects(), world.states()) == ([], ["REJECTED"])


@pytest.mark.parametrize(
    "body",
    [
        "",
        "nonsense",
        "<a/>",
        envelope(""),
        envelope("<IssueClearance/>"),
        envelope(f'<Other xmlns="{TAX}"/>'),
        issue(person="1"),
        issue(person="٢" * 14),
        issue(reference="R" * 21),
        issue(taxpayer="12"),
        cancel("2026-1"),
        issue().replace("ExternalReference", "Reference"),
    ],
)
def test_a_request_that_makes_no_sense_is_answered_and_stops_nobody(world: World, body: str) -> None:
    assert world.fault(body) == "TAX-0400"
    assert world.number(issue()) == "2026-000001"


def test_who_may_not_enter_and_who_is_at_the_wrong_place_get_a_page_and_no_work(world: World) -> None:
    assert world.ask(issue(), password="wrong")[0] == 401
    assert world.ask(issue(), path="/other")[0] == 404
    assert world.effects() == []


def test_forty_at_once_get_forty_certificates(world: World) -> None:
    with ThreadPoolExecutor(20) as pool:
        numbers = set(pool.map(lambda number: world.number(issue(f"R{number}")), range(40)))
    assert len(numbers) == 40
    assert set(world.simulator.ledger.counts().values()) == {1}


# --- how it misbehaves ----------------------------------------------------------------------------------------------


def test_down_connections_are_refused_and_the_port_is_kept(world: World) -> None:
    world.number(issue())
    world.simulator.go_down()
    with pytest.raises(ConnectionRefusedError):
        world.connect()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", world.simulator.place.port))
    world.simulator.come_up()
    assert world.states() == ["DONE"]


def test_closed_it_says_when_it_opens_and_does_nothing(world: World) -> None:
    world.arm(Misbehaviour.CLOSED, seconds=28_800)
    _, text = world.ask(issue())
    assert "TAX-0504" in text
    assert "<t:RetryAfterSeconds>28800<" in text
    world.time += 28_800_000
    assert world.number(issue()) == "2026-000001"


def test_busy_it_says_how_long_and_does_nothing(world: World) -> None:
    world.arm(Misbehaviour.BUSY, seconds=90)
    status, text = world.ask(issue())
    assert (status, "TAX-0503" in text, "<t:RetryAfterSeconds>90<" in text) == (500, True, True)
    assert (world.effects(), world.states()) == ([], [])


def test_a_page_in_front_of_it_answers_instead(world: World) -> None:
    world.arm(Misbehaviour.ERROR_PAGE, seconds=7)
    raw = world.raw(issue())
    assert raw.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After: 7\r\n" in raw
    assert b"<!DOCTYPE html>" in raw
    assert world.effects() == []


def test_slow_work_is_in_the_book_before_it_takes_effect(world: World) -> None:
    world.arm(Misbehaviour.SLOW, seconds=0.3)
    with world.send(issue()) as stream:
        until(lambda: world.states() == ["RECEIVED"])
        assert world.effects() == []
        assert b"2026-000001" in stream.recv(65_536)
    assert world.states() == ["DONE"]


def test_work_that_going_down_interrupted_never_takes_effect(world: World) -> None:
    world.arm(Misbehaviour.SLOW, seconds=3600)
    with world.send(issue()) as stream:
        until(lambda: world.states() == ["RECEIVED"])
        world.simulator.go_down()
        assert stream.recv(1) == b""
    world.simulator.come_up()
    assert (world.effects(), world.states()) == ([], ["REJECTED"])


@pytest.mark.parametrize(
    ("what", "states"), [(Misbehaviour.TIMEOUT_BEFORE_EFFECT, []), (Misbehaviour.EFFECT_THEN_TIMEOUT, ["DONE"])]
)
def test_an_answer_can_be_lost_before_or_after_the_effect(world: World, what: Misbehaviour, states: list[str]) -> None:
    world.arm(what)
    with world.send(issue()) as stream:
        until(lambda: len(world.effects()) == len(states) and world.states() == states)
        assert select.select([stream], [], [], 0.1)[0] == []
    assert world.states() == states


@pytest.mark.parametrize("what", [Misbehaviour.ANSWER_LATE, Misbehaviour.ANSWER_DRIPS])
def test_an_answer_can_come_late_or_in_two_pieces_after_the_effect(world: World, what: Misbehaviour) -> None:
    world.arm(what, seconds=0.2)
    with world.send(issue()) as stream:
        until(lambda: len(world.effects()) == 1)
        answer = b"".join(iter(lambda: stream.recv(65_536), b""))
    assert answer.endswith(b"</soapenv:Envelope>")


def test_an_answer_can_come_twice_for_one_effect_and_an_effect_twice_for_one_answer(world: World) -> None:
    world.arm(Misbehaviour.ANSWER_TWICE)
    assert world.raw(issue()).count(b"HTTP/1.1 200") == 2
    assert len(world.effects()) == 1
    world.arm(Misbehaviour.EFFECT_TWICE)
    assert world.raw(issue("R2")).count(b"HTTP/1.1 200") == 1
    assert world.simulator.ledger.counts() == {"R1": 1, "R2": 2}


@pytest.mark.parametrize("body", [issue("R9"), cancel("2026-000001", "R9")], ids=["issue", "cancel"])
def test_half_an_answer_shows_what_was_done_and_ends(world: World, body: str) -> None:
    world.number(issue())
    world.arm(Misbehaviour.HALF_ANSWER)
    raw = world.raw(body)
    [length] = re.findall(rb"Content-Length: ([0-9]+)", raw)
    content = raw.split(b"\r\n\r\n", 1)[1]
    assert len(content) < int(length)
    assert content.endswith((b"</t:CertificateNumber>", b"</t:CancelledOn>"))


def test_an_answer_can_be_in_another_page_than_it_declares(world: World) -> None:
    world.arm(Misbehaviour.WRONG_ENCODING)
    raw = world.raw(issue())
    assert b"charset=utf-8" in raw
    assert b'encoding="utf-8"' in raw
    assert "مأمورية ضرائب المنصورة".encode("cp1256") in raw


@pytest.mark.parametrize(
    ("what", "shows"),
    [
        (Misbehaviour.WRONG_REFERENCE, "<t:ExternalReference>X-R1<"),
        (Misbehaviour.HOSTILE_ANSWER, "<!DOCTYPE"),
        (Misbehaviour.ERROR_AFTER_EFFECT, "TAX-0500"),
    ],
)
def test_an_answer_can_be_wrong_after_the_effect(world: World, what: Misbehaviour, shows: str) -> None:
    world.arm(what)
    assert shows in world.ask(issue())[1]
    assert len(world.effects()) == 1


def test_a_connection_can_end_without_a_word_after_the_effect(world: World) -> None:
    world.arm(Misbehaviour.CUT_CONNECTION)
    assert world.raw(issue()) == b""
    assert len(world.effects()) == 1


@pytest.mark.parametrize(
    ("what", "shows"),
    [
        (Misbehaviour.BUSINESS_ERROR_WITH_SUCCESS_CODE, "<t:Remarks>TAX-0500: "),
        (Misbehaviour.ERROR_WITH_SUCCESS_STATUS, "<faultstring>TAX-0500: "),
    ],
)
def test_an_error_can_come_in_the_clothes_of_success(world: World, what: Misbehaviour, shows: str) -> None:
    world.arm(what)
    status, text = world.ask(issue())
    assert (status, shows in text) == (200, True)
    assert (world.effects(), world.states()) == ([], ["REJECTED"])


# --- the test persons -----------------------------------------------------------------------------------------------


def test_each_listed_person_is_met_as_listed(world: World) -> None:
    assert world.number(issue("A", world.person(Behaviour.SUCCEEDS)))
    assert world.fault(issue("B", world.person(Behaviour.REFUSED))) == "TAX-0413"
    returned = world.person(Behaviour.RETURNED)
    assert world.fault(issue("C", returned)) == "TAX-0422"
    assert world.number(issue("C", returned, "123456789")), "with the taxpayer number it goes on"
    assert world.number(issue("D", world.person(Behaviour.LATE)))
    with world.send(issue("E", world.person(Behaviour.EFFECT_THEN_TIMEOUT))) as stream:
        until(lambda: world.states("E") == ["DONE"])
        assert select.select([stream], [], [], 0.1)[0] == []
    assert not world.raw(issue("F", world.person(Behaviour.MALFORMED_RECORD))).endswith(b">\n")
    assert {reference for _, reference in world.effects()} == {"A", "C", "D", "E", "F"}


def test_the_person_for_an_outage_is_sent_away_then_it_is_down_then_they_succeed(world: World) -> None:
    person = world.person(Behaviour.DOWN_30_S)
    assert world.ask(issue(person=person))[0] == 503
    outage = world.simulator.control.outage(Misbehaviour.DOWN)
    assert outage is not None
    assert outage.until == world.time + 30_000
    assert world.number(issue(person=person))


# --- its place, and its death ---------------------------------------------------------------------------------------


def test_its_place_is_chosen_once_however_many_ask_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: tuple(sorted(Simulator.settings(tmp_path).items())), range(32)))
    assert len(set(found)) == 1
    assert (tmp_path / "place.json").stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["place.json"]


def test_killed_in_the_middle_its_books_and_its_ledger_are_of_one_mind(tmp_path: Path) -> None:
    # Given a service in a process of its own, asked by many
    code = (
        "import pathlib, sys; from adapters.tax_authority.simulator import Simulator;"
        "Simulator(pathlib.Path(sys.argv[1])).run(lambda: False)"
    )
    Simulator.settings(tmp_path)
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT)
    ledger = Ledger(tmp_path / "ledger.db")
    client = World.__new__(World)
    client.simulator = Simulator(tmp_path)
    until(lambda: is_listening(client))

    def ask(number: int) -> None:
        try:
            client.raw(issue(f"R{number}"))
        except OSError:
            return

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, number) for number in range(300)]
        # When it is killed among them
        until(lambda: len(ledger.entries()) >= 20)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        [one.result() for one in asked]
    client.simulator.close()
    # Then there is a ledger entry for each certificate, and the next run calls the rest rejected
    with closing(sqlite3.connect(tmp_path / "authority.db")) as books:
        certificates = books.execute("SELECT NUMBER FROM CERTIFICATE ORDER BY NUMBER").fetchall()
        done = books.execute("SELECT REFERENCE FROM BOOK WHERE STATE = 'DONE'").fetchall()
    assert [(entry.made,) for entry in ledger.entries()] == certificates
    assert sorted((entry.reference,) for entry in ledger.entries()) == sorted(done)
    world = World(tmp_path)
    assert all("RECEIVED" not in world.states(f"R{number}") for number in range(0, 300, 30))
    world.simulator.close()


def is_listening(client: World) -> bool:
    try:
        client.connect().close()
    except OSError:
        return False
    return True
