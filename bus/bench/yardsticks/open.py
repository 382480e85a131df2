"""Starts the yardsticks: each on a virtual host of its own of the same broker."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from bus.bench.contender import Contender, Machines, Ready, program
from bus.bench.yardsticks import scatter_gather

_HERE: Final = __package__
_DRAMATIQ, _CELERY, _CEILING = f"{_HERE}.dramatiq_group", f"{_HERE}.celery_chord", f"{_HERE}.scatter_gather"


def yardsticks(machines: Machines, folder: Path) -> dict[str, Contender]:
    """All of them, by name."""
    made: dict[str, Callable[[Machines, Path], Iterator[Ready]]] = {
        "ceiling": partial(_ceiling, direct=False),
        "ceiling-8": partial(_ceiling, direct=True),
        "dramatiq": _dramatiq,
        "celery": _celery,
    }
    return {
        name: Contender(name=name, open=partial(contextmanager(open_), machines, folder))
        for name, open_ in made.items()
    }


def _ceiling(machines: Machines, folder: Path, *, direct: bool) -> Iterator[Ready]:
    vhost = "ceiling-8" if direct else "ceiling"
    url = _virtual_host(machines, vhost)
    for queue in scatter_gather.QUEUES:
        content = {"durable": True, "arguments": {"x-queue-type": "quorum"}}
        machines.rabbit.admin.ask("PUT", f"/api/queues/{vhost}/{queue}", content)
    roles = {"workers": "work"} | ({} if direct else {"coordinator": "coordinate"})
    with ExitStack() as stack:
        kept = {
            name: stack.enter_context(program(_CEILING, role, url, log=folder / f"{vhost}-{role}.log"))
            for name, role in roles.items()
        }
        yield Ready(
            load=(sys.executable, "-m", _CEILING, "load"),
            where={"url": url, "direct": "yes" if direct else "no"},
            programs={name: one.pids for name, one in kept.items()},
        )


def _dramatiq(machines: Machines, folder: Path) -> Iterator[Ready]:
    url, counting = _virtual_host(machines, "dramatiq"), machines.redis.url
    from bus.bench.yardsticks import dramatiq_group  # noqa: PLC0415  # it is of an extra that not everybody installs

    environ = {dramatiq_group.BROKER: url, dramatiq_group.REDIS: counting}
    with program("dramatiq", f"{_DRAMATIQ}:work", log=folder / "dramatiq.log", environ=environ) as workers:
        yield Ready(
            load=(sys.executable, "-m", _DRAMATIQ),
            where={"broker": url, "redis": counting},
            programs={"workers": workers.pids},
        )


def _celery(machines: Machines, folder: Path) -> Iterator[Ready]:
    url, results = _virtual_host(machines, "celery"), machines.redis.url
    with program(_CELERY, "work", url, results, log=folder / "celery.log") as workers:
        yield Ready(
            load=(sys.executable, "-m", _CELERY, "load"),
            where={"broker": url, "redis": results},
            programs={"workers": workers.pids},
        )


def _virtual_host(machines: Machines, name: str) -> str:
    """An empty one, whose queues are quorum queues unless somebody says otherwise; its URL for the administrator."""
    admin = machines.rabbit.admin
    if name in {one["name"] for one in admin.ask("GET", "/api/vhosts")}:
        admin.drop_vhost(name)
    admin.make_vhost(name)
    admin.ask("PUT", f"/api/vhosts/{name}", {"default_queue_type": "quorum"})
    return admin.url_with_user(name)
