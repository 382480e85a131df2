"""Every column of a table that is written as rows has a type that somebody knows how to write."""

from __future__ import annotations

import pytest
from sqlalchemy import Column, Float, Integer, MetaData, SmallInteger, Table
from sqlalchemy.types import TypeEngine

from bus.stores.postgres_packing import RowType


@pytest.mark.parametrize("strange", [Float(), SmallInteger()])
def test_a_column_that_nobody_knows_how_to_write_is_named_before_anything_is_written(
    strange: TypeEngine[object],
) -> None:
    table = Table("bill", MetaData(), Column("number", Integer), Column("sum", strange), Column("page", Integer))

    with pytest.raises(TypeError, match=r"bill\.sum"):
        RowType.of(table)
