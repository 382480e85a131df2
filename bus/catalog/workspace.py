"""What a workspace is once it has been read: agencies, services, adapters, contracts, and one environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from bus.catalog.document import Document
from bus.config import Settings
from bus.message.contract import Contracts
from bus.message.instant import Milliseconds
from bus.message.reply import Data
from bus.message.text import Text
from bus.process.definition import Definition, Repeat

#: How an agency is reached in one environment; ``closed`` keeps its steps ready until it opens.
Use: TypeAlias = Literal["real", "simulator", "desk", "closed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who answers for a file of the routes."""

    team: str
    #: An address that reaches the team.
    contact: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The place in the workspace that defines something, and who answers for it."""

    file: str = ""
    #: One-based; 0 where no file defines it.
    line: int = 0
    #: Of the file; None where ``routes.yaml`` names none.
    owner: Owner | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Agency:
    """An organisation: a provider with an adapter or a desk, or one that only asks."""

    id: str
    name: Text
    #: The folder under ``adapters/``, or None.
    adapter: str | None = None
    #: Answered by clerks through the gateway.
    desk: bool = False
    #: The group that it is a member of, or None.
    group: str | None = None
    origin: Origin = Origin()


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Agencies of one kind, of which a step asks one: that whose code a request or an answer names."""

    id: str
    name: Text
    #: Code -> agency id; every member is an agency of the workspace, too.
    members: Mapping[str, str]
    origin: Origin = Origin()


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What can be asked for, with the bytes that a request is pinned to."""

    definition: Definition
    #: SHA-256 of `closure`, hexadecimal.
    revision: str
    closure: bytes
    origin: Origin = Origin()


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationManifest:
    """One operation that an adapter offers."""

    repeat: Repeat
    #: The most time one call may take.
    timeout: Milliseconds
    #: The most tasks in one call.
    batch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterManifest:
    """What an adapter folder declares of itself."""

    id: str
    folder: Path
    operations: Mapping[str, OperationManifest]
    #: The JSON Schema of the adapter's settings.
    settings_schema: Data


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A value that no file of the workspace holds and that is read at the last moment; printing it tells nothing."""

    source: Literal["file", "env"]
    #: The file (relative to the workspace) or the environment variable.
    name: str
    #: Where it is asked for; "" and 0 where no file asks.
    asked_in: str = field(default="", compare=False)
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseUse:
    """A PostgreSQL database and who opens it."""

    #: Without a password.
    url: str | Secret
    password: Secret | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagementUse:
    """The HTTP API of the broker's management."""

    url: str | Secret
    user: str
    password: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerUse:
    """The broker that roles and hosts in several processes share."""

    #: Without user and password.
    url: str | Secret
    #: A file relative to the workspace.
    ca: str | None = None
    #: Of the bus's own user; None in the workspace of an agency that only runs its host.
    password: Secret | None = None
    replicas: int = 1
    management: ManagementUse | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgencyUse:
    """How one environment reaches one agency."""

    use: Use
    #: For the adapter; values may be `Secret`. See `bus.catalog.reveal`.
    settings: Data
    #: Of the user of its hosts at the broker.
    broker_password: Secret | None = None
    #: Where its hosts keep their journal; None: in a file beside the host.
    journal: DatabaseUse | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookUse:
    """Where the messages for a consumer are brought to, and what signs them."""

    url: str
    #: ``whsec_`` and base64, once revealed.
    secret: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """All that differs between development, test and production."""

    name: str
    #: Every provider, also those that the file leaves to their default.
    agencies: Mapping[str, AgencyUse]
    settings: Settings
    #: By consumer.
    webhooks: Mapping[str, WebhookUse] = field(default_factory=dict)
    #: None: one process has all of it in itself.
    broker: BrokerUse | None = None
    #: None: a file in the data folder.
    store: DatabaseUse | None = None
    #: None: a file in the data folder, made at the first start.
    installation_secret: Secret | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """Everything that a government keeps in its own git, read and found free of faults."""

    root: Path
    env: Environment
    #: By id, the members of groups among them.
    agencies: Mapping[str, Agency]
    services: Mapping[str, Service]
    #: By agency id.
    adapters: Mapping[str, AdapterManifest]
    contracts: Contracts
    #: The content of ``schemas/test-persons.yaml``; {} where the workspace has none.
    test_persons: Data
    groups: Mapping[str, Group] = field(default_factory=dict)
    #: The routes of all files as they are written, with the place of each value; None where no file holds them.
    routes: Document | None = None
