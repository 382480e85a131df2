"""The processes of an installation, killed and started again, and whoever asks its gateway."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import IO, Self

from bus import killpoint
from bus.bootstrap import simulator_folder
from bus.client import Client
from bus.errors import BusError
from bus.killpoint import KillPoint
from tests.support.demo_workspace import DESK, PORTAL, QUERYABLE, REGISTRY, ROOT, shorten, without_tax
from tests.support.waiting import StuckError, wait_for
from tests.support.workspaces.copies import copy_of_repository


class InstallationProcesses:
    """Killed and started again as often as a test wants; folder, data and workspace stay.

    Bus and registry are two processes; the bus has a session of its own, so that a kill reaches it and nobody else.
    """

    #: Whether the route has its tax clearance; without it the registry is the only system that is asked.
    has_tax = False

    def __init__(self, folder: Path, *, repeat: str = QUERYABLE, intervals: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.workspace, _ = copy_of_repository(folder)
        if not self.has_tax:
            without_tax(self.workspace)
        shorten(self.workspace, repeat, {"lease": "1s", **(intervals or {})})
        self.data = folder / "data"
        #: Not below the bus's own data, where it keeps the stand-in that tests go to.
        self.registry_data = folder / "registry"
        self._reach_registry()
        self.kills = folder / "kills"
        self.kills.mkdir()
        self.log = folder / "bus.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.registry: subprocess.Popen[bytes] | None = None
        #: How often the bus died of an armed point, and what the next deaths arm before the start that follows.
        self.deaths = 0
        self.after_deaths: deque[tuple[KillPoint, ...]] = deque()
        self._clients: dict[str | None, Client] = {}
        #: All of them, so that none outlives a test that fails.
        self._spawned: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        for spawned in self._spawned:
            spawned.kill()
            spawned.wait()
        self.kill_registry()

    # --- the legacy system ------------------------------------------------------------------------------------------

    def _reach_registry(self) -> None:
        """The registry stands beside the bus, as legacy systems do: it lives on when the bus dies."""
        file = self.workspace / "env" / "test.yaml"
        database = json.dumps(str(simulator_folder(self.registry_data, REGISTRY) / "registry.db"))
        text, count = re.subn(
            rf"{REGISTRY}: {{use: simulator}}",
            f"{REGISTRY}: {{use: real, settings: {{database: {database}, timeout_s: 0.7, busy_s: 0.2}}}}",
            file.read_text(encoding="utf-8"),
        )
        assert count == 1
        file.write_text(text, encoding="utf-8")

    def start_registry(self) -> None:
        """Run the registry, and wait until it works off orders."""
        simulator_folder(self.registry_data, REGISTRY).mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "bus", "simulator", "run", REGISTRY, "--workspace", str(self.workspace)]
        with self._log() as log:
            self.registry = subprocess.Popen(
                [*command, "--env", "test", "--data", str(self.registry_data)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stderr=log,
            )
        wait_for("the registry works", self._registry_answers)

    def _registry_answers(self) -> bool:
        """Whether it answers an order that makes no sense; such an order changes nothing."""
        try:
            uri = f"{(simulator_folder(self.registry_data, REGISTRY) / 'registry.db').as_uri()}?mode=rw"
            with closing(sqlite3.connect(uri, uri=True, timeout=1, isolation_level=None)) as client:
                number = client.execute("INSERT INTO CRIFIN (ITXN, IREF) VALUES ('PING', '')").lastrowid
                asked = "SELECT count(*) FROM CRIFOUT WHERE OSEQ = ?"
                return wait_for("its answer", lambda: bool(client.execute(asked, (number,)).fetchone()[0]), 1)
        except (sqlite3.Error, StuckError):
            return False

    def kill_registry(self) -> None:
        """The registry loses its power."""
        if self.registry is not None:
            self.registry.kill()
            self.registry.communicate()
            self.registry = None

    # --- living and dying -------------------------------------------------------------------------------------------

    def spawn(self) -> subprocess.Popen[bytes]:
        """`bus serve` as a new process, whose words go to the log."""
        return self.serve("--data", str(self.data), "--log-level", "debug")

    def serve(self, *options: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """`bus serve` with these options and variables, and none of the variables that the tests run with."""
        command = [sys.executable, "-m", "bus", "serve", "--workspace", str(self.workspace), "--env", "test"]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("BUS_")}
        with self._log() as log:
            spawned = subprocess.Popen(
                [*command, "--port", "0", *options],
                cwd=ROOT,
                env={**clean, "BUS_KILL_DIR": str(self.kills), **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._spawned.append(spawned)
        return spawned

    def _log(self) -> IO[bytes]:
        return self.log.open("ab")

    def start(self) -> None:
        """Start, and wait until the gateway answers; a death on the way (an armed point) starts it again."""
        self._forget_clients()
        if self.registry is None:
            self.start_registry()
        while True:
            (self.data / "url").unlink(missing_ok=True)
            self.process = self.spawn()
            if wait_for("the gateway answers", self._up_or_dead) == "up":
                return
            self._died()

    def _up_or_dead(self) -> str | None:
        if not self.is_alive:
            return "dead"
        try:
            self.client(None).health()
        except (OSError, BusError):
            self._forget_clients()
            return None
        return "up"

    @property
    def is_alive(self) -> bool:
        """Whether the bus still runs."""
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """The machine of the bus loses its power."""
        self._end_group()
        self._forget_clients()

    def restart(self) -> None:
        """Kill, whether or not it is dead already, and start."""
        self.kill()
        self.start()

    def terminate(self, within: float) -> int:
        """Tell the bus to stop; its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(within)
        self.process = None
        self._forget_clients()
        return code

    def revive(self) -> bool:
        """Start it again if an armed point has killed it; whether that was so."""
        if self.is_alive:
            return False
        self._died()
        self.start()
        return True

    def _died(self) -> None:
        assert self.process is not None
        code = self.process.wait()
        if code != -signal.SIGKILL:
            raise StuckError(f"the bus ended by itself with {code}; {self.last_words()}")
        self.deaths += 1
        self._end_group()
        for point in self.after_deaths.popleft() if self.after_deaths else ():
            self.arm(point)

    def _end_group(self) -> None:
        if self.process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None

    def last_words(self) -> str:
        """The end of the log."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])

    def arm(self, point: KillPoint, time: int = 1) -> None:
        """Let the bus die there, once."""
        killpoint.arm(self.kills, point, time)

    @property
    def armed(self) -> set[str]:
        """Points that have killed nobody yet."""
        return {file.name for file in self.kills.iterdir() if not file.name.startswith(".")}

    def disarm(self) -> None:
        """Let everything pass."""
        self.after_deaths.clear()
        for name in self.armed:
            (self.kills / name).unlink(missing_ok=True)

    def wait_for_death(self) -> None:
        """Wait until an armed point has killed the bus."""
        wait_for(f"the bus dies of {sorted(self.armed)}", lambda: not self.is_alive)

    # --- who asks ---------------------------------------------------------------------------------------------------

    def client(self, agency: str | None) -> Client:
        """The gateway, asked for that agency; None: by those who run the bus."""
        if agency not in self._clients:
            url = (self.data / "url").read_text(encoding="utf-8").strip()
            token = (self.data / "token").read_text(encoding="utf-8").strip()
            self._clients[agency] = Client(url, token, agency=agency)
        return self._clients[agency]

    @property
    def portal(self) -> Client:
        """The one-stop shop."""
        return self.client(PORTAL)

    @property
    def clerk(self) -> Client:
        """A clerk of the municipality."""
        return self.client(DESK)

    @property
    def operator(self) -> Client:
        """Who runs the bus."""
        return self.client(None)

    def _forget_clients(self) -> None:
        for client in self._clients.values():
            client.close()
        self._clients.clear()
