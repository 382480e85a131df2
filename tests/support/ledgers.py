"""Checkers: what the store believes, against what the legacy system's own ledger says happened."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence

from bus.message.identity import interaction_id, reference
from bus.ports import Store
from bus.process.state import ALIVE, Request, Step, StepState
from bus.simulator import Ledger
from tests.support.demo_workspace import REGISTRY, ROOT
from tests.support.installation import Installation

#: A page of the store.
_PAGE = 500


def all_requests(store: Store) -> list[Request]:
    """Every request that was ever accepted."""
    found: list[Request] = []
    after = 0
    while lines := store.requests(consumer=None, states=(), after=after, most=_PAGE):
        found += [request for line in lines if (request := store.request(line.request_id)) is not None]
        after = lines[-1].request_key
    return found


def effects_of(request: Request, step: Step) -> tuple[str, ...]:
    """The references under which any edit of this row may have been carried out."""
    return tuple(
        reference(interaction_id(request.id, step.key.step, step.key.item, step.key.kind, number))
        for number in range(step.edit + 1)
    )


def doubled(ledger: Ledger) -> Mapping[str, int]:
    """References with more than one effect: there must be none."""
    return {name: count for name, count in ledger.counts().items() if count != 1}


def wrong_effects(requests: Iterable[Request], counts: Mapping[str, int], agency: str = REGISTRY) -> list[str]:
    """Every row whose state says something else than the ledger."""
    wrong = []
    for request in requests:
        for step in request.steps.values():
            if step.agency != agency:
                continue
            happened = sum(counts.get(name, 0) for name in effects_of(request, step))
            sentence = _judged(step, happened)
            if sentence:
                wrong.append(f"{request.id} {step.key.step}/{step.key.kind}: {sentence}")
    return wrong


def _judged(step: Step, happened: int) -> str | None:
    if step.state is StepState.SUCCEEDED and happened != 1:
        return f"succeeded, and the ledger has {happened} effects"
    if step.state in {StepState.REFUSED, StepState.SKIPPED, StepState.WAITING} and happened:
        return f"{step.state}, and the ledger has {happened} effects"
    if step.effect == "none" and happened and not step.left_behind and step.state is not StepState.SUCCEEDED:
        return f"{step.state} with effect none, and the ledger has {happened} effects"
    return None


def assert_all_is_well(bus: Installation, *, parked: int = 0) -> None:
    """Every request ended but for ``parked`` ones that show it; effects and ledger agree; the store adds up."""
    failed = {str(failure["request_id"]) for failure in bus.failures()}
    with bus.store() as store:
        requests, wrong = all_requests(store), store.recount()
    assert requests, "nothing was accepted: the test proves nothing"
    alive = [request for request in requests if request.state in ALIVE]
    lost = [request.id for request in alive if not request.parked]
    untold = [request.id for request in alive if request.id not in failed]
    # pytest explains no assertion outside of test files, so each says itself what it found.
    assert not wrong, f"the store does not add up: {wrong}"
    assert_ledger_agrees(bus.ledger, requests)
    assert not lost, f"neither ended nor visibly waiting: {lost}"
    assert not untold, f"waiting for a person, and nobody is told: {untold}"
    assert len(alive) == parked, f"{len(alive)} requests wait for a person, not {parked}"


def assert_ledger_agrees(ledger: Ledger, requests: Sequence[Request], agency: str = REGISTRY) -> None:
    """Each effect belongs to a step and happened once, and each step of the agency says of it what the ledger says."""
    twice, counts = doubled(ledger), ledger.counts()
    strange, disagree = sorted(set(counts) - known_references(requests)), wrong_effects(requests, counts, agency)
    assert not twice, f"done more than once: {twice}"
    assert not strange, f"effects that belong to no step: {strange}"
    assert not disagree, f"store and ledger disagree: {disagree}"


def known_references(requests: Iterable[Request]) -> set[str]:
    """Every reference that the bus may have given to a legacy system."""
    return {name for request in requests for step in request.steps.values() for name in effects_of(request, step)}


def recounted(bus: Installation) -> subprocess.CompletedProcess[str]:
    """`bus store recount`, as an operator runs it."""
    command = [sys.executable, "-m", "bus", "store", "recount", "--data", str(bus.data)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
