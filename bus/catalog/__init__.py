"""Reads a workspace (routes, contracts, adapters, one environment) into values, or names every fault in it."""

from bus.catalog.adapters import load_adapter, load_simulator
from bus.catalog.environment import reveal
from bus.catalog.load import load_workspace
from bus.catalog.show import ConfigurationRow, configuration_rows
from bus.catalog.workspace import (
    AdapterManifest,
    Agency,
    AgencyUse,
    Environment,
    Group,
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
    "ConfigurationRow",
    "Environment",
    "Group",
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
