"""The accounting that all loaders share: a loader that is late hides nothing, and nothing is lost in silence."""

from __future__ import annotations

import pytest

from bus.bench.pace import DRAIN_WITHIN, Order, Pace
from bus.bench.report import BenchError


def test_a_closed_loop_begins_what_the_window_has_room_for_and_nothing_after_the_end() -> None:
    pace = Pace(Order(window=3, seconds=10.0, warm=1.0), 0.0)
    begun = pace.begin(pace.wanted(0.0), 0.0)
    assert (len(begun), pace.wanted(0.5)) == (3, 0)
    pace.end(begun[:2], 0.5)
    assert pace.wanted(0.5) == 2
    assert pace.wanted(11.0) == 0


def test_an_open_loop_keeps_its_rate_and_counts_from_the_planned_moment() -> None:
    pace = Pace(Order(window=100, seconds=10.0, warm=0.0, rate=10.0), 0.0)
    # Given a loader that was late: a second has passed
    begun = pace.begin(pace.wanted(1.0), 1.0)
    assert len(begun) == 11
    # When everything ends at once, then the one that was planned first took longest
    pace.end(begun, 1.0)
    assert pace.ran().latencies[0] == pytest.approx(1000.0)
    assert pace.ran().latencies[-1] == pytest.approx(0.0)


def test_an_open_loop_begins_also_after_the_end_what_was_planned_before_it() -> None:
    # Given ten requests that are planned, and a loader that was held up from the first one to after the end
    pace = Pace(Order(window=100, seconds=1.0, warm=0.0, rate=10.0), 0.0)
    pace.end(pace.begin(pace.wanted(0.0), 0.0), 0.01)
    # Then the load is not over, the other nine are begun, and no tenth
    assert not pace.is_over(3.0)
    late = pace.begin(pace.wanted(3.0), 3.0)
    assert len(late) == 9
    pace.end(late, 3.0)
    assert pace.is_over(3.0)
    # And each of them took from its planned moment
    assert max(pace.ran().latencies) == pytest.approx(2900.0)


def test_an_open_loop_counts_the_latency_of_what_ends_late_but_not_its_speed() -> None:
    pace = Pace(Order(window=100, seconds=1.0, warm=1.0, rate=2.0), 0.0)
    warm, first, second, third = pace.begin(4, 2.0)
    assert pace.wanted(5.0) == 0
    pace.end([warm], 0.1)
    pace.end([first, second], 1.9)
    pace.end([third], 9.5)
    ran = pace.ran()
    # The two that were planned within the measured second, of which one ended eight seconds late
    assert ran.latencies == pytest.approx([900.0, 8000.0])
    assert (ran.counted, ran.speed, ran.ended) == (2, 2.0, 4)


def test_only_what_ends_within_the_measured_time_counts_and_an_end_heard_twice_counts_once() -> None:
    pace = Pace(Order(window=4, seconds=2.0, warm=1.0), 0.0)
    early, first, second, late = pace.begin(4, 0.0)
    pace.end([early], 0.9)
    pace.end([first, second, first], 2.0)
    assert not pace.is_over(3.0)
    pace.end([late], 3.5)
    assert pace.is_over(3.5)
    ran = pace.ran()
    assert (ran.counted, ran.ended, ran.repeated, ran.speed) == (2, 4, 1, 1.0)
    assert ran.latencies == [2000.0, 2000.0]


def test_a_request_that_never_ends_fails_the_load_and_is_named() -> None:
    pace = Pace(Order(window=1, seconds=1.0, warm=0.0, prefix="run"), 0.0)
    pace.begin(1, 0.0)
    assert not pace.is_over(2.0)
    with pytest.raises(BenchError, match="run-0"):
        pace.is_over(1.0 + DRAIN_WITHIN + 0.1)
