"""The test persons: one table of people who do not exist, obeyed by every simulator."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from bus.errors import ConfigurationError, Fault
from bus.message.text import Text


class Behaviour(StrEnum):
    """How the system of a test person's agency meets that person."""

    SUCCEEDS = "succeeds"
    REFUSED = "refused"
    RETURNED = "returned"
    LATE = "late"
    DOWN_30_S = "down_30_s"
    EFFECT_THEN_TIMEOUT = "effect_then_timeout"
    MALFORMED_RECORD = "malformed_record"


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who does not exist. Their own agency behaves as listed; every other one knows them and says yes."""

    national_id: str
    name: Text
    birth_date: date
    agency: str
    behaviour: Behaviour
    #: Only for persons of an agency that reserves trade names: the name that stands for them where no number is asked.
    trade_name: str | None = None


class Persons:
    """The listed persons, found by number or by trade name."""

    def __init__(self, persons: Iterable[Person]) -> None:
        self.all = tuple(persons)
        self._by_key = {key: person for person in self.all for key in _keys(person)}

    @classmethod
    def load(cls, path: Path) -> Persons:
        """The persons of a YAML file; a ConfigurationError with every fault of it."""
        persons: list[Person] = []
        faults: list[Fault] = []
        seen: set[str] = set()
        for number, entry in enumerate(_entries(path)):
            try:
                person = _person(entry)
            except (KeyError, TypeError, ValueError) as error:
                message = f"this is no test person: {error!r}."
                faults.append(Fault(code="bad-person", message=message, file=str(path), pointer=f"/persons/{number}"))
                continue
            persons.append(person)
            if taken := seen.intersection(_keys(person)):
                message = f"{', '.join(sorted(taken))} stands here a second time."
                faults.append(Fault(code="person-twice", message=message, file=str(path), pointer=f"/persons/{number}"))
            seen.update(_keys(person))
        if faults:
            raise ConfigurationError(tuple(faults))
        return cls(persons)

    def find(self, keys: Iterable[str]) -> Person | None:
        """The person whom one of the numbers or names belongs to."""
        return next((self._by_key[key] for key in keys if key in self._by_key), None)

    def behaviour(self, agency: str, keys: Iterable[str]) -> Behaviour | None:
        """How this agency meets the person of one of these numbers or names; None for somebody who is not listed."""
        person = self.find(keys)
        if person is None:
            return None
        return person.behaviour if person.agency == agency else Behaviour.SUCCEEDS


def _entries(path: Path) -> list[Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        message = f"The test persons cannot be read: {type(error).__name__}."
        raise ConfigurationError((Fault(code="unreadable", message=message, file=str(path)),)) from error
    entries = content.get("persons") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        message = "There is no list of persons."
        raise ConfigurationError(
            (Fault(code="no-persons", message=message, mend="Begin with persons:", file=str(path)),)
        )
    return entries


def _keys(person: Person) -> tuple[str, ...]:
    return tuple(key for key in (person.national_id, person.trade_name) if key)


def _person(entry: dict[str, Any]) -> Person:
    national_id, born = entry["national_id"], entry["birth_date"]
    if not isinstance(national_id, str) or not isinstance(born, date):
        raise TypeError("national_id must be a quoted number and birth_date a date")
    return Person(
        national_id=national_id,
        name=Text(en=entry["name"]["en"], ar=entry["name"]["ar"]),
        birth_date=born,
        agency=entry["agency"],
        behaviour=Behaviour(entry["behaviour"]),
        trade_name=entry.get("trade_name"),
    )
