"""Puts a bus together: the only place that names concrete brokers, stores and journals."""

from bus.bootstrap.folder import (
    claimed,
    has_store,
    installation_secret,
    open_journal,
    open_store,
    simulator_folder,
    write_once,
)
from bus.bootstrap.hosting import LocalHosts, hosted, hosting, local_hosts, wall_clock
from bus.bootstrap.parts import Parts, assemble, embedded_broker
from bus.bootstrap.running import running
from bus.bootstrap.simulators import simulators, start_simulator
from bus.catalog import load_workspace
from bus.console.pages import pages

__all__ = [
    "LocalHosts",
    "Parts",
    "assemble",
    "claimed",
    "embedded_broker",
    "has_store",
    "hosted",
    "hosting",
    "installation_secret",
    "load_workspace",
    "local_hosts",
    "open_journal",
    "open_store",
    "pages",
    "running",
    "simulator_folder",
    "simulators",
    "start_simulator",
    "wall_clock",
    "write_once",
]
