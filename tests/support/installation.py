"""A whole installation in processes of its own: a copy of the demo workspace, `bus serve`, the registry, its data."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from bus.bootstrap import simulator_folder
from bus.client import Json
from bus.errors import BusError, ConflictError, NotFoundError, TransientError
from bus.message.identity import request_id
from bus.simulator import Control, Ledger
from bus.stores.sqlite import SqliteStore
from tests.support.demo_workspace import ALWAYS_FREE, PORTAL, REGISTRY, ROOT, SERVICE, application
from tests.support.installation_processes import InstallationProcesses
from tests.support.waiting import StuckError, wait_for


class Installation(InstallationProcesses):
    """An installation whose people submit, answer and cancel, and whose truth a test may look at."""

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
