"""Every reply travels as a message and comes back as the same reply."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.errors import InvalidMessageError
from bus.message import replies as replies_module
from bus.message.envelope import Envelope, Message, MessageType, decode, encode
from bus.message.instant import DAY
from bus.message.replies import REPLY_TYPES, SCHEMAS, reply_from_message, reply_to_data, reply_type
from bus.message.reply import Completed, Effect, Failed, Need, Pending, Refused, Reply, Returned, Unknown
from bus.message.strict_json import nfc
from bus.message.text import Text

INTERACTION = "0f7e9c1e-4c6b-5d0a-9a53-0d8f2b7c6e11"
TEXT = Text(en="The lease is missing.", ar="عقد الإيجار غير مرفق.")
REFUSED = Refused(reason_code="name_taken", text=Text(en="The name is taken.", ar="الاسم محجوز."))

_words = st.text(st.characters(exclude_categories=("Cs", "Cn")), min_size=1, max_size=30).map(nfc)
_texts = st.builds(Text, en=_words, ar=_words)
_codes = st.from_regex(r"[a-z][a-z0-9_-]{0,20}", fullmatch=True)
_waits = st.none() | st.integers(0, 366 * DAY)
_needs = st.builds(Need, pointer=st.sampled_from(["", "/lease_number", "/a~1b/0"]), reason_code=_codes, text=_texts)
REPLIES: st.SearchStrategy[Reply] = st.one_of(
    st.builds(Completed, data=st.dictionaries(_words, st.integers(0, 9) | _words, max_size=3)),
    st.builds(Refused, reason_code=_codes, text=_texts),
    st.builds(Returned, needs=st.lists(_needs, min_size=1, max_size=3).map(tuple), within=_waits),
    st.just(Pending()),
    st.builds(
        Failed,
        code=_codes,
        effect=st.sampled_from(Effect),
        retryable=st.booleans(),
        text=_texts,
        retry_after=_waits,
        legacy_code=st.none() | _words,
    ),
    st.just(Unknown()),
)


def sent(type_: MessageType, data: dict[str, Any] | None) -> Message:
    envelope = Envelope(
        id=INTERACTION,
        source="/agencies/commercial_registry",
        type=type_,
        interactionid=INTERACTION,
        attempt=1,
        provider="commercial_registry",
    )
    return encode(envelope, data)


def found(type_: MessageType, data: dict[str, Any] | None) -> set[tuple[str, str]]:
    message = sent(type_, data)
    with pytest.raises(InvalidMessageError) as caught:
        reply_from_message(message)
    assert caught.value.raw == message.body
    return {(fault.code, fault.pointer) for fault in caught.value.faults}


@given(REPLIES)
def test_a_reply_comes_back_as_it_was_sent(reply: Reply) -> None:
    message = sent(reply_type(reply), dict(reply_to_data(reply)))
    assert reply_from_message(decode(message.body)) == reply


def test_replies_look_as_agencies_are_told() -> None:
    returned = Returned(needs=(Need(pointer="/lease_number", reason_code="missing", text=TEXT),), within=30 * DAY)
    failed = Failed(code="down", effect=Effect.NONE, retryable=True, text=TEXT, retry_after=1500, legacy_code="E42")
    text = {"en": "The lease is missing.", "ar": "عقد الإيجار غير مرفق."}
    assert reply_to_data(returned) == {
        "needs": [{"pointer": "/lease_number", "reason_code": "missing", "text": text}],
        "within": 2_592_000,
    }
    assert reply_to_data(failed) == {
        "code": "down",
        "effect": "none",
        "retryable": True,
        "retry_after": 1.5,
        "text": text,
        "legacy_code": "E42",
    }
    assert reply_to_data(REFUSED) == {"reason_code": "name_taken", "text": REFUSED.text.to_json()}
    assert reply_to_data(Pending()) == reply_to_data(Unknown()) == {}
    assert reply_to_data(Completed(data={"reservation": "R-1"})) == {"reservation": "R-1"}


@pytest.mark.parametrize("type_", [MessageType.TASK_PENDING, MessageType.TASK_UNKNOWN])
def test_a_reply_without_anything_to_say_needs_no_data_and_takes_none(type_: MessageType) -> None:
    assert reply_type(reply_from_message(sent(type_, None))) == type_
    assert found(type_, {"because": "x"}) == {("contract-unknown-member", "/data/because")}


def test_a_failure_without_its_effect_is_no_reply() -> None:
    data = dict(reply_to_data(Failed(code="down", effect=Effect.NONE, retryable=True, text=TEXT)))
    del data["effect"]
    assert found(MessageType.TASK_FAILED, data) == {("contract-missing", "/data/effect")}


@pytest.mark.parametrize(
    ("type_", "data", "faults"),
    [
        (MessageType.TASK_REFUSED, None, {("missing", "/reason_code"), ("missing", "/text")}),
        (
            MessageType.TASK_REFUSED,
            {"reason_code": "Name Taken", "text": {"en": "x", "ar": "س"}},
            {("pattern", "/reason_code")},
        ),
        (MessageType.TASK_REFUSED, {"reason_code": "a", "text": {"en": "x"}}, {("missing", "/text/ar")}),
        (MessageType.TASK_REFUSED, {"reason_code": "a", "text": {"en": "x", "ar": ""}}, {("minLength", "/text/ar")}),
        (MessageType.TASK_RETURNED, {"needs": []}, {("minItems", "/needs")}),
        (
            MessageType.TASK_RETURNED,
            {"needs": [{"pointer": "lease", "reason_code": "a", "text": {"en": "x", "ar": "س"}}], "within": -1},
            {("format", "/needs/0/pointer"), ("minimum", "/within")},
        ),
        (
            MessageType.TASK_FAILED,
            {"code": "a", "effect": "some", "retryable": "yes", "text": {"en": "x", "ar": "س"}, "retryafter": 1},
            {("enum", "/effect"), ("type", "/retryable"), ("unknown-member", "/retryafter")},
        ),
    ],
)
def test_data_that_is_not_a_replys_is_refused_with_all_faults(
    type_: MessageType, data: dict[str, Any] | None, faults: set[tuple[str, str]]
) -> None:
    assert found(type_, data) == {(f"contract-{code}", f"/data{pointer}") for code, pointer in faults}


@pytest.mark.parametrize("type_", [one for one in MessageType if one not in REPLY_TYPES])
def test_a_message_that_is_no_reply_is_refused(type_: MessageType) -> None:
    assert found(type_, {}) == {("no-reply", "")}


@pytest.mark.parametrize(
    "reply",
    [
        Refused(reason_code="Not A Code", text=TEXT),
        Refused(reason_code="a", text=Text(en="x", ar="")),
        Returned(needs=()),
        Returned(needs=(Need(pointer="lease", reason_code="a", text=TEXT),)),
        Failed(code="", effect=Effect.NONE, retryable=True),
        Failed(code="a", effect=Effect.NONE, retryable=True, retry_after=-1),
        Completed(data=[]),  # type: ignore[arg-type]
    ],
)
def test_a_reply_that_could_not_be_read_is_not_sent(reply: Reply) -> None:
    with pytest.raises(InvalidMessageError):
        reply_to_data(reply)


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_published_contract_of_each_reply_is_the_one_that_the_code_obeys(name: str) -> None:
    path = Path(replies_module.__file__).parents[2] / "schemas" / f"{name}.json"
    assert untitled(json.loads(path.read_text("utf-8"))) == SCHEMAS[name]


def untitled(schema: Any) -> Any:
    """The schema without what is only for readers."""
    if isinstance(schema, dict):
        return {key: untitled(value) for key, value in schema.items() if key not in {"title", "x-title-ar"}}
    return [untitled(item) for item in schema] if isinstance(schema, list) else schema
