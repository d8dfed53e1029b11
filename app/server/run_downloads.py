"""Downloads of a run: its setup as a file, its whole log, its profile and its result."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse, Response, StreamingResponse

from app.runs import events, result_archive, store
from app.runs.result import PROFILE_FILE
from app.runs.store import Run
from app.server.visitor import visitor_workspace
from app.setup.toml_file import spec_to_toml


def mount_download_routes(app: FastAPI) -> None:
    """Adds the routes under /download, each with the run's id. Call it before the page is mounted."""

    @app.get("/download/setup")
    def setup(run: str) -> Response:
        """The setup as TOML."""
        chosen = _run(run)
        return _attachment([setup_toml(chosen)], f"{file_stem(chosen)}.toml", "application/toml")

    @app.get("/download/log")
    def log(run: str) -> Response:
        """The whole log, without the event lines."""
        chosen = _run(run)
        return _attachment(_log_lines(chosen.path / "log.txt"), f"{file_stem(chosen)}-log.txt", "text/plain")

    @app.get("/download/profile")
    def profile(run: str) -> Response:
        """The trace of the steps that were profiled."""
        chosen = _run(run)
        trace = profile_of(chosen)
        if trace is None:
            return Response(status_code=404)
        return FileResponse(
            trace, filename=f"{file_stem(chosen)}-profile.json.gz", headers={"Cache-Control": "no-store"}
        )

    @app.get("/download/result")
    def result(run: str) -> Response:
        """The adapter or the model as a zip file."""
        chosen = _run(run)
        folder = store.result_folder(chosen)
        return _attachment(result_archive.stream_archive(folder), f"{file_stem(chosen)}.zip", "application/zip")


def setup_toml(run: Run) -> str:
    """The run's setup as a TOML file."""
    return spec_to_toml(run.spec, comment=f"The setup of the run {run.id}. Run it again: python -m app run FILE")


def profile_of(run: Run) -> Path | None:
    """The trace of the steps that were profiled, if there is one; in a copied run a link may lead anywhere."""
    trace = run.path / PROFILE_FILE
    return trace if trace.is_file() and not trace.is_symlink() else None


def file_stem(run: Run) -> str:
    """The name of the run's files without the ending, such as first-tune."""
    return re.sub(r"[^a-z0-9]+", "-", store.run_title(run).lower()).strip("-")[:60] or "run"


def _run(run_id: str) -> Run:
    return store.get_run(visitor_workspace(), run_id)


def _log_lines(path: Path) -> Iterator[bytes]:
    if not path.exists():
        return
    prefix = events.LOG_PREFIX.encode()
    with path.open("rb") as file:
        yield from (line for line in file if not line.startswith(prefix))


def _attachment(content: Iterable[bytes | str], name: str, media_type: str) -> StreamingResponse:
    """A response that a browser saves under this name, which is plain ASCII."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return StreamingResponse(content, media_type=media_type, headers=headers)
