"""Ids follow from what they name, tell nothing else, and survive people and old systems."""

from __future__ import annotations

import re
from uuid import UUID, uuid5

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bus.message.identity import (
    CROCKFORD,
    interaction_id,
    message_id,
    parse_tracking,
    reference,
    request_id,
    subject,
    tracking,
)

SECRET = bytes(range(32))
REQUEST = request_id(SECRET, "one_stop_shop", "key-1")
INTERACTION = interaction_id(REQUEST, "name", None, "task", 0)
PARTS = st.text(st.characters(codec="utf-8"), max_size=20)
REQUESTS = st.uuids().map(str)


def test_ids_are_the_same_in_every_release() -> None:
    # A stored id must be found again by every later version: these values never change.
    assert REQUEST == "efaf038f-37bf-880b-8942-16d8cade1c53"
    assert tracking(SECRET, REQUEST) == "2HCKK-0EJC2-J"
    assert INTERACTION == "4b23e5f1-261c-5cbb-991c-412ead417019"
    assert message_id(INTERACTION, 1, "bus.task.requested.v1") == "3e7de058-5a50-586b-a851-3690bad27201"
    assert reference(INTERACTION) == "ZOSDJ7PTWQE4DNM7"
    assert subject(SECRET, "29001011234567") == "5IMV6HQI7ZG72KTG4SYVX7UOHFSLTACH"


def test_the_same_submission_is_the_same_request_and_its_id_is_a_version_8_uuid() -> None:
    assert request_id(SECRET, "one_stop_shop", "key-1") == REQUEST
    assert str(UUID(REQUEST)) == REQUEST
    assert (UUID(REQUEST).version, UUID(REQUEST).variant) == (8, "specified in RFC 4122")


@given(st.tuples(PARTS, PARTS), st.tuples(PARTS, PARTS))
def test_different_submissions_are_different_requests_wherever_the_parts_meet(
    one: tuple[str, str], other: tuple[str, str]
) -> None:
    assume(one != other)
    assert request_id(SECRET, *one) != request_id(SECRET, *other)


def test_moving_a_sign_from_the_key_to_the_consumer_gives_another_request() -> None:
    assert request_id(SECRET, "ab", "c") != request_id(SECRET, "a", "bc")


def test_another_installation_gives_other_ids_to_the_same_things() -> None:
    other = bytes(32)
    assert request_id(other, "one_stop_shop", "key-1") != REQUEST
    assert tracking(other, REQUEST) != tracking(SECRET, REQUEST)
    assert subject(other, "x") != subject(SECRET, "x")


@given(REQUESTS, st.integers(0, 5))
def test_a_tracking_code_is_read_as_it_is_shown(request: str, n: int) -> None:
    code = tracking(SECRET, request, n)
    assert re.fullmatch(f"[{CROCKFORD}]{{5}}-[{CROCKFORD}]{{5}}-[{CROCKFORD}]", code)
    assert parse_tracking(code) == code


def test_a_taken_tracking_code_has_successors() -> None:
    assert len({tracking(SECRET, REQUEST, n) for n in range(100)}) == 100


@given(REQUESTS)
def test_a_tracking_code_is_read_however_people_write_it(request: str) -> None:
    code = tracking(SECRET, request)
    arabic = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")
    persian = str.maketrans("0123456789", "۰۱۲۳۴۵۶۷۸۹")
    slips = str.maketrans({"0": "o", "1": "l"})
    for written in (
        code.lower(),
        code.replace("-", ""),
        code.replace("-", " ").lower(),
        f"\u200f {code.translate(arabic)}\u200e\n",
        code.translate(persian).replace("-", "\u2013"),
        code.lower().translate(slips),
        code.replace("0", "O").replace("1", "I"),
    ):
        assert parse_tracking(written) == code


@given(REQUESTS, st.integers(0, 10), st.sampled_from(CROCKFORD))
def test_one_wrong_sign_in_a_tracking_code_is_noticed(request: str, place: int, sign: str) -> None:
    signs = tracking(SECRET, request).replace("-", "")
    assume(signs[place] != sign)
    with pytest.raises(ValueError, match="check sign"):
        parse_tracking(signs[:place] + sign + signs[place + 1 :])


@pytest.mark.parametrize(
    ("text", "mend"),
    [
        ("", "copy all"),
        ("7K4M9-Q2XHT", "copy all"),
        ("7K4M9-Q2XHT-AA", "copy all"),
        ("7K4M9-Q2XHT-U", "other than U"),
        ("7K4M9-Q2X#T-A", "compare it"),
        ("ك7K4M-9Q2XH-T", "compare it"),
        ("7K4M9-Q2XHT-ß", "copy all"),
    ],
)
def test_what_is_no_tracking_code_is_refused_with_the_mend(text: str, mend: str) -> None:
    with pytest.raises(ValueError, match=mend):
        parse_tracking(text)


def test_an_interaction_is_named_by_step_item_kind_and_edit_of_its_request() -> None:
    assert interaction_id(REQUEST, "name", None, "task", 0) == str(uuid5(UUID(REQUEST), "name//task/0"))
    assert interaction_id(REQUEST, "partners", 3, "compensation", 2) == str(
        uuid5(UUID(REQUEST), "partners/3/compensation/2")
    )


def test_a_single_step_and_its_first_item_are_different_interactions() -> None:
    assert interaction_id(REQUEST, "name", None, "task", 0) != interaction_id(REQUEST, "name", 0, "task", 0)


def test_a_resend_has_the_same_message_id_and_another_attempt_or_type_has_not() -> None:
    resent = message_id(INTERACTION, 1, "bus.task.requested.v1")
    assert resent == message_id(INTERACTION, 1, "bus.task.requested.v1")
    assert resent == str(uuid5(UUID(INTERACTION), "1/bus.task.requested.v1"))
    assert resent != message_id(INTERACTION, 2, "bus.task.requested.v1")
    assert resent != message_id(INTERACTION, 1, "bus.task.queried.v1")


@given(REQUESTS)
def test_a_reference_is_sixteen_signs_that_old_systems_keep(interaction: str) -> None:
    short = reference(interaction)
    assert re.fullmatch("[A-Z2-7]{16}", short)
    # EBCDIC and the Arabic code page of Windows carry it unharmed
    assert short.encode("cp500").decode("cp500") == short.encode("cp1256").decode("cp1256") == short


def test_references_of_many_interactions_differ() -> None:
    references = {reference(interaction_id(REQUEST, "partners", item, "task", 0)) for item in range(20_000)}
    assert len(references) == 20_000


def test_a_subject_is_a_pseudonym_without_a_trace_of_the_value() -> None:
    pseudonym = subject(SECRET, "29001011234567")
    assert re.fullmatch("[A-Z2-7]{32}", pseudonym)
    assert pseudonym == subject(SECRET, "29001011234567")
    assert pseudonym != subject(SECRET, "29001011234568")
