"""The table of test persons, judged with the line and column of each entry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bus.catalog.document import Document, Place, read_bytes, read_document, suggest
from bus.catalog.providers import Parties
from bus.catalog.shape import shape_faults
from bus.catalog.shelf import META, read_own_schema
from bus.errors import Fault

TEST_PERSONS = "schemas/test-persons.yaml"
_SCHEMA = "test-persons"
#: What a simulator finds a person by.
_KEYS = ("national_id", "trade_name")


def read_persons(root: Path) -> tuple[Document | None, tuple[Fault, ...]]:
    """The table and what is wrong with its shape; None where the workspace has none, or none that can be read."""
    if not (root / TEST_PERSONS).exists():
        return None, ()
    schema, faults = read_own_schema(root, root / "schemas" / META / f"{_SCHEMA}.schema.json", f"{META}/{_SCHEMA}")
    raw, found = read_bytes(root, root / TEST_PERSONS)
    if schema is None or found:
        return None, faults + found
    document, faults = read_document(TEST_PERSONS, raw)
    if document.value is None and faults:
        return None, faults
    found = shape_faults(document, schema)
    return (document if isinstance(document.value, dict) else None), faults + found


def person_faults(document: Document, parties: Parties) -> Iterator[Fault]:
    """Numbers and trade names that stand for two persons, and persons of agencies and groups that are not there.

    The entries may have any shape.
    """
    first: dict[str, Place] = {}
    persons = document.value.get("persons")
    for index, person in enumerate(persons if isinstance(persons, list) else ()):
        at: Place = ("persons", index)
        if not isinstance(person, dict):
            continue
        for name in _KEYS:
            key = person.get(name)
            if isinstance(key, str) and key in first:
                place = document.values[first[key]]
                message = f"{key} stands for two persons; first in {place.file}:{place.line}:{place.column}."
                yield document.fault((*at, name), "person-twice", message, "Give one of them another.")
            elif isinstance(key, str):
                first[key] = (*at, name)
        agency = person.get("agency")
        if isinstance(agency, str) and agency not in parties.groups and parties.lacks(agency):
            message, known = f"There is no agency {agency}, and no group.", {**parties.agencies, **parties.groups}
            yield document.fault((*at, "agency"), "unknown-agency", message, suggest(agency, known))
