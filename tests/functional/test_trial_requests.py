"""A trial request goes to the simulator, also where the agency's real system is in use."""

from __future__ import annotations

from pathlib import Path

import pytest

from bus.bootstrap import simulator_folder
from bus.simulator import Ledger
from tests.support.demo_workspace import REGISTRY, SERVICE, application
from tests.support.installation import Installation
from tests.support.waiting import wait_for


@pytest.mark.timeout(120)
def test_a_trial_never_reaches_the_real_system_and_is_answered_all_the_same(tmp_path: Path) -> None:
    # Given an installation whose registry is a real system, and the stand-in that the bus keeps beside it
    with Installation(tmp_path) as bus:
        stand_in = Ledger(simulator_folder(bus.data, REGISTRY) / "ledger.db")
        # When the same application is submitted once as a trial and once in earnest
        trial = bus.portal.submit(SERVICE, application("مخبز التجربة", premises=False), key="trial", test=True)
        earnest = bus.portal.submit(SERVICE, application("مخبز الحقيقة", premises=False), key="earnest")
        for receipt in (trial, earnest):
            request = receipt["request_id"]
            wait_for("the end", lambda request=request: bus.state(request) == "completed")  # type: ignore[misc]
        # Then each system did what was asked of it, and nothing else
        assert [entry.operation for entry in stand_in.entries()] == ["name.reserve.v1", "company.register.v1"]
        assert len(bus.ledger.entries()) == 2
        assert {entry.reference for entry in stand_in.entries()}.isdisjoint(
            entry.reference for entry in bus.ledger.entries()
        )
