"""HTTP client of rewards: JSON POST with a timeout, a limit on the response size, and no access to private networks."""

from __future__ import annotations

import http.client
import ipaddress
import json
import socket
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

from app.core import platform
from app.core.json_types import JsonValue
from app.data.fields import Cell

MAX_RESPONSE_BYTES = 1_000_000  # of a response


class Unreachable(Exception):
    """The service gave no usable response; the message is the reason, without a full stop."""


def post_json(address: str, payload: Mapping[str, Cell], timeout: float, token: str | None = None) -> JsonValue:
    """The parsed JSON response. timeout: seconds. token: sent as a bearer token, never stored. Raises Unreachable.

    Redirects are not followed, since they would bypass the address check.
    """
    url = urlsplit(address)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise Unreachable("its address should begin with http:// or https://")
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    headers |= {"Authorization": f"Bearer {token}"} if token else {}
    connection = _open_connection(url.scheme, url.hostname, url.port, timeout)
    try:
        connection.request("POST", path, json.dumps(payload), headers)
        response = connection.getresponse()
        response_body = response.read(MAX_RESPONSE_BYTES + 1)
    except (OSError, http.client.HTTPException) as error:  # somebody else's machine
        raise Unreachable(f"{url.hostname} did not answer ({type(error).__name__})") from error
    finally:
        connection.close()
    if response.status != 200:
        raise Unreachable(f"{url.hostname} answered {response.status} {response.reason}".strip())
    if len(response_body) > MAX_RESPONSE_BYTES:
        raise Unreachable(f"{url.hostname} answered more than {MAX_RESPONSE_BYTES // 1000} kB")
    try:
        return json.loads(response_body)
    except ValueError as error:
        raise Unreachable(f"{url.hostname} answered no JSON") from error


def _open_connection(scheme: str, host: str, port: int | None, timeout: float) -> http.client.HTTPConnection:
    """A connection to the IP address that was checked, so that DNS rebinding gains nothing. Raises Unreachable."""
    port_number = port or (443 if scheme == "https" else 80)
    connection_class = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
    connection = connection_class(host, port_number, timeout=timeout)
    try:
        connection.sock = socket.create_connection(_resolve_address(host, port_number), timeout)
        if scheme == "https":
            connection.sock = ssl.create_default_context().wrap_socket(connection.sock, server_hostname=host)
    except OSError as error:  # somebody else's machine
        reason = "it refuses calls there" if isinstance(error, ConnectionRefusedError) else type(error).__name__
        raise Unreachable(f"{host} cannot be reached: {reason}") from error
    return connection


def _resolve_address(host: str, port: int) -> tuple[str, int]:
    """(IP address, port) to connect to. Raises Unreachable; on a Space, and where others reach the page, also for private
    addresses."""
    try:
        ip_addresses = [
            str(address_info[4][0]) for address_info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        ]
    except (OSError, UnicodeError) as error:  # a name that a person typed
        raise Unreachable(f"there is no machine called {host}") from error
    if not platform.takes_local_files() and not all(
        ipaddress.ip_address(ip_address).is_global for ip_address in ip_addresses
    ):
        raise Unreachable(f"{host} is in a private network, which a shared server does not call")
    return ip_addresses[0], port
