"""A tax authority that writes the wrong code page: the answer is kept, and read again once the setting is mended."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from adapters.tax_authority.simulator import Simulator
from bus.bootstrap import simulator_folder
from bus.simulator import Control, Ledger, Misbehaviour
from tests.support.demo_workspace import ROOT, SERVICE, application
from tests.support.installation import Installation
from tests.support.waiting import wait_for

TAX = "tax_authority"
ISSUE, CANCEL = "clearance.issue.v1", "clearance.cancel.v1"
OFFICE = "مأمورية ضرائب المنصورة"


class TaxedInstallation(Installation):
    """The tax authority stands beside the bus too, as a real system with a user and a secret password."""

    has_tax = True

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.tax_folder = simulator_folder(folder / "tax", TAX)
        self._settings = Simulator.settings(self.tax_folder)
        (self.workspace / "secrets").mkdir()
        (self.workspace / "secrets" / "tax").write_text(self._settings["password"] + "\n", encoding="utf-8")
        self._tax: subprocess.Popen[bytes] | None = None
        self.reach_tax()

    def reach_tax(self, **more: str) -> None:
        """Say in the environment how the authority is reached; ``more`` are further settings."""
        file = self.workspace / "env" / "test.yaml"
        kept = {**self._settings, "timeout_s": 1, "password": {"file": "secrets/tax"}, **more}
        text, count = re.subn(
            rf"  {TAX}: .*", f"  {TAX}: {{use: real, settings: {json.dumps(kept)}}}", file.read_text(encoding="utf-8")
        )
        assert count == 1
        file.write_text(text, encoding="utf-8")

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "bus", "simulator", "run", TAX, "--workspace", str(self.workspace)]
        self._tax = subprocess.Popen(
            [*command, "--env", "test", "--data", str(self.folder / "tax")], cwd=ROOT, stdin=subprocess.PIPE
        )
        try:
            return super().__enter__()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *ended: object) -> None:
        super().__exit__(*ended)
        if self._tax is not None:
            self._tax.kill()
            self._tax.communicate()

    @property
    def tax_control(self) -> Control:
        return Control(self.tax_folder / "control.db")

    @property
    def tax_ledger(self) -> Ledger:
        return Ledger(self.tax_folder / "ledger.db")

    def begin(self, key: str, number: str = "28501011234567") -> str:
        """Submit an application of this person; the request's id."""
        data = application(f"مخبز {key}", premises=False)
        data["applicant"]["national_id"] = number
        return str(self.insist(lambda: self.portal.submit(SERVICE, data, key=key))["request_id"])

    def step(self, request: str) -> str:
        """Where the tax step stands."""
        steps = self.insist(lambda: self.operator.request_show(request))["steps"]
        return str(next(step["state"] for step in steps if step["step"] == "tax"))


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[TaxedInstallation]:
    with TaxedInstallation(tmp_path) as bus:
        yield bus


def test_an_answer_in_the_wrong_page_parks_with_its_bytes_and_is_read_again_after_the_mend_without_a_second_call(
    bus: TaxedInstallation,
) -> None:
    # Given an authority that issues the certificate and answers in Arabic Windows under a declaration of utf-8
    with bus.tax_control as control:
        control.arm(Misbehaviour.WRONG_ENCODING, operation=ISSUE)
    request = bus.begin("page")
    failure = bus.wait_for_failure("answer_unreadable", request_id=request)
    # Then the step waits for a person, who sees that it happened, and where the answer is broken
    assert bus.step(request) == "parked"
    shown = bus.operator.failure_show(int(failure["failure"]))
    assert (shown["effect"], shown["legacy_code"]) == ("done", "HTTP 200")
    assert re.search(r"byte [0-9]+ of the body \(0x[0-9A-F]{2}\)", shown["agency_says"]["en"])
    assert "read_as" in shown["agency_says"]["ar"]
    assert OFFICE not in json.dumps(shown, ensure_ascii=False)
    # When it is tried again without a mend, it waits on, and nobody was called
    bus.operator.failure_replay(int(failure["failure"]), reason="perhaps it works now")
    again = wait_for("it parks again", lambda: parked_anew(bus, request, int(failure["failure"])))
    # When the page is named in the settings, the host comes again, and the failure is replayed
    bus.terminate(15)
    bus.reach_tax(read_as="windows-1256")
    bus.start()
    bus.operator.failure_replay(again, reason="the page is named now")
    # Then the kept answer is read, the request goes on to its end, and the authority did its work once
    assert bus.drive(request) == "completed"
    results = bus.portal.result_list(most=100)["items"]
    [data] = [one["message"]["data"] for one in results if one["request_id"] == request]
    [entry] = bus.tax_ledger.entries()
    assert data["result"]["tax_certificate"] == entry.made
    assert (entry.operation, bus.tax_ledger.counts()) == (ISSUE, {entry.reference: 1})
    with bus.store() as store:
        assert store.recount() == ()


def parked_anew(bus: TaxedInstallation, request: str, before: int) -> int | None:
    """The open failure of the step, if it parked once more."""
    facts = [fact for fact in bus.told(request).splitlines() if "parked" in fact and " tax/" in fact]
    if len(facts) < 2 or bus.step(request) != "parked":
        return None
    listed = [one for one in bus.failures() if one["request_id"] == request and one["code"] == "answer_unreadable"]
    return int(listed[-1]["failure"]) if listed else before


def test_an_outage_a_lost_answer_and_a_paper_that_is_missing_end_well_with_one_certificate_each(
    bus: TaxedInstallation,
) -> None:
    # Given an authority that is down, and one whose answer is lost
    with bus.tax_control as control:
        control.arm(Misbehaviour.DOWN, seconds=1.5)
        control.arm(Misbehaviour.EFFECT_THEN_TIMEOUT, operation=ISSUE)
    down = bus.begin("down")
    assert bus.drive(down) == "completed"
    # And a person who has several tax files
    missing = bus.begin("missing", number="92000000000003")
    wait_for("the applicant is asked", lambda: bus.portal.request_show(missing)["waiting_for"] == "applicant")
    assert bus.step(missing) == "returned"
    bus.portal.request_supplement(missing, {"/taxpayer_number": "123456789"})
    assert bus.drive(missing) == "completed"
    assert sorted(bus.tax_ledger.counts().values()) == [1, 1]


def test_the_authoritys_no_ends_the_request_and_a_certificate_that_nobody_needs_is_cancelled(
    bus: TaxedInstallation,
) -> None:
    # A person with debts: refused, and the name that was reserved is free again
    refused = bus.begin("debts", number="92000000000002")
    assert bus.drive(refused) == "rejected"
    assert bus.tax_ledger.entries() == ()
    # A person whom the registry may not register: the certificate is cancelled
    barred = bus.begin("barred", number="94000000000002")
    assert bus.drive(barred) == "rejected"
    issued, cancelled = bus.tax_ledger.entries()
    assert (issued.operation, cancelled.operation) == (ISSUE, CANCEL)
    assert issued.made == cancelled.made
