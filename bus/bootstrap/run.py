"""All roles of one process, from their start to their drain."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

from bus.bootstrap.host import hosted
from bus.bootstrap.hosts_beside import run_host
from bus.bootstrap.memory import spare_the_collector
from bus.bootstrap.parts import Parts
from bus.bootstrap.roles import BUS_ROLES
from bus.catalog import reveal
from bus.errors import ConfigurationError, Fault, TransientError
from bus.logs import bind
from bus.message.channel import POISON
from bus.message.channel import replies as replies_of
from bus.message.instant import Milliseconds
from bus.runtime.epoch import LEASE
from bus.runtime.hosts import Hosts
from bus.runtime.loop import Loop, Loops
from bus.runtime.poison import PoisonConsumer
from bus.runtime.presence import Presence
from bus.runtime.reconcile import Reconciler
from bus.runtime.relay import Relay
from bus.runtime.replies import ReplyConsumer
from bus.runtime.timekeeper import Timekeeper
from bus.runtime.turn import Turn
from bus.runtime.webhook import Webhook
from bus.runtime.webhook_signature import secret_of

_log = bind(role="bootstrap")


@contextmanager
def running(
    parts: Parts, *, hosts: bool | Collection[str] = True, roles: Collection[str] = BUS_ROLES
) -> Iterator[Loops]:
    """These roles but the gateway, and hosts, as threads of this process until the end of the ``with``.

    ``hosts``: of these agencies, of all that have one beside the bus, or of none.
    """
    loops = Loops()
    agencies = tuple(name for name, agency in parts.workspace.agencies.items() if agency.adapter is not None)
    try:
        # Started first, stopped last: a receiver that hangs keeps nobody else from ending well.
        if "relay" in roles:
            _start_relay(parts, agencies, loops)
        if "timekeeper" in roles:
            _start_timekeeper(parts, agencies, loops)
        loops.start(Loop(role="publisher", step=parts.manager.tend, rest=0.1))
        _start_dispatcher(parts, loops, is_manager="process-manager" in roles)
        if "process-manager" in roles:
            _start_process_manager(parts, agencies, loops)
        spare_the_collector()
        served = _served(parts, hosts)
        loops.run_beside({f"agency:{name}": partial(run_host, parts, name) for name in served})
        yield loops
    finally:
        # The hosts end their calls and answer, then the replies that are there are settled, then the rest stops.
        _log.info("drain_began")
        with ExitStack() as ends:
            # Each, whatever becomes of the others. Rows that a store which is away does not delete are sent once more.
            ends.callback(parts.store.close)
            ends.callback(parts.broker.close)
            ends.enter_context(suppress(TransientError))
            ends.callback(parts.manager.close)
            done = loops.stop(parts.tools.settings.drain_within / 1000)
        _log.info("drain_ended", how="whole" if done else "time-is-up")


def _served(parts: Parts, hosts: bool | Collection[str]) -> Collection[str]:  # noqa: FBT001  # all, none, or these
    if isinstance(hosts, bool):
        return hosted(parts.workspace) if hosts else ()
    return hosts


def _start_relay(parts: Parts, agencies: tuple[str, ...], loops: Loops) -> None:
    webhooks = _webhooks(parts, os.environ)
    settings = parts.tools.settings
    turn = _turn(parts, "epoch", LEASE)
    relay = Relay(parts.store, parts.broker, parts.manager, parts.tools.keys, settings, agencies, turn=turn)
    try:
        relay.connect()
        if parts.workspace.env.store is None:
            # Nobody else writes: whatever is there was left by a process that is gone.
            relay.drain(lambda: False)
    except TransientError as error:
        # What is accepted meanwhile waits in the outbox; the relay goes on trying.
        _log.warning("broker_unavailable", error=error)
    for consumer, webhook in webhooks.items():
        loops.start(Loop(role=f"webhook:{consumer}", step=webhook.step, rest=0.2, close=webhook.close))
    loops.start(Loop(role="relay", step=relay.step, rest=0.2))


def _start_timekeeper(parts: Parts, agencies: tuple[str, ...], loops: Loops) -> None:
    tools = parts.tools
    timekeeper = Timekeeper(
        store=parts.store,
        manager=parts.manager,
        publisher=parts.broker.publisher,
        agencies=agencies,
        keys=tools.keys,
        settings=tools.settings,
        is_shared=parts.workspace.env.store is not None,
    )
    # Until a restored store was opened, nothing is due: what is open is asked about.
    reconciler = Reconciler(parts.store, parts.manager, tools.settings)
    step = reconciler.in_place_of(timekeeper.step)
    loops.start(Loop(role="timekeeper", step=step, rest=0.05, close=timekeeper.close))


def _start_dispatcher(parts: Parts, loops: Loops, *, is_manager: bool) -> None:
    """Every process that decides may dispatch; what had to wait is taken up by process managers alone."""
    loops.start(Loop(role="dispatcher", step=lambda: _sweep(parts, dispatches=is_manager), rest=0.1))


def _start_process_manager(parts: Parts, agencies: tuple[str, ...], loops: Loops) -> None:
    settings, keys = parts.tools.settings, parts.tools.keys
    heard = [replies_of(agency) for agency in agencies]
    presence = Presence(parts.store, settings) if parts.workspace.env.store is not None else None
    replies = ReplyConsumer(
        lambda: parts.broker.consumer(heard, 4 * settings.batch_most),
        parts.manager,
        Hosts(keys),
        keys,
        settings,
        presence,
    )
    poison = PoisonConsumer(lambda: parts.broker.consumer([POISON], 20), parts.manager, keys)
    loops.run("poison", lambda stop: poison.run(stop.is_set))
    loops.run("process-manager", lambda stop: replies.run(stop.is_set, stop.wait))


def _webhooks(parts: Parts, environ: Mapping[str, str]) -> dict[str, Webhook]:
    """One for each consumer that the environment names; ConfigurationError with every secret that is none."""
    uses, faults = parts.workspace.env.webhooks, []
    made: dict[str, Webhook] = {}
    written = reveal({consumer: use.secret for consumer, use in uses.items()}, parts.workspace.root, environ)
    for consumer, use in uses.items():
        try:
            secret = secret_of(written[consumer])
        except ValueError as error:
            mend, place = "Make one with `openssl rand -base64 32`, and write whsec_ before it.", use.secret
            faults.append(
                Fault(code="webhook-secret", message=str(error), mend=mend, file=place.asked_in, line=place.line)
            )
            continue
        tools = parts.tools
        made[consumer] = Webhook(
            consumer=consumer,
            url=use.url,
            secret=secret,
            store=parts.store,
            keys=tools.keys,
            settings=tools.settings,
            # A message takes its receiver a few time-outs at most: to connect, to be sent, to be answered.
            turn=_turn(parts, f"webhook:{consumer}", 8 * tools.settings.webhook_timeout),
        )
    if faults:
        raise ConfigurationError(tuple(faults))
    return made


def _turn(parts: Parts, what: str, lease: Milliseconds) -> Turn | None:
    """Where other processes share the store: a store in the folder belongs to this one."""
    return None if parts.workspace.env.store is None else Turn(parts.store, what, lease)


def _sweep(parts: Parts, *, dispatches: bool) -> None:
    parts.dispatcher.look(parts.store.now())
    backlog = parts.dispatcher.backlog() if dispatches else ()
    if backlog:
        parts.manager.dispatch_waiting(backlog)
