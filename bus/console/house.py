"""What all pages share: templates in both languages, the seal of cookies, the limits, and the headers."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse, Response

from bus.console.form import as_json
from bus.console.language import Language, choose, languages, other
from bus.console.limiting import Limit
from bus.console.session import REFRESHED, Seal, Session
from bus.console.visit import Visit, is_secure
from bus.operations.door import Door

_HERE = Path(__file__).parent
STYLE = (_HERE / "assets" / "console.css").read_bytes()
STYLE_PATH = f"/assets/{hashlib.sha256(STYLE).hexdigest()[:16]}.css"
SESSION, LANGUAGE, ENTRY = "bus_desk", "bus_language", "bus_entry"
_YEAR = 365 * 24 * 3600
#: Seconds after which it is worth another try.
LATER = 5
#: Pages may hold personal data, need nothing from elsewhere and stand in nobody's frame. ``same-origin`` lets browsers
#: name the origin of a form, which is checked.
HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """Made once for a gateway."""

    door: Door
    seal: Seal
    #: Tokens that nobody has, by address.
    attempts: Limit
    #: Tracking codes looked up, by address.
    lookups: Limit
    environments: Mapping[str, Environment]

    def page(self, visit: Visit, template: str, status: int = 200, **values: Any) -> Response:
        """A page in the visitor's language."""
        path = visit.http.url.path
        kept = [(name, value) for name, value in visit.http.query_params.multi_items() if name != "lang"]
        switched = other(visit.language)
        text = (
            self.environments[visit.language.code]
            .get_template(template)
            .render(
                visit=visit,
                language=visit.language,
                other=switched,
                switch=f"{path}?{urlencode([*kept, ('lang', switched.code)])}",
                style=STYLE_PATH,
                agency=self.agency(visit),
                **values,
            )
        )
        later = {"Retry-After": str(LATER)} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
        return HTMLResponse(text, status, headers={**HEADERS, **later})

    def agency(self, visit: Visit) -> str:
        """The name of the agency that the visitor works for; "" for nobody's."""
        agency = visit.caller.agency if visit.caller is not None else None
        return visit.language.of(self.door.context.agency_name(agency)) if agency else ""

    def language(self, query: Mapping[str, str], cookies: Mapping[str, str], accepted: str) -> Language:
        """The language of a visit."""
        return choose(query.get("lang"), cookies.get(LANGUAGE), accepted)

    def keep_session(self, response: Response, visit: Visit, session: Session | None) -> None:
        """Let the browser keep who is signed in; None takes it away."""
        if session is None:
            response.delete_cookie(
                SESSION, path="/desk", httponly=True, samesite="strict", secure=is_secure(visit.http)
            )
            return
        response.set_cookie(
            SESSION,
            self.seal.cookie(session),
            path="/desk",
            httponly=True,
            samesite="strict",
            secure=is_secure(visit.http),
        )

    def refresh(self, response: Response, visit: Visit) -> None:
        """Note from time to time that the session is in use, and the language that was asked for."""
        session = visit.session
        # A page that has just changed or ended the session has the last word.
        is_kept = any(cookie.startswith(f"{SESSION}=") for cookie in response.headers.getlist("set-cookie"))
        if session is not None and not is_kept and visit.now - session.seen >= REFRESHED:
            self.keep_session(response, visit, replace(session, seen=visit.now))
        if visit.http.query_params.get("lang") == visit.language.code:
            keep_language(response, visit, visit.language.code)


#: Makes one page.
Page: TypeAlias = Callable[[House, Visit], Awaitable[Response]]


def keep_language(response: Response, visit: Visit, code: str) -> None:
    """Let the browser remember the language for the desk."""
    response.set_cookie(
        LANGUAGE, code, max_age=_YEAR, path="/desk", httponly=True, samesite="lax", secure=is_secure(visit.http)
    )


def keep_entry(response: Response, visit: Visit, nonce: str) -> None:
    """Bind the form of the sign-in to this browser."""
    response.set_cookie(
        ENTRY, nonce, path="/desk/sign-in", httponly=True, samesite="strict", secure=is_secure(visit.http)
    )


def see_other(address: str) -> Response:
    """After a change: the browser gets another page, so that a reload repeats nothing."""
    return RedirectResponse(address, 303, headers=dict(HEADERS))


def environments() -> Mapping[str, Environment]:
    """The templates, once in each language."""
    return {code: _environment(language) for code, language in languages().items()}


def _environment(language: Language) -> Environment:
    made = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        extensions=["jinja2.ext.i18n"],
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.install_gettext_translations(language.texts, newstyle=True)  # type: ignore[attr-defined]
    made.filters |= {"of": language.of, "day": language.day, "moment": language.moment, "due": language.due}
    made.filters |= {"written_day": language.written_day, "person": person, "as_json": as_json}
    return made


def person(actor: str | None) -> str:
    """Whom an actor's name means, without the agency, which the reader knows: ``x/omar`` is ``omar``."""
    return (actor or "").partition(" for ")[0].rpartition("/")[2]
