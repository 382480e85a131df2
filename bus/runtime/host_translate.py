"""The pure halves of an adapter under guard: one bad task or answer never sinks its neighbours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar, get_args

from bus.adapter import Adapter, Declined, Task
from bus.errors import InvalidMessageError
from bus.message.contract import Contracts
from bus.message.replies import reply_to_data
from bus.message.reply import Completed, Effect, Failed, Refused, Reply, Returned
from bus.receiver.failure import failed

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")
_REPLIES = get_args(Reply)


def prepare(adapter: Adapter, operation: str, tasks: Sequence[Task]) -> list[bytes | Declined | Failed]:
    """The native form of each task, or the answer that needs no call; ``prepare_failed`` where the adapter breaks."""

    def work(part: Sequence[Task]) -> Sequence[bytes | Declined]:
        native = adapter.prepare(operation, part)
        for one in native:
            if isinstance(one, Refused | Returned):
                # Raises where no message could carry it.
                reply_to_data(one)
            elif not isinstance(one, bytes):
                raise TypeError("prepare gave neither bytes nor an answer without a call")
        return native

    return _each(work, tasks, lambda: failed("prepare_failed"))


def read(adapter: Adapter, contracts: Contracts, operation: str, raw: Sequence[bytes]) -> list[Reply]:
    """What each raw answer means, in a form that a message can carry.

    An answer that the adapter cannot read, or whose reading breaks the operation's contract, is ``answer_unreadable``
    with effect done: the legacy system did answer.
    """

    def work(part: Sequence[bytes]) -> Sequence[Reply]:
        replies = adapter.read(operation, part)
        if not all(isinstance(one, _REPLIES) for one in replies):
            raise TypeError("read gave something else than replies")
        return replies

    unreadable = failed("answer_unreadable", Effect.DONE)
    replies = _each(work, raw, lambda: unreadable)
    return [reply if _is_sound(contracts, operation, reply) else unreadable for reply in replies]


def _each(
    work: Callable[[Sequence[_Item]], Sequence[_Made]], items: Sequence[_Item], mend: Callable[[], _Made | Failed]
) -> list[_Made | Failed]:
    """``work`` over all items; what raises, or answers with another length, is halved until the culprit is alone."""
    if not items:
        return []
    try:
        made = work(items)
        if len(made) == len(items):
            return list(made)
    except Exception:  # noqa: BLE001  (an adapter may raise anything; the culprit gets its own answer)
        made = ()
    if len(items) == 1:
        return [mend()]
    middle = len(items) // 2
    return [*_each(work, items[:middle], mend), *_each(work, items[middle:], mend)]


def _is_sound(contracts: Contracts, operation: str, reply: Reply) -> bool:
    try:
        if isinstance(reply, Completed):
            return contracts.accepts(f"operation/{operation}.output", reply.data)
        reply_to_data(reply)
    except (InvalidMessageError, ValueError, TypeError, KeyError):
        return False
    return True
