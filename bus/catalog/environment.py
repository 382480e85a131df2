"""One environment of a workspace: how each agency is reached there, its settings and secrets, and the intervals."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bus import config
from bus.catalog.document import Document, Place, read_bytes, read_document, suggest
from bus.catalog.engine import broker_use, database_use, engine_faults
from bus.catalog.providers import Parties
from bus.catalog.secret import is_secret, with_secrets
from bus.catalog.shape import pruned, shape_faults
from bus.catalog.workspace import AdapterManifest, AgencyUse, Environment, WebhookUse
from bus.config import Settings, to_duration
from bus.errors import Fault
from bus.message.reply import Data
from bus.process.mapping import split_pointer

_NAME = re.compile(r"[a-z][a-z0-9_-]*", re.ASCII)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_DEFAULT_LEASE = to_duration(Settings().lease)


def environment_file(name: str) -> str:
    """Where the environment ``name`` stands in a workspace."""
    return f"env/{name}.yaml"


def read_environment(root: Path, name: str, schema: Data) -> tuple[Document | None, tuple[Fault, ...]]:
    """The document of one environment in its right shape, without what is faulty; None if it cannot be read."""
    file = environment_file(name)
    if not _NAME.fullmatch(name) or not (root / file).is_file():
        known = [path.stem for path in sorted((root / "env").glob("*.yaml"))]
        message = f"There is no environment {name}."
        return None, (Fault(code="unknown-environment", message=message, mend=suggest(name, known), file=file),)
    raw, faults = read_bytes(root, root / file)
    if faults:
        return None, faults
    document, faults = read_document(file, raw)
    if document.value is None and faults:
        return None, faults
    found = shape_faults(document, schema)
    sound = pruned(document, found)
    return (sound if isinstance(sound.value, dict) else None), faults + found


def environment_faults(
    document: Document, parties: Parties, adapters: Mapping[str, AdapterManifest | None]
) -> Iterator[Fault]:
    """Everything in the environment that does not fit the agencies and groups of the routes and their adapters."""
    known = {**parties.agencies, **parties.groups}
    for party, use in _written(document).items():
        at = ("agencies", party)
        if party in known:
            yield from _use_faults(document, at, use, known[party], adapters)
        elif parties.lacks(party):
            message = f"There is no agency {party}."
            yield document.fault(at, "unknown-agency", message, suggest(party, known), name=True)
    said = document.value.get("agencies", {})
    for party in dict.fromkeys(
        content.get("group", agency)
        for agency, content in parties.agencies.items()
        if "adapter" in content and agency not in said and content.get("group") not in said
    ):
        message = f"It is not said how {party} is reached."
        mend = f"Add {party}: {{use: simulator}}, or real, desk, closed."
        yield document.fault(("agencies",), "agency-missing", message, mend)
    yield from _webhook_faults(document, parties)
    yield from engine_faults(document)
    yield from _interval_faults(document)


def _written(document: Document) -> Mapping[str, Mapping[str, Any]]:
    """The agencies and groups that the environment names."""
    agencies = document.value.get("agencies", {})
    return {agency: use for agency, use in agencies.items() if isinstance(use, dict)}


def _use_faults(
    document: Document,
    at: Place,
    content: Mapping[str, Any],
    agency: Mapping[str, Any],
    adapters: Mapping[str, AdapterManifest | None],
) -> Iterator[Fault]:
    use, adapter = content.get("use"), agency.get("adapter")
    if adapter is None and not agency.get("desk"):
        if "group" in agency or "members" in agency:
            return  # told where the group is written
        message = f"{at[-1]} only asks; there is nothing to reach."
        yield document.fault(at, "not-a-provider", message, "Take it out.", name=True)
    elif adapter is None and use in ("real", "simulator"):
        message = f"{at[-1]} has no adapter."
        yield document.fault((*at, "use"), "no-adapter", message, "Write desk or closed.")
    manifest = adapters.get(adapter) if adapter is not None else None
    settings = content.get("settings", {})
    if adapter is None and settings:
        message = f"{at[-1]} has no adapter that could read settings."
        yield document.fault((*at, "settings"), "no-adapter", message, "Take them out.", name=True)
    elif manifest is not None:
        yield from _settings_faults(document, (*at, "settings"), settings, manifest, is_real=use == "real")
        if use in ("real", "simulator"):
            yield from _proof_faults(document, at, manifest)


def _settings_faults(
    document: Document, at: Place, settings: Data, manifest: AdapterManifest, *, is_real: bool
) -> Iterator[Fault]:
    """The settings against the adapter's schema; what is missing is a fault only where the real system is used."""
    schema = dict(manifest.settings_schema)
    if not is_real:
        schema.pop("required", None)
    secrets = set(_secret_places(settings))
    # A fault about a secret's own form is none: its value is not here.
    probe = Document(file=document.file, value=_nested(at, settings), values=document.values, names=document.names)
    for fault in shape_faults(probe, schema, below=at):
        place = split_pointer(fault.pointer)[len(at) :]
        if not any(place[: len(secret)] == secret for secret in secrets):
            yield fault
    for name, rules in schema.get("properties", {}).items():
        if isinstance(rules, dict) and rules.get("writeOnly") and name in settings and (name,) not in secrets:
            message = f"{name} is a secret and stands here in clear."
            mend = "Write {file: <path>} or {env: <VARIABLE>}, and change the secret: it is in the history by now."
            yield document.fault((*at, name), "secret-in-clear", message, mend)


