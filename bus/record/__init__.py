"""Pure: the translator's toolbox. Legacy cells, code pages, dates, codes and rows, read and written without loss."""

from bus.errors import Fault, InvalidMessageError
from bus.record.cell import Cell, Field
from bus.record.chars import Chars
from bus.record.codes import Codes
from bus.record.layout import Layout
from bus.record.number import DateNumber, Whole
from bus.record.page import ASCII, CP1256, CodePage, code_page
from bus.record.row import Row, pack_row, unpack_row

__all__ = [
    "ASCII",
    "CP1256",
    "Cell",
    "Chars",
    "CodePage",
    "Codes",
    "DateNumber",
    "Fault",
    "Field",
    "InvalidMessageError",
    "Layout",
    "Row",
    "Whole",
    "code_page",
    "pack_row",
    "unpack_row",
]
