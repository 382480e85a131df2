"""Signs that nobody can see do not come in."""

from __future__ import annotations

import pytest

from bus.message.hidden import hidden


@pytest.mark.parametrize("sign", ["\x00", "\x1b", "\r", "\x7f", "\x9b", "\u202e", "\u2066"])
def test_a_sign_that_hides_is_found_wherever_it_stands(sign: str) -> None:
    value = {"name": "مخبز", "rooms": [{"note": f"a{sign}b"}], f"key{sign}": 1}
    assert list(hidden(value)) == [("rooms", 0, "note"), (f"key{sign}",)]


def test_letters_line_ends_and_joiners_of_real_names_are_no_such_signs() -> None:
    assert list(hidden({"name": "مَخبَز\u200cالنور\nشارع\t١٢ — Café", "count": 3, "none": None})) == []
