"""A whole installation in processes of its own: a copy of the demo workspace, `bus serve`, the registry, its data."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import IO, Self, TypeVar

from bus import killpoint
from bus.bootstrap import simulator_folder
from bus.client import Client, Json
from bus.errors import BusError, ConflictError, NotFoundError, TransientError
from bus.killpoint import KillPoint
from bus.message.identity import request_id
from bus.simulator import Control, Ledger
from bus.stores.sqlite import SqliteStore
from tests.support.workspaces.copies import copy_of_repository

ROOT = Path(__file__).parents[2]
SERVICE = "open-business.v1"
PORTAL, REGISTRY, DESK = "one_stop_shop", "commercial_registry", "municipality"
#: A test person's trade name, which the registry never finds taken: a second reservation of it really happens.
ALWAYS_FREE = "مؤسسة سلمى للعطور"
#: Seconds within which anything that a test waits for has happened, also on a busy machine.
PATIENCE = 40.0
#: Seconds between two looks.
_LOOK = 0.02

#: What the registry's operations say of trying again, where a test wants nothing else.
QUERYABLE = "{queryable: {absence_proof_after: 2s}}"
#: File, pattern, and what takes its place: a call lasts a second at most.
_SHORT = ((f"adapters/{REGISTRY}/manifest.yaml", r"timeout: \w+", "timeout: 1s"),)

T = TypeVar("T")


def shorten(workspace: Path, repeat: str, intervals: Mapping[str, str]) -> None:
    """Make waiting short in a copy of the workspace; every operation of the registry may be repeated as told."""
    manifest = (f"adapters/{REGISTRY}/manifest.yaml", r"repeat: .+", f"repeat: {repeat}")
    settings = [("env/test.yaml", rf"{name}: \w+", f"{name}: {value}") for name, value in intervals.items()]
    file = workspace / "env" / "test.yaml"
    said = file.read_text(encoding="utf-8")
    # Its intervals stand last.
    more = "".join(f"  {name}: 1\n" for name in intervals if f"  {name}: " not in said)
    file.write_text(said + more, encoding="utf-8")
    for name, pattern, new in (*_SHORT, manifest, *settings):
        file = workspace / name
        text, count = re.subn(pattern, new, file.read_text(encoding="utf-8"))
        assert count, f"{name} has nothing like {pattern}"
        file.write_text(text, encoding="utf-8")


def without_tax(workspace: Path) -> None:
    """Take the tax clearance out of a copy of the workspace: what fails in a test is the registry, and nobody else."""
    cuts = (
        ("routes.yaml", r"(?m)^      tax:\n(?:        .*\n)+", ""),
        ("routes.yaml", r"needs: \[name, tax, permit\]", "needs: [name, permit]"),
        ("routes.yaml", r"(?m)^      tax_certificate: .*\n", ""),
        ("env/test.yaml", r"tax_authority: \{use: simulator\}", "tax_authority: {use: closed}"),
    )
    for name, pattern, new in cuts:
        file = workspace / name
        text, count = re.subn(pattern, new, file.read_text(encoding="utf-8"))
        assert count == 1, f"{name} has nothing like {pattern}"
        file.write_text(text, encoding="utf-8")


class StuckError(AssertionError):
    """Something that must happen did not; the text says what, and how things stand."""


def wait_for(what: str, look: Callable[[], T | None], within: float = PATIENCE) -> T:
    """The first thing that ``look`` sees; a StuckError after ``within`` seconds without any."""
    end = time.monotonic() + within
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > end:
            raise StuckError(f"not seen within {within:.0f} s: {what}")
        time.sleep(_LOOK)


class Installation:
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
        command = [sys.executable, "-m", "bus", "serve", "--workspace", str(self.workspace), "--env", "test"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("BUS_")}
        with self._log() as log:
            spawned = subprocess.Popen(
                [*command, "--data", str(self.data), "--port", "0", "--log-level", "debug"],
                cwd=ROOT,
                env={**environment, "BUS_KILL_DIR": str(self.kills)},
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

    # --- ground truth -----------------------------------------------------------------------------------------------

    @property
    def control(self) -> Control:
        """Orders for the registry's simulator."""
        return Control(simulator_folder(self.registry_data, REGISTRY) / "control.db")

    @property
    def ledger(self) -> Ledger:
        """What really happened at the registry."""
        return Ledger(simulator_folder(self.registry_data, REGISTRY) / "ledger.db")

    @property
    def journal(self) -> Path:
        """The file of the registry's journal."""
        return self.data / "journals" / f"{REGISTRY}.db"

    def lose_journal(self) -> None:
        """Its disk is gone. Only while the bus is dead."""
        assert not self.is_alive
        for file in self._journal_files():
            file.unlink(missing_ok=True)

    def save_journal(self, backup: Path) -> None:
        """Back the journal up. Only while the bus is dead."""
        assert not self.is_alive
        backup.mkdir()
        for file in self._journal_files():
            if file.exists():
                shutil.copy2(file, backup)

    def put_back_journal(self, backup: Path) -> None:
        """Put a backup back by hand, and tell nobody. Only while the bus is dead."""
        self.lose_journal()
        for file in backup.iterdir():
            shutil.copy2(file, self.journal.parent)

    def _journal_files(self) -> list[Path]:
        # The third file of SQLite is an index of the second, and is made anew.
        return [self.journal, self.journal.with_name(self.journal.name + "-wal")]

    def restore_journal(self) -> None:
        """`bus agency restore`, after a backup was put back."""
        command = [sys.executable, "-m", "bus", "agency", "restore", REGISTRY, "--data", str(self.data)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)

    def known_journal(self) -> str:
        """The journal of the registry's host that the bus has admitted."""
        agencies = self.insist(lambda: self.client(None).agency_list())["items"]
        return str(next(agency["journal_id"] for agency in agencies if agency["agency"] == REGISTRY))

    def retire_journal(self) -> None:
        """The operator declares the known journal lost, so that another may take its place."""
        known = self.known_journal()
        self.insist(lambda: self.operator.agency_retire(REGISTRY, journal=known))

    def wait_for_failure(self, code: str, **more: str) -> Json:
        """The first failure that operators see with this code and these members."""

        def seen() -> Json | None:
            wanted = {"code": code, **more}
            return next((one for one in self.failures() if wanted.items() <= one.items()), None)

        return wait_for(f"a failure {code}", seen)

    def store(self) -> closing[SqliteStore]:
        """A look into the store, beside the bus."""
        return closing(SqliteStore(self.data / "store.db"))

    # --- a request's life -------------------------------------------------------------------------------------------

    def submit(self, key: str, *, premises: bool = True, name: str = ALWAYS_FREE) -> str:
        """Submit until there is a receipt, always under the same key; the request's id."""
        data = application(name, premises=premises)
        return str(self.insist(lambda: self.portal.submit(SERVICE, data, key=key))["request_id"])

    def submit_to_death(self, key: str, *, premises: bool = True, name: str = ALWAYS_FREE) -> str:
        """Submit while a point is armed, and see the bus die of it, with a receipt or without; the request's id."""
        with suppress(BusError):
            self.portal.submit(SERVICE, application(name, premises=premises), key=key)
        self.wait_for_death()
        return request_id((self.data / "secret").read_bytes(), PORTAL, key)

    def insist(self, ask: Callable[[], Json]) -> Json:
        """Ask until there is an answer, starting the bus again when it dies of an armed point."""

        def answer() -> Json | None:
            if self.revive():
                return None
            try:
                return ask()
            except TransientError:
                return None

        return wait_for("an answer of the gateway", answer)

    def state(self, request: str) -> str:
        """Where the request stands."""
        return str(self.insist(lambda: self.operator.request_show(request))["state"])

    def desk_row(self, request: str) -> Json | None:
        """The row that waits for the clerk, if there is one."""
        rows = self.insist(lambda: self.clerk.desk_list(most=200))["items"]
        return next((row for row in rows if row["request_id"] == request), None)

    def wait_for_desk(self, request: str) -> str:
        """The number of the row that waits for the clerk, once there is one."""
        return str(wait_for("the clerk's task", lambda: self.desk_row(request))["row"])

    def drive(self, request: str) -> str:
        """Answer for clerk and applicant until the request has ended; its outcome."""

        def moved() -> str | None:
            view = self.insist(lambda: self.portal.request_show(request))
            if view["state"] not in {"open", "closing"}:
                return str(view["state"])
            if view["waiting_for"] == "applicant":
                self.supplement(request)
            elif row := self.desk_row(request):
                self.grant(str(row["row"]))
            return None

        try:
            return wait_for(f"the end of {request}", moved)
        except StuckError as error:
            raise StuckError(f"{error}\n{self.told(request)}\n{self.last_words()}") from None

    def grant(self, row: str) -> None:
        """The clerk answers; what has moved meanwhile is no matter."""
        self._once(lambda: self.clerk.desk_claim(int(row)))
        self._once(lambda: self.clerk.desk_answer(int(row), {"permit_number": "P-7", "valid_until": "2031-12-31"}))

    def send_back(self, row: str) -> None:
        """The clerk asks for the number of the lease."""
        text = {"en": "The number of the lease is missing.", "ar": "رقم عقد الإيجار ناقص."}
        need = {"pointer": "/lease_number", "reason_code": "lease_missing", "text": text}
        self._once(lambda: self.clerk.desk_claim(int(row)))
        self._once(lambda: self.clerk.desk_return(int(row), needs=[need]))

    def refuse(self, row: str) -> None:
        """The clerk says no."""
        text = {"en": "Not in this street.", "ar": "غير مسموح في هذا الشارع."}
        self._once(lambda: self.clerk.desk_claim(int(row)))
        self._once(lambda: self.clerk.desk_refuse(int(row), reason_code="zoning", text=text))

    def supplement(self, request: str) -> None:
        """The applicant brings the number of the lease."""
        self._once(lambda: self.portal.request_supplement(request, {"/lease_number": "L-42"}))

    def cancel(self, request: str) -> None:
        """The applicant takes the request back."""
        self._once(lambda: self.portal.request_cancel(request, reason="changed my mind"))

    def _once(self, ask: Callable[[], Json]) -> None:
        """A command whose answer may be lost after it counted: then asking again is a conflict, and that is fine."""
        with suppress(ConflictError, NotFoundError):
            self.insist(ask)

    def failures(self) -> list[Json]:
        """What the operators see."""
        return list(self.insist(lambda: self.operator.failure_list(most=200))["items"])

    def codes(self) -> set[str]:
        """The codes of what the operators see."""
        return {str(failure["code"]) for failure in self.failures()}

    def told(self, request: str) -> str:
        """The facts of a request, a line each."""
        with self.store() as store:
            return "\n".join(
                f"{fact.version} {fact.kind} {fact.step or ''}/{fact.step_kind or ''} {dict(fact.changes)}"
                for fact in store.facts(request)
            )


def application(name: str = ALWAYS_FREE, *, premises: bool = True) -> Json:
    """What a citizen asks for, under this trade name."""
    place = {"premises": {"address": "شارع السكة الجديدة ٧، المنصورة"}} if premises else {}
    return {
        "applicant": {"national_id": "28501011234567", "name": "سلمى عبد الرحمن", "birth_date": "1985-01-01"},
        "business": {"name": name, "kind": "sole", **place},
    }
