"""Calling: one question to a service over HTTP, as JSON, with a deadline, a limit on what comes back, and no way into a private network."""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import socket
import ssl
from typing import Any
from urllib.parse import urlsplit

MOST = 1_000_000  # bytes of an answer


class Unreachable(Exception):
    """Why no answer came, in words without a full stop."""


def post(address: str, question: dict[str, Any], seconds: float, token: str | None = None) -> Any:
    """The service's answer as data. Raises Unreachable. token: sent as a bearer token, never written anywhere.

    Redirects are not followed: they would lead past the check of where the call goes.
    """
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Unreachable("its address should begin with http:// or https://")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    headers |= {"Authorization": f"Bearer {token}"} if token else {}
    line = connection(parts.scheme, parts.hostname, parts.port, seconds)
    try:
        line.request("POST", path, json.dumps(question), headers)
        response = line.getresponse()
        text = response.read(MOST + 1)
    except (OSError, http.client.HTTPException) as error:  # a border: somebody else's machine
        raise Unreachable(f"{parts.hostname} did not answer ({type(error).__name__})") from error
    finally:
        line.close()
    if response.status != 200:
        raise Unreachable(f"{parts.hostname} answered {response.status} {response.reason}".strip())
    if len(text) > MOST:
        raise Unreachable(f"{parts.hostname} answered more than {MOST // 1000} kB")
    try:
        return json.loads(text)
    except ValueError as error:
        raise Unreachable(f"{parts.hostname} answered no JSON") from error


def connection(scheme: str, host: str, port: int | None, seconds: float) -> http.client.HTTPConnection:
    """To the very address that was looked at: a name that changes its mind in between gains nothing."""
    number = port or (443 if scheme == "https" else 80)
    kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
    line = kind(host, number, timeout=seconds)
    try:
        line.sock = socket.create_connection(reachable(host, number), seconds)
        if scheme == "https":
            line.sock = ssl.create_default_context().wrap_socket(line.sock, server_hostname=host)
    except OSError as error:  # a border: somebody else's machine
        why = "it refuses calls there" if isinstance(error, ConnectionRefusedError) else type(error).__name__
        raise Unreachable(f"{host} cannot be reached: {why}") from error
    return line


def reachable(host: str, port: int) -> tuple[str, int]:
    """The address to call. On a shared server private ones are nobody's business. Raises Unreachable."""
    try:
        found = [place[4][0] for place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError) as error:  # a border: a name that a person typed
        raise Unreachable(f"there is no machine called {host}") from error
    if os.environ.get("SYSTEM") == "spaces" and not all(ipaddress.ip_address(one).is_global for one in found):
        raise Unreachable(f"{host} is in a private network, which a shared server does not call")
    return found[0], port
