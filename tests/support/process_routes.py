"""Any route: what hypothesis draws for the process machine."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from bus.message.instant import DAY, HOUR, MINUTE, SECOND
from bus.process.definition import (
    Backoff,
    Compensation,
    Condition,
    Definition,
    OneOf,
    Path,
    Repeat,
    RepeatKind,
    StepDefinition,
)
from tests.support.process_rows import WORDS, service

KINDS: tuple[RepeatKind, ...] = ("safe", "idempotent", "queryable", "natural_key", "at_most_once")
REPEATS = st.sampled_from(KINDS).map(
    lambda kind: Repeat(
        kind=kind,
        window=HOUR if kind == "idempotent" else 0,
        absence_proof_after=2 * MINUTE if kind == "queryable" else 0,
    )
)
DEADLINES = st.sampled_from([None, 20 * MINUTE, 6 * HOUR, 2 * DAY])
BACKOFFS = st.integers(min_value=1, max_value=4).map(lambda attempts: Backoff(attempts=attempts, first=5 * SECOND))
#: All kinds of provider may be chosen; the code that chooses is the path to a list only because nobody reads it here.
_CHOICE = OneOf(
    group="offices",
    by=Path(root="request", step="", members=("list",)),
    members={"1": "tax", "2": "registry", "3": "clerks"},
    desks=frozenset({"clerks"}),
)


@st.composite
def routes(draw: st.DrawFn) -> Definition:
    """Any route of one to six steps at two agencies with hosts and a desk."""
    count = draw(st.integers(min_value=1, max_value=6))
    steps: list[StepDefinition] = []
    for number in range(count):
        names = [one.name for one in steps]
        needs = tuple(draw(st.lists(st.sampled_from(names), unique=True, max_size=3))) if names else ()
        steps.append(_step(draw, f"step{number}", needs))
    if draw(st.booleans()) and count > 1:
        # A final step needs all others: what follows it could not be taken back by a cancellation.
        steps[-1] = _final(steps[-1], tuple(one.name for one in steps[:-1]))
    return service(
        *steps,
        deadline=draw(st.sampled_from([2 * HOUR, 10 * DAY])),
        on_deadline=draw(st.sampled_from(["escalate", "expire"])),
    )


def _step(draw: st.DrawFn, name: str, needs: tuple[str, ...]) -> StepDefinition:
    provider: str | OneOf = draw(st.sampled_from(["tax", "tax", "registry", "registry", "clerks"]))
    desk = provider == "clerks"
    source = Path(root="request", step="", members=("list",))
    from_step = draw(st.booleans())
    if needs and from_step:
        source = Path(root="steps", step=needs[0], members=("list",))
    if draw(st.integers(min_value=0, max_value=4)) == 0:
        provider, desk = replace(_CHOICE, by=source), False
    for_each = source if draw(st.integers(min_value=0, max_value=4)) == 0 else None
    when = None
    if draw(st.integers(min_value=0, max_value=3)) == 0:
        root = (
            Path(root="steps", step=needs[0], members=("ok",)) if needs else Path(root="request", step="", members=())
        )
        when = Condition(path=root)
    back = Compensation(
        operation=f"{name}.undo.v1", input={}, repeat=draw(REPEATS), deadline=draw(DEADLINES), backoff=draw(BACKOFFS)
    )
    return StepDefinition(
        name=name,
        title=WORDS,
        provider=provider,
        operation=f"{name}.do.v1",
        input={},
        repeat=draw(REPEATS),
        desk=desk,
        for_each=for_each,
        most=3,
        needs=needs,
        when=when,
        optional=draw(st.integers(min_value=0, max_value=2)) == 0,
        deadline=draw(DEADLINES),
        on_refused=draw(st.sampled_from(["reject", "continue"])),
        on_exhausted=draw(st.sampled_from(["park", "fail"])),
        on_deadline=draw(st.sampled_from(["park", "refuse", "continue"])),
        backoff=draw(BACKOFFS),
        compensate=back if draw(st.booleans()) else None,
    )


def _final(step: StepDefinition, needs: tuple[str, ...]) -> StepDefinition:
    return StepDefinition(
        **{name: getattr(step, name) for name in StepDefinition.__slots__} | {"needs": needs, "final": True}
    )
