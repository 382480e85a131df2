"""The two languages of the pages: which one a reader wants, its texts with their plurals, and its dates."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Literal, TypeAlias

from babel.dates import LOCALTZ, format_date, format_datetime
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations

from bus.console.writing import day
from bus.message.instant import Instant
from bus.message.text import Text

Code: TypeAlias = Literal["en", "ar"]

#: Texts stand in the code in English; this folder holds them in the other language.
CATALOGUES = Path(__file__).parent / "translations"
_WANTED = re.compile(r"\s*([A-Za-z]{1,8})(?:-[A-Za-z0-9-]*)?\s*(?:;\s*q=([01](?:\.[0-9]{0,3})?))?\s*")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """One language.

    Digits are Western in both, so that what is read aloud, copied and typed is the same everywhere; days are those of
    the Gregorian calendar, in the time zone of the machine (or of ``TZ``).
    """

    code: Code
    #: What the language calls itself.
    name: str
    #: The direction of its script, as HTML spells it.
    direction: Literal["ltr", "rtl"]
    #: Names of months and their order, as CLDR calls them.
    dates: str
    #: How a moment is written, in the pattern language of CLDR.
    moments: str
    texts: NullTranslations = field(repr=False)
    zone: tzinfo = LOCALTZ

    def gettext(self, text: str, /, **values: object) -> str:
        """The text in this language, with ``%(name)s`` filled in."""
        return self.texts.ugettext(text) % values if values else self.texts.ugettext(text)

    def ngettext(self, one: str, many: str, number: int, /, **values: object) -> str:
        """The text in the form that the number needs here; ``%(num)d`` is the number."""
        return self.texts.ungettext(one, many, number) % {"num": number, **values}

    def of(self, text: Text) -> str:
        """The side of a bilingual text that is in this language."""
        return text.ar if self.code == "ar" else text.en

    def day(self, instant: Instant) -> str:
        """``22 November 2026``."""
        return format_date(self._local(instant).date(), "long", locale=self.dates)

    def moment(self, instant: Instant) -> str:
        """``22 November 2026, 09:05``."""
        return format_datetime(self._local(instant), self.moments, locale=self.dates)

    def due(self, due_at: Instant, now: Instant) -> str:
        """How many days of the calendar are left, or have passed, in words."""
        days = self.days_until(due_at, now)
        if days == 0:
            return self.gettext("Overdue since today") if due_at < now else self.gettext("Due today")
        if due_at < now:
            return self.ngettext("Overdue by %(num)d day", "Overdue by %(num)d days", -days)
        return self.ngettext("Due in %(num)d day", "Due in %(num)d days", days)

    def days_until(self, then: Instant, now: Instant) -> int:
        """Days of the calendar from now on; negative for what has passed."""
        return (self._local(then).date() - self._local(now).date()).days

    def written_day(self, text: str) -> str:
        """A day as a form shows it (``22/11/2026``) in words; unchanged if it names none."""
        iso = day(text)
        return text if iso is None else format_date(date.fromisoformat(iso), "long", locale=self.dates)

    def _local(self, instant: Instant) -> datetime:
        return (_EPOCH + timedelta(milliseconds=instant)).astimezone(self.zone)


@cache
def languages() -> Mapping[str, Language]:
    """Both languages by their codes."""
    return {
        "en": Language(
            code="en",
            name="English",
            direction="ltr",
            dates="en_GB",
            moments="d MMMM y, HH:mm",
            texts=NullTranslations(),
        ),
        "ar": Language(
            code="ar",
            name="العربية",
            direction="rtl",
            dates="ar",
            moments="d MMMM y، HH:mm",
            texts=_texts("ar"),
        ),
    }


def choose(asked: str | None, remembered: str | None, accepted: str) -> Language:
    """The language asked for in the address, else the one remembered, else the first that the browser accepts."""
    known = languages()
    wishes = (asked, remembered, *_by_wish(accepted), "en")
    return next(known[code] for code in wishes if code is not None and code in known)


def other(language: Language) -> Language:
    """The language that this one is not."""
    return next(each for each in languages().values() if each.code != language.code)


def _by_wish(accepted: str) -> list[str]:
    """The languages of an ``Accept-Language`` without their regions, the most wanted first."""
    wanted = [match for part in accepted.split(",")[:20] if (match := _WANTED.fullmatch(part))]
    return [match[1].lower() for match in sorted(wanted, key=lambda match: -float(match[2] or 1)) if match[2] != "0"]


def _texts(code: Code) -> NullTranslations:
    file = CATALOGUES / f"{code}.po"
    with file.open("rb") as lines:
        catalogue = read_po(lines, locale=code, abort_invalid=True)
    compiled = BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return Translations(compiled)
