"""The topology of a workspace's broker: written down, made, and compared with what stands there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final, Literal

from bus.bootstrap.brokers import bus_broker
from bus.brokers.comparison import Finding, Weight, compare
from bus.brokers.definitions import ADMINISTRATOR, SALT_BYTES, User, as_bytes, definitions, password_hash
from bus.brokers.management import Access, Deed, Management
from bus.brokers.rabbitmq_address import VHOST, parse
from bus.brokers.topology import Topology, may_read, may_write, topology
from bus.catalog import BrokerUse, Workspace, reveal
from bus.errors import BrokerUnavailableError, ConfigurationError, Fault
from bus.message.channel import BUS_USER, Channel, host_user
from bus.ports import Broker

#: What `make` mends of a channel.
_MENDED: Final = ("exchange-missing", "queue-missing", "binding-missing")
#: The user that RabbitMQ makes by itself, with a password that everybody knows.
_GUEST: Final = "guest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """One thing of the topology, and what became of it."""

    kind: Literal["vhost", "user", "rights", "channel"]
    name: str
    deed: Deed


def topology_of(workspace: Workspace) -> Topology:
    """What must stand in the broker that the environment names; the default where it names none."""
    agencies = [name for name, agency in workspace.agencies.items() if agency.adapter is not None]
    use = workspace.env.broker
    if use is None:
        return topology(agencies, VHOST, 1)
    url = reveal({"url": use.url}, workspace.root, os.environ)["url"]
    return topology(agencies, parse(url).vhost, use.replicas)


def described(wanted: Topology) -> dict[str, Any]:
    """The topology for people and programs: each channel with who may write and read it, each user with its rights."""
    rights = wanted.rights
    return {
        "vhost": wanted.vhost,
        "replicas": wanted.replicas,
        "channels": [
            {
                "channel": one.name,
                "exchange": one.name,
                "queue": one.name,
                "arguments": dict(one.arguments),
                "written_by": [right.user for right in rights if may_write(right, one.name)],
                "read_by": [right.user for right in rights if may_read(right, one.name)],
            }
            for one in wanted.declarations
        ],
        "users": [
            {"user": right.user, "configure": right.configure, "write": right.write, "read": right.read}
            for right in rights
        ],
    }


def without_password(workspace: Workspace) -> tuple[str, ...]:
    """The users for whom the environment names no password: they are neither exported nor made."""
    named = _secrets(workspace)
    return tuple(right.user for right in topology_of(workspace).rights if right.user not in named)


def exported(workspace: Workspace) -> bytes:
    """The definitions that RabbitMQ imports: hashes of passwords, salted anew each time, and no password."""
    use, passwords = _broker(workspace), _passwords(workspace)
    users = [_user(name, password) for name, password in passwords.items()]
    if use.management is not None and use.management.user != _GUEST:
        users.append(_user(use.management.user, _access(workspace, use).password, ADMINISTRATOR))
    return as_bytes(definitions(topology_of(workspace), users))


def make(workspace: Workspace) -> Iterator[Done]:
    """Make what is missing, and tell of each thing as it is done.

    Users and rights only where the environment names the broker's management. At the end a ConfigurationError names
    every channel that stands otherwise and cannot be changed; BrokerUnavailableError where nothing can be reached.
    """
    use, wanted, passwords = _broker(workspace), topology_of(workspace), _passwords(workspace)
    missing = None
    if use.management is not None:
        with Management(_access(workspace, use)) as management:
            yield Done(kind="vhost", name=wanted.vhost, deed=management.make_vhost(wanted.vhost))
            for user, password in passwords.items():
                yield Done(kind="user", name=user, deed=management.make_user(user, password))
            for rights in wanted.rights:
                if rights.user in passwords:
                    yield Done(kind="rights", name=rights.user, deed=management.grant(rights, wanted.vhost))
            found = compare(wanted, management.read(wanted.vhost), passwords)
            missing = {finding.name: finding.code for finding in found if finding.code in _MENDED}
    with closing(bus_broker(workspace)) as broker:
        yield from _made(broker, wanted, missing)


def differences(workspace: Workspace) -> tuple[Finding, ...]:
    """Everything in the broker that is not as the workspace wants it, and what cannot be seen."""
    use, wanted = _broker(workspace), topology_of(workspace)
    if use.management is not None:
        passwords = _passwords(workspace)
        with Management(_access(workspace, use)) as management:
            return compare(wanted, management.read(wanted.vhost), passwords)
    with closing(bus_broker(workspace)) as broker:
        broker.has_epoch("none")  # raises where it cannot be reached; what is missing then is missing
        found = [_missing(one.name) for one in wanted.declarations if not _is_there(broker, one.name)]
    return (*found, _unseen(workspace))


def _made(broker: Broker, wanted: Topology, missing: Mapping[str, str] | None) -> Iterator[Done]:
    """Each channel, made where it is missing; ``missing`` are codes of what is, None where nobody could look."""
    faults: list[Fault] = []
    for channel in (one.name for one in wanted.declarations):
        if missing is None:
            deed = Deed.AS_IT_WAS if _is_there(broker, channel) else Deed.MADE
        elif channel not in missing:
            deed = Deed.AS_IT_WAS
        else:
            deed = Deed.MADE if missing[channel] == "queue-missing" else Deed.CHANGED
        try:
            broker.apply([channel])
        except ConfigurationError as error:
            faults += error.faults
        else:
            yield Done(kind="channel", name=channel, deed=deed)
    if faults:
        raise ConfigurationError(tuple(faults))


def _is_there(broker: Broker, channel: Channel) -> bool:
    try:
        broker.depth(channel)
    except BrokerUnavailableError:
        return False
    return True


def _missing(name: str) -> Finding:
    mend, message = "Run `bus topology apply`.", "There is no queue of this name."
    return Finding(weight=Weight.DIFFERENCE, code="queue-missing", name=name, message=message, mend=mend)


def _unseen(workspace: Workspace) -> Finding:
    return Finding(
        weight=Weight.UNSEEN,
        code="management-unset",
        name=workspace.env.name,
        message="Arguments, bindings, users, rights, policies and nodes cannot be seen over AMQP.",
        mend=f"Name the management API under broker.management in env/{workspace.env.name}.yaml.",
    )


def _broker(workspace: Workspace) -> BrokerUse:
    use = workspace.env.broker
    if use is None:
        raise _refused(
            workspace,
            "broker-unset",
            "The environment names no broker: the bus runs in one process, and has no topology.",
            "Choose another with --env, or write broker: {url: amqps://host/bus, password: {file: <path>}}.",
        )
    return use


def _secrets(workspace: Workspace) -> dict[str, Any]:
    """Where the password of each user stands, the bus's own first."""
    env = workspace.env
    places = {BUS_USER: None if env.broker is None else env.broker.password}
    places |= {
        host_user(name): env.agencies[name].broker_password
        for name, agency in sorted(workspace.agencies.items())
        if agency.adapter is not None
    }
    return {user: place for user, place in places.items() if place is not None}


