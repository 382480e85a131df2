"""What every store promises of lists of requests, and of what stands once: definitions, tokens, process managers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bus.errors import NotFoundError
from bus.message.instant import DAY
from bus.ports import Store
from bus.process.state import Kind, RequestState, Step, StepKey, StepState
from tests.conformance import store_values as values
from tests.conformance.store_opened import OpenedStore
from tests.conformance.store_values import NAME, NOW, Place, accept, accepted


class RequestsContract(OpenedStore):
    """The promises; a part of `PeopleContract`."""

    def test_requests_are_listed_by_key_consumer_and_state_with_what_they_wait_for(self, store: Store) -> None:
        parked, returned = values.step(state=StepState.PARKED), values.step(NAME, state=StepState.RETURNED)
        made = [
            accept(store, accepted(values.step())),
            accept(store, accepted(parked)),
            accept(store, accepted(parked, returned, state=RequestState.CLOSING, consumer="portal")),
            accept(store, accepted(replace(parked, left_behind=True), state=RequestState.COMPLETED)),
        ]

        lines = store.requests(consumer=None, states=[], after=0, most=9)

        assert [line.request_id for line in lines] == [request.id for request in made]
        assert [line.waiting_for for line in lines] == [request.waiting_for for request in made]
        assert [line.waiting_for for line in lines] == ["agency", "operator", "applicant", None]
        assert [line.state for line in lines] == [request.state for request in made]
        assert [line.ended_at for line in lines] == [request.ended_at for request in made]
        assert lines[0].tracking == f"T-{made[0].id}"
        assert store.requests(consumer="portal", states=[], after=0, most=9) == lines[2:3]
        assert store.requests(consumer=None, states=[RequestState.OPEN], after=0, most=9) == lines[:2]
        assert store.requests(consumer=None, states=[], after=lines[0].request_key, most=2) == lines[1:3]

    def test_every_request_is_counted_in_its_state(self, store: Store) -> None:
        for state in RequestState:
            accept(store, accepted(state=state))
        accept(store, accepted())

        assert store.totals() == {state: 2 if state is RequestState.OPEN else 1 for state in RequestState}
        assert store.accepted() == sum(store.totals().values())

    def test_an_accepted_submission_counts_also_when_its_request_is_lost(self, store: Store, place: Place) -> None:
        lost = accepted()
        accept(store, lost)
        place.damage(f"DELETE FROM request WHERE key = {lost.request.key}")

        assert (store.accepted(), sum(store.totals().values())) == (1, 0)

    def test_alive_are_open_and_closing_requests_and_ended_ones_that_still_compensate(self, store: Store) -> None:
        def undoing(state: StepState) -> Step:
            return values.step(StepKey(step="name", kind=Kind.COMPENSATION), state=state)

        done, cancelled = values.step(state=StepState.SUCCEEDED), RequestState.CANCELLED
        alive = [
            accept(store, accepted(done, revision="r1")),
            accept(store, accepted(state=RequestState.CLOSING, revision="r2")),
            accept(store, accepted(undoing(StepState.DISPATCHED), state=cancelled, revision="r3")),
        ]
        accept(store, accepted(undoing(StepState.SUCCEEDED), state=cancelled, revision="r4"))
        accept(store, accepted(done, state=RequestState.COMPLETED, revision="r5"))
        ids = tuple(request.id for request in alive)

        assert store.alive_requests(0, 9) == ids
        assert store.alive_requests(0, 2) == ids[:2]
        assert store.alive_requests(store.key_of(ids[1]), 9) == ids[2:]
        assert store.open_revisions() == {"r1", "r2", "r3"}

    def test_the_key_of_an_unknown_request_is_not_found(self, store: Store) -> None:
        request = accept(store, accepted())

        assert store.key_of(request.id) == request.key
        with pytest.raises(NotFoundError):
            store.key_of("nobody")

    def test_definitions_epoch_tokens_and_the_installation_outlive_the_process(
        self, store: Store, place: Place
    ) -> None:
        assert (store.definition("r1"), store.epoch(), store.token("h")) == (None, None, None)

        store.save_definition("r1", b"closure")
        store.save_definition("r1", b"closure")
        store.save_epoch("e1")
        store.save_epoch("e2")
        store.save_token(token_hash="h", user="mona", role="clerk", agency="giza")
        store.save_token(token_hash="h", user="mona", role="operator", agency=None)

        other = place.open()
        assert (other.definition("r1"), other.epoch()) == (b"closure", "e2")
        assert other.token("h") == ("mona", "operator", None)
        assert other.installation() == store.installation() != ""
        other.close()

    def test_the_tokens_of_one_user_are_taken_back_together(self, store: Store) -> None:
        for token, user in (("h1", "mona"), ("h2", "mona"), ("h3", "omar")):
            store.save_token(token_hash=token, user=user, role="operator", agency=None)

        assert store.remove_tokens("mona") == 2
        assert store.remove_tokens("mona") == 0
        assert [store.token(token) for token in ("h1", "h2")] == [None, None]
        assert store.token("h3") == ("omar", "operator", None)
        assert store.users() == {"omar"}

    def test_process_managers_are_there_as_long_as_they_say_so(self, store: Store) -> None:
        before = store.now()
        assert store.presences(0) == {}

        store.be_present("one", NOW)
        store.be_present("other", NOW + 5)
        store.be_present("one", NOW + 7)

        assert store.presences(before) == {"one": NOW + 7, "other": NOW + 5}
        assert store.presences(store.now() + 1) == {}
        store.leave("other")
        store.leave("nobody")
        assert store.presences(before) == {"one": NOW + 7}

    def test_process_managers_that_were_not_seen_for_a_day_are_forgotten(self, store: Store) -> None:
        store.be_present("gone", NOW)
        setattr(store, "offset", DAY + 1_000)  # noqa: B010  # the port has no such member: only tests set it

        store.be_present("here", NOW)

        assert set(store.presences(0)) == {"here"}

    def test_a_user_of_many_tokens_is_one_user(self, store: Store) -> None:
        assert store.users() == set()
        for token, user in (("h1", "mona"), ("h2", "mona"), ("h3", "omar")):
            store.save_token(token_hash=token, user=user, role="operator", agency=None)

        assert store.users() == {"mona", "omar"}

    def test_requests_are_found_by_what_the_consumer_said_of_them(self, store: Store) -> None:
        mine, other, foreign = (values.accepted(consumer=name) for name in ("shop", "shop", "press"))
        for each, reference, principal in ((mine, "r1", "p1"), (other, "r2", None), (foreign, "r1", "p1")):
            each.submission = replace(each.submission, reference=reference, on_behalf_of=principal, said_id=7)
            accept(store, each)

        def found(consumer: str | None, **wanted: str) -> list[str]:
            lines = store.requests(consumer=consumer, states=(), after=0, most=9, **wanted)
            return [line.request_id for line in lines]

        assert found("shop", reference="r1") == [mine.request.id]
        assert found("shop", on_behalf_of="p1") == [mine.request.id]
        assert found("shop", reference="r2", on_behalf_of="p1") == []
        assert found(None, reference="r1") == [mine.request.id, foreign.request.id]
        assert store.submission_of(mine.request.id) == mine.submission
        assert store.submission_under("shop", mine.submission.submission_key) == mine.submission
        assert store.submission_under("press", mine.submission.submission_key) is None

    def test_the_clock_of_a_transaction_stands_still(self, store: Store) -> None:
        before = store.now()
        with store.transaction() as transaction:
            now = transaction.now()
            setattr(store, "offset", 3_600_000)  # noqa: B010  # the port has no such member: only tests set it

            assert transaction.now() == now
        assert before <= now < before + 3_600_000 <= store.now()
