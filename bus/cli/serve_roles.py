"""The roles of the bus's own side in this process, with the hosts that it runs beside them."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path

from bus import logs
from bus.bootstrap import Parts, Roles, assemble_patiently, pages, running, write_once
from bus.catalog import Workspace
from bus.cli.greeting import at_work, greet
from bus.cli.show import Language
from bus.errors import ConfigurationError, Fault
from bus.gateway.server import address_of, is_loopback, listen, serve_until_told
from bus.operations.caller import Role, mint_token

_log = logs.bind(role="serve")
#: Whose token `bus serve` leaves for the command line of this machine.
LOCAL_USER = "local"


def serve_roles(
    workspace: Workspace, data: Path, roles: Roles, port: int, host: str, wait: int, lang: Language | None
) -> None:
    """Run the roles until told to stop; the gateway, where it is one of them, in this thread."""
    parts = assemble_patiently(workspace, data, wait)
    env = workspace.env.name
    if "gateway" not in roles.bus:
        with running(parts, hosts=roles.agencies, roles=roles.bus):
            at_work(lang, ", ".join([*sorted(roles.bus), *(f"agency:{name}" for name in roles.agencies)]), env)
            _wait()
        return
    is_for_others = not is_loopback(host)
    if is_for_others:
        _refuse_without_tokens(parts, host)
    with ExitStack() as stack:
        listening = stack.enter_context(listen(port, host))
        stack.enter_context(running(parts, hosts=roles.agencies, roles=roles.bus))
        introduce(parts, address_of(listening))
        greet(
            lang,
            en=f"The bus listens on {address_of(listening)} (environment {env}). Stop it with Ctrl-C.",
            ar=f"الناقل يعمل الآن على العنوان {address_of(listening)} (البيئة {env}). أوقفه بالضغط على Ctrl-C.",
        )
        if is_for_others:
            greet(
                lang,
                en=f"It listens on {host}, for other machines too: put TLS in front, tokens travel in clear.",
                ar=f"يستمع الناقل على العنوان {host} لأجهزة أخرى أيضًا: ضعوا أمامه TLS، فرموز الدخول تمرّ دون تعمية.",
            )
        serve_until_told(parts.context, listening, pages)


def _wait() -> None:
    """Until a signal ends the program, which is told as SystemExit."""
    while True:
        signal.pause()


def _refuse_without_tokens(parts: Parts, host: str) -> None:
    """Who opens the door to other machines has thought of who may come in."""
    if parts.store.users() - {LOCAL_USER}:
        return
    fault = Fault(
        code="tokens-needed",
        message=f"The bus may listen on {host} only if tokens are configured; there is none but this machine's own.",
        mend="Give one with `bus user add NAME --role ROLE`, or leave --host out.",
    )
    raise ConfigurationError((fault,))


def introduce(parts: Parts, address: str) -> None:
    """Leave address and token where the command line finds them; nobody else may read them."""
    token = parts.data / "token"
    if not token.exists():
        write_once(token, f"{mint_token(parts.store, LOCAL_USER, Role.ADMIN)}\n".encode())
    url = parts.data / "url"
    url.unlink(missing_ok=True)
    write_once(url, f"{address}\n".encode())
    _log.info("gateway_started", address=address)
