"""A topology and its users as the JSON that RabbitMQ imports, at boot (``load_definitions``) or by ``rabbitmqctl``."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from bus.brokers.topology import Declaration, Rights, Topology

#: How the broker names what `password_hash` makes.
HASHING: Final = "rabbit_password_hashing_sha256"
SALT_BYTES: Final = 4
#: The tag of a user who may ask and change everything over the management API.
ADMINISTRATOR: Final = "administrator"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """One user of the broker, known by the hash of a password."""

    name: str
    password_hash: str
    tags: tuple[str, ...] = ()


def definitions(topology: Topology, users: Iterable[User]) -> dict[str, Any]:
    """All that a broker must import. The same values give the same document, in the same order.

    A user who is not among ``users`` gets no rights: the broker refuses rights of users that it does not know.
    """
    known = {user.name: user for user in users}
    vhost, declarations = topology.vhost, topology.declarations
    return {
        "vhosts": [{"name": vhost}],
        "users": [_user(known[name]) for name in sorted(known)],
        "permissions": [permission(rights, vhost) for rights in topology.rights if rights.user in known],
        "exchanges": [{"name": one.name, "vhost": vhost, **EXCHANGE} for one in declarations],
        "queues": [queue(one, vhost) for one in declarations],
        "bindings": [binding(one, vhost) for one in declarations],
    }


def as_bytes(document: Mapping[str, Any]) -> bytes:
    """The document as the file that RabbitMQ reads."""
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"


#: What an exchange of the bus is, whatever it is called.
EXCHANGE: Final[Mapping[str, Any]] = {
    "type": "direct",
    "durable": True,
    "auto_delete": False,
    "internal": False,
    "arguments": {},
}


def queue(declaration: Declaration, vhost: str) -> dict[str, Any]:
    """A queue of the bus, as the broker's management writes one."""
    arguments = dict(sorted(declaration.arguments.items()))
    return {"name": declaration.name, "vhost": vhost, "durable": True, "auto_delete": False, "arguments": arguments}


def binding(declaration: Declaration, vhost: str) -> dict[str, Any]:
    """The binding of a channel's queue to its exchange, as the broker's management writes one."""
    return {
        "source": declaration.name,
        "vhost": vhost,
        "destination": declaration.name,
        "destination_type": "queue",
        "routing_key": declaration.name,
        "arguments": {},
    }


def permission(rights: Rights, vhost: str) -> dict[str, Any]:
    """The rights of one user, as the broker's management writes them."""
    return {
        "user": rights.user,
        "vhost": vhost,
        "configure": rights.configure,
        "write": rights.write,
        "read": rights.read,
    }


def password_hash(password: str, salt: bytes) -> str:
    """The base64 that the broker keeps of a password: the salt, and SHA-256 over salt and password."""
    if len(salt) != SALT_BYTES:
        raise ValueError(f"The salt has {len(salt)} bytes in place of {SALT_BYTES}.")
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def has_password(user: Mapping[str, Any], password: str) -> bool:
    """Whether a user, as the broker's management writes one, is known by this password."""
    hashed = str(user["password_hash"])
    salt = base64.b64decode(hashed)[:SALT_BYTES]
    is_hash = len(salt) == SALT_BYTES and user.get("hashing_algorithm") == HASHING
    return is_hash and hmac.compare_digest(hashed, password_hash(password, salt))


def tags_of(user: Mapping[str, Any]) -> list[str]:
    """What a user, as the broker's management writes one, may do beside its rights; nothing for one of the bus."""
    tags = user["tags"]
    return [tag for tag in (tags if isinstance(tags, list) else tags.split(",")) if tag]


def _user(user: User) -> dict[str, Any]:
    return {
        "name": user.name,
        "password_hash": user.password_hash,
        "hashing_algorithm": HASHING,
        "tags": list(user.tags),
    }
