"""A stand-in for the tax authority's web service: a real HTTP server that speaks SOAP 1.1 and keeps books in SQLite.

It does not know what a retry is: two requests with one reference are two certificates. But it writes every request
into a book before it works on it, and FindClearance reads that book. To be down, it stops listening.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import select
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from bus.simulator import SECOND, Armed, Behaviour, Instant, Misbehaviour, Persons
from bus.simulator import Simulator as BaseSimulator

from . import simulator_soap as soap
from .simulator_http import HttpAnswer, Server
from .simulator_soap import MalformedError, Order

_SCHEMA = """
CREATE TABLE IF NOT EXISTS CERTIFICATE (NUMBER TEXT PRIMARY KEY, PERSON TEXT, OFFICE TEXT, ISSUED TEXT, UNTIL TEXT,
    CANCELLED TEXT);
CREATE TABLE IF NOT EXISTS BOOK (SEQ INTEGER PRIMARY KEY AUTOINCREMENT, REFERENCE TEXT, KIND TEXT, STATE TEXT,
    NUMBER TEXT);
CREATE INDEX IF NOT EXISTS BOOK1 ON BOOK (REFERENCE);
"""
_OPERATIONS = {"IssueClearance": "clearance.issue.v1", "CancelClearance": "clearance.cancel.v1"}
_KINDS = {"IssueClearance": "ISSUE", "CancelClearance": "CANCEL"}
#: Offices by the two digits of a national number that name the governorate of birth.
_OFFICES = {"01": "مأمورية ضرائب القاهرة", "02": "مأمورية ضرائب الإسكندرية", "12": "مأمورية ضرائب المنصورة"}
_OTHER_OFFICE = "المأمورية المركزية"
_CERTIFICATE_LASTS = timedelta(days=90)
_BUSY_S = 10.0
#: Outside the range from which systems take ports for outgoing connections.
_PORTS = range(20_000, 32_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where this stand-in listens, and whom it lets in."""

    port: int
    user: str
    password: str

    @classmethod
    def of(cls, folder: Path) -> Place:
        """The place of this folder, chosen once; it stays the same over restarts."""
        file = folder / "place.json"
        if not file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            fresh = folder / f"place.{secrets.token_hex(8)}"
            content = {"port": _free_port(), "user": "bus", "password": secrets.token_urlsafe(16)}
            fresh.touch(mode=0o600)
            fresh.write_text(json.dumps(content), encoding="utf-8")
            with suppress(FileExistsError):  # somebody was quicker: then that is the place
                os.link(fresh, file)
            fresh.unlink()
        return cls(**json.loads(file.read_text(encoding="utf-8")))


