"""The declarative description of one legacy table: reads and writes its rows, with all faults at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bus.errors import Fault, InvalidMessageError
from bus.record.cell import Cell, Field
from bus.record.row import Row, pack_row, unpack_row


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A table and its columns in order."""

    table: str
    fields: Mapping[str, Field]

    def read(self, data: bytes) -> dict[str, Any]:
        """The value of each column; an InvalidMessageError with one fault for each broken one (pointer ``/COLUMN``)."""
        row = unpack_row(data)
        faults = self._strange(row)
        values: dict[str, Any] = {}
        for name in self.fields.keys() & row.cells.keys():
            try:
                values[name] = self.fields[name].read(row.cells[name], row.offsets[name])
            except InvalidMessageError as error:
                faults += [replace(fault, pointer=f"/{name}") for fault in error.faults]
        if faults:
            raise InvalidMessageError(tuple(sorted(faults, key=self._place)), raw=data)
        return values

    def write(self, values: Mapping[str, Any], pointers: Mapping[str, str] | None = None) -> bytes:
        """The row that holds the values, one for each column.

        Of what cannot be written, the fault names ``pointers[column]``: the place in the message that it came from.
        """
        if values.keys() != self.fields.keys():
            raise KeyError(f"{self.table} has other columns: {sorted(values.keys() ^ self.fields.keys())}")
        cells: dict[str, Cell] = {}
        faults: list[Fault] = []
        for name, field in self.fields.items():
            try:
                cells[name] = field.write(values[name])
            except InvalidMessageError as error:
                pointer = (pointers or {}).get(name, f"/{name}")
                faults += [replace(fault, pointer=pointer) for fault in error.faults]
        if faults:
            raise InvalidMessageError(tuple(faults))
        return pack_row(self.table, cells)

    def _strange(self, row: Row) -> list[Fault]:
        """A row of another table, or with other columns: what is not described is not guessed."""
        if row.table != self.table:
            return [Fault(code="wrong-table", message=f"a row of {row.table} where one of {self.table} must stand.")]
        missing = [name for name in self.fields if name not in row.cells]
        unknown = [name for name in row.cells if name not in self.fields]
        return [
            *(Fault(code="column-missing", message="the column is missing.", pointer=f"/{name}") for name in missing),
            *(Fault(code="column-unknown", message="no such column is known.", pointer=f"/{name}") for name in unknown),
        ]

    def _place(self, fault: Fault) -> int:
        order = list(self.fields)
        return order.index(fault.pointer[1:]) if fault.pointer[1:] in order else len(order)
