"""Connection: the Hub's client with deadlines of ours, and its failures in words."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import unicodedata
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, TypeVar

from app.core.problems import Problem, explain, shorten
from app.hub.identity import sign_in_advice

Answer = TypeVar("Answer")
SILENCE = 60.0  # seconds without a byte, after which a transfer counts as broken; the client's own default is for ever
CONNECT = 8.0
FAILURES = ("hub_out_of_reach", "hub_said_no")  # reasons that are the Hub's: trying again may help


def endpoint() -> str:
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def api(token: str | None) -> Any:
    """The Hub's client for this very token; without one it asks as nobody, never as the machine."""
    from huggingface_hub import HfApi

    prepare()
    return HfApi(endpoint=endpoint(), token=token or False)


@cache  # once: setting the factory closes the client in use
def prepare() -> None:
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils import disable_progress_bars

    set_client_factory(timed_client)
    disable_progress_bars()  # they would be drawn into the server's log; `progress` tells the person


def timed_client() -> Any:
    from huggingface_hub.utils import _http, httpx

    client = _http.default_client_factory()
    client.timeout = httpx.Timeout(SILENCE, connect=CONNECT)
    return client


def within(seconds: float, ask: Callable[[], Answer]) -> Answer:
    """What `ask` answers. Raises TimeoutError at the deadline; the question then dies by itself in its own thread."""
    box: list[Any] = []

    def asking() -> None:
        try:
            box.append((ask(), None))
        except BaseException as error:  # carried over to the thread that waits
            box.append((None, error))

    thread = threading.Thread(target=asking, name="hub", daemon=True)
    thread.start()
    thread.join(seconds)
    if not box:
        raise TimeoutError(f"no answer within {seconds:g} seconds")
    answer, error = box[0]
    if error is not None:
        raise error
    return answer


@contextlib.contextmanager
def border(repo: str = "") -> Iterator[None]:
    """Where the Hub's failures become Problems."""
    try:
        yield
    except Problem:
        raise
    except Exception as error:  # the border itself: another company's machines
        raise in_words(error, repo) from error


def status(error: BaseException) -> int | None:
    """The HTTP status behind an error of the client, if there is one."""
    return getattr(getattr(error, "response", None), "status_code", None)


def in_words(error: Exception, repo: str) -> Problem:
    code, there = status(error), f" to {repo}" if repo else ""
    if code == 401:
        return Problem("The Hub does not accept this sign-in.", advice=sign_in_advice(), reason="not_signed_in")
    if code == 403:
        return Problem(f"This sign-in may not write{there}.", reason="no_rights",
                       advice="Choose a namespace of your own, or sign in with a token that may write.")  # fmt: skip
    if code == 429:
        return Problem("The Hub asks to wait: too many requests.", advice="Try again in a few minutes.", reason="hub_said_no")  # fmt: skip
    if code and code >= 500:
        return Problem(f"The Hub is having trouble (error {code}).", reason="hub_out_of_reach",
                       advice="Try again in a few minutes; what was trained is safe on this machine.")  # fmt: skip
    if code:
        return Problem(f"The Hub refused: {shorten(said(error))}.", advice="Mend that, or choose another name.", reason="hub_said_no")  # fmt: skip
    if unreachable(error):
        why = re.sub(r"\[Errno -?\d+\] ", "", str(error)) or type(error).__name__
        return Problem(f"The Hub could not be reached ({shorten(why, 120)}).", reason="hub_out_of_reach",
                       advice="Check your connection and try again; what was trained is safe on this machine.")  # fmt: skip
    return explain(error)


def said(error: Any) -> str:
    """The Hub's own sentence, without the client's lines about requests."""
    return (getattr(error, "server_message", None) or str(error)).strip().rstrip(".")


def unreachable(error: Exception) -> bool:
    from huggingface_hub.errors import OfflineModeIsEnabled
    from huggingface_hub.utils import httpx

    return isinstance(error, httpx.TransportError | OfflineModeIsEnabled | ConnectionError | TimeoutError)


def slug(text: str) -> str:
    """Letters, digits and dashes, for a name on the Hub; empty when nothing is left."""
    plain = unicodedata.normalize("NFKD", text.casefold()).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_]+", "-", plain).strip("-")[:90].strip("-")
