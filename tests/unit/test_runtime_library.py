"""Which operations of an agency open requests need, by what they are pinned to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import pytest

from bus.ports import Store
from bus.process.closure import contracts_of, revision, to_closure
from bus.process.definition import Definition, OneOf, Path
from bus.runtime.library import Library
from tests.support.process_rows import NOW, back, service, step

BY = Path(root="request", step="", members=("town",))
ROUTE = service(
    step("register", provider="registry", compensate=back(operation="register.undo.v1")),
    step("tax", provider="taxes"),
    step(
        "permit", provider=OneOf(group="towns", by=BY, members={"1": "north", "2": "desk"}, desks=frozenset({"desk"}))
    ),
)
OTHER = service(step("name", provider="registry"))


@dataclass
class Kept:
    """A store that knows definitions, and to which of them open requests are pinned."""

    definitions: Mapping[str, bytes]
    open: set[str]

    def open_revisions(self) -> set[str]:
        return set(self.open)

    def definition(self, revision: str) -> bytes | None:
        return self.definitions.get(revision)


def kept(*definitions: Definition) -> Kept:
    closures = [to_closure(definition, {key: {} for key in contracts_of(definition)}) for definition in definitions]
    by_revision = {revision(closure): closure for closure in closures}
    return Kept(definitions=by_revision, open=set(by_revision))


@pytest.mark.parametrize(
    ("agency", "needed"),
    [
        ("registry", {"register.do.v1", "register.undo.v1", "name.do.v1"}),
        ("taxes", {"tax.do.v1"}),
        ("north", {"permit.do.v1"}),
        ("desk", set()),
        ("nobody", set()),
    ],
)
def test_an_agency_is_needed_for_what_it_may_be_asked_and_for_taking_that_back(agency: str, needed: set[str]) -> None:
    assert Library(cast("Store", kept(ROUTE, OTHER))).needed(agency, NOW) == needed


def test_a_definition_that_the_store_has_lost_does_not_stop_the_others_from_being_looked_at() -> None:
    store = kept(OTHER)
    store.open.add("lost")
    assert Library(cast("Store", store)).needed("registry", NOW) == {"name.do.v1"}


def test_one_look_counts_for_a_second_also_on_a_clock_that_is_set_back() -> None:
    store = kept(OTHER)
    library = Library(cast("Store", store))
    assert library.needed("registry", NOW)
    store.open.clear()
    assert library.needed("registry", NOW + 999)
    assert not library.needed("registry", NOW + 1_000)
    store.open |= store.definitions.keys()
    assert library.needed("registry", NOW - 60_000)
