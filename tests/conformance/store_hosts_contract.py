"""What every store promises of the starts of agencies' hosts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bus.message.instant import DAY, HOUR, SECOND
from bus.ports import Changes, HostRow, Store
from tests.conformance.store_values import Place, put

TAX, PORTS = "tax_authority", "ports"


def start(store: Store, start_id: str, agency: str = TAX, at: int = 0, seen: int = 0) -> HostRow:
    now = store.now()
    return HostRow(
        agency=agency, start_id=start_id, operations={"a.b.v1": "0" * 64}, started_at=now + at, seen_at=now + seen
    )


def known(store: Store, agency: str = TAX, speaking: str = "") -> tuple[HostRow, ...]:
    with store.transaction() as transaction:
        return transaction.hosts(agency, speaking)


class HostsContract:
    """The promises; ``place`` comes from the suite."""

    @pytest.fixture
    def store(self, place: Place) -> Iterator[Store]:
        store = place.open()
        yield store
        store.close()

    def test_starts_of_an_agency_are_kept_last_heard_first_and_apart_from_those_of_others(self, store: Store) -> None:
        # The name of a start is the agency's own word: another agency may say the same.
        old, new, other = start(store, "one", at=5), start(store, "two", seen=5), start(store, "one", agency=PORTS)
        put(store, Changes(hosts=[old, other]), Changes(hosts=[new]))

        assert known(store) == (new, old)
        assert known(store, PORTS) == (other,)

    def test_a_start_that_is_seen_again_stays_what_it_was(self, store: Store) -> None:
        first, again = start(store, "one"), start(store, "one", at=7, seen=9)
        put(store, Changes(hosts=[first]), Changes(hosts=[again]))

        (found,) = known(store)
        assert (found.started_at, found.seen_at) == (first.started_at, again.seen_at)

    def test_a_start_that_was_not_seen_for_a_day_is_forgotten(self, store: Store) -> None:
        put(store, Changes(hosts=[start(store, "gone", seen=-DAY - SECOND), start(store, "slow", seen=SECOND - DAY)]))
        assert {one.start_id for one in known(store)} == {"slow"}, "it is still there, and counts no more"
        assert {one.start_id for one in known(store, speaking="gone")} == {"gone", "slow"}
        put(store, Changes(hosts=[start(store, "new")]))

        assert {one.start_id for one in known(store, speaking="gone")} == {"new", "slow"}

    def test_a_start_that_a_later_commit_has_seen_earlier_was_still_seen_later(self, store: Store) -> None:
        late = start(store, "one", seen=9 * SECOND)
        put(store, Changes(hosts=[late]), Changes(hosts=[start(store, "one", seen=7 * SECOND)]))

        assert known(store) == (late,)

    def test_of_a_host_that_starts_again_and_again_no_more_than_an_hour_is_kept(self, store: Store) -> None:
        # Given starts of which nothing more was heard, and one that said once that it lives
        old = [start(store, f"{number:02}", at=-HOUR - SECOND, seen=-HOUR - SECOND) for number in range(5)]
        lived = start(store, "lived", at=-2 * HOUR, seen=-HOUR - SECOND)
        put(store, Changes(hosts=[*old, lived, start(store, "fresh", at=SECOND - HOUR, seen=SECOND - HOUR)]))
        # When the next one starts
        put(store, Changes(hosts=[start(store, "now")]))
        # Then
        assert {one.start_id for one in known(store)} == {"now", "fresh", "lived"}

    def test_an_agency_that_tells_of_more_hosts_than_anybody_has_is_not_read_to_the_end(self, store: Store) -> None:
        put(store, Changes(hosts=[start(store, f"{number:02}", at=number, seen=number) for number in range(40)]))

        assert [one.start_id for one in known(store)] == [f"{number:02}" for number in range(39, 23, -1)]

    def test_the_start_that_is_speaking_is_among_those_that_are_read_however_many_came_later(
        self, store: Store
    ) -> None:
        # Given a host that lives, and another that has started 40 times since
        put(store, Changes(hosts=[start(store, "steady")]))
        put(store, Changes(hosts=[start(store, f"{number:02}", at=number, seen=number) for number in range(1, 41)]))
        # When the first one speaks
        read = known(store, speaking="steady")
        # Then it is read, behind those that were heard of later
        assert [one.start_id for one in read] == [*(f"{number:02}" for number in range(40, 25, -1)), "steady"]
