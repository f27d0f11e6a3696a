"""Endpoints: address of a broker, its features, and the login of each role."""

import os
import re
import secrets
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from broker_config.daemons import BrokerKind
from broker_config.nats import LARGEST_PART
from wire.errors import InputError
from wire.mqtt.connection import Connection, Tls, tls_context
from wire.topics import Role
from wire.update_part import MAX_PART_BYTES

_PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
"""Default port of each scheme."""
_WEBSOCKET_PATH = "/mqtt"
_ENCODE = (
    "in a user name or password each of / ? # [ ] @ : % must be percent-encoded: "
    "%2F %3F %23 %5B %5D %40 %3A %25"
)
_SCHEME = re.compile(r"[a-z]{2,8}")
_SPECIAL = re.compile(r"[/?#]")
_FILES = re.compile(r"/?\?(?:ca|cert|key)=")
_LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True)
class Credentials:
    """A user name and its password; repr hides the password."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Capabilities:
    """Features of a broker beyond publish and subscribe; some scenarios need them."""

    shared_subscriptions: bool  # $share/group/filter, from MQTT 3.1.1 clients too
    wills_on_keepalive_expiry: bool
    wills_on_takeover: bool  # the same client id connects again
    offline_queues: bool  # for a persistent session of a client with a user name
    names_with_dots: bool = True  # in topics; some brokers write a topic's levels with dots between them
    largest_part_bytes: int = MAX_PART_BYTES


_EVERYTHING = Capabilities(
    shared_subscriptions=True, wills_on_keepalive_expiry=True, wills_on_takeover=True, offline_queues=True
)
_AMQTT = replace(
    _EVERYTHING, shared_subscriptions=False, wills_on_keepalive_expiry=False, wills_on_takeover=False
)
_RABBITMQ = replace(_EVERYTHING, shared_subscriptions=False, wills_on_takeover=False, names_with_dots=False)
CAPABILITIES: Mapping[str, Capabilities] = {  # as the trials of docs/brokers.md found them
    "mosquitto": _EVERYTHING,
    "amqtt": _AMQTT,
    "rabbitmq": _RABBITMQ,
    "nats": replace(_RABBITMQ, largest_part_bytes=LARGEST_PART),
    "external": _EVERYTHING,  # assumed: MQTT 3.1.1 has no way to ask
}


@dataclass(frozen=True)
class Endpoint:
    """Address of a broker, its features, and the login of each role, if the role has one."""

    host: str
    port: int
    kind: BrokerKind | Literal["external"]
    capabilities: Capabilities
    credentials: Mapping[Role, Credentials]
    tls: Tls | None = None
    websocket_path: str | None = None
    """Path of the WebSocket that carries MQTT; None: MQTT goes over TCP itself."""

    @property
    def scheme(self) -> str:
        """The scheme of the URL."""
        return ("mqtt" if self.websocket_path is None else "ws") + ("s" if self.tls else "")

    @property
    def url(self) -> str:
        """The address without credentials, for messages and for `parse_url`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        path = self.websocket_path if self.websocket_path not in (None, _WEBSOCKET_PATH) else ""
        address = f"{self.scheme}://{host}:{self.port}{path}"
        if self.tls is None:
            return address
        files = {"ca": self.tls.ca, "cert": self.tls.certificate, "key": self.tls.key}
        query = urlencode({name: path for name, path in files.items() if path is not None}, safe="/")
        return address + (f"?{query}" if query else "")

    def connection(self, role: Role, client_id: str) -> Connection:
        """Return the connection settings of *role*."""
        login = self.credentials.get(role)
        user, password = (login.user, login.password) if login else (None, None)
        return Connection(
            self.host, self.port, client_id, user, password, self.tls, websocket_path=self.websocket_path
        )

    def checking_client(self, client_id: str, role: Role | None) -> Client:
        """Return a client of paho that is not connected yet, with the login of *role* if it has one."""
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=MQTTProtocolVersion.MQTTv311,
            transport="tcp" if self.websocket_path is None else "websockets",
        )
        if self.websocket_path is not None:
            client.ws_set_options(path=self.websocket_path)
        if role is not None and (login := self.credentials.get(role)):
            client.username_pw_set(login.user, login.password)
        if self.tls is not None:
            client.tls_set_context(tls_context(self.tls))
        return client


