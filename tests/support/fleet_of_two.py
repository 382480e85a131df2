"""A fleet whose requests need two agencies, each with a host and a legacy system of its own."""

from __future__ import annotations

import json
import re
import secrets
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from adapters.tax_authority.simulator import Place, Simulator
from bus.bench.services import PostgresNode, RabbitNode
from bus.bootstrap import simulator_folder
from bus.simulator import Ledger
from tests.support.demo_workspace import ROOT
from tests.support.fleet import ROLES, Fleet
from tests.support.waiting import wait_for

TAX = "tax_authority"
#: The process of its host.
TAX_HOST = "tax-host"


class FleetOfTwo(Fleet):
    """The tax authority stands beside the registry, and outlives the bus as that does."""

    has_tax = True

    def __init__(self, folder: Path, rabbit: RabbitNode, postgres: PostgresNode, **more: Any) -> None:
        self.tax_data = folder / "tax"
        self._tax: subprocess.Popen[bytes] | None = None
        super().__init__(folder, rabbit, postgres, roles={**ROLES, TAX_HOST: (f"agency:{TAX}",)}, **more)

    def _write_environment(self) -> None:
        super()._write_environment()
        settings = Simulator.settings(simulator_folder(self.tax_data, TAX))
        vault = self.workspace / "secrets"
        (vault / TAX).write_text(secrets.token_hex(16), encoding="ascii")
        (vault / "clearance").write_text(str(settings["password"]), encoding="utf-8")
        settings |= {"timeout_s": 4, "password": {"file": "secrets/clearance"}}
        use = f"use: real, broker_password: {{file: secrets/{TAX}}}, settings: {json.dumps(settings)}"
        self._replace("env/test.yaml", rf"  {TAX}: .*", f"  {TAX}: {{{use}}}")
        self._replace(f"adapters/{TAX}/manifest.yaml", r"absence_proof_after: \w+", "absence_proof_after: 6s")

    def _replace(self, name: str, pattern: str, new: str) -> None:
        file = self.workspace / name
        text, count = re.subn(pattern, new, file.read_text(encoding="utf-8"))
        assert count, f"{name} has nothing like {pattern}"
        file.write_text(text, encoding="utf-8")

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "bus", "simulator", "run", TAX, "--workspace", str(self.workspace)]
        with self._log() as log:
            self._tax = subprocess.Popen(
                [*command, "--env", "test", "--data", str(self.tax_data)], cwd=ROOT, stdin=subprocess.PIPE, stderr=log
            )
        try:
            wait_for("the tax authority listens", self._tax_listens)
            return super().__enter__()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *ended: object) -> None:
        super().__exit__(*ended)
        if self._tax is not None:
            self._tax.kill()
            self._tax.communicate()

    def _tax_listens(self) -> bool:
        port = Place.of(simulator_folder(self.tax_data, TAX)).port
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    @property
    def tax_ledger(self) -> Ledger:
        """What really happened at the tax authority."""
        return Ledger(simulator_folder(self.tax_data, TAX) / "ledger.db")