class Simulator(BaseSimulator):
    """The tax authority's system."""

    agency = "tax_authority"

    def __init__(self, folder: Path, persons: Persons | None = None, **pace: Any) -> None:
        """``pace``: see the base class. Without ``persons``, those of the workspace that this folder is part of."""
        listed = persons or Persons.load(Path(__file__).parents[2] / "schemas" / "test-persons.yaml")
        super().__init__(folder, listed, **pace)
        self.place = Place.of(folder)
        self._server: Server | None = None
        #: Keeps the port while the service is down: bound, and nobody listens.
        self._kept: socket.socket | None = None
        #: Set while the service goes down, so that nobody waits on.
        self._closing = threading.Event()
        #: One thread at a time in the books and in the orders for misbehaviour.
        self._lock = threading.RLock()
        self._base = sqlite3.connect(
            folder / "authority.db", timeout=_BUSY_S, isolation_level=None, check_same_thread=False
        )
        self.ledger.join(self._base)
        # Not OFF: without synchronisation SQLite commits file by file, and a kill in between would part the two.
        self._base.executescript(f"PRAGMA main.synchronous = NORMAL; PRAGMA ledger.synchronous = NORMAL; {_SCHEMA}")

    @staticmethod
    def settings(folder: Path) -> dict[str, Any]:
        """Address, user and password of the stand-in in this folder."""
        place = Place.of(folder)
        url = f"http://127.0.0.1:{place.port}/clearance"
        return {"url": url, "user": place.user, "password": place.password}

    # Up and down.

    def come_up(self) -> None:
        """Listen."""
        # Whatever a killed run was working on will not take effect any more.
        with self._lock:
            self._base.execute("UPDATE BOOK SET STATE = 'REJECTED' WHERE STATE = 'RECEIVED'")
        self._closing.clear()
        self._let_go_of_port()
        self._server = Server(self.place.port, self.answer)
        self._server.start()

    def go_down(self) -> None:
        """Stop listening; what is under way is lost."""
        self._stop_server()
        if self._kept is None:
            self._kept = socket.socket()
            self._kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._kept.bind(("127.0.0.1", self.place.port))

    def work(self, now: Instant) -> None:
        """Nothing: each request is worked on in the thread of its connection."""

    def close(self) -> None:
        """Stop listening and let go of the books."""
        self._stop_server()
        self._let_go_of_port()
        with self._lock:
            self._base.close()
        super().close()

    def _stop_server(self) -> None:
        self._closing.set()
        if self._server is not None:
            self._server.stop()
            self._server = None

    def _let_go_of_port(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    # A request.

    def answer(self, authorization: str, body: bytes, connection: socket.socket) -> HttpAnswer | None:
        """What a POST is answered; None for no answer at all."""
        pair = f"{self.place.user}:{self.place.password}".encode()
        if authorization != f"Basic {base64.b64encode(pair).decode('ascii')}":
            return HttpAnswer(status=401, text="<html><body>401</body></html>", content_type="text/html")
        try:
            order = soap.read(body)
        except MalformedError:
            return _fault("TAX-0400")
        if order.operation == "FindClearance":
            return HttpAnswer(status=200, text=self._found(order.reference))
        with self._lock:
            if closed := self.control.outage(Misbehaviour.CLOSED):
                left = None if closed.until is None else max(0, closed.until - self.now()) // SECOND
                return _fault("TAX-0504", left)
            bad = self.misbehaviour(_OPERATIONS[order.operation], order.reference, self._about(order))
        return self._begin(order, bad, connection)

    def _begin(self, order: Order, bad: Armed | None, connection: socket.socket) -> HttpAnswer | None:
        match bad.what if bad else None:
            case Misbehaviour.BUSY if bad:
                return _fault("TAX-0503", round(bad.seconds))
            case Misbehaviour.ERROR_PAGE if bad:
                return _error_page(bad.seconds)
            case Misbehaviour.DOWN if bad:
                with self._lock:
                    self.control.arm(Misbehaviour.DOWN, seconds=bad.seconds)
                return _error_page(bad.seconds)
            case Misbehaviour.TIMEOUT_BEFORE_EFFECT:
                self._hold(connection)
                return None
        with self._lock:
            sequence = self._write_down(order)
        if bad and bad.what is Misbehaviour.SLOW and self._closing.wait(bad.seconds):
            return None
        with self._lock:
            good = self._work_on(order, sequence, bad)
        return self._answered(good, bad, connection)

    def _work_on(self, order: Order, sequence: int, bad: Armed | None) -> HttpAnswer:
        """The honest answer, after the work."""
        what = bad.what if bad else None
        code = self._objection(order)
        if what is Misbehaviour.ERROR_WITH_SUCCESS_STATUS:
            self._reject(sequence)
            return HttpAnswer(status=200, text=soap.fault(code or "TAX-0500"))
        if what is Misbehaviour.BUSINESS_ERROR_WITH_SUCCESS_CODE:
            self._reject(sequence)
            remark = f"TAX-0500: {soap.MESSAGES['TAX-0500']}"
            return HttpAnswer(status=200, text=soap.response(order.operation, order.reference, ("Remarks", remark)))
        if code:
            self._reject(sequence)
            return _fault(code)
        with self._transaction():
            text = self._effect(order, sequence)
            if what is Misbehaviour.EFFECT_TWICE:
                self._effect(order, sequence)
        if what is Misbehaviour.ERROR_AFTER_EFFECT:
            return _fault("TAX-0500")
        return HttpAnswer(status=200, text=text)

    def _answered(self, good: HttpAnswer, bad: Armed | None, connection: socket.socket) -> HttpAnswer | None:
        """The answer as it leaves."""
        match bad.what if bad else None:
            case Misbehaviour.EFFECT_THEN_TIMEOUT:
                self._hold(connection)
                return None
            case Misbehaviour.CUT_CONNECTION:
                return None
            case Misbehaviour.ANSWER_LATE if bad:
                return None if self._closing.wait(bad.seconds) else good
            case Misbehaviour.ANSWER_DRIPS if bad:
                return good.with_(pause_s=bad.seconds)
            case Misbehaviour.ANSWER_TWICE:
                return good.with_(times=2)
            case Misbehaviour.HALF_ANSWER:
                return good.with_(sent=soap.half(good.text))
            case Misbehaviour.WRONG_ENCODING:
                return good.with_(encoding="cp1256")
            case Misbehaviour.HOSTILE_ANSWER:
                return good.with_(text=soap.hostile(good.text))
            case Misbehaviour.WRONG_REFERENCE:
                return good.with_(text=good.text.replace("<t:ExternalReference>", "<t:ExternalReference>X-", 1))
        return good

    def _hold(self, connection: socket.socket) -> None:
        """Say nothing until the client has gone away."""
        while not self._closing.is_set():
            readable, _, _ = select.select([connection], [], [], 0.02)
            if readable and connection.recv(1, socket.MSG_PEEK) == b"":
                return

    # The authority's rules and books.

    @staticmethod
    def _about(order: Order) -> tuple[str, ...]:
        return tuple(value for value in order.values.values() if value)

    def _objection(self, order: Order) -> str | None:
        """The code by which the authority says no, before it has done anything."""
        if order.operation == "CancelClearance":
            row = self._certificate(order.values["CertificateNumber"])
            return "TAX-0405" if row is None else "TAX-0406" if row[4] else None
        person, taxpayer = order.values["NationalNumber"], order.values["TaxpayerNumber"]
        behaviour = self.persons.behaviour(self.agency, [person])
        if behaviour is Behaviour.REFUSED:
            return "TAX-0413"
        if behaviour is Behaviour.RETURNED and not taxpayer:
            return "TAX-0422"
        if taxpayer == "0" * 9:
            return "TAX-0423"
        if behaviour is None and person.startswith("9"):
            return "TAX-0404"
        return "TAX-0414" if person.endswith("00000") else None

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Effect, ledger and book: all or none, also when killed."""
        self._base.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._base.execute("ROLLBACK")
            raise
        self._base.execute("COMMIT")

    def _write_down(self, order: Order) -> int:
        cursor = self._base.execute(
            "INSERT INTO BOOK (REFERENCE, KIND, STATE) VALUES (?, ?, 'RECEIVED')",
            (order.reference, _KINDS[order.operation]),
        )
        return cursor.lastrowid or 0

    def _reject(self, sequence: int) -> None:
        self._base.execute("UPDATE BOOK SET STATE = 'REJECTED' WHERE SEQ = ?", (sequence,))

    def _effect(self, order: Order, sequence: int) -> str:
        today = self._today()
        if order.operation == "IssueClearance":
            number = self._issue(order, today)
        else:
            number = order.values["CertificateNumber"]
            self._base.execute("UPDATE CERTIFICATE SET CANCELLED = ? WHERE NUMBER = ?", (today.isoformat(), number))
        self._base.execute("UPDATE BOOK SET STATE = 'DONE', NUMBER = ? WHERE SEQ = ?", (number, sequence))
        operation = _OPERATIONS[order.operation]
        self.ledger.record(
            operation=operation, reference=order.reference, made=number, at=self.now(), within=self._base
        )
        return soap.response(order.operation, order.reference, *self._told(order.operation, number))

    def _issue(self, order: Order, today: date) -> str:
        person = order.values["NationalNumber"]
        issued = self._base.execute("SELECT count(*) FROM CERTIFICATE").fetchone()[0]
        number = f"{today.year}-{issued + 1:06}"
        office = _OFFICES.get(person[7:9], _OTHER_OFFICE)
        until = today + _CERTIFICATE_LASTS
        row = (number, person, office, today.isoformat(), until.isoformat())
        self._base.execute("INSERT INTO CERTIFICATE VALUES (?, ?, ?, ?, ?, NULL)", row)
        return number

    def _certificate(self, number: str) -> tuple[str, ...] | None:
        row: tuple[str, ...] | None = self._base.execute(
            "SELECT NUMBER, ISSUED, UNTIL, OFFICE, CANCELLED FROM CERTIFICATE WHERE NUMBER = ?", (number,)
        ).fetchone()
        return row

    def _told(self, operation: str, number: str) -> list[tuple[str, str | None]]:
        """What an answer says of a certificate."""
        row = self._certificate(number) or ("", "", "", "", "")
        names = ("CertificateNumber", "IssuedOn", "ValidUntil", "IssuingOffice", "CancelledOn")
        told = dict(zip(names, row, strict=True))
        wanted = names[:4] if operation == "IssueClearance" else names[4:]
        return [(name, told[name]) for name in wanted]

    def _found(self, reference: str) -> str:
        with self._lock:
            rows = self._base.execute(
                "SELECT KIND, STATE, NUMBER FROM BOOK WHERE REFERENCE = ? ORDER BY SEQ", (reference,)
            ).fetchall()
            entries = [self._entry(*row) for row in rows]
        return soap.found(reference, entries)

    def _entry(self, kind: str, state: str, number: str | None) -> list[tuple[str, str | None]]:
        operation = "IssueClearance" if kind == "ISSUE" else "CancelClearance"
        told = self._told(operation, number) if number else []
        return [("Kind", kind), ("State", state), *told]

    def _today(self) -> date:
        return datetime.fromtimestamp(self.now() / SECOND, tz=UTC).date()


def _fault(code: str, seconds: int | None = None) -> HttpAnswer:
    return HttpAnswer(status=500, text=soap.fault(code, seconds))


def _error_page(seconds: float) -> HttpAnswer:
    text = "<!DOCTYPE html><html><body><h1>503</h1>الخدمة غير متاحة مؤقتًا</body></html>"
    return HttpAnswer(
        status=503, text=text, content_type="text/html; charset=utf-8", retry_after=max(1, round(seconds))
    )


def _free_port() -> int:
    while True:
        port = _PORTS[secrets.randbelow(len(_PORTS))]
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
