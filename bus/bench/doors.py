"""The two servers of the gateway's benchmark, each a program of its own: the bus, and the yardstick ``bare``."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

import orjson
from fastapi import FastAPI, Request, Response

from bus.bench import fanout
from bus.bench.embedded import host
from bus.bench.lifeline import end_with_parent
from bus.bench.report import BenchError
from bus.bootstrap import assemble, running
from bus.bootstrap.memory import share_one_heap
from bus.gateway.server import address_of, listen, serve_app, serve_until_told
from bus.operations.caller import Role, mint_token

#: ``bus``: every role, and agencies that answer at once. ``bare``: no bus at all.
Kind: TypeAlias = Literal["bus", "bare"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """A server that answers."""

    url: str
    #: Of the consumer, and of one who may look at the status; "" where nobody is asked for one.
    token: str = ""
    operator: str = ""
    pid: int = 0

    def cpu(self) -> float:
        """Seconds of CPU that the server has used so far, all its threads together."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def door(kind: Kind, folder: Path, *, agencies: int = 0, hosted: int = 0) -> Iterator[Open]:
    """A server over an empty store in the folder, in a process that ends with the ``with``.

    ``agencies`` steps a request; the hosts of the first ``hosted`` agencies run in the same process.
    """
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "bus.bench.doors", kind, str(folder), str(agencies), str(hosted)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None  # noqa: S101  # for the type; it is a pipe
            line = process.stdout.readline()
            if not line:
                raise BenchError(f"The server {kind} did not start; what it said of it stands above.")
            yield Open(**orjson.loads(line), pid=process.pid)
        finally:
            process.terminate()


def bare(folder: Path) -> FastAPI:
    """The same framework, the same commit: one row inserted for each request, and nothing else.

    The insert is done where the request is read, which is the fastest way for a single writer.
    """
    store = sqlite3.connect(folder / "bare.db", isolation_level=None)
    store.execute("PRAGMA journal_mode = WAL")
    store.execute("PRAGMA synchronous = FULL")
    store.execute("CREATE TABLE message (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, body BLOB NOT NULL)")
    app = FastAPI(openapi_url=None)

    @app.post("/v1/services/{service}/requests", response_model=None)
    async def insert(service: str, http: Request) -> Response:  # noqa: ARG001  # the address is the gateway's
        row = (http.headers["idempotency-key"], await http.body())
        number = store.execute("INSERT INTO message (key, body) VALUES (?, ?)", row).lastrowid
        return Response(orjson.dumps({"id": number}), 202, media_type="application/json")

    return app


def _tell(opened: Open) -> None:
    sys.stdout.buffer.write(orjson.dumps({"url": opened.url, "token": opened.token, "operator": opened.operator}))
    sys.stdout.buffer.write(b"\n")
    sys.stdout.buffer.flush()


def _serve(kind: Kind, folder: Path, agencies: Sequence[str], hosted: Sequence[str]) -> None:
    end_with_parent()
    with listen(0) as listening, ExitStack() as stack:
        if kind == "bare":
            _tell(Open(url=address_of(listening)))
            serve_app(bare(folder), listening)
            return
        parts = assemble(fanout.workspace(agencies=agencies), folder)
        loops = stack.enter_context(running(parts, hosts=False))
        for agency in hosted:
            loops.run(f"agency:{agency}", partial(host, parts, agency))
        token = mint_token(parts.store, "bench", Role.CONSUMER, fanout.CONSUMER)
        _tell(Open(url=address_of(listening), token=token, operator=mint_token(parts.store, "bench", Role.OPERATOR)))
        serve_until_told(parts.context, listening)


if __name__ == "__main__":
    share_one_heap()
    _serve(sys.argv[1], Path(sys.argv[2]), *(fanout.AGENCIES[: int(count)] for count in sys.argv[3:]))  # type: ignore[arg-type]  # one of the three
