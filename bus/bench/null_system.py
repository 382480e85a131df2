"""The adapter of a legacy system that does nothing, at once. Copied into the workspaces that benchmarks lay out."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from bus.adapter import Adapter, Completed, Reply, Task


class NullSystem(Adapter):
    """A legacy system that does nothing, at once."""

    def prepare(self, operation: str, tasks: Sequence[Task]) -> tuple[bytes, ...]:
        """The data as it is."""
        return tuple(orjson.dumps(task.data) for task in tasks)

    def call(self, operation: str, native: Sequence[bytes]) -> tuple[bytes, ...]:
        """The same bytes back."""
        return tuple(native)

    def read(self, operation: str, raw: Sequence[bytes]) -> tuple[Reply, ...]:
        """Completed, with what was sent."""
        return tuple(Completed(data=orjson.loads(answer)) for answer in raw)
