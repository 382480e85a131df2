"""The loader of those yardsticks that tell by a list in Redis which requests have ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import redis

from bus.bench.orders import Load, obey
from bus.bench.pace import Order, Pace, Ran

#: Where the last task of a request writes its id.
ENDED = "bench:ended"
#: Submissions at once: each waits for its own confirms.
_THREADS = 8
_LOOK = 0.002


def load_with(connect: Callable[[Order], Callable[[str], None]]) -> None:
    """Be a loader: ``connect`` gives what submits one request; it is called on several threads."""

    def connected(order: Order) -> Load:
        submit = connect(order)
        heard = redis.Redis.from_url(order.where["redis"])
        heard.delete(ENDED)
        return partial(_run, submit, heard)

    obey(connected)


def _run(submit: Callable[[str], None], heard: redis.Redis, order: Order) -> Ran:
    pace = Pace(order, time.perf_counter())
    with ThreadPoolExecutor(_THREADS) as pool:
        waiting: list[Future[None]] = []
        while not pace.is_over(now := time.perf_counter()):
            waiting += [pool.submit(submit, id_) for id_ in pace.begin(pace.wanted(now), now)]
            waiting = [one for one in waiting if not _is_done(one)]
            ended = heard.lpop(ENDED, 500)
            if isinstance(ended, list):
                pace.end(map(_text, ended), time.perf_counter())
            else:
                time.sleep(_LOOK)
    return pace.ran()


def _is_done(one: Future[None]) -> bool:
    """Whether it was submitted; what went wrong is raised here."""
    if not one.done():
        return False
    one.result()
    return True


def _text(id_: bytes | str) -> str:
    return id_ if isinstance(id_, str) else id_.decode()
