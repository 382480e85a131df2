"""The parts of a problem: which language comes first, and what is added to it."""

from __future__ import annotations

import pytest

from bus.errors import NotFoundError
from bus.gateway.problems import language_of, problem_of


@pytest.mark.parametrize(
    ("accepted", "lang"),
    [
        ("", "en"),
        ("ar", "ar"),
        ("AR-eg", "ar"),
        ("fr, ar;q=0.3", "ar"),
        ("en, ar", "en"),
        ("en;q=0.2, ar;q=0.9", "ar"),
        ("ar;q=0", "en"),
        ("ar;q=0, en;q=0", "en"),
        ("*", "en"),
        ("arabic", "en"),
        ("ar;q=much", "en"),
        (";;q=,", "en"),
    ],
)
def test_the_language_is_that_of_the_greatest_quality_and_english_where_neither_is_wanted(
    accepted: str, lang: str
) -> None:
    assert language_of(accepted) == lang


def test_the_exact_words_follow_the_arabic_ones_and_lead_the_english_ones() -> None:
    error = NotFoundError("There is no desk row 7.", code="row-unknown", mend="List them.")

    english, arabic = problem_of(error).body, problem_of(error, "ar").body

    assert (english["detail"], english["mend"]) == ("There is no desk row 7.", "List them.")
    assert arabic["detail"].startswith(arabic["i18n"]["ar"]["title"])
    assert "There is no desk row 7." in arabic["detail"]
    assert arabic["mend"] == arabic["i18n"]["ar"]["mend"]
    assert arabic["i18n"] == english["i18n"]
