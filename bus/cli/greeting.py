"""What a program that stays says when it begins: in both languages, or in the one that was asked for."""

from __future__ import annotations

import click

from bus.cli.show import Language


def greet(lang: Language | None, *, en: str, ar: str) -> None:
    """Say it; without ``lang`` in both languages, for whoever reads the log may not be who wrote the unit file."""
    for said, language in ((en, "en"), (ar, "ar")):
        if lang in {None, language}:
            click.echo(said)


def at_work(lang: Language | None, what: str, env: str) -> None:
    """These roles or agencies are at work."""
    greet(
        lang,
        en=f"{what}: at work (environment {env}). Stop it with Ctrl-C.",
        ar=f"{what}: قيد العمل (البيئة {env}). أوقفه بالضغط على Ctrl-C.",
    )
