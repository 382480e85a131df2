"""The only door to the registry's database: rows into the inbound table, rows out of the outbound table."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from bus.adapter import Absent, Adapter, AgencyUnavailableError, Declined, Found, LookUp, Reply, Task, Unsure
from bus.record import Cell, pack_row, unpack_row

from . import translate

_INSERT = """
INSERT INTO CRIFIN (ITXN, IREF, INAME, INUM, IOWN, IKIND)
VALUES (CAST(:ITXN AS TEXT), CAST(:IREF AS TEXT), :INAME,
        CAST(:INUM AS TEXT), CAST(:IOWN AS TEXT), CAST(:IKIND AS TEXT))
"""
# A row in state W is still being written; an answer may also stand there twice, and then the first one counts.
_ANSWERS = """
SELECT OSEQ, OTXN, OREF, ORC, ONUM, ODATE, ONAME, OMSG, OWAIT
FROM CRIFOUT JOIN CRIFIN ON ISEQ = OSEQ AND IREF = OREF
WHERE OSEQ IN (SELECT value FROM json_each(:numbers)) AND OST = 'D' ORDER BY CRIFOUT.rowid DESC
"""
# Orders of ours that the engine has not worked off yet may still take effect.
_OPEN = "SELECT 1 FROM CRIFIN WHERE IREF = :ref AND ITXN = :txn AND ISTAT IN ('N', 'P') LIMIT 1"
#: The vendor's own tables by our reference, in the columns of an answer.
_EFFECTS = {
    "name.reserve.v1": """
        SELECT 0 AS OSEQ, 'NRES' AS OTXN, NREF AS OREF, '00' AS ORC, NNUM AS ONUM, NEXP AS ODATE, NTXT AS ONAME,
               :blank AS OMSG, 0 AS OWAIT FROM CRNAMES WHERE NREF = :ref ORDER BY rowid LIMIT 1""",
    "name.release.v1": """
        SELECT 0 AS OSEQ, 'NREL' AS OTXN, NXREF AS OREF, '00' AS ORC, NNUM AS ONUM, 0 AS ODATE, NTXT AS ONAME,
               :blank AS OMSG, 0 AS OWAIT FROM CRNAMES WHERE NXREF = :ref ORDER BY rowid LIMIT 1""",
    "company.register.v1": """
        SELECT 0 AS OSEQ, 'CREG' AS OTXN, CREF AS OREF, '00' AS ORC, CNUM AS ONUM, CDAT AS ODATE, CNAME AS ONAME,
               :blank AS OMSG, 0 AS OWAIT FROM CRCOMP WHERE CREF = :ref ORDER BY rowid LIMIT 1""",
}


class CommercialRegistry(Adapter):
    """Reserves and releases trade names and registers companies through the vendor's interface tables."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(settings)
        self._database = Path(settings["database"]).absolute()
        self._timeout_s: float = settings.get("timeout_s", 3.5)
        self._poll_s: float = settings.get("poll_s", 0.005)
        self._busy_s: float = settings.get("busy_s", 1.0)

    def prepare(self, operation: str, tasks: Sequence[Task]) -> tuple[bytes | Declined, ...]:
        """Each task as a row of CRIFIN, or back to the applicant."""
        return translate.orders(operation, tasks)

    def call(self, operation: str, native: Sequence[bytes]) -> tuple[bytes, ...]:
        """One transaction inserts all orders; then each answer is awaited.

        An order without an answer gets ``b""``, which reads as unknown; if no order at all was answered, a
        TimeoutError is raised.
        """
        deadline = time.monotonic() + self._timeout_s
        cells = [unpack_row(row).cells for row in native]
        with closing(self._connect()) as connection:
            numbers = self._insert(connection, cells)
            answers = self._answers(connection, numbers)
            while len(answers) < len(numbers) and time.monotonic() < deadline:
                time.sleep(self._poll_s)
                answers = self._answers(connection, numbers)
        if numbers and not answers:
            raise TimeoutError(f"the registry answered none of {len(numbers)} orders within {self._timeout_s} s")
        return tuple(answers.get(number, b"") for number in numbers)

    def read(self, operation: str, raw: Sequence[bytes]) -> tuple[Reply, ...]:
        """What each row of CRIFOUT means; one that cannot be read is a `Failed` of its own."""
        return translate.replies(operation, raw)

    def look_up(self, operation: str, references: Sequence[str]) -> tuple[LookUp, ...]:
        """Absent only if the vendor's tables do not have it and no order of ours waits to be worked off."""
        try:
            with closing(self._connect()) as connection:
                connection.execute("BEGIN")  # all questions see one moment
                return tuple(self._look_up(connection, operation, reference) for reference in references)
        except (AgencyUnavailableError, sqlite3.Error):
            return tuple(Unsure() for _ in references)

    def _connect(self) -> sqlite3.Connection:
        """A connection for this call only: a system that is down is noticed before anything is sent."""
        try:
            connection = sqlite3.connect(
                f"{self._database.as_uri()}?mode=rw", uri=True, timeout=self._busy_s, isolation_level=None
            )
        except sqlite3.Error as error:
            raise AgencyUnavailableError(f"The registry's database cannot be opened: {error}.") from error
        connection.text_factory = bytes
        return connection

    def _insert(self, connection: sqlite3.Connection, rows: Sequence[Mapping[str, Cell]]) -> list[int]:
        """The vendor's numbers of the orders. Until the commit nothing is sent; a commit that is refused sends nothing.

        (Closing the connection rolls back whatever is open.)
        """
        try:
            connection.execute("BEGIN IMMEDIATE")
            numbers = [connection.execute(_INSERT, row).lastrowid or 0 for row in rows]
        except sqlite3.Error as error:
            raise AgencyUnavailableError(f"The registry's database takes no orders: {error}.") from error
        try:
            connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            raise AgencyUnavailableError("The registry's database is locked.") from error
        return numbers

    @staticmethod
    def _answers(connection: sqlite3.Connection, numbers: Sequence[int]) -> dict[int, bytes]:
        cursor = connection.execute(_ANSWERS, {"numbers": json.dumps(numbers)})
        return {cells[0]: _packed(cursor, cells) for cells in cursor.fetchall()}

    def _look_up(self, connection: sqlite3.Connection, operation: str, reference: str) -> LookUp:
        ours = {"ref": translate.padded_reference(reference), "txn": translate.TRANSACTIONS[operation]}
        cursor = connection.execute(_EFFECTS[operation], {"ref": ours["ref"], "blank": translate.NO_MESSAGE})
        if cells := cursor.fetchone():
            return Found(raw=_packed(cursor, cells))
        return Unsure() if connection.execute(_OPEN, ours).fetchone() else Absent()


def _packed(cursor: sqlite3.Cursor, cells: Sequence[Cell]) -> bytes:
    """The row, exactly: every cell as the table holds it."""
    names = [column[0] for column in cursor.description]
    return pack_row("CRIFOUT", dict(zip(names, cells, strict=True)))
