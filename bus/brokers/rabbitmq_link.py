"""One connection to RabbitMQ.

Nothing here waits without a bound: whoever asks the I/O thread from another gives up after a time, and a connection
that does not answer is cut off, not closed with a hand-shake that might hang.
"""

from __future__ import annotations

import random
import ssl
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pika  # type: ignore[import-untyped]
import tenacity
from pika import exceptions, frame
from pika.adapters.select_connection import SelectConnection  # type: ignore[import-untyped]

from bus.brokers.rabbitmq_address import Address, Login, Node
from bus.brokers.rabbitmq_io import FAREWELL, IoThread
from bus.brokers.rabbitmq_reading import without_headers
from bus.errors import BrokerUnavailableError, ConfigurationError, Fault
from bus.logs import bind

#: Number of the one channel of AMQP on each connection.
NUMBER: Final = 1
#: Seconds for which a new connection is tried again before its asker is told.
PATIENCE: Final = 3.0
#: Bytes that are taken from a socket at once: as many as pika takes before it looks at another one.
_READ: Final = 100 * 1024

_log = bind()


class LoginRefusedError(BrokerUnavailableError):
    """The broker does not let this user in; trying again at once cannot help."""

    code = "broker-login-refused"


class CertificateRefusedError(BrokerUnavailableError):
    """The broker cannot prove who it is; trying again at once cannot help."""

    code = "broker-certificate-refused"


class Link(SelectConnection):  # type: ignore[misc]
    """A connection of pika, with what its public face lacks."""

    #: Takes what it can from the beginning of what came, before pika looks at it, and says how many bytes that was.
    take: Callable[[bytes], int] | None = None
    #: Called whenever all that came at once is worked off.
    rest: Callable[[], None] | None = None

    @property
    def node(self) -> Node:
        """The node at the other end."""
        return self.params.host, self.params.port

    def leave(self) -> None:
        """Say goodbye; cut off if the broker does not answer that."""
        if self.is_open:
            self.close()
        self.ioloop.call_later(FAREWELL, lambda: self.cut("It did not say goodbye."))

    def cut(self, why: str) -> None:
        """Break off without a hand-shake: a broker that is blocked or unreachable would never answer it."""
        if not self.is_closed:
            self._terminate_stream(exceptions.AMQPConnectionError(why))

    def emit(self, frames: bytes) -> None:
        """Send marshalled frames, all in one."""
        self._output_marshaled_frames((frames,))
        if self.params.ssl_options is None:
            # Sent at once, as far as the socket takes it; otherwise pika would ask the loop first whether it does.
            self._transport._on_socket_writable()  # noqa: SLF001

    def _proto_connection_made(self, transport: Any) -> None:
        # Each look into a socket gives the interpreter away, and pika takes 4 KiB at a time until nothing is left.
        transport._MAX_RECV_BYTES = _READ  # noqa: SLF001
        if self.params.ssl_options is None:
            transport._MAX_CONSUME_BYTES = 1  # noqa: SLF001  # what is left, the loop tells
        super()._proto_connection_made(transport)

    def _read_frame(self) -> Any:
        if self.take is not None and (taken := self.take(self._frame_buffer)):
            self._trim_frame_buffer(taken)
        try:
            return super()._read_frame()
        except Exception:
            # Whoever wrote such headers must not keep a reader from the messages behind them: the message goes without.
            bare = without_headers(self._frame_buffer)
            if bare is None:
                raise
            _log.warning("message_invalid", cause="headers-unreadable", size=bare[1])
            return bare[1], frame.decode_frame(bare[0])[1]

    def _on_data_available(self, data_in: bytes) -> None:
        try:
            super()._on_data_available(data_in)
            if self.rest is not None:
                self.rest()
        except Exception as error:
            # pika gives the connection up and says of it only that it was lost.
            _log.error("unexpected_error", error=error)
            raise


#: Called on the I/O thread once, with the reason, when a connection that stood is gone.
Lost = Callable[[BaseException], None]


