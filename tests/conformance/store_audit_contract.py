"""What every store promises to auditors: what was done to agencies and tokens, and what was told to whom."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from bus.audit.fact import GENESIS, Fact, chain
from bus.ports import Act, AgencyRow, Store
from tests.conformance import store_values as values
from tests.conformance.store_opened import OpenedStore, at_once
from tests.conformance.store_values import NOW, accept


def _act(what: str, target: str, reason: str | None = None) -> Act:
    return Act(actor="root", what=what, target=target, reason=reason)


class AuditContract(OpenedStore):
    """The promises; a part of `PeopleContract`."""

    def test_what_is_done_to_agencies_and_tokens_is_kept_in_the_order_in_which_it_was_done(self, store: Store) -> None:
        row = AgencyRow(agency="giza", paused=True)

        store.save_token(token_hash="h", user="mona", role="clerk", agency="giza", act=_act("token_added", "mona"))
        assert store.save_agency(row, None, _act("agency_paused", "giza", "storm"))
        assert store.remove_tokens("mona", _act("tokens_removed", "mona")) == 1
        store.note_act(_act("journal_restored", "giza/j"))

        acts = store.acts(after=0, most=9)
        assert [(act.actor, act.what, act.target, act.reason) for act in acts] == [
            ("root", "token_added", "mona", None),
            ("root", "agency_paused", "giza", "storm"),
            ("root", "tokens_removed", "mona", None),
            ("root", "journal_restored", "giza/j", None),
        ]
        assert [act.key for act in acts] == sorted({act.key for act in acts})
        assert all(0 < act.at <= store.now() for act in acts)
        assert store.acts(after=acts[0].key, most=1) == acts[1:2]

    def test_of_many_commands_on_one_agency_at_once_exactly_one_is_done_and_kept(self, store: Store) -> None:
        def pause(expected: AgencyRow | None, wait: int) -> bool:
            row = AgencyRow(agency="giza", paused=expected is None, probe_wait=wait)
            return store.save_agency(row, expected, _act("agency_changed", f"{wait}"))

        first = at_once([partial(pause, None, wait) for wait in range(1, 7)])
        was = store.agencies()["giza"]
        second = at_once([partial(pause, was, wait) for wait in range(11, 17)])

        assert [first.count(True), second.count(True)] == [1, 1]
        assert store.agencies()["giza"].probe_wait == 11 + second.index(True)
        assert [act.target for act in store.acts(after=0, most=9)] == [
            str(1 + first.index(True)),
            str(11 + second.index(True)),
        ]

    def test_what_was_not_done_is_not_kept(self, store: Store) -> None:
        assert not store.save_agency(
            AgencyRow(agency="giza"), AgencyRow(agency="giza", paused=True), _act("agency_resumed", "giza")
        )
        assert store.remove_tokens("nobody", _act("tokens_removed", "nobody")) == 0

        assert store.acts(after=0, most=9) == ()

    def test_disclosures_are_those_facts_that_told_somebody_something_by_time_over_all_requests(
        self, store: Store
    ) -> None:
        first, second = (self._telling(store, values.accepted()) for _ in range(2))

        told = store.disclosures(after=(0, 0, 0), until=None, most=9)

        assert [(one.request_key, one.fact) for one in told] == sorted(
            [(each.request.key, fact) for each in (first, second) for fact in each.facts if fact.kind != "moved"],
            key=lambda one: (one[1].at, one[0], one[1].version),
        )
        assert {(one.service, one.revision) for one in told} == {("open-business.v1", "r1")}
        assert store.disclosures(after=told[0].place, until=None, most=2) == told[1:3]
        assert store.disclosures(after=told[-1].place, until=None, most=9) == ()

    def test_disclosures_are_found_by_request_party_purpose_and_time(self, store: Store) -> None:
        each = self._telling(store, values.accepted())
        self._telling(store, values.accepted(), provider="cairo", purpose="statistics")

        def kinds(**wanted: Any) -> list[str]:
            until = wanted.pop("until", None)
            found = store.disclosures(after=(0, 0, 0), until=until, most=9, **wanted)
            return [one.fact.kind for one in found if one.request_key == each.request.key]

        assert kinds(request_id=each.request.id) == ["accepted", "step_dispatched", "ended"]
        assert kinds(request_id="nobody") == []
        assert kinds(agency="giza") == ["step_dispatched"]
        assert kinds(agency="one_stop_shop") == ["accepted", "step_dispatched", "ended"]
        assert kinds(agency="cairo") == []
        assert kinds(purpose="licensing") == ["accepted", "step_dispatched", "ended"]
        assert kinds(purpose="statistics") == []
        assert kinds(until=NOW + 2) == ["accepted"]

    def _telling(
        self, store: Store, each: values.Accepted, provider: str = "giza", purpose: str = "licensing"
    ) -> values.Accepted:
        """A request whose facts tell somebody something, but for one."""
        kinds = ("accepted", "moved", "step_dispatched", "ended")
        facts = [
            Fact(
                request_id=each.request.id,
                version=number + 1,
                kind=kind,
                at=NOW + number,
                consumer="one_stop_shop",
                provider=provider if kind == "step_dispatched" else None,
                purpose=purpose,
                fields=("/name",) if kind != "moved" else (),
            )
            for number, kind in enumerate(kinds)
        ]
        each.facts = chain(facts, GENESIS)
        each.request = replace(each.request, version=len(facts), head=each.facts[-1].hash)
        accept(store, each)
        return each
