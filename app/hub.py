"""Hub: publishing a result. Everything goes through huggingface_hub's own client; tokens are never written anywhere."""

from __future__ import annotations

import re
from typing import Any

from app.card import card
from app.problems import Problem
from app.runs import Run

NAME = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)


def push(run: Run, repo: str, *, private: bool = True, token: str | None = None) -> str:
    """Uploads the run's result with its card to `owner/name`, made if missing. Returns the address of the commit.

    Raises Problem when there is nothing to publish or nobody is signed in; errors of the Hub travel.
    """
    if not NAME.fullmatch(repo):
        raise Problem(f"“{repo}” is not a name on the Hub.", advice="Write it as owner/name.")
    if not run.adapter.is_dir():
        raise Problem(
            f"The run {run.id} has no result yet.", advice="Wait for it to finish, or stop it: stopping saves."
        )
    from huggingface_hub import HfApi, get_token

    if not (token or get_token()):
        raise Problem(
            "You are not signed in to the Hub.", advice="Run `hf auth login`, or set HF_TOKEN, and try again."
        )
    api: Any = HfApi(token=token)
    api.create_repo(repo, private=private, exist_ok=True)
    (run.adapter / "README.md").write_text(card(run), encoding="utf-8")
    done = api.upload_folder(repo_id=repo, folder_path=run.adapter, commit_message=f"Add {run.spec.title or run.id}")
    return str(done)
