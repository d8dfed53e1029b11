"""Connection to the Hub: its client with timeouts, and its errors as Problems."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import re
import threading
import unicodedata
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from app.core.problems import Problem, shorten, to_problem
from app.hub.identity import sign_in_advice

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.utils import httpx

_ResponseT = TypeVar("_ResponseT")
_READ_TIMEOUT = 60.0  # seconds without a byte; the client's own default is no timeout
_CONNECT_TIMEOUT = 8.0  # seconds
QUERY_TIMEOUT = 8.0  # seconds for a query, for `call_with_timeout`
HUB_FAILURE_REASONS = ("hub_out_of_reach", "hub_said_no")  # reasons of Problems for which trying again may help


def hub_endpoint() -> str:
    """The URL of the Hub, without a slash at its end."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def hub_client(token: str | None) -> HfApi:
    """A client of the Hub with exactly this token; without one it is anonymous, and never uses the token of this
    machine."""
    from huggingface_hub import HfApi

    _configure_client()
    return HfApi(endpoint=hub_endpoint(), token=token or False)


@cache  # only once, because setting the factory closes the client in use
def _configure_client() -> None:
    """Gives huggingface_hub an HTTP client with timeouts, and no progress bars."""
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils import disable_progress_bars

    set_client_factory(_make_http_client)
    disable_progress_bars()  # they would end up in the server's log; the page has its own progress


def _make_http_client() -> httpx.Client:
    """The default HTTP client of huggingface_hub, with timeouts."""
    from huggingface_hub.utils import _http, httpx

    client = _http.default_client_factory()
    client.timeout = httpx.Timeout(_READ_TIMEOUT, connect=_CONNECT_TIMEOUT)
    return client


def call_with_timeout(timeout: float, request: Callable[[], _ResponseT]) -> _ResponseT:
    """The response of a request. timeout: in seconds.

    Raises TimeoutError; the request then ends by itself in its own thread.
    """
    outcome: concurrent.futures.Future[_ResponseT] = concurrent.futures.Future()

    def run_request() -> None:
        try:
            outcome.set_result(request())
        except BaseException as error:  # raised in the thread that waits
            outcome.set_exception(error)

    threading.Thread(target=run_request, name="hub", daemon=True).start()  # an executor would wait for it at exit
    concurrent.futures.wait([outcome], timeout)
    if not outcome.done():
        raise TimeoutError(f"no answer within {timeout:g} seconds")
    return outcome.result()


@contextlib.contextmanager
def translate_hub_errors(repo: str = "") -> Iterator[None]:
    """Raises errors of the Hub as Problems. repo: that is written to, for the messages."""
    try:
        yield
    except Problem:
        raise
    except Exception as error:  # boundary: the network and the Hub
        raise _problem_of_error(error, repo) from error


def http_status(error: BaseException) -> int | None:
    """The HTTP status of an error of the client; None for an error without a response."""
    return getattr(getattr(error, "response", None), "status_code", None)


def _problem_of_error(error: Exception, repo: str) -> Problem:
    """An error of the Hub, or of the connection to it, as a Problem."""
    status_code, target = http_status(error), f" to {repo}" if repo else ""
    if status_code == 401:
        return Problem("The Hub does not accept this sign-in.", advice=sign_in_advice(), reason="not_signed_in")
    if status_code == 403:
        return Problem(
            f"This sign-in may not write{target}.",
            reason="no_rights",
            advice="Choose a namespace of your own, or sign in with a token that may write.",
        )
    if status_code == 429:
        return Problem(
            "The Hub asks to wait: too many requests.", advice="Try again in a few minutes.", reason="hub_said_no"
        )
    if status_code and status_code >= 500:
        return Problem(
            f"The Hub is having trouble (error {status_code}).",
            reason="hub_out_of_reach",
            advice="Try again in a few minutes; what was trained is safe on this machine.",
        )
    if status_code:
        return Problem(
            f"The Hub refused: {shorten(_server_message(error))}.",
            advice="Mend that, or choose another name.",
            reason="hub_said_no",
        )
    if _is_unreachable(error):
        error_text = re.sub(r"\[Errno -?\d+\] ", "", str(error)) or type(error).__name__
        return Problem(
            f"The Hub could not be reached ({shorten(error_text, 120)}).",
            reason="hub_out_of_reach",
            advice="Check your connection and try again; what was trained is safe on this machine.",
        )
    return to_problem(error)


def _server_message(error: Exception) -> str:
    """The message of the Hub in an error, without what the client adds about the request."""
    return (getattr(error, "server_message", None) or str(error)).strip().rstrip(".")


def _is_unreachable(error: Exception) -> bool:
    """Whether an error means that the Hub could not be reached."""
    from huggingface_hub.errors import OfflineModeIsEnabled
    from huggingface_hub.utils import httpx

    return isinstance(error, httpx.TransportError | OfflineModeIsEnabled | ConnectionError | TimeoutError)


def slug(text: str) -> str:
    """A text as lower-case letters, digits, dashes and underscores, for a name on the Hub; may be empty."""
    ascii_text = unicodedata.normalize("NFKD", text.casefold()).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_]+", "-", ascii_text).strip("-")[:90].strip("-")
