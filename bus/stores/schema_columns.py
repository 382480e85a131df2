"""What the tables of the store are made of."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, Text, text


def key(name: str = "key") -> Column[int]:
    """A primary key made by the application: time-ordered, so that new rows lie together."""
    return Column(name, BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False)


def words(name: str, *, null: bool = False) -> Column[str]:
    """Text of any length."""
    return Column(name, Text, nullable=null)


def number(name: str, *, null: bool = False) -> Column[int]:
    """64 bits: keys, instants, milliseconds."""
    return Column(name, BigInteger, nullable=null)


def flag(name: str) -> Column[bool]:
    """True or false."""
    return Column(name, Boolean, nullable=False)


def of_request() -> Column[int]:
    """The request of a row that few requests have; rows that every request has are checked by the recount."""
    return Column("request_key", BigInteger, ForeignKey("request.key"), nullable=False)


def partial(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    """An index of the rows for which the condition holds: a query says it word for word, or the index is not used."""
    return Index(name, *columns, unique=unique, sqlite_where=text(where), postgresql_where=text(where))
