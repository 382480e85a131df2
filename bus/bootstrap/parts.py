"""The parts that all roles of one process share."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from bus.bootstrap.brokers import bus_broker
from bus.bootstrap.secrets import secret_of
from bus.bootstrap.stores import store_of
from bus.catalog import Workspace
from bus.errors import ConfigurationError, Fault
from bus.message.key import NODES, Keys
from bus.operations.admission import Admission
from bus.operations.context import Context
from bus.ports import Broker, Store
from bus.process.closure import from_closure
from bus.runtime.dispatcher import Dispatcher
from bus.runtime.library import Library, operations_of
from bus.runtime.process_manager import ProcessManager
from bus.runtime.reconcile import Gatekeeper
from bus.runtime.work import Tools


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What all roles of one process share."""

    workspace: Workspace
    data: Path
    store: Store
    broker: Broker
    tools: Tools
    manager: ProcessManager
    dispatcher: Dispatcher

    @property
    def context(self) -> Context:
        """What the gateway's operations work with."""
        tools = self.tools
        return Context(
            store=self.store,
            decider=Gatekeeper(self.manager, self.store),
            workspace=self.workspace,
            keys=tools.keys,
            secret=tools.secret,
            settings=tools.settings,
            admission=Admission(self.store, tools.settings),
        )


def assemble(workspace: Workspace, data: Path, *, store: Store | None = None, broker: Broker | None = None) -> Parts:
    """Build the parts over the store and the broker that the environment names; nothing runs yet."""
    secret = secret_of(workspace, data)
    store = store or store_of(workspace, data)
    broker = broker or bus_broker(workspace)
    for service in workspace.services.values():
        store.save_definition(service.revision, service.closure)
    _refuse_missing_operations(workspace, store)
    settings = workspace.env.settings
    tools = Tools(
        library=Library(store),
        keys=Keys(store.now, secrets.randbelow(NODES)),
        secret=secret,
        settings=settings,
    )
    dispatcher = Dispatcher(store, settings)
    manager = ProcessManager(store=store, publisher=broker.publisher, tools=tools, dispatcher=dispatcher)
    return Parts(
        workspace=workspace,
        data=data,
        store=store,
        broker=broker,
        tools=tools,
        manager=manager,
        dispatcher=dispatcher,
    )


def _refuse_missing_operations(workspace: Workspace, store: Store) -> None:
    faults = []
    for revision in sorted(store.open_revisions()):
        closure = store.definition(revision)
        if closure is None:
            continue
        definition, _ = from_closure(closure)
        faults += [
            Fault(
                code="operation-in-use",
                message=f"Open requests of {definition.service} need {operation} of {agency}; it is gone.",
                mend="Offer it until those requests have ended.",
            )
            for step in definition.steps.values()
            for agency in step.providers
            if not step.is_desk(agency)
            for operation in sorted(operations_of(step) - _offered(workspace, agency))
        ]
    if faults:
        raise ConfigurationError(tuple(faults))


def _offered(workspace: Workspace, agency: str) -> set[str]:
    manifest = workspace.adapters.get(agency)
    return set(manifest.operations) if manifest else set()
