"""The page's JavaScript modules: their addresses, which change with their contents, and the snippets that load them."""

from __future__ import annotations

import gzip
import hashlib
import json
from functools import cache
from pathlib import Path

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_FOLDER = Path(__file__).parent
_ROUTE = "scripts"
_IMMUTABLE = {"Cache-Control": "private, max-age=31536000, immutable"}
_PAGE_MODULES = ("shell", "event_stream")  # belong to the page, not to one of its components


@cache
def modules() -> dict[str, bytes]:
    """Every module by its file name. Read once: a changed file needs a restart."""
    return {path.name: path.read_bytes() for path in sorted(_FOLDER.glob("*.js"))}


@cache
def version() -> str:
    """A hash of all modules. It stands in the folder's name, so that relative imports between them need no hash of their own."""
    digest = hashlib.sha256()
    for name, source in modules().items():
        digest.update(name.encode() + b"\0" + source + b"\0")
    return digest.hexdigest()[:16]


def address(name: str) -> str:
    """Where the browser finds the module components/NAME.js, relative to the page."""
    assert f"{name}.js" in modules(), f"there is no module {name}.js"
    return f"{_ROUTE}/{version()}/{name}.js"


def head(*names: str) -> str:
    """Tags for the page's head that run these modules (default: those of the whole page) and preload all others."""
    started = names or _PAGE_MODULES
    preloaded = [name.removesuffix(".js") for name in modules()]
    links = [f'<link rel="modulepreload" href="{address(name)}">' for name in preloaded]
    tags = [f'<script type="module" src="{address(name)}"></script>' for name in started]
    return "\n".join(tags + links)


class ModuleServer:
    """ASGI around the page: answers the modules' addresses, and names all modules in a header of the page itself.

    Gradio adds the tags of `head` only once its own scripts run. Because of the header the browser has fetched the
    modules by then; because they are answered here, none of them passes through the page's own routes.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        links = (
            f'<{address(name.removesuffix(".js"))}>; rel="modulepreload"; fetchpriority="low"' for name in modules()
        )
        self._header = (b"link", ", ".join(links).encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(f"/{_ROUTE}/"):
            await _module_response(scope)(scope, receive, send)
        else:
            await self.app(scope, receive, self._adding_links(send) if _is_page(scope) else send)

    def _adding_links(self, send: Send) -> Send:
        async def send_with_links(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), self._header]}
            await send(message)

        return send_with_links


def serve_modules(app: Starlette) -> None:
    """Adds the modules to an app that Gradio has started already, as for a component alone."""
    app.middleware_stack = ModuleServer(app.middleware_stack or app.build_middleware_stack())


def _is_page(scope: Scope) -> bool:
    return scope["type"] == "http" and scope["path"] == "/"


def _module_response(scope: Scope) -> Response:
    requested_version, _, name = scope["path"].removeprefix(f"/{_ROUTE}/").partition("/")
    if requested_version != version() or name not in modules():
        return PlainTextResponse("There is no such script.", 404)
    headers = _IMMUTABLE | {"Vary": "Accept-Encoding"}
    if "gzip" not in Headers(scope=scope).get("accept-encoding", ""):
        return Response(modules()[name], media_type="text/javascript", headers=headers)
    return Response(_compressed(name), media_type="text/javascript", headers=headers | {"Content-Encoding": "gzip"})


def on_load(name: str, function: str = "mount") -> str:
    """`js_on_load` of a gr.HTML: calls the function of the module with its element. The page is ready once all have mounted."""
    call_mount = f"module.{function}({{ element, props, server, trigger, watch }})"
    return f"(window.tunesmithMounts ??= []).push({_import(name)}.then(module => {call_mount}));"


def call(name: str, function: str, *arguments: str) -> str:
    """`js=` of an event: calls an exported function of the module with these arguments and the event's inputs.

    The event returns what the function returns.
    """
    arguments_js = "".join(f"{json.dumps(argument)}, " for argument in arguments)
    return f"async (...inputs) => (await {_import(name)}).{function}({arguments_js}...inputs)"


def _import(name: str) -> str:
    # A snippet that Gradio runs has no address of its own that imports could be relative to.
    return f'import(new URL("{address(name)}", document.baseURI).href)'


@cache
def _compressed(name: str) -> bytes:
    return gzip.compress(modules()[name], 6)
