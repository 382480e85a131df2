"""What the README says of many machines, typed: the bus runs, and a request goes through all of it."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from bus.bench.services import PostgresNode, RabbitNode
from tests.support.demo_workspace import ROOT
from tests.support.waiting import wait_for
from tests.support.workspaces.copies import copy_of_repository

README = (ROOT / "README.md").read_text(encoding="utf-8")
#: Seconds for a program to start, on a machine that is busy with other suites.
START = 60.0


def lines() -> list[str]:
    """The commands of the block, without what is said of them."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    (block,) = (block for block in blocks if "bus topology export" in block)
    return [line.partition("#")[0].strip() for line in block.splitlines() if line]


class Machine:
    """Where somebody types, in a workspace whose environment ``prod`` is that of the README on nodes of our own."""

    def __init__(self, folder: Path, rabbit: RabbitNode, postgres: PostgresNode) -> None:
        self.workspace, _ = copy_of_repository(folder)
        (block,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
        told = yaml.safe_load(block)
        self._answer(told, rabbit, postgres)
        (self.workspace / "env" / "prod.yaml").write_text(yaml.safe_dump(told), encoding="utf-8")
        own = {name: value for name, value in os.environ.items() if not name.startswith("BUS_")}
        programs = str(Path(sys.executable).parent)
        self._environment = own | {"BUS_ENV": "prod", "PATH": os.pathsep.join((programs, own["PATH"]))}
        self._log = (folder / "log").open("wb")
        self._serving: list[subprocess.Popen[bytes]] = []

    def _answer(self, told: Any, rabbit: RabbitNode, postgres: PostgresNode) -> None:
        """Other addresses, systems that are simulated, one node, no TLS; all else as the page has it."""
        admin = rabbit.admin
        for agency in told["agencies"].values():
            agency["use"] = agency["use"].replace("real", "simulator")
        told["broker"] |= {"url": admin.url("bus"), "replicas": 1}
        del told["broker"]["ca"]
        told["broker"]["management"] |= {"url": admin.management, "user": admin.user}
        told["store"]["url"] = postgres.make_database("readme")
        passwords = re.findall(r"secrets/(\w+)}", README)
        vault = self.workspace / "secrets"
        vault.mkdir()
        for name in passwords:
            (vault / name).write_text(secrets.token_hex(32), encoding="ascii")
        (vault / "broker_administrator").write_text(admin.password, encoding="ascii")

    def types(self, line: str) -> subprocess.CompletedProcess[str]:
        """The command, and what came of it."""
        return subprocess.run(
            ["bash", "-c", line],
            cwd=self.workspace,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=START,
        )

    def serves(self, line: str) -> None:
        """The command in a terminal of its own."""
        port = " --port 0" if "gateway" in line else ""
        where: dict[str, Any] = {"cwd": self.workspace, "env": self._environment, "start_new_session": True}
        self._serving.append(
            subprocess.Popen(["bash", "-c", f"exec {line}{port}"], stdout=self._log, stderr=self._log, **where)
        )

    def all_serve(self) -> bool:
        """Whether none of them has ended."""
        return all(one.poll() is None for one in self._serving)

    def stop(self) -> list[int]:
        """Ctrl-C in every terminal; how each ended."""
        for one in self._serving:
            if one.poll() is None:
                one.send_signal(signal.SIGINT)
        codes = [one.wait(START) for one in self._serving]
        self._log.close()
        return codes


@contextmanager
def machine(folder: Path) -> Iterator[Machine]:
    with RabbitNode(folder / "rabbit") as rabbit, PostgresNode(folder / "postgres") as postgres:
        made = Machine(folder, rabbit, postgres)
        try:
            yield made
        finally:
            made.stop()


@pytest.mark.timeout(300)
def test_every_command_for_many_machines_works_in_its_order(tmp_path: Path) -> None:
    with machine(tmp_path) as here:
        for line in lines():
            if line.startswith("bus serve"):
                here.serves(line)
            else:
                done = here.types(line)
                assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
        # The page has the host of one agency; the others are the same.
        here.serves("bus serve --role agency:tax_authority")

        wait_for("the gateway answers", lambda: here.types("bus health").returncode == 0, START)
        sample = ROOT / "docs" / "samples" / "open-business-at-home.json"
        done = here.types(f"bus submit open-business.v1 {sample} --as one_stop_shop --key case-1 --json")
        assert done.returncode == 0, done.stderr
        tracking = json.loads(done.stdout)["tracking"]
        show = f"bus request show {tracking} --as one_stop_shop --wait 20 --json"
        wait_for("its end", lambda: json.loads(here.types(show).stdout)["state"] == "completed", START)

        assert here.all_serve()
        assert "No differences." in here.types("bus topology check").stdout
        assert here.types("bus store recount").returncode == 0
        assert set(here.stop()) == {0}
