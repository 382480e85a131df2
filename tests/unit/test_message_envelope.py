"""A message is built once, read strictly, and its bytes say all of it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.errors import InvalidMessageError
from bus.message import envelope as envelope_module
from bus.message.contract import Contracts
from bus.message.envelope import CONTRACT, SCHEMA, Envelope, Message, MessageType, decode, encode
from bus.message.instant import to_rfc3339
from bus.message.strict_json import MOST_BYTES, dump, nfc

REQUEST = "4ce4bfd0-ff5d-8d9f-8f35-7ecc6ac4a1a4"
INTERACTION = "0f7e9c1e-4c6b-5d0a-9a53-0d8f2b7c6e11"
NOW = 1_767_600_000_123
CONTRACTS = Contracts({CONTRACT: SCHEMA})

TASK = Envelope(
    id=INTERACTION,
    source="/bus",
    type=MessageType.TASK_REQUESTED,
    time=NOW,
    correlationid=REQUEST,
    expirytime=NOW + 900_000,
    interactionid=INTERACTION,
    edit=0,
    attempt=1,
    service="open-business.v1",
    step="name",
    consumer="one_stop_shop",
    provider="commercial_registry",
    operation="name.reserve.v1",
    purposeid="business-licensing",
    legalbasis="القانون ١٢، المادة ٤",
    journalid=REQUEST,
    firstsent=NOW,
)
EVENT: dict[str, Any] = {"specversion": "1.0", "id": INTERACTION, "source": "/bus", "type": "bus.tick.v1"}

_words = st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), min_size=1, max_size=30).map(nfc)
_uuids = st.uuids().map(str)
_instants = st.integers(-30_000_000_000_000, 32_000_000_000_000)
_counts = st.integers(0, 2**53 - 1)
_names = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)
_versioned = st.from_regex(r"[a-z][a-z0-9_-]{0,8}(\.[a-z][a-z0-9_-]{0,8}){0,2}\.v[1-9][0-9]?", fullmatch=True)
_uris = st.from_regex(r"[A-Za-z0-9._~:/?#@!$&'()*+,;=%-]{1,40}", fullmatch=True)


def _maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


ENVELOPES = st.builds(
    Envelope,
    id=_uuids,
    source=_uris,
    type=st.sampled_from(MessageType),
    time=_maybe(_instants),
    datacontenttype=_maybe(st.just("application/json")),
    dataschema=_maybe(_uris),
    subject=_maybe(_words),
    correlationid=_maybe(_uuids),
    causationid=_maybe(_words),
    expirytime=_maybe(_instants),
    sequence=_maybe(st.integers(0, 10**10 - 1)),
    traceparent=_maybe(st.from_regex(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", fullmatch=True)),
    tracestate=_maybe(st.from_regex(r"[ -~]{1,50}", fullmatch=True)),
    dataclassification=_maybe(st.sampled_from(["public", "internal", "confidential", "restricted"])),
    interactionid=_uuids,
    edit=_maybe(_counts),
    attempt=st.integers(1, 2**53 - 1),
    service=_maybe(_versioned),
    step=_maybe(_names),
    item=_maybe(_counts),
    kind=_maybe(st.sampled_from(["task", "compensation"])),
    consumer=_maybe(_names),
    provider=_names,
    operation=_maybe(_versioned),
    purposeid=_maybe(_names),
    legalbasis=_maybe(_words),
    actor=_maybe(_words),
    onbehalfof=_maybe(_words),
    test=_maybe(st.booleans()),
    supersedes=_maybe(_uuids),
    journalid=_maybe(_uuids),
    journalseq=_maybe(_counts),
    firstsent=_maybe(_instants),
)
_leaves = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-1e9, 1e9) | _words
DATA = st.none() | st.dictionaries(_words, _leaves | st.lists(_leaves, max_size=3), max_size=5)


def event(**attributes: Any) -> bytes:
    return dump({**EVENT, **attributes})


def found(raw: bytes) -> set[tuple[str, str]]:
    with pytest.raises(InvalidMessageError) as caught:
        decode(raw)
    assert caught.value.raw == raw
    return {(fault.code, fault.pointer) for fault in caught.value.faults}


def read(raw: bytes) -> Message | None:
    try:
        return decode(raw)
    except InvalidMessageError:
        return None


@given(ENVELOPES, DATA)
def test_a_message_is_read_as_it_was_built(envelope: Envelope, data: dict[str, Any] | None) -> None:
    message = encode(envelope, data)
    assert decode(message.body) == message
    # Building it again gives the same bytes: ids, hashes and signatures depend on that.
    assert encode(envelope, data).body == message.body
    assert encode(message.envelope, data) == message


def test_a_message_looks_as_cloudevents_has_it() -> None:
    message = encode(dataclasses.replace(TASK, sequence=7, test=True), {"name": "مؤسسة النور"})
    assert json.loads(message.body) == {
        "specversion": "1.0",
        "id": INTERACTION,
        "source": "/bus",
        "type": "bus.task.requested.v1",
        "time": "2026-01-05T08:00:00.123Z",
        "datacontenttype": "application/json",
        "correlationid": REQUEST,
        "expirytime": "2026-01-05T08:15:00.123Z",
        "sequence": "0000000007",
        "interactionid": INTERACTION,
        "edit": 0,
        "attempt": 1,
        "service": "open-business.v1",
        "step": "name",
        "consumer": "one_stop_shop",
        "provider": "commercial_registry",
        "operation": "name.reserve.v1",
        "purposeid": "business-licensing",
        "legalbasis": "القانون ١٢، المادة ٤",
        "test": True,
        "journalid": REQUEST,
        "firstsent": "2026-01-05T08:00:00.123Z",
        "data": {"name": "مؤسسة النور"},
    }


def test_an_absent_attribute_is_left_out_and_null_is_refused() -> None:
    assert b"null" not in encode(TASK, None).body
    assert b"data" not in encode(TASK, None).body
    assert found(event(subject=None)) == {("contract-type", "/subject")}


def test_newer_sequences_are_greater_texts() -> None:
    texts = [json.loads(encode(dataclasses.replace(TASK, sequence=n), None).body)["sequence"] for n in (2, 10, 999)]
    assert texts == sorted(texts)


def test_all_faults_of_an_envelope_are_told_at_once() -> None:
    raw = dump(
        {
            "specversion": "0.3",
            "id": "x",
            "sourc": "/bus",
            "type": "bus.task.requested.v1",
            "time": "2026-02-30T08:00:00Z",
            "edit": "0",
            "attempt": 0,
            "correlationid": REQUEST.upper(),
            "subject": "e\u0301",
            "data": [1],
        }
    )
    assert found(raw) >= {
        ("contract-const", "/specversion"),
        ("contract-format", "/id"),
        ("contract-unknown-member", "/sourc"),
        ("contract-missing", "/source"),
        ("contract-format", "/time"),
        ("contract-type", "/edit"),
        ("contract-minimum", "/attempt"),
        ("contract-format", "/correlationid"),
        ("not-nfc", "/subject"),
        ("contract-type", "/data"),
        ("contract-missing", "/interactionid"),
        ("contract-missing", "/provider"),
    }


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Envelope)])
@pytest.mark.parametrize("value", [[], {}, None, 1.5, "", "\x00", "a\u202eb", "e\u0301", "a\n"])
def test_no_attribute_takes_a_value_of_the_wrong_kind(name: str, value: Any) -> None:
    places = {pointer for _, pointer in found(event(**{name: value}))}
    assert f"/{name}" in places


@pytest.mark.parametrize("name", ["specversion", "id", "source", "type"])
def test_a_required_attribute_that_is_missing_is_named(name: str) -> None:
    attributes = {key: value for key, value in EVENT.items() if key != name}
    assert ("contract-missing", f"/{name}") in found(dump(attributes))


@pytest.mark.parametrize("raw", [b"[]", b"1", b'"x"', b"null"])
def test_a_text_that_is_no_object_is_no_message(raw: bytes) -> None:
    assert found(raw) == {("contract-type", "")}


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", event() + b"{}", b'{"id":1,"id":2}'])
def test_what_is_not_strict_json_is_no_message_and_its_bytes_are_kept(raw: bytes) -> None:
    assert found(raw)


def test_a_message_is_taken_up_to_the_greatest_length() -> None:
    fill = MOST_BYTES - len(event(data={"a": ""}))
    assert decode(event(data={"a": "x" * fill})).data == {"a": "x" * fill}
    with pytest.raises(InvalidMessageError, match="too-large"):
        encode(TASK, {"a": "x" * MOST_BYTES})
    longer = event(data={"a": "x" * fill}) + b" "
    assert found(longer) == {("too-large", "")}


@pytest.mark.parametrize(
    "time",
    [
        "2026-01-05T08:00:00.123+00:00",
        "2026-01-05T10:00:00.123+02:00",
        "2026-01-05T02:30:00.123-05:30",
        "2026-01-05T08:00:00.123000Z",
        "2026-01-05T08:00:00.123000000Z",
    ],
)
def test_a_time_in_any_zone_is_the_same_instant(time: str) -> None:
    assert decode(event(time=time)).envelope.time == NOW


@pytest.mark.parametrize(
    "time",
    [
        "2026-01-05",
        "2026-01-05T08:00:00",
        "2026-01-05 08:00:00Z",
        "2026-01-05t08:00:00z",
        "20260105T080000Z",
        "2026-W02-1T08:00:00Z",
        "2026-01-05T24:00:00Z",
        "2026-01-05T08:00:60Z",
        "2026-02-29T08:00:00Z",
        "2026-13-01T08:00:00Z",
        "2026-00-01T08:00:00Z",
        "2026-01-05T08:00:00+24:00",
        "0000-01-05T08:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "3000-01-01T00:00:00Z",
        "٢٠٢٦-01-05T08:00:00Z",
        "2026-01-05T08:00:00Z\n",
        1767600000123,
    ],
)
def test_what_names_no_time_is_refused(time: Any) -> None:
    assert {pointer for _, pointer in found(event(time=time))} == {"/time"}


def test_a_whole_number_spelled_as_a_fraction_is_read_as_an_int() -> None:
    message = decode(event(edit=1)[:-1] + b',"data":{"a":1.0},"journalseq":2.0}')
    assert (message.envelope.journalseq, type(message.envelope.journalseq)) == (2, int)
    assert message.data == {"a": 1}


def test_a_truth_value_is_no_number_and_a_number_no_truth_value() -> None:
    assert found(event(edit=True)) == {("contract-type", "/edit")}
    assert found(event(test=1)) == {("contract-type", "/test")}


@pytest.mark.parametrize("type_", [one for one in MessageType if one.startswith("bus.task.")])
def test_a_task_or_reply_says_whose_and_which_try_it_is(type_: MessageType) -> None:
    missing = found(event(type=type_))
    assert missing == {("contract-missing", f"/{name}") for name in ("interactionid", "attempt", "provider")}


def test_a_submission_is_named_by_its_consumer_and_nothing_else_is() -> None:
    assert decode(event(id="portal/2026/17", type="bus.request.submitted.v1")).envelope.id == "portal/2026/17"
    assert {pointer for _, pointer in found(event(id="portal/2026/17"))} == {"/id"}


@pytest.mark.parametrize("type_", ["bus.task.done.v1", "bus.tick.v2", "", "BUS.TICK.V1"])
def test_a_type_that_the_bus_does_not_know_is_refused(type_: str) -> None:
    assert ("contract-enum", "/type") in found(event(type=type_))


@pytest.mark.parametrize("text", ["e\u0301", "ا\u0654"])
@pytest.mark.parametrize("escape", [True, False])
def test_text_that_is_not_in_normal_form_is_refused_where_it_stands(text: str, *, escape: bool) -> None:
    raw = json.dumps({**EVENT, "data": {"a": [text], "b": "\n\u0303"}}, ensure_ascii=escape).encode()
    assert found(raw) == {("not-nfc", "/data/a/0")}
    with pytest.raises(InvalidMessageError, match="not-nfc"):
        encode(TASK, {"a": [text]})


def test_a_mark_after_an_escaped_line_end_belongs_to_no_letter() -> None:
    # The n of the escape and the tilde would make an ñ if the text were looked at carelessly.
    raw = json.dumps({**EVENT, "data": {"b": "\n\u0303"}}, ensure_ascii=False).encode()
    assert decode(raw).data == {"b": "\n\u0303"}


@pytest.mark.parametrize(
    "change",
    [
        {"id": "x"},
        {"source": ""},
        {"type": "bus.unknown.v1"},
        {"attempt": 0},
        {"attempt": None},
        {"edit": -1},
        {"provider": "A"},
        {"step": "a b"},
        {"sequence": 10**10},
        {"sequence": -1},
        {"time": 10**18},
        {"time": -(10**14)},
        {"time": "2026-01-05T08:00:00Z"},
        {"subject": "e\u0301"},
        {"subject": "a\nb"},
        {"test": 1},
    ],
)
def test_nothing_is_built_that_could_not_be_read(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidMessageError):
        encode(dataclasses.replace(TASK, **change), {"a": 1})


@pytest.mark.parametrize("data", [[1], "x", 1, True, {"a": float("nan")}, {"a": 2**53}, {"a": "\ud800"}])
def test_data_that_is_no_json_object_is_not_built_into_a_message(data: Any) -> None:
    with pytest.raises(InvalidMessageError):
        encode(TASK, data)


def test_no_fault_repeats_what_the_message_says() -> None:
    with pytest.raises(InvalidMessageError) as caught:
        decode(event(subject="\x00Mona", edit="Mona", actor=["Mona"], unknown="Mona", منى=1, data={"a": "e\u0301Mona"}))
    assert "Mona" not in str(caught.value)
    assert "منى" not in str(caught.value)


# What a careless or hostile sender may put in place of an attribute.
_ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    1,
    1.0,
    -1,
    0.5,
    2**53 - 1,
    "",
    "x",
    "1.0",
    " ",
    "\x7f",
    "\u202e",
    "\n",
    [],
    {},
)
_ODD_IDS = (REQUEST, REQUEST.upper(), REQUEST + "\n", "0000000001", "١", "a.v1", "a.v0", "task")
_ODD_TIMES = (to_rfc3339(NOW), "2026-02-30T00:00:00Z", "2026-01-05T08:00:00+02:00")
_ODD_TYPES = ("bus.tick.v1", "bus.task.failed.v1", "bus.request.submitted.v1")
ODDITIES = st.sampled_from([*_ODD_VALUES, *_ODD_IDS, *_ODD_TIMES, *_ODD_TYPES])
_event_names = [*SCHEMA["properties"], "unknown"]


@given(
    ENVELOPES,
    st.dictionaries(st.sampled_from(_event_names), ODDITIES, max_size=3),
    st.sets(st.sampled_from(_event_names)),
)
def test_the_code_takes_exactly_what_the_contract_takes(
    envelope: Envelope, oddities: dict[str, Any], dropped: set[str]
) -> None:
    # Given a good message of which some attributes are changed and some dropped
    good = json.loads(encode(envelope, {"a": 1}).body)
    kept = {name: value for name, value in {**good, **oddities}.items() if name not in dropped or name in oddities}
    raw = dump(kept)
    # Then code, fast engine and explaining engine agree about it
    verdict = CONTRACTS.accepts(CONTRACT, kept)
    assert (read(raw) is not None) == verdict
    assert (CONTRACTS.explain(CONTRACT, kept) == ()) == verdict


def test_the_contract_knows_every_attribute_of_the_envelope_and_no_other() -> None:
    names = {field.name for field in dataclasses.fields(Envelope)}
    assert set(SCHEMA["properties"]) == names | {"specversion", "data"}


def test_the_published_contract_is_the_one_that_the_code_obeys() -> None:
    path = Path(envelope_module.__file__).parents[2] / "schemas/envelope/v1.json"
    assert untitled(json.loads(path.read_text("utf-8"))) == SCHEMA


def untitled(node: Any) -> Any:
    """The schema without what is only for readers."""
    if isinstance(node, dict):
        return {key: untitled(value) for key, value in node.items() if key not in {"title", "x-title-ar"}}
    return [untitled(item) for item in node] if isinstance(node, list) else node
