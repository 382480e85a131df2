"""A program that stays is told to stop by a signal, and does, wherever the signal finds it."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
#: Seconds after which a stop that got lost is asked for again.
_AGAIN = 0.1


def stop_on_signals() -> None:
    """From now on SIGTERM and SIGINT end the program with `SystemExit`, through every ``with`` on the way out.

    Python runs a handler wherever the main thread is. Where nothing can be raised, as while an object goes, Python
    drops the exception and tells its hook for such: then the stop is asked for again. To be called in the main thread,
    after whatever else sets that hook.
    """
    for told in _SIGNALS:
        signal.signal(told, _leave)
    signal.signal(signal.SIGALRM, _ask_again)
    otherwise = sys.unraisablehook

    def lost(what: sys.UnraisableHookArgs) -> None:
        if isinstance(what.exc_value, SystemExit):
            signal.setitimer(signal.ITIMER_REAL, _AGAIN)
        else:
            otherwise(what)

    sys.unraisablehook = lost


def _leave(_signal: int, _frame: FrameType | None) -> None:
    """Leave, and let every role drain on the way out. The gateway gives a signal that ended it back to us."""
    for told in _SIGNALS:
        # Draining has a bound of its own; a second signal must not cut it short.
        signal.signal(told, signal.SIG_IGN)
    raise SystemExit(0)


def _ask_again(_signal: int, _frame: FrameType | None) -> None:
    # The gateway's server may have put handlers of its own in the meantime: these end it in its own way.
    for told in _SIGNALS:
        if signal.getsignal(told) is signal.SIG_IGN:
            signal.signal(told, _leave)
    signal.raise_signal(signal.SIGTERM)
