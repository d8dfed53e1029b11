"""Server: the local Hub as one ASGI app."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

from tests.hub import downloads, repos, signin, uploads
from tests.hub.accounts import Refused
from tests.hub.authorization import SLASH, Hub
from tests.hub.store import Store


class Server:
    """ASGI. Keeps a %2F inside one part of a path from becoming a separator, and every request in hub.seen."""

    def __init__(self, root: Path, xet: bool = False):
        self.hub = Hub(Store(root), xet=xet)
        self.app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        self.app.state.hub = self.hub
        self.app.add_exception_handler(Refused, refuse)  # type: ignore[arg-type]
        for room in (signin, uploads, downloads, repos):
            self.app.include_router(room.router)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        raw = scope["raw_path"].decode("latin1").partition("?")[0]

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.hub.seen.append((scope["method"], raw, message["status"]))
            await send(message)

        path = unquote(re.sub("%2f", SLASH, raw, flags=re.IGNORECASE))
        await self.app(dict(scope, path=path), receive, sending)


async def refuse(request: Request, refused: Refused) -> JSONResponse:
    headers = {"X-Error-Message": refused.text, **refused.headers}
    if refused.code:
        headers["X-Error-Code"] = refused.code
    return JSONResponse({"error": refused.text}, refused.status, headers=headers)
