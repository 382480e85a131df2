"""``bus bench embedded``: a four-agency fan-out through the whole bus in one process, everything on."""

from __future__ import annotations

import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from bus.bench import fanout
from bus.bench.bare import bare
from bus.bench.null_system import NullSystem
from bus.bench.report import Report
from bus.bootstrap import Parts, assemble, open_journal, running
from bus.message.identity import request_id, tracking
from bus.message.replies import data_digest
from bus.message.strict_json import dump
from bus.ports import Fate, Incoming, Payload, Submission
from bus.process.event import Submitted
from bus.runtime.host import AgencyHost

#: Submissions that wait are decided together, as the gateway does.
_BATCH = 50


def embedded(*, seconds: float, window: int, progress: Callable[[str], None]) -> Report:
    """Keep ``window`` requests in flight for ``seconds``, then the yardstick for a while, and compare."""
    with tempfile.TemporaryDirectory(prefix="bus-bench-") as name:
        folder = Path(name)
        with _bus(folder) as parts:
            progress(f"{seconds:g} s with {window} requests in flight")
            load = _Load(parts, window)
            load.run(seconds)
        progress("the yardstick")
        body = dump({"specversion": "1.0", "padding": "x" * 500, "data": fanout.submission(0)})
        speed = bare(folder, 200, body)
    return Report(
        bench="embedded",
        settings={"seconds": seconds, "window": window, "agencies": len(fanout.AGENCIES)},
        requests_per_s=load.ended / load.took,
        latencies=load.latencies,
        yardsticks={"bare": speed},
    )


@contextmanager
def _bus(folder: Path) -> Iterator[Parts]:
    workspace = fanout.workspace()
    parts = assemble(workspace, folder)
    with running(parts, hosts=False) as loops:
        for agency in fanout.AGENCIES:
            loops.run(f"agency:{agency}", partial(host, parts, agency))
        yield parts


def host(parts: Parts, agency: str, stop: threading.Event) -> None:
    """One agency that answers at once, until told to stop."""
    with closing(open_journal(parts.data, agency)) as journal:
        AgencyHost(
            agency=agency,
            adapter=NullSystem({}),
            operations=fanout.operations(),
            contracts=parts.workspace.contracts,
            journal=journal,
            broker=parts.broker,
            settings=parts.tools.settings,
            clock=parts.store.now,
        ).run(stop)


class _Load:
    """A closed loop: a request that ends makes room for the next."""

    def __init__(self, parts: Parts, window: int) -> None:
        self._parts = parts
        self._window = window
        self._begun: dict[str, float] = {}
        self._cursor = 0
        self._number = 0
        self.ended = 0
        self.took = 0.0
        self.latencies: list[float] = []

    def run(self, seconds: float) -> None:
        """Load, then wait for what is still on its way; only what ended within the time counts."""
        begun = time.perf_counter()
        while (now := time.perf_counter()) < begun + seconds:
            self._submit(min(_BATCH, self._window - len(self._begun)))
            self._collect(now)
        self.took = time.perf_counter() - begun
        counted = self.ended
        deadline = time.perf_counter() + 60
        while self._begun and time.perf_counter() < deadline:
            self._collect(time.perf_counter())
        if self._begun:
            raise TimeoutError(f"{len(self._begun)} requests did not end within a minute")
        if self._parts.store.recount():
            raise AssertionError("the store does not add up")
        self.ended = counted

    def _submit(self, count: int) -> None:
        if count <= 0:
            return
        batch = [self._incoming() for _ in range(count)]
        fates = self._parts.manager.decide(batch)
        if any(decided.fate is not Fate.APPLIED for decided in fates):
            raise AssertionError("a submission was not accepted")
        now = time.perf_counter()
        self._begun |= {incoming.request_id: now for incoming in batch}

    def _incoming(self) -> Incoming:
        self._number += 1
        tools, service = self._parts.tools, self._parts.workspace.services[fanout.SERVICE]
        data, key = fanout.submission(self._number), secrets.token_hex(8)
        identity = request_id(tools.secret, fanout.CONSUMER, key)
        request_key, payload = tools.keys.take(2)
        return Incoming(
            request_id=identity,
            event=Submitted(
                request_id=identity,
                key=request_key,
                consumer=fanout.CONSUMER,
                service=fanout.SERVICE,
                revision=service.revision,
                purpose=fanout.PURPOSE,
                data_id=payload,
                message_id=key,
                fields=tuple(data),
            ),
            payloads=(Payload(id=payload, request_key=request_key, bytes=dump(data)),),
            submission=Submission(
                request_key=request_key,
                request_id=identity,
                consumer=fanout.CONSUMER,
                submission_key=key,
                digest=data_digest(data).encode()[:32],
                tracking=tracking(tools.secret, identity),
                subject="",
            ),
        )

    def _collect(self, now: float) -> None:
        rows = self._parts.store.results(fanout.CONSUMER, after=self._cursor, most=500)
        for row, _ in rows:
            begun = self._begun.pop(row.request_id)
            self.latencies.append((now - begun) * 1000)
            self.ended += 1
            self._cursor = row.key
        if rows:
            self._parts.store.collect(fanout.CONSUMER, [row.key for row, _ in rows])
        else:
            time.sleep(0.002)
