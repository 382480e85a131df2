"""The broker that an environment names, as the bus reaches it and as the hosts of an agency do."""

from __future__ import annotations

import os
from typing import Any

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_fixed

from bus.catalog import BrokerUse, Secret, Workspace, reveal
from bus.catalog.secret import at_its_place, placed
from bus.errors import BrokerUnavailableError, ConfigurationError, Fault
from bus.logs import bind
from bus.message.channel import BUS_USER, host_user
from bus.ports import Broker

_log = bind(role="bootstrap")
#: What no waiting mends.
_REFUSED = frozenset({"broker-login-refused", "broker-certificate-refused"})


def embedded_broker() -> Broker:
    """The broker of a bus in one process."""
    from bus.brokers.kombu import KombuBroker  # noqa: PLC0415  # a host beside its legacy system needs no kombu

    return KombuBroker()


def bus_broker(workspace: Workspace) -> Broker:
    """The broker as the bus reaches it; one in this process where the environment names none."""
    use = workspace.env.broker
    if use is None:
        return embedded_broker()
    if use.password is None:
        raise _lacking(workspace, "broker.password", "the bus")
    return _reached(workspace, use, BUS_USER, use.password)


def host_broker(workspace: Workspace, agency: str) -> Broker:
    """The broker as the hosts of an agency reach it, with their own name and password."""
    use, password = workspace.env.broker, workspace.env.agencies[agency].broker_password
    if use is None:
        raise _lacking(workspace, "broker", f"the host of {agency}")
    if password is None:
        raise _lacking(workspace, f"agencies.{agency}.broker_password", f"the host of {agency}")
    return _reached(workspace, use, host_user(agency), password)


def try_login(workspace: Workspace, broker: Broker, password: Secret | None) -> bool:
    """Whether the broker is there; one that is not is waited for by those who need it.

    ConfigurationError if it does not let us in.
    """
    try:
        _knock(broker)
        return True
    except BrokerUnavailableError as error:
        _log.warning("broker_unavailable", error=error)
        if _is_refusal(error):
            fault = Fault(code=error.code, message=str(error), mend=error.mend)
            file = f"env/{workspace.env.name}.yaml"
            raise ConfigurationError((at_its_place(fault, password, file),)) from error
        return False


def _knock(broker: Broker) -> None:
    # A broker that is just starting, or a link that breaks, can look like a refusal: it is one only if it stays so.
    for attempt in Retrying(
        retry=retry_if_exception(_is_refusal), stop=stop_after_attempt(3), wait=wait_fixed(1), reraise=True
    ):
        with attempt:
            broker.publisher().close()


def _is_refusal(error: BaseException) -> bool:
    return isinstance(error, BrokerUnavailableError) and error.code in _REFUSED


def _reached(workspace: Workspace, use: BrokerUse, user: str, password: Secret) -> Broker:
    from bus.brokers.rabbitmq import RabbitBroker  # noqa: PLC0415  # the embedded bus needs no pika

    told: dict[str, Any] = reveal({"url": use.url, "password": password}, workspace.root, os.environ)
    ca = None if use.ca is None else workspace.root / use.ca
    with placed(use.url, "broker-url", f"env/{workspace.env.name}.yaml"):
        return RabbitBroker(told["url"], user=user, password=told["password"], ca=ca, name=user, replicas=use.replicas)


def _lacking(workspace: Workspace, name: str, whom: str) -> ConfigurationError:
    file = f"env/{workspace.env.name}.yaml"
    message = f"{name} is not set, and {whom} needs it to reach the broker."
    mend = "Write it there; what each member means is in docs/route.md, under the environment."
    return ConfigurationError((Fault(code="broker-unset", message=message, mend=mend, file=file),))
