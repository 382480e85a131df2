"""The brain in a hostile world, for minutes instead of seconds, with longer schedules."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.process_machine import ProcessMachine


@pytest.mark.long
def test_the_brain_keeps_its_promises_through_long_lives() -> None:
    run_state_machine_as_test(
        ProcessMachine,
        settings=settings(
            max_examples=4_000,
            stateful_step_count=120,
            deadline=None,
            print_blob=True,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
