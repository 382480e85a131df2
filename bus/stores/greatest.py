"""The greater of two values in a statement, which each dialect calls by another name."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, func


def greatest(dialect: str, one: ColumnElement[Any], other: ColumnElement[Any]) -> ColumnElement[Any]:
    """The greater of two that are both there."""
    return func.greatest(one, other) if dialect == "postgresql" else func.max(one, other)
