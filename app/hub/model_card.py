"""Card: the README of a published model, made from the run's folder. Everything a stranger wrote is shown as text."""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from app.core import registry
from app.core.problems import Problem, shorten
from app.hub.snippets import pipeline, snippet
from app.runs import events
from app.runs.store import Run, load_json
from app.runs.store import answers as answers_of
from app.setup import links, models, presets
from app.setup.knob import describe
from app.setup.spec import HUB, Spec

SHOWN = 4  # prompts whose answers are shown
LONGEST = 600  # characters of an answer


@dataclass(frozen=True)
class About:
    """What the run's folder does not know. base: an adapter's base on the Hub; page: where a link to remix leads."""

    repo: str = "OWNER/NAME"
    base: str | None = None
    licence: str | None = None
    page: str | None = None
    curve: bool = False


def card(run: Run, about: About | None = None) -> str:
    """Model card in the Hub's format: front matter, what it is, before and after, how to load and how to remake it."""
    about = about or About()
    spec, facts = public(run.spec), load_json(run.path / "facts.json")
    sees = bool((facts.get("model") or {}).get("sees"))
    story = events.current(events.read(run.events))
    picture = ["![Curves of the loss and the score while learning](curve.png)", ""] if about.curve else []
    parts = [
        f"# {heading(run)}", "", opening(spec, about), "", *tests(story), *picture, *answers(run, story),
        *loading(spec, facts, about), *making(spec, facts, about), *remix(run.spec, about),
    ]  # fmt: skip
    return "\n".join(["---", front_matter(spec, about, sees).rstrip(), "---", "", *parts])


def front_matter(spec: Spec, about: About, sees: bool = False) -> str:
    """YAML written by a YAML writer: no title or name can add a line of its own."""
    adapter = spec.adapter.kind != "none"
    matter: dict[str, Any] = {"library_name": "peft" if adapter else "transformers",
                              "pipeline_tag": pipeline(spec, sees),
                              "tags": ["tunesmith", "trl", spec.method, *([spec.adapter.kind] if adapter else [])]}  # fmt: skip
    base = about.base or (spec.model.id if on_the_hub(spec) else None)
    matter |= {"base_model": base, "base_model_relation": "adapter" if adapter else "finetune"} if base else {}
    matter |= {"license": about.licence} if about.licence else {}
    datasets = [source.source.removeprefix("hub:") for source in spec.data if source.source.startswith("hub:")]
    matter |= {"datasets": datasets} if datasets else {}
    return yaml.safe_dump(matter, sort_keys=False, allow_unicode=True)


def on_the_hub(spec: Spec) -> bool:
    return spec.model.id.count("/") == 1 and not spec.model.id.startswith((".", "/", "~"))


def heading(run: Run) -> str:
    return plain(run.spec.title) or run.id


def plain(text: str) -> str:
    """A stranger's words on one line, with no meaning to Markdown or HTML."""
    line = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*_{}\[\]()#+!|~])", r"\\\1", line)


def code(text: object) -> str:
    """A name or a number as code on one line, also within a table."""
    return f"`{' '.join(str(text).split()).replace('`', 'ˋ').replace('|', '¦')}`"


def fenced(text: str, kind: str = "text") -> list[str]:
    """Words as they are, in a fence longer than any within them."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return [f"{fence}{kind}", text, fence, ""]


def public(spec: Spec) -> Spec:
    """Without the folders of this machine: a stranger needs a file's name at most."""
    kept = [source.model_copy(update={"source": f"path:{Path(source.source).name}"}) if source.source.startswith("path:") else source
            for source in spec.data]  # fmt: skip
    model = spec.model if spec.model.id in models.SHIPPED or on_the_hub(spec) else spec.model.model_copy(update={"id": Path(spec.model.id).name})  # fmt: skip
    knobs = without_folders(registry.load("methods", spec.method).Knobs, spec.knobs)
    rewards = [one.model_copy(update={"params": without_folders(registry.load("rewards", one.name).Params, one.params)}) for one in spec.rewards]  # fmt: skip
    return spec.model_copy(update={"data": kept, "model": model, "knobs": knobs, "rewards": rewards})


def without_folders(shape: type, values: dict[str, Any]) -> dict[str, Any]:
    """Settings that name another model, such as a teacher: of a folder only what it is called."""
    picks = {one["name"] for one in describe(shape) if one["picks"] == "model"}
    local = {name for name in picks if is_folder(str(values.get(name, "")))}
    return {name: Path(value).name if name in local else value for name, value in values.items()}


def is_folder(name: str) -> bool:
    return name not in models.SHIPPED and not name.startswith("run:") and not HUB.fullmatch(name)


