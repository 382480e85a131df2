"""Both languages of the pages: nothing untranslated, plurals as Arabic counts, days as officials write them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

import bus.console
from bus.console.language import CATALOGUES, choose, languages
from bus.message.instant import DAY, HOUR, from_rfc3339

ROOM = Path(bus.console.__file__).parent
KEYWORDS = {
    "gettext": None,
    "gettext_noop": None,
    "ngettext": (1, 2),
    "_": None,
    # Short names that code gives to the methods of a language.
    "say": None,
    "count": (1, 2),
}
NOON = from_rfc3339("2026-11-22T12:00:00Z")
ENGLISH = replace(languages()["en"], zone=ZoneInfo("UTC"))
ARABIC = replace(languages()["ar"], zone=ZoneInfo("UTC"))


def catalogue() -> Catalog:
    with (CATALOGUES / "ar.po").open("rb") as lines:
        return read_po(lines, locale="ar")


def in_the_pages() -> set[str | tuple[str, ...]]:
    """Every text of code and templates."""
    methods = [("**.py", "python"), ("templates/**.html", "jinja2")]
    return {found[2] for found in extract_from_dir(ROOM, methods, keywords=KEYWORDS)}


def test_every_text_of_the_pages_stands_in_arabic_and_no_other_does() -> None:
    translated = {message.id for message in catalogue() if message.id}

    assert in_the_pages() - translated == set(), "write these into bus/console/translations/ar.po"
    assert translated - in_the_pages() == set(), "take these out of bus/console/translations/ar.po"


def test_every_text_has_all_its_forms_in_arabic_letters_and_none_is_doubtful() -> None:
    for message in catalogue():
        forms = [message.string] if isinstance(message.string, str) else list(message.string or ())
        if message.id not in {"", ", "}:
            assert len(forms) == (6 if message.pluralizable else 1), message.id
            assert all(any("\u0600" <= sign <= "\u06ff" for sign in form) for form in forms), message.id
        assert not message.fuzzy, message.id


def test_a_translation_keeps_what_is_filled_in() -> None:
    wrong = [error for message, errors in catalogue().check() for error in errors if message.id]
    assert wrong == []


@pytest.mark.parametrize(
    ("number", "left", "passed", "places"),
    [
        (0, "الموعد اليوم", "انقضى الموعد اليوم", "لا مواضع تحتاج إلى مراجعة"),
        (1, "بقي يوم واحد", "تأخّرت يومًا واحدًا", "موضع واحد يحتاج إلى مراجعة"),
        (2, "بقي يومان", "تأخّرت يومين", "موضعان يحتاجان إلى مراجعة"),
        (3, "بقي 3 أيام", "تأخّرت 3 أيام", "3 مواضع تحتاج إلى مراجعة"),
        (11, "بقي 11 يومًا", "تأخّرت 11 يومًا", "11 موضعًا يحتاج إلى مراجعة"),
        (100, "بقي 100 يوم", "تأخّرت 100 يوم", "100 موضع يحتاج إلى مراجعة"),
    ],
)
def test_arabic_counts_in_its_six_forms(number: int, left: str, passed: str, places: str) -> None:
    counted = ARABIC.ngettext("%(num)s place needs your attention", "%(num)s places need your attention", number)

    assert ARABIC.due(NOON + number * DAY + HOUR, NOON) == left
    assert ARABIC.due(NOON - number * DAY - HOUR, NOON) == passed
    assert counted == places


@pytest.mark.parametrize(
    ("number", "left", "passed"),
    [
        (0, "Due today", "Overdue since today"),
        (1, "Due in 1 day", "Overdue by 1 day"),
        (2, "Due in 2 days", "Overdue by 2 days"),
        (100, "Due in 100 days", "Overdue by 100 days"),
    ],
)
def test_english_counts_in_two(number: int, left: str, passed: str) -> None:
    assert ENGLISH.due(NOON + number * DAY + HOUR, NOON) == left
    assert ENGLISH.due(NOON - number * DAY - HOUR, NOON) == passed


def test_days_are_gregorian_with_western_digits_in_both_languages() -> None:
    assert (ENGLISH.day(NOON), ARABIC.day(NOON)) == ("22 November 2026", "22 نوفمبر 2026")
    assert (ENGLISH.moment(NOON), ARABIC.moment(NOON)) == ("22 November 2026, 12:00", "22 نوفمبر 2026، 12:00")


def test_a_day_begins_when_it_begins_for_the_clerk_and_not_in_greenwich() -> None:
    cairo = replace(ENGLISH, zone=ZoneInfo("Africa/Cairo"))
    late = from_rfc3339("2026-11-22T22:30:00Z")

    assert cairo.day(late) == "23 November 2026"
    assert cairo.due(late, NOON) == "Due in 1 day"


@pytest.mark.parametrize(
    ("asked", "remembered", "accepted", "chosen"),
    [
        (None, None, "ar-EG,ar;q=0.9,en;q=0.8", "ar"),
        (None, None, "fr, en;q=0.3, ar;q=0.7", "ar"),
        (None, None, "AR", "ar"),
        (None, None, "ar;q=0, en;q=0.1", "en"),
        (None, None, "", "en"),
        (None, None, "x" * 5000 + ";;;,=,q=", "en"),
        (None, "ar", "en", "ar"),
        ("en", "ar", "ar", "en"),
        ("de", "nonsense", "ar", "ar"),
    ],
)
def test_the_language_is_the_one_asked_for_then_remembered_then_accepted(
    asked: str | None, remembered: str | None, accepted: str, chosen: str
) -> None:
    assert choose(asked, remembered, accepted).code == chosen