def _passwords(workspace: Workspace) -> dict[str, str]:
    """By user, for those for whom the environment names one. ConfigurationError: none of the bus, or one for two."""
    passwords: dict[str, str] = reveal(_secrets(workspace), workspace.root, os.environ)
    if BUS_USER not in passwords:
        mend = "Write broker.password: {file: <path>} or {env: <VARIABLE>}."
        raise _refused(workspace, "broker-unset", f"No password is named for the user {BUS_USER}.", mend)
    owners: dict[str, list[str]] = {}
    for user, password in passwords.items():
        owners.setdefault(password, []).append(user)
    for users in owners.values():
        if len(users) > 1:
            message = f"{', '.join(users)} have one password: each could speak for the others."
            mend = "Give each a password of its own; name the members of a group one by one."
            raise _refused(workspace, "password-shared", message, mend)
    return passwords


def _access(workspace: Workspace, use: BrokerUse) -> Access:
    assert use.management is not None  # noqa: S101  # asked before
    told = reveal({"url": use.management.url, "password": use.management.password}, workspace.root, os.environ)
    ca = None if use.ca is None else workspace.root / use.ca
    return Access(url=told["url"], user=use.management.user, password=told["password"], ca=ca)


def _user(name: str, password: str, *tags: str) -> User:
    return User(name=name, password_hash=password_hash(password, secrets.token_bytes(SALT_BYTES)), tags=tags)


def _refused(workspace: Workspace, code: str, message: str, mend: str) -> ConfigurationError:
    fault = Fault(code=code, message=message, mend=mend, file=f"env/{workspace.env.name}.yaml")
    return ConfigurationError((fault,))
