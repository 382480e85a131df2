"""The delivery tags of one channel of AMQP: which are held, and with how few words the rest is acknowledged."""

from __future__ import annotations

from collections.abc import Iterable


class Tags:
    """The broker numbers deliveries from 1 on. One thread changes it; any may ask for `oldest`."""

    def __init__(self) -> None:
        #: Held ones, in order, and since when.
        self._held: dict[int, float] = {}
        #: All up to this one are settled,
        self._settled = 0
        #: and these above it.
        self._alone: set[int] = set()

    def __len__(self) -> int:
        return len(self._held)

    def came(self, tag: int, since: float) -> None:
        """A delivery is held from now on."""
        self._held[tag] = since

    def oldest(self) -> float | None:
        """Since when the oldest one is held."""
        # One step of the interpreter, so that no other thread comes in between.
        since = tuple(self._held.values())
        return since[0] if since else None

    def settle(self, tags: Iterable[int]) -> tuple[int, list[int]]:
        """Settle these; those that are not held are passed over.

        What is to be acknowledged: all up to the first (0: none), which is one of these tags, for the broker knows
        no tag twice; and then these alone.
        """
        new = self._take(tags)
        up_to, place = 0, 0
        while True:
            following = self._settled + 1
            if place < len(new) and new[place] == following:
                up_to, place = following, place + 1
            elif following in self._alone:
                self._alone.discard(following)
            else:
                break
            self._settled = following
        self._alone.update(new[place:])
        return up_to, new[place:]

    def give_back(self, tags: Iterable[int]) -> list[int]:
        """Settle these without acknowledging them; which of them were held, in order."""
        back = self._take(tags)
        self._alone.update(back)
        return back

    def clear(self) -> None:
        """All are settled or given back; no more will come."""
        self._held = {}

    def _take(self, tags: Iterable[int]) -> list[int]:
        held = self._held
        taken = sorted({tag for tag in tags if tag in held})
        for tag in taken:
            del held[tag]
        return taken
