"""What every private service has in common: a folder, a life, and a look at whether it answers."""

from __future__ import annotations

import shutil
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar, Final, Self

from bus.bench.services.kept import Kept
from bus.bench.services.place import Image, Place, Start
from bus.bench.services.waiting import ServiceError, wait_until

#: The folder's part in which a service keeps what it was told.
_DATA: Final = "data"


class Node(ABC):
    """A service of its own in ``folder``, on ports that stay; it ends with this process, however that ends.

    Where a service needs more than one look until it is ready, or leaves something behind when it is killed, its own
    class says so; everything else about its life is here.
    """

    #: How it is called in errors.
    title: ClassVar[str]
    #: Seconds for a start on a busy machine.
    start_within: ClassVar[float]
    #: The signal that asks it to end as an operator does.
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, folder: Path, place: Place | Image) -> None:
        self.folder = folder.resolve()
        self.log = self.folder / "log" / f"{self.title.lower()}.log"
        self._place = place
        self._kept: Kept | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    # --- what each one says of itself -------------------------------------------------------------------------------

    @abstractmethod
    def _command(self) -> Start:
        """How its program is started."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it takes connections."""

    def _prepare(self) -> None:
        """Make the folder what the program expects; called before every start, with the data that it had."""
        self._own(self.folder)

    def _started(self) -> None:
        """What is to be done, and waited for, once it takes connections."""

    # --- its life ---------------------------------------------------------------------------------------------------

    @property
    def pids(self) -> Sequence[int]:
        """Its first process, then what that started."""
        return self._kept.pids() if self._kept else ()

    def start(self) -> None:
        """Start it, with the data that it had; returns when it takes connections. Nothing happens where it runs."""
        if self._kept and self._kept.alive:
            return
        self._prepare()
        self._kept = Kept(self._command(), self.log, stop=self.stop_signal)
        with ExitStack() as failed:
            failed.callback(self.kill)
            self._wait(f"{self.title} starts", self._answers, self.start_within)
            self._started()
            failed.pop_all()

    def kill(self) -> None:
        """End all of it with SIGKILL: a crash."""
        if self._kept:
            self._kept.kill()

    def stop(self) -> None:
        """Shut it down as an operator does, while clients are connected."""
        if self._kept:
            self._kept.stop()

    def restart(self) -> None:
        """Shut it down and start it again."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Stop every process of it where it stands: it is there, and answers nobody."""
        self._running().pause()

    def resume(self) -> None:
        """Let it go on."""
        self._running().resume()

    def wipe(self) -> None:
        """Kill it, and start it empty on the same ports."""
        self.kill()
        shutil.rmtree(self.folder / _DATA)
        self.start()

    # --- for those who are one --------------------------------------------------------------------------------------

    def _inside(self, name: str) -> str:
        """A part of the folder, as the programs see it."""
        return str((self._place.folder_inside or self.folder) / name)

    def _own(self, folder: Path) -> None:
        """Make a folder into which the programs may write."""
        folder.mkdir(parents=True, exist_ok=True)
        self._place.owned(folder)

    def _wait(self, what: str, look: Callable[[], bool], within: float) -> None:
        """Until it is so; ServiceError with the end of the log if it never is, or the program ends."""
        wait_until(what, look, within=within, log=self.log, alive=lambda: self._running().alive)

    def _running(self) -> Kept:
        if self._kept is None:
            raise ServiceError(f"{self.title} was not started. Mend: use the node in a with statement.")
        return self._kept
