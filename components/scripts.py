"""The page's JavaScript modules: one bundle of them all, its address, and the snippets that load modules from it."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
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

# The only forms of import and export that modules use; tests/test_scripts.py checks it.
_IMPORT = re.compile(r"^import \{([^}]*)\} from '\./(\w+)\.js';$", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const|class) (\w+))", re.MULTILINE)


@cache
def modules() -> dict[str, str]:
    """The source of every module, components/NAME.js, by its name. Read once: a changed file needs a restart."""
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(_FOLDER.glob("*.js"))}


@cache
def bundle() -> bytes:
    """A module that exports `modules`: for each NAME a function that evaluates components/NAME.js once and returns its exports.

    One file, because the page would wait longer for sixty requests than for all their contents.
    """
    functions = ",\n".join(
        f"{name}: once(() => {{\n{_function_body(source)}\n}})" for name, source in modules().items()
    )
    once = "function once(evaluate) { let exports; return () => (exports ??= evaluate()); }"
    return f"{once}\nexport const modules = {{\n{functions}\n}};\n".encode()


def _function_body(source: str) -> str:
    """A module's source as the body of a function that returns its exports."""
    exported_names = ", ".join(_EXPORT.findall(source))
    body = _IMPORT.sub(_import_as_destructuring, source)
    return f"{_EXPORT.sub('', body)}\nreturn {{ {exported_names} }};"


def _import_as_destructuring(statement: re.Match[str]) -> str:
    names, module = statement.groups()
    return f"const {{{names.replace(' as ', ': ')}}} = modules.{module}();"


@cache
def address() -> str:
    """Where the browser finds the bundle, relative to the page. It changes with the contents of the modules."""
    return f"{_ROUTE}/{hashlib.sha256(bundle()).hexdigest()[:16]}.js"


def head(*names: str) -> str:
    """A tag for the page's head that runs these modules (default: those of the whole page)."""
    calls = " ".join(f"modules.{_existing(name)}();" for name in names or _PAGE_MODULES)
    return f"<script type=\"module\">import {{ modules }} from './{address()}'; {calls}</script>"


class ModuleServer:
    """ASGI around the page: answers the bundle's address, and names the bundle in a header of the page itself.

    Gradio adds the tags of `head` only once its own scripts run. Because of the header the browser has fetched the
    bundle by then; because it is answered here, it does not pass through the page's own routes.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._header = (b"link", f'<{address()}>; rel="modulepreload"; fetchpriority="low"'.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(f"/{_ROUTE}/"):
            await _bundle_response(scope)(scope, receive, send)
        else:
            await self.app(scope, receive, self._adding_link(send) if _is_page(scope) else send)

    def _adding_link(self, send: Send) -> Send:
        async def send_with_link(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), self._header]}
            await send(message)

        return send_with_link


def serve_modules(app: Starlette) -> None:
    """Adds the modules to an app that Gradio has started already, as for a component alone."""
    app.middleware_stack = ModuleServer(app.middleware_stack or app.build_middleware_stack())


def _is_page(scope: Scope) -> bool:
    return scope["type"] == "http" and scope["path"] == "/"


def _bundle_response(scope: Scope) -> Response:
    if scope["path"] != f"/{address()}":
        return PlainTextResponse("There is no such script.", 404)
    headers = _IMMUTABLE | {"Vary": "Accept-Encoding"}
    if "gzip" not in Headers(scope=scope).get("accept-encoding", ""):
        return Response(bundle(), media_type="text/javascript", headers=headers)
    return Response(_compressed_bundle(), media_type="text/javascript", headers=headers | {"Content-Encoding": "gzip"})


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
    imported_bundle = f'import(new URL("{address()}", document.baseURI).href)'
    return f"{imported_bundle}.then(bundle => bundle.modules.{_existing(name)}())"


def _existing(name: str) -> str:
    assert name in modules(), f"there is no module {name}.js"
    return name


@cache
def _compressed_bundle() -> bytes:
    return gzip.compress(bundle(), 6)
