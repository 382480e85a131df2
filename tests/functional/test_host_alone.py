"""An agency's host, inside the agency: it loads nothing of the bus's side."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: Everything that `bus serve --role agency:<name>` imports, and opens.
_PROGRAM = """
import json, sys
from pathlib import Path
import bus.cli.serve, bus.cli.serve_hosts
from bus.bootstrap import hosting, load_workspace, roles_of
from bus.brokers.rabbitmq import RabbitBroker
workspace = load_workspace(Path({root!r}), "test")
agency = next(iter(workspace.adapters))
broker = RabbitBroker("amqp://127.0.0.1:1/bus", user="nobody", password="")
with hosting(workspace, Path({data!r}), agency, broker) as host:
    pass
broker.close()
print(json.dumps(sorted(sys.modules)))
"""
#: What decides about requests, keeps them, or shows them to people.
_OF_THE_BUS = (
    "bus.console",
    "bus.gateway",
    "bus.operations",
    "bus.process.decide",
    "bus.process.evolve",
    "bus.process.table",
    "bus.runtime.dispatcher",
    "bus.runtime.process_manager",
    "bus.runtime.relay",
    "bus.runtime.replies",
    "bus.runtime.timekeeper",
    "bus.runtime.work",
    "bus.stores",
    "alembic",
    "fastapi",
    "kombu",
    "psycopg",
    "sqlalchemy",
    "uvicorn",
)


def test_a_host_by_itself_loads_no_code_of_the_bus_side(tmp_path: Path) -> None:
    program = _PROGRAM.format(root=str(ROOT), data=str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout.splitlines()[-1])
    assert "bus.runtime.host" in loaded
    strangers = [name for name in loaded for side in _OF_THE_BUS if name == side or name.startswith(f"{side}.")]
    assert strangers == []
