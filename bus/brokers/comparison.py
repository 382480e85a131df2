"""What stands in a broker compared with what should: every difference at once, each with its mend."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from shlex import quote
from typing import Any, Final, TypeAlias
from urllib.parse import quote as quote_in_url

from bus.brokers.definitions import EXCHANGE, has_password, tags_of
from bus.brokers.topology import EPOCH_PREFIX, Declaration, Rights, Topology
from bus.message.channel import BUS_USER

#: One thing, as the broker's management API writes it.
Written: TypeAlias = Mapping[str, Any]


class Weight(StrEnum):
    """How much a finding matters."""

    #: It is not as it should be.
    DIFFERENCE = "difference"
    #: It is as it should be, and may hurt all the same.
    WARNING = "warning"
    #: Whether it is as it should be cannot be told.
    UNSEEN = "unseen"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that its reader should know, and what to do about it."""

    weight: Weight
    #: Stable, machine-readable name.
    code: str
    #: Of the queue, exchange, user, policy, node or virtual host.
    name: str
    message: str
    #: With every command in backticks.
    mend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What stands in a broker, as its management tells it."""

    #: None: there is no such virtual host, and so nothing in it.
    vhost: Written | None
    queues: Sequence[Written]
    exchanges: Sequence[Written]
    bindings: Sequence[Written]
    policies: Sequence[Written]
    operator_policies: Sequence[Written]
    #: Shovels and federations of the virtual host.
    parameters: Sequence[Written]
    #: Of all virtual hosts.
    permissions: Sequence[Written]
    users: Sequence[Written]
    nodes: Sequence[Written]


_APPLY: Final = "Run `bus topology apply`."
#: Definitions of a policy that decide whether a message stays, and where it goes.
_DECISIVE: Final = frozenset(
    {
        "alternate-exchange",
        "dead-letter-exchange",
        "dead-letter-routing-key",
        "dead-letter-strategy",
        "delivery-limit",
        "expires",
        "max-length",
        "max-length-bytes",
        "message-ttl",
        "overflow",
    }
)
#: What a policy for all, for some or for one kind applies to.
_FOR_QUEUES: Final = ("all", "queues", "quorum_queues")
_FOR_EXCHANGES: Final = ("all", "exchanges")
#: The free disk space at which a new broker stops taking messages, too little to store what is under way then.
_SCANT_DISK: Final = 50_000_000


def compare(topology: Topology, found: Found, passwords: Mapping[str, str]) -> tuple[Finding, ...]:
    """Everything that is not as it should be, and what may hurt though it is.

    ``passwords`` are by user: these users must be there; without a password nobody can speak for an agency.
    """
    return (*_in_vhost(topology, found), *_users(topology, found, passwords), *_nodes(topology, found))


def _in_vhost(topology: Topology, found: Found) -> Iterator[Finding]:
    vhost = topology.vhost
    if found.vhost is None:
        yield _differs("vhost-missing", vhost, "There is no such virtual host, and so nothing in it.", _APPLY)
        return
    if found.vhost.get("tracing"):
        message = "The broker hands a copy of every message to whoever asks for its trace."
        yield _differs("traced", vhost, message, f"Stop it with `rabbitmqctl trace_off -p {quote(vhost)}`.")
    queues = {str(queue["name"]): queue for queue in found.queues}
    exchanges = {str(exchange["name"]): exchange for exchange in found.exchanges}
    for declaration in topology.declarations:
        yield from _exchange(declaration, exchanges.get(declaration.name), vhost)
        yield from _queue(declaration, queues.get(declaration.name), vhost)
    yield from _bindings(topology, found)
    yield from _strangers(topology, queues, exchanges)
    yield from _policies(topology, found)
    for parameter in found.parameters:
        what, name = parameter["component"], parameter["name"]
        message = f"A {what} may carry messages out of the bus, or into it."
        clear = f"rabbitmqctl clear_parameter -p {quote(vhost)} {quote(what)} {quote(name)}"
        yield _differs("parameter", name, message, f"Take it out with `{clear}`.")


def _exchange(declaration: Declaration, exchange: Written | None, vhost: str) -> Iterator[Finding]:
    if exchange is None:
        yield _differs("exchange-missing", declaration.name, "There is no exchange of this name.", _APPLY)
        return
    others = _others(EXCHANGE, exchange)
    if others:
        message = f"The exchange has {others}."
        place = _place("exchanges", vhost, declaration.name)
        mend = f"It cannot be changed: stop the bus and the agency's hosts, {place}, then `bus topology apply`."
        yield _differs("exchange-differs", declaration.name, message, mend)


def _queue(declaration: Declaration, queue: Written | None, vhost: str) -> Iterator[Finding]:
    name = declaration.name
    if queue is None:
        yield _differs("queue-missing", name, "There is no queue of this name.", _APPLY)
        return
    mend = (
        f"It cannot be changed: stop the bus and the agency's hosts, `rabbitmqctl delete_queue -p {quote(vhost)} "
        f"{quote(name)}`, then `bus topology apply`; what was in it is sent again."
    )
    arguments = queue["arguments"]
    kind, wanted = arguments.get("x-queue-type", queue.get("type", "classic")), declaration.arguments["x-queue-type"]
    if kind != wanted:
        yield _differs("queue-type", name, f"The queue is a {kind} queue in place of a {wanted} queue.", mend)
    elif others := _others(declaration.arguments, arguments, whole=True):
        yield _differs("queue-arguments", name, f"The queue has {others}.", mend)
    elif not queue["durable"] or queue["auto_delete"]:
        yield _differs("queue-passes-away", name, "The queue does not outlive the broker or its readers.", mend)


def _others(wanted: Written, there: Written, *, whole: bool = False) -> str:
    """What is there in place of what is wanted; with ``whole`` also what nobody wants."""
    names = sorted({*wanted, *there}) if whole else sorted(wanted)
    return ", ".join(
        f"{name} {_value(there, name)} in place of {_value(wanted, name)}"
        for name in names
        if there.get(name) != wanted.get(name)
    )


def _value(values: Written, name: str) -> str:
    return repr(values[name]) if name in values else "none"


def _place(*parts: str) -> str:
    """How something is deleted for which RabbitMQ has no command."""
    path = "/".join(quote_in_url(part, safe="") for part in parts)
    return f"`DELETE /api/{path}` to its management by a user who has rights in the virtual host for as long"


def _bindings(topology: Topology, found: Found) -> Iterator[Finding]:
    names = {declaration.name for declaration in topology.declarations}
    there = set()
    for binding in found.bindings:
        source, to, key = str(binding["source"]), str(binding["destination"]), str(binding["routing_key"])
        kind = binding["destination_type"]
        if source == to == key and kind == "queue":
            there.add(to)
        elif source and (source in names or to in names):  # each queue is bound to the exchange without a name
            message = f"What is published to {source} with the key {key!r} also goes to the {kind} {to}."
            place = _place("bindings", topology.vhost, "e", source, kind[0], to, str(binding["properties_key"]))
            mend = f"{place}, or on the management's page of the {kind}."
            yield _differs("binding-strange", to, message, mend)
    missing = [one.name for one in topology.declarations if one.name not in there]
    known = {str(one["name"]) for one in found.queues} & {str(one["name"]) for one in found.exchanges}
    for name in missing:
        if name in known:  # what is not there is told already
            message = "The queue is not bound to its exchange: nothing that is published reaches it."
            yield _differs("binding-missing", name, message, _APPLY)


def _strangers(
    topology: Topology, queues: Mapping[str, Written], exchanges: Mapping[str, Written]
) -> Iterator[Finding]:
    names = {declaration.name for declaration in topology.declarations}
    vhost = quote(topology.vhost)
    for name, queue in queues.items():
        if name not in names and not name.startswith(EPOCH_PREFIX):
            message = (
                f"No agency of the workspace has this queue; {queue.get('messages', 'unknown how many')} wait in it."
            )
            mend = f"If the agency is gone for good, `rabbitmqctl delete_queue -p {vhost} {quote(name)}`."
            yield _warns("queue-strange", name, message, mend)
    for name in exchanges:
        if name and name not in names and not name.startswith("amq."):
            message = "No agency of the workspace has this exchange."
            mend = f"If the agency is gone for good, {_place('exchanges', topology.vhost, name)}."
            yield _warns("exchange-strange", name, message, mend)


def _policies(topology: Topology, found: Found) -> Iterator[Finding]:
    vhost = quote(topology.vhost)
    names = [declaration.name for declaration in topology.declarations]
    for command, policies in (("clear_policy", found.policies), ("clear_operator_policy", found.operator_policies)):
        for policy in policies:
            decided = sorted(_DECISIVE & set(policy["definition"]))
            ruled = [name for name in names if decided and _rules(policy, policies, name)]
            if ruled:
                message = f"The policy sets {', '.join(decided)} of {_some(ruled)}."
                mend = f"Take it out with `rabbitmqctl {command} -p {vhost} {quote(policy['name'])}`."
                yield _differs("policy", policy["name"], message, mend)


def _rules(policy: Written, policies: Sequence[Written], name: str) -> bool:
    """Whether the policy rules the queue or the exchange of this name: the one of the highest priority that fits."""
    for kinds in (_FOR_QUEUES, _FOR_EXCHANGES):
        fitting = [one for one in policies if one["apply-to"] in kinds and _fits(one["pattern"], name)]
        if policy in fitting and policy["priority"] == max(one["priority"] for one in fitting):
            return True
    return False


def _fits(pattern: str, name: str) -> bool:
    """Whether a pattern of the broker fits; one that only the broker can read is taken to fit."""
    try:
        return re.search(pattern, name) is not None
    except re.error:
        return True


def _users(topology: Topology, found: Found, passwords: Mapping[str, str]) -> Iterator[Finding]:
    known = {str(user["name"]): user for user in found.users}
    here = {str(one["user"]): one for one in found.permissions if one["vhost"] == topology.vhost}
    for rights in topology.rights:
        user = known.get(rights.user)
        if user is not None:
            yield from _user(rights.user, user, passwords.get(rights.user))
            if found.vhost is not None:
                yield from _rights(rights, here.get(rights.user), topology.vhost)
        elif rights.user in passwords:
            yield _differs("user-missing", rights.user, "There is no user of this name.", _APPLY)
    yield from _strange_rights(topology, found)


def _user(name: str, user: Written, password: str | None) -> Iterator[Finding]:
    if tags := tags_of(user):
        message = f"The user is {', '.join(tags)}: it may do more than speak for its own."
        yield _differs("user-tags", name, message, f"Take them away with `rabbitmqctl set_user_tags {quote(name)}`.")
    if password is not None and not has_password(user, password):
        yield _differs("user-password", name, "The user has another password than the environment names.", _APPLY)


def _rights(wanted: Rights, there: Written | None, vhost: str) -> Iterator[Finding]:
    set_ = " ".join(quote(each) for each in (vhost, wanted.user, wanted.configure, wanted.write, wanted.read))
    mend = f"{_APPLY[:-1]}, or `rabbitmqctl set_permissions -p {set_}`."
    if there is None:
        yield _differs("rights-missing", wanted.user, "The user may do nothing here.", mend)
        return
    others = [
        f"{verb} {there[verb]!r} in place of {right!r}"
        for verb, right in (("configure", wanted.configure), ("write", wanted.write), ("read", wanted.read))
        if there[verb] != right
    ]
    if others:
        yield _differs("rights-differ", wanted.user, f"The user may {', '.join(others)}.", mend)


def _strange_rights(topology: Topology, found: Found) -> Iterator[Finding]:
    """Rights of strangers here, and rights of the bus's users elsewhere."""
    ours = {rights.user for rights in topology.rights}
    for one in found.permissions:
        user, vhost = str(one["user"]), str(one["vhost"])
        mend = f"Take them away with `rabbitmqctl clear_permissions -p {quote(vhost)} {quote(user)}`."
        if vhost == topology.vhost and user not in ours:
            message = "The user belongs to no agency of the workspace and has rights here: it may read or forge."
            yield _differs("rights-strange", user, message, mend)
        elif vhost != topology.vhost and user in ours and user != BUS_USER:
            message = f"The user has rights in the virtual host {vhost}, too."
            yield _differs("rights-elsewhere", user, message, mend)


