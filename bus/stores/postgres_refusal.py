"""Whether PostgreSQL refused who connects, which waiting does not mend.

Of a connection that failed libpq gives a text only, and no code.
"""

from __future__ import annotations

import re

import psycopg

from bus.errors import StoreUnavailableError

#: In the server's English. A server that speaks another language is waited for, and then its words are told.
_REFUSED = re.compile(
    r"authentication failed|no password supplied|no pg_hba\.conf entry|is not permitted to log in"
    r'|(role|database) ".*" does not exist|permission denied for database'
    r"|certificate verify failed|root certificate file|server certificate for"
)


def is_refusal(error: StoreUnavailableError) -> bool:
    """Whether the server, or its certificate, says no to this address and login for good, or to its use of a table."""
    cause = error.__cause__
    said = getattr(cause, "orig", None) or cause
    if isinstance(said, psycopg.errors.InsufficientPrivilege):
        return True
    return isinstance(said, psycopg.OperationalError) and _REFUSED.search(str(said)) is not None