def parse_url(text: str) -> Endpoint:
    """Parse ``mqtt://[user:password@]host[:port]``, or ``mqtts://`` for TLS; all roles use the same login.

    ``ws://`` and ``wss://`` are MQTT in a WebSocket; the path of theirs may follow the port.
    With TLS, certificates may follow, as PEM files: ``?ca=FILE&cert=FILE&key=FILE``, the trusted
    authority and the client's own. No message repeats *text*: it may hold a password.

    Raises:
        InputError: the URL is malformed; a file is missing or damaged; or the host is another machine and the
            URL has no login.
    """
    url = _split(text)
    credentials, tls = _url_credentials(url), _url_tls(url)
    assert url.hostname is not None
    if credentials is None and not (tls and tls.certificate) and not is_loopback(url.hostname):
        raise _url_error(
            f"host(={url.hostname}) is another machine: a user and password are needed there, since access "
            "rules and queues go by names; for a broker that lets everybody in, write any two words"
        )
    roles = dict.fromkeys(Role, credentials) if credentials else {}
    port = _PORTS[url.scheme] if url.port is None else url.port
    path = None
    if url.scheme in ("ws", "wss"):
        path = url.path if url.path.strip("/") else _WEBSOCKET_PATH
    return Endpoint(url.hostname, port, "external", CAPABILITIES["external"], roles, tls, path)


def check_host(host: str) -> None:
    """Check that *host* can be looked up, before a client retries for ever.

    Raises:
        InputError: *host* is not a valid host name.
    """
    try:
        host.encode("idna")  # as connecting would
    except UnicodeError:
        raise InputError(f"--broker: {host!r} is no name of a host") from None


