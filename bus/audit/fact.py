"""A fact: one thing that happened to a request; timeline entry and audit leaf in one value."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from bus.message.instant import Instant
from bus.message.quick import changed, quick
from bus.message.strict_json import MOST_INTEGER

#: What stands before the first fact of every request.
GENESIS = "0" * 64


@quick
@dataclass(frozen=True, kw_only=True)
class Fact:
    """Says what became true, when, by whom and why; never carries payload: ids, codes, states and times only."""

    request_id: str
    #: 1, 2, 3 ... without a gap: an omitted fact is caught.
    version: int
    kind: str
    at: Instant
    #: The new values of what changed, by field name; applying them in order gives the request's state.
    changes: Mapping[str, Any] = field(default_factory=dict)
    step: str | None = None
    item: int | None = None
    #: ``task`` or ``compensation`` where ``step`` is set.
    step_kind: str | None = None
    consumer: str | None = None
    provider: str | None = None
    purpose: str | None = None
    #: Names of the fields that were disclosed by the message, never their values.
    fields: tuple[str, ...] = ()
    message_id: str | None = None
    #: Salted SHA-256 of the message's exact bytes, hexadecimal.
    digest: str | None = None
    actor: str | None = None
    reason: str | None = None
    #: Hash of the request's previous fact; set by `chain`.
    previous: str = ""
    #: SHA-256 over all of the above; set by `chain`.
    hash: str = ""


_NO_DIGESTS: Mapping[str, str] = {}


def content(fact: Fact) -> dict[str, Any]:
    """What the hash of a fact covers: everything but the hash, absent members left out.

    JSON that every reader understands alike (RFC 7493): numbers beyond 2^53, such as the ids of payloads, are text.
    """
    members = {name: value for name, value in vars(fact).items() if value is not None}
    del members["hash"], members["fields"], members["changes"]
    if fact.fields:
        members["fields"] = list(fact.fields)
    if fact.changes:
        members["changes"] = _portable(fact.changes)
    return members


def _portable(value: Any) -> Any:
    # The most frequent ones first.
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return str(value) if abs(value) > MOST_INTEGER else value
    if isinstance(value, Mapping):
        return {name: _portable(member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_portable(member) for member in value]
    return value


def seal(fact: Fact, previous: str, digest: str | None = None) -> Fact:
    """The fact with the digest of its message, bound to the one before it (RFC 8785 canonical JSON, SHA-256)."""
    bound = {"previous": previous} if digest is None else {"previous": previous, "digest": digest}
    # With ASCII names and no fractions, sorted compact JSON is the canonical form, at a tenth of the price.
    raw = orjson.dumps(content(fact) | bound, option=orjson.OPT_SORT_KEYS)
    return changed(fact, {**bound, "hash": hashlib.sha256(raw).hexdigest()})


def chain(facts: Iterable[Fact], previous: str, digests: Mapping[str, str] = _NO_DIGESTS) -> tuple[Fact, ...]:
    """The facts of one request, in order, each bound to the one before it; ``digests`` by the ids of messages."""
    sealed = []
    for fact in facts:
        bound = seal(fact, previous, digests.get(fact.message_id) if fact.message_id else None)
        previous = bound.hash
        sealed.append(bound)
    return tuple(sealed)


def salted_digest(secret: bytes, message_id: str, body: bytes) -> str:
    """SHA-256 of a body under a salt that only holders of the installation secret can make again."""
    salt = hashlib.blake2b(message_id.encode(), key=secret[:64], digest_size=32).digest()
    return hashlib.sha256(salt + body).hexdigest()
