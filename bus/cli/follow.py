"""Following a request as it goes on."""

from __future__ import annotations

from collections.abc import Callable

from bus.client import Client, Json

_ALIVE = frozenset({"open", "closing"})
_PATIENCE = 30


def follow(client: Client, request: str, tell: Callable[[Json], None]) -> None:
    """Tell the new facts each time that there are some; at the end the request as it ended."""
    told = 0
    view = client.request_show(request)
    while True:
        facts = client.request_facts(request)["items"]
        if len(facts) > told:
            tell({"items": facts[told:]})
            told = len(facts)
        if view["state"] not in _ALIVE:
            break
        view = client.request_show(request, wait=_PATIENCE, version=told)
    tell(view)
