"""Agency hosts alone, inside the agency: they reach the broker, their journal and their legacy system."""

from __future__ import annotations

import signal
import threading
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

from bus.bootstrap import host_broker, hosting
from bus.bootstrap.brokers import try_login
from bus.bootstrap.memory import spare_the_collector
from bus.catalog import Workspace
from bus.cli.greeting import at_work
from bus.cli.show import Language
from bus.errors import ConfigurationError
from bus.ports import Broker
from bus.runtime.loop import Loops


def serve_hosts(workspace: Workspace, data: Path, agencies: tuple[str, ...], lang: Language | None) -> None:
    """Run the hosts of these agencies until told to stop; each with its own name and password at the broker."""
    loops = Loops()
    with ExitStack() as stack:
        stack.callback(lambda: loops.stop(workspace.env.settings.drain_within / 1000))
        _refuse_unfit(workspace, data, agencies)
        spare_the_collector()
        loops.run_beside({f"agency:{agency}": partial(_run, workspace, data, agency) for agency in agencies})
        at_work(lang, ", ".join(agencies), workspace.env.name)
        while True:
            signal.pause()


def _refuse_unfit(workspace: Workspace, data: Path, agencies: tuple[str, ...]) -> None:
    """What is wrong with the environment is told to whoever starts it, and ends the program."""
    is_there = True
    for agency in agencies:
        with closing(host_broker(workspace, agency)) as broker:
            # A broker that is away keeps each who knocks waiting: one knock is enough.
            is_there = is_there and try_login(workspace, broker, workspace.env.agencies[agency].broker_password)
            _refuse_unfit_host(workspace, data, agency, broker)


def _refuse_unfit_host(workspace: Workspace, data: Path, agency: str, broker: Broker) -> None:
    try:
        with hosting(workspace, data, agency, broker):
            return
    except ConfigurationError:
        raise
    except Exception:  # noqa: BLE001 - a legacy system or a disk that is away may come back: the loop tells, and tries
        return


def _run(workspace: Workspace, data: Path, agency: str, stop: threading.Event) -> None:
    with closing(host_broker(workspace, agency)) as broker, hosting(workspace, data, agency, broker) as host:
        host.run(stop)
