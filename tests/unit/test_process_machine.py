"""The brain in a world that duplicates, reorders, loses, delays, lies, forgets and restarts; see `ProcessMachine`.

A failure prints its seed and the shortest schedule that hypothesis finds.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from tests.support.process_machine import ProcessMachine

TestTheBrainKeepsItsPromisesWhateverHappens = ProcessMachine.TestCase
TestTheBrainKeepsItsPromisesWhateverHappens.settings = settings(
    max_examples=400,
    stateful_step_count=50,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
