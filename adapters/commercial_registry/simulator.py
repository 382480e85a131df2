"""A stand-in for the registry's database and for the vendor's engine that works off its interface tables.

Clients insert rows into CRIFIN; the engine picks them up, works in CRNAMES and CRCOMP, and writes rows into CRIFOUT.
It does not know what a retry is: two rows with one reference are two orders. Texts are cp1256 bytes, CHAR columns are
full of blanks, days are numbers. To be down, the engine locks everybody out and moves the database file away.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bus.simulator import SECOND, Armed, Behaviour, Instant, Misbehaviour, Persons
from bus.simulator import Simulator as BaseSimulator

_SCHEMA = """
CREATE TABLE CRIFIN (ISEQ INTEGER PRIMARY KEY AUTOINCREMENT, ITXN CHAR(4), IREF CHAR(20), INAME CHAR(60),
    INUM CHAR(10), IOWN CHAR(14), IKIND CHAR(1), ISTAT CHAR(1) DEFAULT 'N');
CREATE TABLE CRIFOUT (OSEQ INTEGER, OTXN CHAR(4), OREF CHAR(20), ORC CHAR(2), ONUM CHAR(10), ODATE INTEGER,
    ONAME CHAR(60), OMSG CHAR(40), OWAIT INTEGER, OST CHAR(1));
CREATE TABLE CRNAMES (NNUM CHAR(10) PRIMARY KEY, NTXT CHAR(60), NST CHAR(1), NREF CHAR(20), NXREF CHAR(20),
    NDAT INTEGER, NEXP INTEGER);
CREATE TABLE CRCOMP (CNUM CHAR(10) PRIMARY KEY, CNNUM CHAR(10), CNAME CHAR(60), COWN CHAR(14), CKIND CHAR(1),
    CREF CHAR(20), CDAT INTEGER, CST CHAR(1));