class Connector:
    """Makes connections to one broker, whichever of its nodes answers."""

    def __init__(self, io: IoThread, address: Address, login: Login) -> None:
        self.io = io
        self.address = address
        self.login = login
        self._context = _context(login.ca) if address.is_tls else None
        self._shunned: Node | None = None

    def shun(self, node: Node) -> None:
        """From now on try this node last, in place of the one before: it stands still, or is cut off and unaware."""
        self._shunned = node

    def connect(self, purpose: str, lost: Lost, apart_from: Node | None = None) -> Link:
        """A connection that stands, to another node than ``apart_from`` where another answers.

        BrokerUnavailableError when none did within seconds.
        """
        attempts = tenacity.Retrying(
            stop=tenacity.stop_after_delay(PATIENCE),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=1),
            retry=tenacity.retry_if_exception(_may_pass),
            reraise=True,
        )
        link: Link = attempts(self._try_nodes, purpose, lost, apart_from)
        return link

    def _try_nodes(self, purpose: str, lost: Lost, apart_from: Node | None) -> Link:
        nodes = random.sample(self.address.nodes, len(self.address.nodes))
        nodes.sort(key=lambda node: (node == apart_from, node == self._shunned))
        refusal: BrokerUnavailableError | None = None
        for host, port in nodes:
            try:
                return self._open(host, port, purpose, lost)
            except BrokerUnavailableError as error:
                self.shun((host, port))
                refusal = error
        if refusal is None:
            raise TypeError("an address without a node")
        raise refusal

    def _open(self, host: str, port: int, purpose: str, lost: Lost) -> Link:
        if not self.io.is_alive:
            raise BrokerUnavailableError("The broker is closed.", mend="Make a new one.")
        opened: Future[Link] = Future()
        self.io.call(lambda: self._start(host, port, purpose, opened, lost))
        # The sum of its parts is bounded by the same time; this one is for what pika does not bound, such as names.
        link: Link = answer(opened, self.login.timeout + 1, f"{host}:{port}", give_up=None)
        return link

    def _start(self, host: str, port: int, purpose: str, opened: Future[Link], lost: Lost) -> None:
        handed_over: list[Link] = []

        def stands(link: Link) -> None:
            if tell(opened, link):
                handed_over.append(link)
            else:
                link.cut("Its asker has given up.")

        def fails(link: Link | None, error: BaseException) -> None:
            if link is not None:
                self.io.forget(link)
            fail(opened, self._refusal(host, port, error))

        def ends(link: Link, error: BaseException) -> None:
            self.io.forget(link)
            if handed_over:
                lost(error)

        try:
            parameters = self._parameters(host, port, purpose)
            self.io.watch(Link(parameters, stands, fails, ends, custom_ioloop=self.io.loop))
        except Exception as error:  # noqa: BLE001  # whatever it is, the asker must be told
            fails(None, error)

    def _parameters(self, host: str, port: int, purpose: str) -> Any:
        """Made anew for each connection, because pika writes what was negotiated into them."""
        return pika.ConnectionParameters(
            host=host,
            port=port,
            virtual_host=self.address.vhost,
            credentials=pika.PlainCredentials(self.login.user, self.login.password, erase_on_connect=True),
            heartbeat=self.login.heartbeat,
            connection_attempts=1,
            socket_timeout=self.login.timeout,
            stack_timeout=self.login.timeout,
            # The publisher itself gives up sooner where something waits.
            blocked_connection_timeout=60,
            client_properties={"connection_name": f"{self.login.name} {purpose}"},
            ssl_options=pika.SSLOptions(self._context, host) if self._context is not None else None,
        )

    def _refusal(self, host: str, port: int, error: BaseException) -> BrokerUnavailableError:
        causes = [error, *getattr(error, "exceptions", ()), getattr(error, "exception", None), *error.args]
        refused = (
            exceptions.ProbableAuthenticationError,
            exceptions.AuthenticationError,
            exceptions.ProbableAccessDeniedError,
        )
        if any(isinstance(cause, refused) or "ACCESS_REFUSED" in repr(cause) for cause in causes):
            return LoginRefusedError(
                f"The broker at {host}:{port} does not let the user {self.login.user!r} in.",
                mend=f"Check user, password and the user's rights in the virtual host {self.address.vhost!r}.",
            )
        unproved = next((one for one in _all_of(causes) if isinstance(one, ssl.SSLCertVerificationError)), None)
        if unproved is not None:
            return CertificateRefusedError(
                f"The certificate of the broker at {host}:{port} is refused: {unproved.verify_message}.",
                mend="Renew the certificate, or name in `ca` the file of the authority that has made it; see that its"
                " name is the one in the URL, and that the clock of this machine is right.",
            )
        return BrokerUnavailableError(
            f"The broker at {host}:{port} cannot be reached ({_kind(causes)}).",
            mend=f"See that it runs, that it has a virtual host {self.address.vhost!r}, and that this machine may "
            "connect to it.",
        )


def tell(future: Future[Any], value: Any) -> bool:
    """Answer; False if nobody waits for it any more."""
    try:
        future.set_result(value)
    except InvalidStateError:
        return False
    return True


def fail(future: Future[Any], error: BaseException) -> None:
    """Answer with an error, unless it was answered or nobody waits for it any more."""
    with suppress(InvalidStateError):
        future.set_exception(error)


def answer(future: Future[Any], seconds: float, where: str, *, give_up: Callable[[], None] | None) -> Any:
    """What the I/O thread answers; BrokerUnavailableError, after giving up, when it does not in time."""
    try:
        return future.result(seconds)
    except TimeoutError:
        if not future.cancel():
            # It came at the last moment.
            return future.result()
        if give_up is not None:
            give_up()
        raise BrokerUnavailableError(
            f"The broker ({where}) did not answer within {seconds:g} s.", mend="It will be asked again."
        ) from None


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, LoginRefusedError | CertificateRefusedError):
        return False
    return isinstance(error, BrokerUnavailableError)


def _all_of(causes: list[Any]) -> list[Any]:
    """These, and what they were made of."""
    return [*causes, *(getattr(cause, "exception", None) for cause in causes)]


def _kind(causes: list[Any]) -> str:
    innermost = [cause for cause in causes if isinstance(cause, BaseException)][-1]
    inner = getattr(innermost, "exception", None) or innermost
    return type(inner).__name__


def _context(ca: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    except OSError as error:
        fault = Fault(
            code="unreadable-ca",
            message="The certificates of the authorities that vouch for the broker cannot be read.",
            mend="Give a PEM file that this user may read.",
            file=str(ca),
        )
        raise ConfigurationError((fault,)) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
