"""A store that is away while a role starts: it is waited for, within a bound, and the log says so."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_delay, wait_exponential

from bus.bootstrap.brokers import bus_broker, try_login
from bus.bootstrap.parts import Parts, assemble
from bus.bootstrap.secrets import secret_of
from bus.bootstrap.stores import named, store_of
from bus.catalog import DatabaseUse, Workspace
from bus.errors import StoreUnavailableError
from bus.logs import bind
from bus.message.instant import SECOND
from bus.ports import Broker, Store

_log = bind(role="bootstrap")
_T = TypeVar("_T")


def assemble_patiently(workspace: Workspace, data: Path, seconds: float) -> Parts:
    """As `assemble`; a store that others share may be away for so long. What is wrong in the settings is told first.

    A broker that is away is not waited for: what is accepted meanwhile stays in the store.
    """
    env = workspace.env
    if env.store is None:
        return assemble(workspace, data)
    secret_of(workspace, data)
    broker = bus_broker(workspace)
    if env.broker is not None:
        try_login(workspace, broker, env.broker.password)
    until = time.monotonic() + seconds
    store = patiently(lambda: store_of(workspace, data), seconds)
    with ExitStack() as unused:
        unused.callback(store.close)
        parts = patiently(partial(_assemble, workspace, env.store, data, store, broker), until - time.monotonic())
        unused.pop_all()
    return parts


def _assemble(workspace: Workspace, use: DatabaseUse, data: Path, store: Store, broker: Broker) -> Parts:
    """As `assemble`; a store that refuses what is asked of it is named, and ends the waiting."""
    with named(workspace, use):
        return assemble(workspace, data, store=store, broker=broker)


def patiently(begin: Callable[[], _T], seconds: float) -> _T:
    """What ``begin`` makes. While the store is away it is tried again; StoreUnavailableError after so many seconds.

    What waiting does not mend ends it at once.
    """
    for attempt in Retrying(
        retry=retry_if_exception_type(StoreUnavailableError),
        wait=wait_exponential(multiplier=0.25, max=5),
        stop=stop_after_delay(max(0, seconds)),
        before_sleep=_tell,
        reraise=True,
    ):
        with attempt:
            return begin()
    raise AssertionError("tenacity either returns or raises")


def _tell(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    next_in = round((state.next_action.sleep if state.next_action else 0) * SECOND)
    _log.warning("store_unavailable", error=error, count=state.attempt_number, wait_ms=next_in)
