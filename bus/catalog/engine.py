"""What an environment says of the machines below the bus: the broker, the databases, the installation's secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

from bus.catalog.document import Document, Place
from bus.catalog.secret import is_secret, with_secrets
from bus.catalog.workspace import BrokerUse, DatabaseUse, ManagementUse
from bus.errors import Fault

_BROKER = ("amqp", "amqps")
_DATABASE = ("postgresql",)
_MANAGEMENT = ("http", "https")


def engine_faults(document: Document) -> Iterator[Fault]:
    """Every address that is none, and every secret that stands in clear."""
    yield from _url_faults(document, ("broker", "url"), _BROKER)
    yield from _secret_faults(document, ("broker", "password"))
    yield from _url_faults(document, ("broker", "management", "url"), _MANAGEMENT)
    yield from _secret_faults(document, ("broker", "management", "password"))
    yield from _database_faults(document, ("store",))
    yield from _secret_faults(document, ("installation_secret",))
    if "store" in document.value and "broker" not in document.value:
        message = "The store is shared, and without a broker nobody shares it."
        yield document.fault(("store",), "broker-missing", message, "Add broker: {url: ...}.", name=True)
    for agency in document.value.get("agencies", {}):
        yield from _secret_faults(document, ("agencies", agency, "broker_password"))
        yield from _database_faults(document, ("agencies", agency, "journal"))


def _database_faults(document: Document, at: Place) -> Iterator[Fault]:
    yield from _url_faults(document, (*at, "url"), _DATABASE)
    yield from _secret_faults(document, (*at, "password"))


def _url_faults(document: Document, at: Place, schemes: tuple[str, ...]) -> Iterator[Fault]:
    url = _at(document, at)
    if url is None or is_secret(url):
        return
    form = " or ".join(f"{scheme}://" for scheme in schemes)
    parts = _parts(url)
    if parts is None or parts.scheme not in schemes:
        yield document.fault(at, "not-an-address", f"This is no address that begins with {form}.", f"Write {form}host…")
    elif ":" in parts.netloc.rpartition("@")[0] or "password" in parse_qs(parts.query):
        message, mend = "A password stands here in clear.", "Take it out, and write password: {file: <path>} beside it."
        yield document.fault(at, "secret-in-clear", message, mend)


def _parts(url: Any) -> SplitResult | None:
    try:
        return urlsplit(url) if isinstance(url, str) else None
    except ValueError:
        # Half a bracket around an IPv6 address.
        return None


def _secret_faults(document: Document, at: Place) -> Iterator[Fault]:
    written = _at(document, at)
    if written is not None and not is_secret(written):
        mend = "Write {file: <path>} or {env: <VARIABLE>}, and change the secret: it is in the history by now."
        yield document.fault(at, "secret-in-clear", f"{at[-1]} is a secret and stands here in clear.", mend)


def broker_use(document: Document) -> BrokerUse | None:
    """The broker of a document without faults."""
    at: Place = ("broker",)
    written = _at(document, at)
    if written is None:
        return None
    use = with_secrets(document, at, written)
    management = use.pop("management", None)
    return BrokerUse(**use, management=None if management is None else ManagementUse(**management))


def database_use(document: Document, at: Place) -> DatabaseUse | None:
    """The database that a document without faults names at this place."""
    written = _at(document, at)
    return None if written is None else DatabaseUse(**with_secrets(document, at, written))


def _at(document: Document, at: Place) -> Any:
    """What is written there; None where nothing is."""
    value: Any = document.value
    for part in at:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
