"""Reads a workspace (routes, contracts, adapters, one environment) into values, or names every fault in it."""

from bus.catalog.adapters import load_adapter, load_simulator
from bus.catalog.load import load_workspace
from bus.catalog.secret import reveal
from bus.catalog.show import ConfigurationRow, configuration_rows
from bus.catalog.workspace import (
    AdapterManifest,
    Agency,
    AgencyUse,
    BrokerUse,
    DatabaseUse,
    Environment,
    Group,
    ManagementUse,
    OperationManifest,
    Origin,
    Owner,
    Secret,
    Service,
    Use,
    Workspace,
)

__all__ = [
    "AdapterManifest",
    "Agency",
    "AgencyUse",
    "BrokerUse",
    "ConfigurationRow",
    "DatabaseUse",
    "Environment",
    "Group",
    "ManagementUse",
    "OperationManifest",
    "Origin",
    "Owner",
    "Secret",
    "Service",
    "Use",
    "Workspace",
    "configuration_rows",
    "load_adapter",
    "load_simulator",
    "load_workspace",
    "reveal",
]
