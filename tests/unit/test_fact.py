"""The hash of a fact: anyone who has the fact can make it again with the public algorithms alone."""

from __future__ import annotations

import hashlib
from dataclasses import fields, replace
from typing import Any

import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from bus.audit.fact import GENESIS, Fact, chain, content, salted_digest, seal

#: What the changes of facts are made of: ids up to 63 bits, codes, times, flags, lists and records of them.
_NAMES = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=12)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=6,
)
_FACTS = st.builds(
    Fact,
    request_id=st.uuids().map(str),
    version=st.integers(1, 10_000),
    kind=_NAMES,
    at=st.integers(0, 2**52),
    changes=st.dictionaries(_NAMES, _VALUES, max_size=4),
    step=st.none() | _NAMES,
    item=st.none() | st.integers(0, 99),
    fields=st.lists(st.text(min_size=1), max_size=3).map(tuple),
    reason=st.none() | st.text(),
)
FACT = Fact(request_id="r", version=1, kind="step_ready", at=1_800_000_000_000, reason="ورقة ناقصة")


@given(_FACTS)
def test_the_hash_is_sha_256_over_rfc_8785_json(fact: Fact) -> None:
    sealed = seal(fact, GENESIS)
    assert sealed.hash == hashlib.sha256(rfc8785.dumps(content(sealed))).hexdigest()


def test_every_member_but_the_hash_changes_the_hash() -> None:
    before = seal(FACT, GENESIS)
    for field in fields(Fact):
        other: Any = {"version": 2, "at": 7, "item": 0, "fields": ("/x",), "changes": {"x": 1}}.get(field.name, "other")
        if field.name == "hash":
            continue
        changed = replace(before, **{field.name: other})
        assert seal(changed, changed.previous).hash != before.hash, field.name


def test_ids_that_floating_point_would_blur_are_told_apart() -> None:
    one, other = (replace(FACT, changes={"output_id": 2**60 + n}) for n in (0, 1))
    assert float(2**60) == float(2**60 + 1)
    # RFC 8785 has no such numbers at all: they are text.
    assert rfc8785.dumps(content(one)) != rfc8785.dumps(content(other))


def test_facts_of_a_request_are_bound_to_each_other_in_their_order() -> None:
    sealed = chain((FACT, replace(FACT, version=2)), GENESIS)
    assert [fact.previous for fact in sealed] == [GENESIS, sealed[0].hash]
    assert chain((), GENESIS) == ()


def test_a_digest_says_nothing_to_those_without_the_secret() -> None:
    secret, other = b"s" * 32, b"t" * 32
    assert salted_digest(secret, "m", b"body") == salted_digest(secret, "m", b"body")
    known = {
        salted_digest(other, "m", b"body"),
        salted_digest(secret, "n", b"body"),
        hashlib.sha256(b"body").hexdigest(),
    }
    assert salted_digest(secret, "m", b"body") not in known