def opening(spec: Spec, about: About) -> str:
    base = f"[{about.base}](https://huggingface.co/{about.base})" if about.base else code(spec.model.id)
    name = f"the practice model of Tunesmith ({base})" if spec.model.id in models.SHIPPED else base
    what = "All weights" if spec.adapter.kind == "none" else f"An adapter ({spec.adapter.kind}, rank {spec.adapter.r})"
    method = registry.load("methods", spec.method)
    sources = ", ".join(code(source.source) for source in spec.data)
    licence = f" The base is under the licence {code(about.licence)}." if about.licence else ""
    return f"{what} of {name}, taught with “{method.TITLE}” on {sources}. {method.__doc__.strip()}{licence}"


def tests(story: list[dict[str, Any]]) -> list[str]:
    """Before and after, as a table of the first and the last test on held-out examples."""
    found = [event for event in story if event["kind"] == "eval"]
    if len(found) < 2:
        return []
    first, last = found[0]["metrics"], found[-1]["metrics"]
    lines = [
        f"| {plain(name.removeprefix('eval/'))} | {first[name]:.4g} | {last[name]:.4g} |"
        for name in last
        if first.get(name) is not None and last[name] is not None
    ]
    return ["| held-out examples | before | after |", "|---|---|---|", *lines, ""]


def answers(run: Run, story: list[dict[str, Any]]) -> list[str]:
    """The same prompts before and after. Only those of the setup: held-out examples may be somebody's own."""
    told = [rows_of(run, event) for event in story if event["kind"] == "sample"]
    if len(told) < 2:
        return []
    lines: list[str] = []
    for prompt in run.spec.prompts[:SHOWN]:
        before, after = told[0].get(prompt), told[-1].get(prompt)
        if before is not None and after is not None:
            lines += ["Prompt:", "", *fenced(cut(prompt)), "Before:", "", *fenced(cut(before)), "After:", "", *fenced(cut(after))]  # fmt: skip
    return ["## Answers before and after", "", *lines] if lines else []


def rows_of(run: Run, event: dict[str, Any]) -> dict[str, str]:
    """{prompt: completion}"""
    return {row["prompt"]: row["completion"] for row in answers_of(run, event) if isinstance(row.get("prompt"), str)}


def cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def loading(spec: Spec, facts: dict[str, Any], about: About) -> list[str]:
    return ["## Use it", "", *fenced(snippet(spec, facts, about.repo, about.base or spec.model.id), "python")]


def making(spec: Spec, facts: dict[str, Any], about: About) -> list[str]:
    """What differs from the preset it is nearest to, then everything."""
    title, changed = differences(spec)
    rows = [
        f"| {code(name.removeprefix('knobs.'))} | {shown(before)} | {shown(after)} |" for name, before, after in changed
    ]
    table = ["| setting | preset | here |", "|---|---|---|", *rows, ""] if rows else []
    differs = f"Nearest preset: “{title}”. " + ("What differs:" if rows else "Nothing differs.")
    setup = json.dumps(spec.to_dict(), indent=2, ensure_ascii=False)
    versions = ", ".join(f"{name} {number}" for name, number in facts.get("versions", {}).items())
    return ["## How it was made", "", differs, "", *table, "<details><summary>The whole setup</summary>", "", *fenced(setup, "json"),
            "</details>", "", *([f"Versions: {versions}.", ""] if versions else [])]  # fmt: skip


def shown(value: Any) -> str:
    return "none" if value is None else code(shorten(json.dumps(value, ensure_ascii=False), 60))


def differences(spec: Spec) -> tuple[str, list[tuple[str, Any, Any]]]:
    """(the nearest preset's title, [(setting, its value there, its value here)]). Words of the setup are not settings."""
    mine, found = spec.to_dict(), []
    for name in registry.choices("presets"):
        theirs = presets.spec(name).to_dict()
        changed = [path for path in links.difference(theirs, mine) if path not in ("title", "prompts")]
        found.append((len(changed), presets.about(name)["title"], [(path, value_at(theirs, path), value_at(mine, path)) for path in changed]))  # fmt: skip
    _, title, changed = min(found, key=lambda one: one[0])
    return title, changed


def value_at(data: Any, path: str) -> Any:
    for key in path.split("."):
        data = data.get(key) if isinstance(data, dict) else None
    return data


def remix(spec: Spec, about: About) -> list[str]:
    """A link that opens this setup; none when the setup cannot travel in one."""
    if about.page is None:
        return []
    try:
        link = links.link(spec, about.page)
    except Problem:  # examples or a base of one machine: the setup above says so by itself
        return []
    where = "" if about.page.startswith("https://") else " with Tunesmith running on your machine"
    return ["## Make your own", "", f"[Open this setup]({link}){where}, change it, and train your own.", ""]


def licence_in(file: Path) -> str | None:
    """What the front matter of a model's card calls its licence."""
    found = re.match(r"^---\r?\n(.*?)\r?\n---", file.read_text("utf-8", errors="replace") if file.is_file() else "", re.DOTALL)  # fmt: skip
    try:
        told = yaml.safe_load(found[1]) if found else None
    except yaml.YAMLError:  # a border: a stranger's card
        return None
    name = told.get("license") if isinstance(told, dict) else None
    return name if isinstance(name, str) and re.fullmatch(r"[\w.+-]{1,60}", name) else None
