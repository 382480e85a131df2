"""An installation whose store was put back to a backup, while journals and legacy systems kept all that happened."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from click.testing import CliRunner, Result

from bus.bootstrap import embedded_broker, open_store
from bus.cli.store import store as store_command
from bus.message.instant import Milliseconds
from bus.ports import Outgoing
from tests.support.installation_inside import InsideInstallation, MeddlingBroker
from tests.support.runtime_rig import A, runtime


def run_store(*words: str | Path) -> Result:
    """``bus store …`` as an operator types it."""
    return CliRunner().invoke(store_command, [str(word) for word in words])


def about_to_send(folder: Path) -> Path:
    """Make an installation with one request whose task is in the outbox, for its agency's channel takes nothing."""
    with runtime(folder) as rig:
        rig.admit(A)
        rig.submit("one")
        payload = rig.sql("SELECT id FROM payload LIMIT 1")[0][0]
        rig.sql("INSERT INTO outbox VALUES (7, 'tasks.a', 'm', 'bus.task.requested.v1', '', ?, NULL, NULL)", payload)
    return folder


class ListeningBroker(MeddlingBroker):
    """Notes what kind of message was published into which channel."""

    def taken(self, batch: Sequence[Outgoing]) -> list[Outgoing]:
        self.told += [(str(message.channel), str(message.type)) for message in batch]
        return super().taken(batch)

    told: list[tuple[str, str]]

    @property
    def to_agencies(self) -> set[str]:
        """The kinds of message that were sent to any agency."""
        return {kind for channel, kind in self.told if channel.startswith(("tasks.", "control."))}


class RestoredInstallation(InsideInstallation):
    """Begins with everything of another installation but its store, which is that of a backup."""

    def __init__(self, folder: Path, of: InsideInstallation, backup: Path, later: Milliseconds) -> None:
        super().__init__(folder)
        self.bus_store.close()
        for theirs, mine in ((of.data, self.data), (of.registry_data, self.registry_data)):
            shutil.copytree(theirs, mine, dirs_exist_ok=True)
        done = run_store("restore", backup, "--data", self.data, "--workspace", folder, "--replace")
        assert done.exit_code == 0, done.output
        self.bus_store = open_store(self.data)
        self.bus_store.offset = later
        self.broker = ListeningBroker(embedded_broker())
        self.broker.told = []
        self.listening = self.broker
