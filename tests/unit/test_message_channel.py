"""Channels are made from the names of agencies and tell whose they are."""

from __future__ import annotations

import pytest

from bus.message import signature
from bus.message.channel import INVALID, REQUESTS, agency_of, control, replies, results, tasks


def test_each_channel_of_an_agency_has_its_own_name_and_knows_its_agency() -> None:
    makers = (tasks, control, replies, results)
    channels = [make("civil_registry") for make in makers]
    assert channels == [f"{make.__name__}.civil_registry" for make in makers]
    assert {agency_of(channel) for channel in channels} == {"civil_registry"}


def test_the_channels_of_all_belong_to_nobody() -> None:
    assert [agency_of(channel) for channel in (REQUESTS, INVALID)] == [None, None]


@pytest.mark.parametrize("agency", ["", "a.b", "A", "1st", "بلدية", "a b", "a#", "*", "a" * 65, "a\n"])
@pytest.mark.parametrize("make", [tasks, control, replies, results])
def test_a_name_that_would_break_an_address_makes_no_channel(make: object, agency: str) -> None:
    with pytest.raises(ValueError, match="cannot name an agency"):
        make(agency)  # type: ignore[operator]


def test_the_place_of_the_signature_is_one_header_beside_the_body() -> None:
    assert signature.HEADER == "signature"
