"""The ASGI app of the local Hub."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

from tests.hub import downloads, repos, signin, uploads
from tests.hub.accounts import HubError
from tests.hub.authorization import SLASH, Hub
from tests.hub.store import Store


class Server:
    """ASGI app. Keeps a %2F inside one path segment from becoming a separator, and records every request in hub.requests."""

    def __init__(self, root: Path, xet: bool = False):
        self.hub = Hub(Store(root), xet=xet)
        self.app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        self.app.state.hub = self.hub
        self.app.add_exception_handler(HubError, error_response)  # type: ignore[arg-type]
        for module in (signin, uploads, downloads, repos):
            self.app.include_router(module.router)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        raw_path = scope["raw_path"].decode("latin1").partition("?")[0]

        async def record_and_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.hub.requests.append((scope["method"], raw_path, message["status"]))
            await send(message)

        path = unquote(re.sub("%2f", SLASH, raw_path, flags=re.IGNORECASE))
        await self.app(dict(scope, path=path), receive, record_and_send)


async def error_response(request: Request, error: HubError) -> JSONResponse:
    headers = {"X-Error-Message": error.text, **error.headers}
    if error.code:
        headers["X-Error-Code"] = error.code
    return JSONResponse({"error": error.text}, error.status, headers=headers)