def _nodes(topology: Topology, found: Found) -> Iterator[Finding]:
    up = [node for node in found.nodes if node.get("running")]
    if len(up) < topology.replicas:
        message = f"{len(up)} nodes run, and each queue should have {topology.replicas} copies."
        yield _warns("nodes-too-few", topology.vhost, message, "Start the nodes that are down, or add some.")
    else:
        names = {declaration.name for declaration in topology.declarations}
        thin = [
            one["name"]
            for one in found.queues
            if one["name"] in names and "members" in one and len(one["members"]) < topology.replicas
        ]
        if thin:
            message = f"Fewer than {topology.replicas} nodes keep a copy of {_some(thin)}."
            yield _warns(
                "copies-too-few", topology.vhost, message, "For each new node, `rabbitmq-queues grow NODE all`."
            )
    for node in up:
        limit = node.get("disk_free_limit")
        if limit is None:
            message, mend = "It has started just now and has not told its limits yet.", "Check again in a few seconds."
            yield Finding(weight=Weight.UNSEEN, code="limits-unseen", name=node["name"], message=message, mend=mend)
        elif limit <= _SCANT_DISK:
            message = f"It stops only when {limit // 1_000_000} MB of its disk are left."
            mend = "Write disk_free_limit.absolute = 2GB or more into rabbitmq.conf: a full disk stops the node itself."
            yield _warns("disk-limit", node["name"], message, mend)
        for alarm, what in (("mem_alarm", "memory"), ("disk_free_alarm", "disk space")):
            if node.get(alarm):
                yield _warns("alarm", node["name"], f"It lacks {what} and takes no messages.", f"Give it more {what}.")


def _some(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _differs(code: str, name: str, message: str, mend: str) -> Finding:
    return Finding(weight=Weight.DIFFERENCE, code=code, name=name, message=message, mend=mend)


def _warns(code: str, name: str, message: str, mend: str) -> Finding:
    return Finding(weight=Weight.WARNING, code=code, name=name, message=message, mend=mend)
