"""All roles of one process, from their start to their drain."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from bus.bootstrap.hosting import hosted, run_host
from bus.bootstrap.parts import Parts
from bus.catalog import reveal
from bus.errors import ConfigurationError, Fault
from bus.logs import bind
from bus.message.channel import replies as replies_of
from bus.runtime.epoch import connect
from bus.runtime.hosts import Hosts
from bus.runtime.loop import Loop, Loops
from bus.runtime.relay import Relay
from bus.runtime.replies import ReplyConsumer
from bus.runtime.timekeeper import Timekeeper
from bus.runtime.webhook import Webhook
from bus.runtime.webhook_signature import secret_of

_log = bind(role="bootstrap")


@contextmanager
def running(parts: Parts, *, hosts: bool = True) -> Iterator[Loops]:
    """All roles but the gateway, as threads of this process, until the end of the ``with``."""
    agencies = tuple(name for name, agency in parts.workspace.agencies.items() if agency.adapter is not None)
    loops = Loops()
    settings = parts.tools.settings
    keys = parts.tools.keys
    relay = Relay(parts.store, parts.broker, parts.manager, keys, settings)
    timekeeper = Timekeeper(
        store=parts.store,
        manager=parts.manager,
        publisher=parts.broker.publisher,
        agencies=agencies,
        keys=keys,
        settings=settings,
    )
    webhooks = _webhooks(parts, os.environ)
    connect(parts.broker, parts.store, parts.manager, agencies)
    relay.drain(lambda: False)
    heard = [replies_of(agency) for agency in agencies]
    replies = ReplyConsumer(
        lambda: parts.broker.consumer(heard, 4 * settings.batch_most), parts.manager, Hosts(keys), keys, settings
    )
    # Started first, stopped last: a receiver that hangs keeps nobody else from ending well.
    for consumer, webhook in webhooks.items():
        loops.start(Loop(role=f"webhook:{consumer}", step=webhook.step, rest=0.2, close=webhook.close))
    loops.start(Loop(role="relay", step=relay.step, rest=0.2))
    loops.start(Loop(role="timekeeper", step=timekeeper.step, rest=0.05, close=timekeeper.close))
    loops.start(Loop(role="dispatcher", step=lambda: _sweep(parts), rest=0.1))
    loops.run("process-manager", lambda stop: replies.run(stop.is_set))
    try:
        served = hosted(parts.workspace) if hosts else ()
        loops.run_beside({f"agency:{name}": partial(run_host, parts, name) for name in served})
        yield loops
    finally:
        # The hosts end their calls and answer, then the replies that are there are settled, then the rest stops.
        _log.info("drain_began")
        done = loops.stop(settings.drain_within / 1000)
        parts.manager.close()
        parts.broker.close()
        parts.store.close()
        _log.info("drain_ended", how="whole" if done else "time-is-up")


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
        )
    if faults:
        raise ConfigurationError(tuple(faults))
    return made


def _sweep(parts: Parts) -> None:
    parts.dispatcher.look(parts.store.now())
    backlog = parts.dispatcher.backlog()
    if backlog:
        parts.manager.dispatch_waiting(backlog)
