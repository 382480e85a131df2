"""Cookies and forms: signed, bound to one sign-in, and over in time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from starlette.requests import Request

from bus.console.limiting import Limit
from bus.console.session import IDLE, LONGEST, Seal, Session
from bus.console.visit import is_from_here
from bus.message.instant import MINUTE

NOW = 1_800_000_000_000
SEAL = Seal(b"s" * 32)
SESSION = Session(token_hash="ab" * 32, agency=None, nonce="n", started=NOW, seen=NOW)


def test_a_cookie_gives_back_the_session_and_holds_nothing_else() -> None:
    assert SEAL.session(SEAL.cookie(SESSION)) == SESSION


@pytest.mark.parametrize("cookie", [None, "", "x", "a.b", "ab" * 5000, "é.é"])
def test_what_is_no_cookie_of_ours_is_nobody(cookie: str | None) -> None:
    assert SEAL.session(cookie) is None


def test_a_changed_cookie_is_nobody() -> None:
    cookie = SEAL.cookie(SESSION)
    changed = ("A" if cookie[1] != "A" else "B").join((cookie[:1], cookie[2:]))

    assert SEAL.session(changed) is None


def test_a_cookie_of_another_installation_is_nobody() -> None:
    assert SEAL.session(Seal(b"t" * 32).cookie(SESSION)) is None


def test_a_session_ends_when_it_is_not_used_and_in_any_case_one_day() -> None:
    used = replace(SESSION, seen=NOW + LONGEST - MINUTE)

    assert SESSION.is_alive(NOW + IDLE - 1)
    assert not SESSION.is_alive(NOW + IDLE)
    assert used.is_alive(NOW + LONGEST - 1)
    assert not used.is_alive(NOW + LONGEST)


def test_who_signed_out_is_nobody_also_with_a_copy_of_the_cookie() -> None:
    seal = Seal(b"s" * 32)
    copy = seal.cookie(SESSION)
    seal.end(SESSION, NOW)

    assert seal.session(copy) is None
    assert seal.session(seal.cookie(replace(SESSION, nonce="m"))) is not None


def test_who_signed_out_stays_out_while_others_sign_out_until_his_session_would_be_over() -> None:
    seal = Seal(b"s" * 32)
    copy = seal.cookie(SESSION)
    seal.end(SESSION, NOW)
    seal.end(replace(SESSION, nonce="m"), NOW + LONGEST - 1)

    assert seal.session(copy) is None
    # What is remembered of him is no more than needed: past that time the cookie is dead by itself.
    seal.end(replace(SESSION, nonce="o"), NOW + LONGEST)
    forgotten = seal.session(copy)
    assert forgotten is not None
    assert not forgotten.is_alive(NOW + LONGEST)


@pytest.mark.parametrize(
    ("headers", "is_ours"),
    [
        ({"host": "bus:80", "origin": "http://bus:80"}, True),
        ({"host": "bus:80", "origin": "http://bus"}, False),
        ({"host": "bus:80", "origin": "null"}, False),
        ({"origin": "null"}, False),
        ({"host": "", "origin": "http://"}, False),
        ({"host": "bus:80", "sec-fetch-site": "same-origin"}, True),
        ({"host": "bus:80", "sec-fetch-site": "same-site"}, False),
        ({"host": "bus:80"}, False),
    ],
)
def test_a_form_is_taken_only_from_a_page_of_this_very_site(headers: dict[str, str], is_ours: bool) -> None:  # noqa: FBT001  # a column of the table
    lines = [(name.encode(), value.encode()) for name, value in headers.items()]
    http = Request({"type": "http", "method": "POST", "path": "/desk", "headers": lines})

    assert is_from_here(http) is is_ours


def test_a_form_belongs_to_one_session_only() -> None:
    token = SEAL.form_token("n")

    assert SEAL.is_own_form("n", token)
    assert not SEAL.is_own_form("m", token)
    assert not SEAL.is_own_form("n", "")
    assert not SEAL.is_own_form("n", "ة")
    assert not Seal(b"t" * 32).is_own_form("n", token)


def test_an_address_may_ask_so_often_and_is_told_how_long_to_wait() -> None:
    limit = Limit("2 per minute")
    for _ in range(2):
        assert limit.wait("192.0.2.1") == 0
        limit.count("192.0.2.1")

    assert 1 <= limit.wait("192.0.2.1") <= 61
    assert limit.wait("192.0.2.2") == 0


def test_the_addresses_of_one_household_count_as_one() -> None:
    limit = Limit("1 per minute")
    limit.count("2001:db8:1:2::1")

    assert limit.wait("2001:db8:1:2:ffff::9") > 0
    assert limit.wait("2001:db8:1:3::1") == 0
