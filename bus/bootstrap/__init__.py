"""Puts a bus together: the only place that names concrete brokers, stores and journals.

What is not asked for is not imported: an agency's host loads no code of the bus's side.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from bus.bootstrap.brokers import bus_broker as bus_broker
    from bus.bootstrap.brokers import embedded_broker as embedded_broker
    from bus.bootstrap.brokers import host_broker as host_broker
    from bus.bootstrap.folder import claimed as claimed
    from bus.bootstrap.folder import has_store as has_store
    from bus.bootstrap.folder import simulator_folder as simulator_folder
    from bus.bootstrap.folder import write_once as write_once
    from bus.bootstrap.host import hosted as hosted
    from bus.bootstrap.host import hosting as hosting
    from bus.bootstrap.host import wall_clock as wall_clock
    from bus.bootstrap.hosts_beside import LocalHosts as LocalHosts
    from bus.bootstrap.hosts_beside import local_hosts as local_hosts
    from bus.bootstrap.journals import journal_of as journal_of
    from bus.bootstrap.journals import open_journal as open_journal
    from bus.bootstrap.parts import Parts as Parts
    from bus.bootstrap.parts import assemble as assemble
    from bus.bootstrap.patience import assemble_patiently as assemble_patiently
    from bus.bootstrap.roles import Roles as Roles
    from bus.bootstrap.roles import roles_of as roles_of
    from bus.bootstrap.run import running as running
    from bus.bootstrap.secrets import installation_secret as installation_secret
    from bus.bootstrap.secrets import secret_of as secret_of
    from bus.bootstrap.stand_ins import simulators as simulators
    from bus.bootstrap.stand_ins import start_simulator as start_simulator
    from bus.bootstrap.stores import open_store as open_store
    from bus.bootstrap.stores import store_of as store_of
    from bus.catalog import load_workspace as load_workspace
    from bus.console.pages import pages as pages

_PLACES: Final = {
    "LocalHosts": "bus.bootstrap.hosts_beside",
    "Parts": "bus.bootstrap.parts",
    "Roles": "bus.bootstrap.roles",
    "assemble": "bus.bootstrap.parts",
    "assemble_patiently": "bus.bootstrap.patience",
    "bus_broker": "bus.bootstrap.brokers",
    "claimed": "bus.bootstrap.folder",
    "embedded_broker": "bus.bootstrap.brokers",
    "has_store": "bus.bootstrap.folder",
    "host_broker": "bus.bootstrap.brokers",
    "hosted": "bus.bootstrap.host",
    "hosting": "bus.bootstrap.host",
    "installation_secret": "bus.bootstrap.secrets",
    "journal_of": "bus.bootstrap.journals",
    "load_workspace": "bus.catalog",
    "local_hosts": "bus.bootstrap.hosts_beside",
    "open_journal": "bus.bootstrap.journals",
    "open_store": "bus.bootstrap.stores",
    "pages": "bus.console.pages",
    "roles_of": "bus.bootstrap.roles",
    "running": "bus.bootstrap.run",
    "secret_of": "bus.bootstrap.secrets",
    "simulator_folder": "bus.bootstrap.folder",
    "simulators": "bus.bootstrap.stand_ins",
    "start_simulator": "bus.bootstrap.stand_ins",
    "store_of": "bus.bootstrap.stores",
    "wall_clock": "bus.bootstrap.host",
    "write_once": "bus.bootstrap.folder",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
