"""A text for people in the two languages of the bus."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """The same sentence in English and in Arabic."""

    en: str
    ar: str

    def to_json(self) -> dict[str, str]:
        """The form that messages and problems carry."""
        return {"en": self.en, "ar": self.ar}