CREATE INDEX CRIFIN1 ON CRIFIN (ISTAT); CREATE INDEX CRIFIN2 ON CRIFIN (IREF);
CREATE INDEX CRIFOUT1 ON CRIFOUT (OSEQ); CREATE INDEX CRNAMES1 ON CRNAMES (NREF);
CREATE INDEX CRNAMES2 ON CRNAMES (NXREF); CREATE INDEX CRCOMP1 ON CRCOMP (CREF);
"""
_OPERATIONS = {"NRES": "name.reserve.v1", "NREL": "name.release.v1", "CREG": "company.register.v1"}
_FORBIDDEN = ("وزارة", "حكومة", "MINISTRY", "GOVERNMENT")
_MESSAGES = {
    "00": "تم",
    "11": "الاسم محجوز مسبقا",
    "12": "الاسم غير مسموح",
    "13": "رقم الحجز غير موجود",
    "14": "انتهت مدة الحجز",
    "15": "الحجز مستعمل في قيد",
    "16": "الحجز ملغى",
    "17": "المالك ممنوع من مزاولة التجارة",
    "21": "ينقص الاسم الشكل القانوني",
    "22": "بطاقة المالك منتهية",
    "80": "النظام خارج أوقات الدوام",
    "90": "النظام قيد الايقاف",
    "98": "سجل غير سليم",
}
_PERSONAL_REFUSAL = {"NRES": "12", "CREG": "17"}
_PERSONAL_RETURN = {"NRES": "21", "CREG": "22"}
_RESERVATION_LASTS = timedelta(days=30)
_BATCH = 100
_BUSY_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A row of CRIFIN. Texts without their blanks; the name stays bytes."""

    seq: int
    txn: str
    ref: str
    name: bytes
    num: str
    own: str
    kind: str

    @property
    def text(self) -> str:
        """The name in letters."""
        return self.name.decode("cp1256")

    def faulty(self) -> bool:
        """Whether the engine cannot work on this row at all."""
        wanted = {"NRES": self.name, "NREL": self.num, "CREG": self.num and self.own and self.kind in ("1", "2")}
        return not wanted.get(self.txn)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A row of CRIFOUT. None and short texts are what a misbehaving engine leaves in it."""

    code: str
    num: str | None = ""
    date: int | None = 0
    name: bytes | None = b""
    message: bytes | None = None
    wait: int | None = 0
    state: str = "D"
    padded: bool = True

    def texts(self) -> tuple[str | bytes | None, ...]:
        """Number, name and message as they stand in their columns."""
        message = _MESSAGES[self.code].encode("cp1256") if self.message is None else self.message
        texts = (self.num, self.name, message)
        return tuple(map(_filled, texts, (10, 60, 40))) if self.padded else texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """Something that the engine does later."""

    at: Instant
    act: Callable[[Instant], None]


class Simulator(BaseSimulator):
    """The commercial registry's system."""

    agency = "commercial_registry"

    def __init__(self, folder: Path, persons: Persons | None = None, **pace: Any) -> None:
        """``pace``: see the base class. Without ``persons``, those of the workspace that this folder is part of."""
        listed = persons or Persons.load(Path(__file__).parents[2] / "schemas" / "test-persons.yaml")
        super().__init__(folder, listed, **pace)
        self._path = folder / "registry.db"
        self._away = folder / "registry.db.away"
        self._base: sqlite3.Connection | None = None
        self._due: list[Due] = []

    @staticmethod
    def settings(folder: Path) -> dict[str, Any]:
        """The adapter needs the database alone."""
        return {"database": str(folder / "registry.db")}

    # Up and down.

    def come_up(self) -> None:
        """Bring the database file back, or make it, and start the engine on it."""
        if self._away.exists():
            self._away.rename(self._path)
        if not self._path.exists():
            self._create()
        self._base = sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None)
        self._base.text_factory = bytes
        self.ledger.join(self._base)
        # Not OFF: without synchronisation SQLite commits file by file, and a kill in between would part the two.
        self._base.executescript("PRAGMA main.synchronous = NORMAL; PRAGMA ledger.synchronous = NORMAL;")
        # What a killed engine had put off is begun anew; what it had committed is not.
        self._base.execute("UPDATE CRIFIN SET ISTAT = 'N' WHERE ISTAT = 'P'")

    def go_down(self) -> None:
        """Stop the engine and take the database file away: nobody can open it any more."""
        self.close_base()
        if self._path.exists():
            # Nobody may be within a transaction when the file goes: its rollback journal would be lost.
            with closing(sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None)) as base:
                base.execute("BEGIN EXCLUSIVE")
                self._path.rename(self._away)
                base.execute("ROLLBACK")

    def close(self) -> None:
        """Stop the engine; the database stays where it is."""
        self.close_base()
        super().close()

    def close_base(self) -> None:
        """Let go of the database; what was put off begins anew at the next start."""
        self._due.clear()
        if self._base is not None:
            self._base.close()
            self._base = None

    def _create(self) -> None:
        # Under another name first, so that no client meets a database without tables.
        fresh = self.folder / "registry.db.new"
        fresh.unlink(missing_ok=True)
        with closing(sqlite3.connect(fresh)) as base:
            base.executescript(f"PRAGMA synchronous = OFF; BEGIN; {_SCHEMA} COMMIT;")
        fresh.rename(self._path)

    @property
    def base(self) -> sqlite3.Connection:
        """The engine's own connection, with the ledger joined to it."""
        if self._base is None:
            raise RuntimeError("the registry is down")
        return self._base

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Effect, ledger, answer and the mark on the inbound row: all or none, also when killed."""
        self.base.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.base.execute("ROLLBACK")
            raise
        self.base.execute("COMMIT")

    # The engine.

    def work(self, now: Instant) -> None:
        """Work off what has fallen due and what has come in, in one transaction."""
        ripe = [due for due in self._due if due.at <= now]
        orders = self._orders()
        if not ripe and not orders:
            return
        self._due = [due for due in self._due if due.at > now]
        with self._transaction():
            for due in ripe:
                due.act(now)
            for order in orders:
                self._begin(order, now)

    def _orders(self) -> list[Order]:
        rows = self.base.execute(
            "SELECT ISEQ, ITXN, IREF, INAME, INUM, IOWN, IKIND FROM CRIFIN WHERE ISTAT = 'N' ORDER BY ISEQ LIMIT ?",
            (_BATCH,),
        )
        return [_order(row) for row in rows]

    def _begin(self, order: Order, now: Instant) -> None:
        if order.faulty():
            self._finish(order, Answer(code="98"))
            return
        if closed := self.control.outage(Misbehaviour.CLOSED):
            seconds = 0 if closed.until is None else max(0, closed.until - now) // SECOND
            self._finish(order, Answer(code="80", wait=seconds))
            return
        bad = self.misbehaviour(_OPERATIONS[order.txn], order.ref, self._about(order))
        match bad.what if bad else None:
            case Misbehaviour.SLOW if bad:
                self._mark(order, "P")
                self._later(bad.seconds, now, lambda then: self._work_on(order, None, then))
            case Misbehaviour.DOWN if bad:
                self._finish(order, Answer(code="90"))
                self.control.arm(Misbehaviour.DOWN, seconds=bad.seconds)
            case Misbehaviour.TIMEOUT_BEFORE_EFFECT:
                self._mark(order, "D")
            case _:
                self._work_on(order, bad, now)

    def _work_on(self, order: Order, bad: Armed | None, now: Instant) -> None:
        self._mark(order, "D")
        what = bad.what if bad else None
        if what is Misbehaviour.BUSINESS_ERROR_WITH_SUCCESS_CODE:
            self._answer(order, Answer(code="00", message=_MESSAGES["98"].encode("cp1256")))
            return
        if code := self._objection(order, now):
            answer = Answer(code=code)
        else:
            answer = self._effect(order, now)
            if what is Misbehaviour.EFFECT_TWICE:
                self._effect(order, now)
        if bad is not None:
            self._answer_badly(order, answer, bad, now)
        else:
            self._answer(order, answer)

    def _answer_badly(self, order: Order, answer: Answer, bad: Armed, now: Instant) -> None:
        match bad.what:
            case Misbehaviour.EFFECT_THEN_TIMEOUT:
                pass
            case Misbehaviour.ANSWER_LATE:
                self._later(bad.seconds, now, lambda _: self._answer(order, answer))
            case Misbehaviour.ANSWER_DRIPS:
                self._answer(order, _half(answer, state="W"))
                self._later(bad.seconds, now, lambda _: self._complete(order, answer))
            case Misbehaviour.ANSWER_TWICE:
                self._answer(order, answer)
                self._answer(order, answer)
            case Misbehaviour.HALF_ANSWER:
                self._answer(order, _half(answer, state="D"))
            case Misbehaviour.WRONG_ENCODING:
                message = _MESSAGES[answer.code].encode()
                name = (answer.name or b"").decode("cp1256").encode()
                self._answer(order, replace(answer, message=message, name=name))
            case _:
                self._answer(order, answer)

    # The vendor's rules and tables.

    def _objection(self, order: Order, now: Instant) -> str | None:
        """The code by which the engine says no, before it has done anything."""
        behaviour = self.persons.behaviour(self.agency, self._about(order))
        if behaviour is Behaviour.REFUSED and order.txn in _PERSONAL_REFUSAL:
            return _PERSONAL_REFUSAL[order.txn]
        if behaviour is Behaviour.RETURNED and order.txn in _PERSONAL_RETURN:
            return _PERSONAL_RETURN[order.txn]
        if order.txn == "NRES":
            return self._objection_to_name(order, listed=behaviour is not None)
        return self._objection_to_reservation(order, now)

    def _objection_to_name(self, order: Order, *, listed: bool) -> str | None:
        if any(word in order.text.upper() for word in _FORBIDDEN):
            return "12"
        # A test person's name is free for ever, so that a demo can run again on the same database.
        taken = self.base.execute(
            "SELECT 1 FROM CRNAMES WHERE NTXT = ? AND NST IN ('R', 'A')", (order.name.ljust(60),)
        ).fetchone()
        return "11" if taken and not listed else None

    def _objection_to_reservation(self, order: Order, now: Instant) -> str | None:
        row = self._reservation(order.num)
        if row is None:
            return "13"
        state, expires = row["NST"], row["NEXP"]
        if state != b"R":
            return "15" if state == b"A" else "16"
        return "14" if order.txn == "CREG" and expires < _day(now) else None

    def _reservation(self, num: str) -> Mapping[str, Any] | None:
        cursor = self.base.execute("SELECT NTXT, NST, NEXP FROM CRNAMES WHERE NNUM = ?", (num.ljust(10),))
        row = cursor.fetchone()
        return None if row is None else dict(zip(("NTXT", "NST", "NEXP"), row, strict=True))

    def _effect(self, order: Order, now: Instant) -> Answer:
        acts = {"NRES": self._reserve, "NREL": self._release, "CREG": self._register}
        answer = acts[order.txn](order, now)
        operation, made = _OPERATIONS[order.txn], answer.num or ""
        self.ledger.record(operation=operation, reference=order.ref, made=made, at=now, within=self.base)
        return answer

    def _reserve(self, order: Order, now: Instant) -> Answer:
        num, expires = self._next("CRNAMES", 2_600_001), _day(now, _RESERVATION_LASTS)
        self.base.execute(
            "INSERT INTO CRNAMES VALUES (?, ?, 'R', ?, ?, ?, ?)",
            (num.ljust(10), order.name.ljust(60), order.ref.ljust(20), " " * 20, _day(now), expires),
        )
        return Answer(code="00", num=num, date=expires, name=order.name)

    def _release(self, order: Order, now: Instant) -> Answer:
        self.base.execute(
            "UPDATE CRNAMES SET NST = 'X', NXREF = ? WHERE NNUM = ?", (order.ref.ljust(20), order.num.ljust(10))
        )
        return Answer(code="00", num=order.num)

    def _register(self, order: Order, now: Instant) -> Answer:
        row = self._reservation(order.num)
        name, num = row["NTXT"] if row else b"", self._next("CRCOMP", 40_000_001)
        values = (num.ljust(10), order.num.ljust(10), name, order.own.ljust(14), order.kind, order.ref.ljust(20))
        self.base.execute("INSERT INTO CRCOMP VALUES (?, ?, ?, ?, ?, ?, ?, 'A')", (*values, _day(now)))
        self.base.execute("UPDATE CRNAMES SET NST = 'A' WHERE NNUM = ?", (order.num.ljust(10),))
        return Answer(code="00", num=num, date=_day(now), name=name.rstrip())

    def _next(self, table: str, first: int) -> str:
        counts = {"CRNAMES": "SELECT count(*) FROM CRNAMES", "CRCOMP": "SELECT count(*) FROM CRCOMP"}
        return str(first + int(self.base.execute(counts[table]).fetchone()[0]))

    def _about(self, order: Order) -> tuple[str, ...]:
        return tuple(key for key in (order.text, order.own, order.num) if key)

    # The interface tables.

    def _later(self, seconds: float, now: Instant, act: Callable[[Instant], None]) -> None:
        self._due.append(Due(at=now + round(seconds * SECOND), act=act))

    def _mark(self, order: Order, state: str) -> None:
        self.base.execute("UPDATE CRIFIN SET ISTAT = ? WHERE ISEQ = ?", (state, order.seq))

    def _finish(self, order: Order, answer: Answer) -> None:
        self._mark(order, "D")
        self._answer(order, answer)

    def _complete(self, order: Order, answer: Answer) -> None:
        self.base.execute("DELETE FROM CRIFOUT WHERE OSEQ = ?", (order.seq,))
        self._answer(order, answer)

    def _answer(self, order: Order, answer: Answer) -> None:
        num, name, message = answer.texts()
        head = (order.seq, order.txn, order.ref.ljust(20), answer.code)
        tail = (num, answer.date, name, message, answer.wait, answer.state)
        self.base.execute("INSERT INTO CRIFOUT VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*head, *tail))


def _order(row: tuple[Any, ...]) -> Order:
    """Takes whatever a client inserted: a row that makes no sense is answered, it never stops the engine."""
    seq, *cells = row
    txn, ref, name, num, own, kind = (cell.rstrip() if isinstance(cell, bytes) else b"" for cell in cells)
    texts = [text.decode("ascii", errors="replace") for text in (txn, ref, num, own, kind)]
    return Order(seq=seq, txn=texts[0], ref=texts[1], name=name[:60], num=texts[2], own=texts[3], kind=texts[4])


def _half(answer: Answer, *, state: str) -> Answer:
    """The answer as far as the engine got: the number cut in the middle, and nothing behind it."""
    num = (answer.num or "").ljust(10)[:4]
    return Answer(code=answer.code, num=num, date=None, name=None, message=b"", wait=None, state=state, padded=False)


def _filled(text: str | bytes | None, size: int) -> str | bytes | None:
    return None if text is None else text.ljust(size)[:size]


def _day(now: Instant, later: timedelta = timedelta(0)) -> int:
    return int((datetime.fromtimestamp(now / SECOND, tz=UTC) + later).strftime("%Y%m%d"))
