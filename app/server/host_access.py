"""Access control of a page that its owner has opened to other machines: the key, and the names that it is reached under.

Whoever holds the key is the owner. What would let a stolen key reach further than runs and uploads (rewards that run code,
files of this machine) stays off unless the owner allows it at start; see `platform.is_shared`.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass

import psutil
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp

from app.core.problems import Problem
from app.server import key_page
from app.server.local_access import HANDED_OUT_SECONDS, LocalAccess

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True)
class HostOptions:
    """How a page is opened to other machines. address: where it listens; 0.0.0.0 and :: are every address. names: allowed
    host names in lower case, without port."""

    address: str
    names: tuple[str, ...] = ()

    @property
    def printed_host(self) -> str:
        """The host of the addresses that the terminal prints."""
        if self.address in ("0.0.0.0", "::"):
            return first_network_address()
        return f"[{self.address}]" if ":" in self.address else self.address


class HostAccess(LocalAccess):
    """ASGI middleware around the page, which is at every address of this machine and under the allowed names.

    A Host that is a name must be allowed, because anybody can point a name of theirs at this machine (DNS rebinding); an
    address needs no permission. Behind a proxy that ends TLS, `X-Forwarded-Proto` says so; it is believed from this
    machine, or from the addresses in FORWARDED_ALLOW_IPS. The cookie then travels over https alone.
    """

    def __init__(
        self, app: ASGIApp, port: int, host_options: HostOptions, announce: Callable[[str], None] | None = None
    ):
        """announce: as in LocalAccess."""
        super().__init__(app, port, announce=announce)
        self.names = host_options.names
        self.entry_host = f"{host_options.printed_host}:{port}"

    def _is_known(self, host: str) -> bool:
        name = _without_port(host)
        return name in (*_LOOPBACK_NAMES, *self.names) or is_address(name)

    def _is_page_host(self, host: str) -> bool:
        return True

    def _origins(self, request: HTTPConnection, host: str) -> tuple[str, ...]:
        """https alone where the request is known to have come so; a proxy may not have said it."""
        if request.scope.get("scheme") in ("https", "wss"):
            return (f"https://{host}",)
        return f"http://{host}", f"https://{host}"

    def _key_page(self, request: HTTPConnection, host: str) -> str:
        return key_page.render_key_page(request, is_entry=False, warns_of_plain_http=True)

    def _refuse_host(self, request: HTTPConnection, host: str) -> Response:
        name = _without_port(host)
        return PlainTextResponse(
            f"This page is not open under the name “{name[:80]}”. Its owner can allow it at start: --allowed-host NAME.",
            421,
        )

    def _address_to_hand_out(self, request: HTTPConnection) -> str:
        origin = self._origins(request, request.headers.get("host", ""))[0]
        return f"{origin}/?key={self.keys.issue(HANDED_OUT_SECONDS)}"


def parse_host_name(text: str) -> str:
    """A host name as a person gives it, also as an address with https:// and port. Raises Problem where it is none."""
    name = _without_port(text.strip().lower().rpartition("://")[2].partition("/")[0])
    if not name or set(name) & set("*@? ") or name.startswith("."):
        raise Problem(f"“{text}” is no name of a host.", advice="Write it like tunes.example.org.")
    return name


def first_network_address() -> str:
    """An address of this machine in its network; 127.0.0.1 where it has none."""
    addresses = [
        entry.address
        for entries in psutil.net_if_addrs().values()
        for entry in entries
        if entry.family == socket.AF_INET
    ]
    return next((address for address in addresses if not address.startswith("127.")), "127.0.0.1")


def _without_port(host: str) -> str:
    """The name of a host in lower case: without its port, and with the brackets of an IPv6 address."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdigit() and (name.endswith("]") or ":" not in name) else host.lower()


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
