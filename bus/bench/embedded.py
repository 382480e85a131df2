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
from bus.bench.lifeline import ended_in_order
from bus.bench.null_system import NullSystem
from bus.bench.pace import Order, Pace, Ran
from bus.bench.recount import recount
from bus.bench.report import BenchError, Report
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
    with ended_in_order(), tempfile.TemporaryDirectory(prefix="bus-bench-") as name:
        folder = Path(name)
        with _bus(folder) as parts:
            progress(f"{seconds:g} s with {window} requests in flight")
            load = _Load(parts)
            # As everywhere, a request has ended before anything is measured: everybody is at work then.
            load.run(Order(window=1, seconds=0.0, warm=0.2, prefix="first"))
            ran = load.run(Order(window=window, seconds=seconds, warm=0.0))
            recount(parts.store)
        progress("the yardstick")
        body = dump({"specversion": "1.0", "padding": "x" * 500, "data": fanout.submission(0)})
        speed = bare(folder, 200, body)
    return Report(
        bench="embedded",
        settings={"seconds": seconds, "window": window, "agencies": len(fanout.AGENCIES)},
        requests_per_s=ran.speed,
        latencies=ran.latencies,
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

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        #: Request id -> id of the load.
        self._named: dict[str, str] = {}
        self._cursor = 0
        self._number = 0

    def run(self, order: Order) -> Ran:
        """Load, and wait for what is still on its way."""
        pace = Pace(order, time.perf_counter())
        while not pace.is_over(now := time.perf_counter()):
            if ids := pace.begin(min(_BATCH, pace.wanted(now)), now):
                self._submit(ids)
            self._collect(pace)
        return pace.ran()

    def _submit(self, ids: list[str]) -> None:
        batch = [self._incoming() for _ in ids]
        fates = self._parts.manager.decide(batch)
        if any(decided.fate is not Fate.APPLIED for decided in fates):
            raise BenchError("A submission was not accepted.")
        self._named |= {incoming.request_id: id_ for incoming, id_ in zip(batch, ids, strict=True)}

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

    def _collect(self, pace: Pace) -> None:
        rows = self._parts.store.results(fanout.CONSUMER, after=self._cursor, most=500)
        if not rows:
            time.sleep(0.002)
            return
        pace.end([self._named.pop(row.request_id, row.request_id) for row, _ in rows], time.perf_counter())
        self._cursor = rows[-1][0].key
        self._parts.store.collect(fanout.CONSUMER, [row.key for row, _ in rows])
