"""What a benchmark claims: verdicts of a soak, the interval of a ratio, ratios to yardsticks, what a request cost."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from bus.bench import gateway
from bus.bench.cost import of_pairs
from bus.bench.doors import Open
from bus.bench.load import Heard, Order
from bus.bench.million import interval
from bus.bench.pace import Ran
from bus.bench.recount import recount
from bus.bench.report import BenchError, Report
from bus.bench.soaked import ALLOWED, Sample, Soak

MB = 1_000_000


def soaked(
    *,
    alive: int = 0,
    accepted: int = 5,
    tasks: Sequence[int] = (0, 0, 0),
    replies: Sequence[int] = (0, 0, 0),
    memory: Sequence[int] = (100, 100, 100),
) -> Soak:
    """A sound soak of five requests, but for what is said."""
    ran = Ran(took=1.0, counted=5, ended=5, repeated=0, latencies=[1.0] * 5)
    samples = [
        Sample(
            at=5.0 * number,
            memory={"hosts": 100 * MB, "loader": size * MB, "broker": number * MB},
            tasks=task,
            replies=reply,
            outbox=0,
        )
        for number, (task, reply, size) in enumerate(zip(tasks, replies, memory, strict=True), 1)
    ]
    return Soak(rate=5.0, maximum=10.0, ran=ran, samples=samples, accepted=accepted, alive=alive)


def test_a_soak_is_sound_whatever_memory_the_broker_takes() -> None:
    assert soaked().is_sound
    assert soaked().growth()["broker"] == 3.0


def test_tasks_and_their_replies_may_fill_the_windows_at_the_same_time_and_signs_of_life_come_on_top() -> None:
    assert ALLOWED == 400 * 4
    assert soaked(tasks=(0, ALLOWED, 0), replies=(0, ALLOWED + 8, 0)).is_sound


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (soaked(alive=1), "nothing_lost"),
        (soaked(accepted=4), "nothing_lost"),
        (soaked(tasks=(0, 0, 3)), "queues_empty_at_the_end"),
        (soaked(replies=(0, 0, 3)), "queues_empty_at_the_end"),
        (soaked(tasks=(0, ALLOWED + 1, 0)), "queues_bounded"),
        (soaked(replies=(0, ALLOWED + 9, 0)), "queues_bounded"),
        # The loader is the bus's gateway.
        (soaked(memory=(100, 100, 106)), "memory_steady"),
    ],
)
def test_a_soak_that_does_not_show_all_that_it_is_to_show_is_not_sound(found: Soak, verdict: str) -> None:
    assert [name for name, is_so in found.verdicts().items() if not is_so] == [verdict]
    assert not found.is_sound


def test_the_interval_of_a_ratio_is_that_of_its_logarithms() -> None:
    mean, least, greatest = interval([0.5, 2.0])
    assert mean == pytest.approx(1.0)
    assert least * greatest == pytest.approx(1.0)
    assert least < 0.5
    assert interval([0.9, 0.9, 0.9]) == pytest.approx((0.9, 0.9, 0.9))


@pytest.mark.parametrize(("pairs", "quantile"), [(5, 2.776), (11, 2.228), (12, 2.228), (21, 2.086), (1000, 1.980)])
def test_the_interval_of_many_pairs_is_never_narrower_than_students(pairs: int, quantile: float) -> None:
    ratios = [1.1 if number % 2 else 0.9 for number in range(pairs)]
    spread = statistics.stdev(map(math.log, ratios)) / math.sqrt(pairs)
    mean, _, greatest = interval(ratios)
    assert math.log(greatest / mean) == pytest.approx(quantile * spread, rel=1e-3)


def test_a_ratio_is_told_only_where_both_sides_were_measured() -> None:
    def ratios(ours: float, latencies: list[float]) -> dict[str, Any]:
        yardsticks = {"quick": 200.0, "stuck": 0.0}
        return dict(
            Report(bench="x", settings={}, requests_per_s=ours, latencies=latencies, yardsticks=yardsticks).to_json()[
                "ratios"
            ]
        )

    assert ratios(100.0, [1.0]) == {"quick": 0.5}
    assert ratios(0.0, []) == {}


def test_a_million_has_its_cost() -> None:
    million = of_pairs(1_000_000, pairs=5, seconds=10.0)
    assert 20e9 < million.bytes < 40e9
    assert 300 < million.seconds < 1_800


def test_what_an_accepted_submission_costs_after_its_answer_is_counted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a gateway that uses 2 s of CPU until ten submissions are answered, and 3 s more until they have ended
    class Door(Open):
        def cpu(self) -> float:
            return used[0]

    used = [1.0]

    def load(_: Order) -> Heard:
        used[0] += 2.0
        return Heard(took=1.0, statuses={"202": 10})

    def wait() -> None:
        used[0] += 3.0

    monkeypatch.setattr(gateway, "load", load)
    side = gateway._Side("bus", Door(url=""), 1)  # noqa: SLF001  # the accounting of the two sides
    # When it has had its turn, then all five are told
    assert side.turn(0, 1.0, wait) == 10.0
    assert side.cpu_ms == pytest.approx(500.0)
    assert side.ended_speed <= side.speed == 10.0


def test_a_store_that_does_not_add_up_or_lacks_what_was_accepted_makes_every_figure_worthless() -> None:
    def store(*faults: str) -> Any:
        return SimpleNamespace(recount=lambda: faults, accepted=lambda: 5)

    assert recount(store(), least=5) == 5
    with pytest.raises(BenchError, match="a step is missing"):
        recount(store("a step is missing"))
    with pytest.raises(BenchError, match="has 5 submissions, and 6"):
        recount(store(), least=6)