def _proof_faults(document: Document, at: Place, manifest: AdapterManifest) -> Iterator[Fault]:
    """That something is not there proves nothing while a call may still be under way: its time-out and a lease."""
    try:
        lease = int(config.setting("lease", document.value.get("intervals", {}).get("lease", _DEFAULT_LEASE)))
    except ValueError:
        return  # told as a fault of its own
    for name, operation in manifest.operations.items():
        needed = operation.timeout + lease
        if operation.repeat.kind == "queryable" and operation.repeat.absence_proof_after < needed:
            message = f"With this lease a call of {name} may still be under way when its absence is believed."
            mend = f"Raise its absence_proof_after to {to_duration(needed)}, or lower intervals.lease here."
            yield document.fault(at, "proof-too-soon", message, mend, name=True)


def _webhook_faults(document: Document, parties: Parties) -> Iterator[Fault]:
    """What is signed is for one reader: it travels enciphered, unless it stays on this machine."""
    for consumer, webhook in document.value.get("webhooks", {}).items():
        at = ("webhooks", consumer)
        if parties.lacks(consumer):
            message = f"There is no agency {consumer}."
            yield document.fault(at, "unknown-agency", message, suggest(consumer, parties.agencies), name=True)
        if "secret" in webhook and not is_secret(webhook["secret"]):
            message = "The secret of the webhook stands here in clear."
            mend = "Write {file: <path>} or {env: <VARIABLE>}, and change the secret: it is in the history by now."
            yield document.fault((*at, "secret"), "secret-in-clear", message, mend)
        if "url" in webhook and not _is_webhook_address(webhook["url"]):
            message = "The address of the webhook is no https address without user, password and fragment."
            yield document.fault((*at, "url"), "webhook-address", message, "http is for this machine's loopback only.")


def _is_webhook_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port  # told wrong only when it is asked for
    except ValueError:
        return False
    is_apart = parts.username is None and parts.password is None and not parts.fragment
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    return bool(parts.hostname) and is_apart and is_safe


def _interval_faults(document: Document) -> Iterator[Fault]:
    for name, written in document.value.get("intervals", {}).items():
        at = ("intervals", name)
        if name not in config.NAMES:
            message = f"There is no interval or limit {name}."
            yield document.fault(at, "unknown-interval", message, suggest(name, config.NAMES), name=True)
            continue
        try:
            config.setting(name, written)
        except ValueError as error:
            yield document.fault(at, "bad-interval", str(error))


def build_environment(name: str, document: Document, agencies: Mapping[str, Mapping[str, Any]]) -> Environment:
    """The environment of a document without faults; ``agencies`` with the members of groups."""
    providers = {agency: content for agency, content in agencies.items() if "adapter" in content or content.get("desk")}
    written = document.value.get("intervals", {})
    intervals: dict[str, Any] = {name: config.setting(name, value) for name, value in written.items()}
    return Environment(
        name=name,
        agencies={agency: _use(document, agency, content) for agency, content in providers.items()},
        settings=Settings(**intervals),
        webhooks={
            consumer: WebhookUse(
                url=use["url"], secret=with_secrets(document, ("webhooks", consumer, "secret"), use["secret"])
            )
            for consumer, use in document.value.get("webhooks", {}).items()
        },
        broker=broker_use(document),
        store=database_use(document, ("store",)),
        installation_secret=with_secrets(document, ("installation_secret",), document.value.get("installation_secret")),
    )


def _use(document: Document, agency: str, content: Mapping[str, Any]) -> AgencyUse:
    said = said_of(document, agency, content)
    if said is None:
        return AgencyUse(use="desk", settings={})
    use = _written(document)[said]
    settings = with_secrets(document, ("agencies", said, "settings"), use.get("settings", {}))
    return AgencyUse(
        use=use["use"],
        settings=settings,
        broker_password=with_secrets(document, ("agencies", said, "broker_password"), use.get("broker_password")),
        journal=database_use(document, ("agencies", said, "journal")),
    )


def said_of(document: Document, agency: str, content: Mapping[str, Any]) -> str | None:
    """The name under which the environment says how the agency is reached: its own, its group's, or None for a desk.

    A member that is a desk of its own cannot be reached by the adapter of its group.
    """
    written = _written(document)
    if agency in written:
        return agency
    group = str(content.get("group", ""))
    if group not in written or ("adapter" not in content and written[group]["use"] in ("real", "simulator")):
        return None
    return group


def _secret_places(value: Any, at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if is_secret(value):
        yield at
    elif isinstance(value, dict | list):
        for name, member in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _secret_places(member, (*at, str(name)))


def _nested(at: Place, value: Any) -> Any:
    for part in reversed(at):
        value = {part: value}
    return value