def is_loopback(host: str) -> bool:
    """Tell whether *host* is a loopback address or name."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _split(text: str) -> SplitResult:
    scheme, _, rest = text.partition("://")
    if scheme not in _PORTS:
        shown = f"scheme(={scheme!r})" if rest and _SCHEME.fullmatch(scheme) else "its scheme"
        raise _url_error(f"{shown} must be 'mqtt', 'mqtts', 'ws' or 'wss'")
    _check_login(rest)
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise _url_error(
            f"its host or port is malformed; a port is 1 to 65535; {_ENCODE}"
        ) from None  # the cause repeats a part of the text
    if not url.hostname or not url.hostname.isprintable() or " " in url.hostname:
        raise _url_error("it names no host")
    if port == 0:
        raise _url_error("port(=0) must be 1 to 65535")
    path = "" if url.scheme in ("ws", "wss") else url.path.strip("/")
    if path or url.fragment or (url.query and url.scheme in ("mqtt", "ws")):
        raise _url_error("nothing may follow the port; write '/', '?' and '#' in a password as %2F, %3F, %23")
    return url


def _check_login(rest: str) -> None:
    """Check that user and password can be separated from the rest of the URL.

    Args:
        rest: the URL without its scheme.
    """
    special = _SPECIAL.search(rest)
    authority = rest[: special.start()] if special else rest
    tail = rest[len(authority) :]
    files = tail if _FILES.match(tail) else ""
    if "@" in tail.removesuffix(files):
        raise _url_error(f"user or password has a '/', '?' or '#'; {_ENCODE}")
    login, at, _ = authority.rpartition("@")
    if not at:
        return
    if reserved := sorted(set(login) & set("[]@")):
        raise _url_error(f"user or password has a {' and a '.join(map(repr, reserved))}; {_ENCODE}")
    try:
        if _LONE_PERCENT.search(login):
            raise ValueError
        unquote(login, errors="strict")
    except ValueError:
        raise _url_error(f"user or password has a '%' that begins no character; {_ENCODE}") from None


def _url_credentials(url: SplitResult) -> Credentials | None:
    if url.username is None:
        return None
    if not url.username or url.password is None:
        raise _url_error("user and password go together")
    return Credentials(unquote(url.username), unquote(url.password))


def _url_tls(url: SplitResult) -> Tls | None:
    """Return the TLS settings; the files are read here, so that errors show at once."""
    if url.scheme in ("mqtt", "ws"):
        return None
    given = dict(parse_qsl(url.query, keep_blank_values=True))
    if set(given) - {"ca", "cert", "key"}:  # not shown: it may be the end of a password with a '?'
        raise _url_error("only ca, cert and key may follow '?'; write '?' in a password as %3F")
    if ("cert" in given) != ("key" in given):
        raise _url_error("cert and key go together")
    paths = {name: Path(os.path.realpath(path)) for name, path in given.items()}
    for name, path in paths.items():
        if not path.is_file():
            raise _url_error(f"{name}(={path}) is no file")
    tls = Tls(paths.get("ca"), paths.get("cert"), paths.get("key"))
    try:
        tls_context(tls)
    except (ssl.SSLError, OSError) as error:
        raise _url_error(f"{', '.join(map(str, paths.values()))}: no usable certificates: {error}") from None
    return tls


def _url_error(reason: str) -> InputError:
    form = "mqtt[s]|ws[s]://[user:password@]host[:port]"
    return InputError(f"broker URL must be {form}: {reason}")


def check_reachable(endpoint: Endpoint, timeout_s: float) -> None:
    """Connect once as an MQTT client and disconnect; a name look-up may exceed *timeout_s*.

    Raises:
        InputError: nothing answers, the server does not speak MQTT, or it refuses the login.
    """
    credentials = next(iter(endpoint.credentials.values()), None)
    try:
        answer = _connack(endpoint, timeout_s)
    except (OSError, UnicodeError) as error:  # UnicodeError: not a host name
        raise InputError(
            f"broker {endpoint.url} does not answer: {error}{_scheme_hint(endpoint, error)}"
        ) from error
    if answer.is_failure:
        who = f"user {credentials.user!r}" if credentials else "a client without a user name"
        raise InputError(f"broker {endpoint.url} refuses {who}: {answer}")


def _scheme_hint(endpoint: Endpoint, error: Exception) -> str:
    """Return a hint at the other scheme if an open port ends the connection at once."""
    if isinstance(error, ssl.SSLCertVerificationError | TimeoutError) or not isinstance(
        error, ssl.SSLError | ConnectionResetError | _EndedError
    ):
        return ""
    return "; does the port speak " + ("MQTT in the clear (mqtt)?" if endpoint.tls else "TLS (mqtts)?")


class _EndedError(ConnectionError):
    """The broker ends the connection instead of answering."""


def _connack(endpoint: Endpoint, timeout_s: float) -> ReasonCode:
    """Return the broker's answer to CONNECT.

    Raises:
        OSError: there is no answer.
    """
    deadline = time.monotonic() + timeout_s
    answers: list[ReasonCode] = []
    role = next(iter(endpoint.credentials), None)
    client = endpoint.checking_client(f"peelfleet-check-{secrets.token_hex(4)}", role)
    client.connect_timeout = timeout_s
    client.on_connect = lambda _client, _userdata, _flags, reason, _properties: answers.append(reason)
    client.connect(endpoint.host, endpoint.port)
    try:
        while not answers:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError(f"no CONNACK within {timeout_s:g} s")
            if client.loop(left_s) and not answers:
                raise _EndedError("it closed the connection")
    finally:
        client.disconnect()
    return answers[0]
