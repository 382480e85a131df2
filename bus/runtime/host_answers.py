"""What came of a call or a look-up that was started on the lane."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from bus.adapter import AgencyUnavailableError
from bus.message.reply import Reply, Unknown
from bus.receiver.failure import failed

_Answer = TypeVar("_Answer")


class NotBegunError(Exception):
    """The lease had run out before the first byte: no byte was sent."""


def answers_of(future: Future[Any] | None, count: int, kinds: tuple[type[_Answer], ...]) -> Sequence[_Answer]:
    """The answers on a future that came in time, if there is one of the right kind for each item; else none."""
    if future is None or future.exception() is not None:
        return ()
    answers = future.result()
    if not isinstance(answers, Sequence) or len(answers) != count:
        return ()
    return answers if all(isinstance(answer, kinds) for answer in answers) else ()


def error_of(future: Future[Any] | None) -> BaseException | None:
    """What was raised; None for whatever did not end in time."""
    return None if future is None else future.exception()


def without_answers(future: Future[Any] | None, *, safe: bool) -> Reply:
    """What a call without usable answers came to: no effect only where no byte was sent, or none can follow."""
    error = error_of(future)
    if isinstance(error, AgencyUnavailableError):
        return failed("unavailable")
    if isinstance(error, NotBegunError):
        return failed("not_begun")
    return failed("call_failed") if safe else Unknown()
