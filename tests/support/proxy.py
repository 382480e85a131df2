"""A network that misbehaves: a TCP proxy in front of one server, whose links can be slowed, silenced or broken."""

from __future__ import annotations

import asyncio
import random
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from typing import Final

_CHUNK: Final = 65_536


class Weather(StrEnum):
    """What the proxy does with the bytes that come from now on, in both directions."""

    FAIR = "fair"
    #: It takes them and passes nothing on, and says nothing: a cable that was pulled.
    BLACK_HOLE = "black-hole"
    #: It holds them, and passes them on when this is over: a route that was lost and found again.
    STALLED = "stalled"
    #: It passes them on late.
    SLOW = "slow"
    #: It passes them on a few at a time: some 60 kB a second.
    TRICKLE = "trickle"
    #: It passes on one a second.
    DRIP = "drip"


#: Bytes that pass at once, and seconds until the next ones do.
_PACE: Final = {Weather.TRICKLE: (64, 0.001), Weather.DRIP: (1, 1.0)}


class Proxy:
    """Listens on ``port`` of ``host``, with encryption if ``tls`` is given; what it passes on has none."""

    def __init__(self, target: str, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self._target = target.rpartition(":")
        self.host = host
        self._tls = tls
        self.weather = Weather.FAIR
        #: Seconds at least and at most by which slow weather delays a burst.
        self.lag = (0.05, 0.05)
        #: Connections that were taken so far.
        self.connections = 0
        self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        #: Those through which nothing goes any more.
        self._dead: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._listens = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)
        self._thread.start()
        assert self._listens.wait(10)

    def reset(self) -> None:
        """Break every link at once, without a goodbye."""
        self._loop.call_soon_threadsafe(self._break_all)

    def forget(self) -> None:
        """Carry nothing more over the links that stand, without a word, and go on with new ones: a restarted wall."""
        self._loop.call_soon_threadsafe(lambda: self._dead.update(self._writers))

    def close(self) -> None:
        """Break every link and listen no more."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()

    def _break_all(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._link, self.host, 0, ssl=self._tls)
        self.port = server.sockets[0].getsockname()[1]
        self._listens.set()
        await self._stop.wait()
        server.close()
        self._break_all()
        links = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in links:
            task.cancel()
        await asyncio.gather(*links, return_exceptions=True)

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        there_reader, there_writer = await asyncio.open_connection(self._target[0], int(self._target[2]))
        self._writers |= {writer, there_writer}
        try:
            await asyncio.gather(self._pass(reader, there_writer), self._pass(there_reader, writer))
        except asyncio.CancelledError:
            # The proxy closes; asyncio would tell of a link that was cancelled as of an error.
            pass
        finally:
            for end in (writer, there_writer):
                self._writers.discard(end)
                self._dead.discard(end)
                end.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                while self.weather is Weather.STALLED:  # noqa: ASYNC110  # another thread makes the weather
                    await asyncio.sleep(0.05)
                if self.weather is Weather.BLACK_HOLE or writer in self._dead:
                    continue
                if self.weather is Weather.SLOW:
                    await asyncio.sleep(random.uniform(*self.lag))
                await self._write(writer, data)
        # Half a link is none.
        writer.transport.abort()

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        """At the pace of the weather, which may change on the way."""
        while data:
            many, rest = _PACE.get(self.weather, (len(data), 0.0))
            writer.write(data[:many])
            await writer.drain()
            data = data[many:]
            if rest:
                await asyncio.sleep(rest)


@contextmanager
def proxy(target: str, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Iterator[Proxy]:
    """A proxy before ``target``, which is ``host:port``; gone after the block."""
    made = Proxy(target, host=host, tls=tls)
    try:
        yield made
    finally:
        made.close()
