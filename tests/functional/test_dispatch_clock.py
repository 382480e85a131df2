"""The clock of the store is set back while steps wait for their agency: they leave as soon as it is there."""

from __future__ import annotations

from pathlib import Path

from bus.message.instant import HOUR
from bus.process.state import StepState
from bus.runtime.dispatcher import Dispatcher
from tests.support.runtime_rig import A, B, runtime


def test_steps_that_another_process_left_waiting_are_found_also_after_the_clock_was_set_back(tmp_path: Path) -> None:
    with runtime(tmp_path) as rig:
        # Given the dispatcher of another process, which has looked and found nothing that waits
        rig.admit(A)
        other = Dispatcher(rig.store, rig.settings)
        other.look(rig.store.now())
        assert other.backlog() == ()
        # When the clock is set back, and a step becomes ready whose agency is not there
        rig.set_clock(-HOUR)
        (request,) = rig.submit("one")
        assert rig.step(request, B).state is StepState.READY
        # Then it is found at the next look
        other.look(rig.store.now())
        assert B in other.backlog()
