"""What every suite shares: no clock decides a property test, and the summary names what was left out."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import settings

from tests.support.services import (
    class_vhost,
    cluster,
    database,
    make_new_database,
    old_rabbit,
    old_vhost,
    postgres_node,
    rabbit_node,
    shared_postgres,
    shared_rabbit,
    vhost,
)

__all__ = [
    "class_vhost",
    "cluster",
    "database",
    "make_new_database",
    "old_rabbit",
    "old_vhost",
    "postgres_node",
    "rabbit_node",
    "shared_postgres",
    "shared_rabbit",
    "vhost",
]

LEFT_OUT = pytest.StashKey[int]()

# A slow machine is no fault of the code; the time-out of a whole test is bound enough.
settings.register_profile("bus", deadline=None)
settings.load_profile("bus")


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Count the long tests that this run leaves out."""
    for item in items:
        if item.get_closest_marker("long"):
            item.config.stash[LEFT_OUT] = item.config.stash.get(LEFT_OUT, 0) + 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was not run, so that green is not taken for everything."""
    left_out = config.stash.get(LEFT_OUT, 0)
    if left_out:
        terminalreporter.write_line(f"{left_out} long tests left out: run make test-faults", yellow=True)
