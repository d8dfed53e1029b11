"""Publishing to the Hub: the signed-in account, upload progress, and how to load what was published."""

from __future__ import annotations

from pathlib import Path

from app.core.dates import format_date
from app.core.sizes import format_bytes
from app.hub.publication_plan import PlannedRepository
from app.hub.publish_job import Publication
from components import scripts
from components.theme import escape, html_block, launch_demo

_SIGN_IN_HELP = (
    "Run <code>hf auth login</code> in a terminal, or start this page with <code>HF_TOKEN</code> set. Then look again."
)
_TOKEN_SETTINGS_URL = "https://huggingface.co/settings/tokens"
# A copy button copies the text of the element that its data-copy selects.
JS = scripts.on_load("publish")


def render_signed_out(adapter_path: Path | str, checked_at: str = "") -> str:
    """HTML for a person who is not signed in. checked_at: time of a repeated check, such as "14:31"."""
    status_text = (
        f"You are still not signed in to the Hub ({escape(checked_at)})."
        if checked_at
        else "You are not signed in to the Hub."
    )
    return (
        f'<p class="who"><strong role="status">{status_text}</strong> The Hub, huggingface.co, is where people keep and share models; an account is free. {_SIGN_IN_HELP}</p>'
        f'<p class="who">Without one nothing is lost: the result lies in <code>{escape(adapter_path)}</code> on this machine.</p>'
    )


def render_account(name: str, can_write: bool, in_space: bool) -> str:
    """HTML of the signed-in account, and whether its token may write."""
    sign_out_link = ' <a href="/logout">Sign out</a>' if in_space else ""
    if can_write:
        return f'<p class="who">Signed in to the Hub as <strong>{escape(name)}</strong>.{sign_out_link}</p>'
    settings_link = (
        f'<a href="{_TOKEN_SETTINGS_URL}" target="_blank" rel="noopener">'
        f"{_TOKEN_SETTINGS_URL.removeprefix('https://')}</a>"
    )
    return (
        f'<p class="who careful">Signed in to the Hub as <strong>{escape(name)}</strong>, '
        "with a token that can only read. "
        f"Make one that can write at {settings_link} and sign in with it.{sign_out_link}</p>"
    )


def render_upload_progress(label: str, done: int, total: int) -> str:
    """HTML of an upload's progress. done, total: in bytes."""
    share = done / total if total else 0
    sizes = f" {done / 1e6:.1f} of {total / 1e6:.1f} MB" if total > 100_000 else ""
    return (
        f'<div class="progress"><div class="track" role="progressbar" aria-label="Publishing" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{share * 100:.0f}"><i style="width: {share:.1%}"></i></div>'
        f'<p class="told"><strong role="status">{escape(label)}</strong><span>{sizes}</span></p></div>'
    )


def render_publication_plan(repositories: list[PlannedRepository], private: bool) -> str:
    """HTML of the repositories that publishing writes, each with its files."""
    visibility = "Only you and whom you let in will see them." if private else "Everybody will see them."
    count = "1 repository" if len(repositories) == 1 else f"{len(repositories)} repositories"
    items = "".join(_render_repository(repository) for repository in repositories)
    return f'<div class="publication-plan"><p>This writes {count} on the Hub. {visibility}</p><ul>{items}</ul></div>'


def _render_repository(repository: PlannedRepository) -> str:
    total = sum(size or 0 for _, size in repository.files)
    names = "".join(
        f"<li><code>{escape(name)}</code> {'' if size is None else format_bytes(size)}</li>"
        for name, size in repository.files
    )
    return (
        f"<li><strong>{escape(repository.repo)}</strong>: {escape(repository.purpose)}"
        f"<details><summary>{len(repository.files)} files, {format_bytes(total)}</summary><ul>{names}</ul></details></li>"
    )


def render_published(publication: Publication, snippet: str) -> str:
    """HTML of where the result is published, and the code that loads it."""
    visibility = "only you and whom you let in can see it" if publication["private"] else "everybody can see it"
    published_at = format_date(publication["time"])
    newer_html = (
        '<p class="careful">The run has a newer result since. Publish again to replace it there.</p>'
        if publication["newer"]
        else ""
    )
    return (
        f'<div class="published"><p><strong>Published</strong> at <a href="{escape(publication["address"])}" target="_blank" rel="noopener">{escape(publication["repo"])}</a> '
        f"on {published_at}; {visibility}.</p>{newer_html}<p>Load it anywhere:</p><pre>{escape(snippet)}</pre>"
        f'<button type="button" class="button" data-copy="pre">Copy these lines</button></div>'
    )


def _demo() -> None:
    html_block(render_signed_out("/home/alice/.tunesmith/runs/first-tune/adapter", "14:31"))
    html_block(render_account("alice", False, False))
    files = (("README.md", None), ("adapter_model.safetensors", 1_300_000))
    html_block(render_publication_plan([PlannedRepository("alice/first-tune", "the adapter", files)], private=True))
    html_block(render_upload_progress("Sending the weights", 3_100_000, 8_000_000))
    publication: Publication = {
        "repo": "alice/first-tune",
        "address": "https://huggingface.co/alice/first-tune",
        "private": True,
        "time": 1.8e9,
        "newer": True,
    }
    html_block(
        render_published(publication, 'model = AutoPeftModelForCausalLM.from_pretrained("alice/first-tune")'),
        js_on_load=JS,
    )


if __name__ == "__main__":
    launch_demo(_demo)
