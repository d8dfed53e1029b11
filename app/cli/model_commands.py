"""Commands `models …`: the models of the cache and of the catalogue, what is known of one, and its download."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.options import AsJson
from app.cli.terminal import print_document, print_list, print_text
from app.core.problems import Problem
from app.hub import catalogue_refresh, model_downloads, model_facts
from app.setup.catalogue import CATALOGUE_FILE, CatalogueEntry, closest_entries, load_catalogue, search_catalogue
from app.setup.model_facts import ModelFacts, facts_of_entry

app = typer.Typer(
    help="Models: those of this machine, a catalogue of others, and their download.", no_args_is_help=True
)

_Name = Annotated[str, typer.Argument(metavar="NAME", help="A name on the Hub (owner/name), or a folder.")]
_Revision = Annotated[str | None, typer.Option(help="A branch, a tag or a commit.")]
_PROGRESS_STEP = 0.01  # share of the bytes between two lines of progress


@app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """The models in the cache of this machine, and how much room they take."""
    cached = [asdict(model) for model in model_downloads.list_cached_models()]
    print_list(cached, as_json, lambda model: f"{model['size_bytes'] / 1e9:>9.2f} GB  {model['name']}")


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="Words such as “qwen 4b”; all models without.")] = "",
    as_json: AsJson = False,
) -> None:
    """The models of the catalogue by name, family and size."""
    print_list([_describe_entry(entry) for entry in search_catalogue(text)], as_json, _format_entry)


@app.command()
def show(
    name: _Name,
    revision: _Revision = None,
    offline: Annotated[bool, typer.Option("--offline", help="Only what the catalogue says; ask nobody.")] = False,
    as_json: AsJson = False,
) -> None:
    """What is known of a model; nothing is downloaded."""
    entry = load_catalogue().find(name)
    if offline and entry is None:
        closest = " or ".join(entry.name for entry in closest_entries(name)[:2])
        advice = f"Did you mean {closest}? " if closest else ""
        raise Problem(f"“{name}” is not in the catalogue.", advice=f"{advice}Leave out --offline to ask the Hub.")
    facts = facts_of_entry(entry) if offline and entry else model_facts.read_model_facts(name, revision=revision)
    print_document(_describe_facts(facts), as_json, _format_facts)


@app.command()
def download(name: _Name, revision: _Revision = None, as_json: AsJson = False) -> None:
    """Downloads a model into the cache; what was fetched before is kept."""
    plan = model_downloads.plan_download(name, revision=revision)
    print_text(
        f"{plan.missing_bytes / 1e9:.2f} of {plan.total_bytes / 1e9:.2f} GB are missing; {plan.free_bytes / 1e9:.1f} GB are free.",
        file=sys.stderr,
    )
    printed_share = -1.0

    def report(done: int, of: int) -> None:
        nonlocal printed_share
        share = done / of if of else 1.0
        if share >= printed_share + _PROGRESS_STEP or (share >= 1 and printed_share < 1):
            printed_share = share
            print_text(f"{share:5.0%}  {done / 1e9:.2f} GB", file=sys.stderr)

    folder = model_downloads.download_model(name, revision=revision, progress=report)
    print_document({"name": name, "folder": str(folder), "bytes": plan.total_bytes}, as_json, lambda _: str(folder))


@app.command()
def remove(name: _Name, as_json: AsJson = False) -> None:
    """Deletes a model from the cache of this machine."""
    freed = model_downloads.remove_cached_model(name)
    print_document({"name": name, "bytes": freed}, as_json, lambda _: f"Freed {freed / 1e9:.2f} GB.")


@app.command()
def refresh(
    file: Annotated[Path, typer.Option(help="The catalogue to write anew.")] = CATALOGUE_FILE, as_json: AsJson = False
) -> None:
    """Asks the Hub for every model of the catalogue, and writes what their own files say into it."""
    outcome = catalogue_refresh.refresh_catalogue(file, report=lambda name: print_text(name, file=sys.stderr))
    document = {"changes": outcome.changes, "failures": outcome.failures}
    print_document(document, as_json, _format_refresh)


# -- what is printed ----------------------------------------------------------------------------------------------


def _describe_entry(entry: CatalogueEntry) -> dict[str, Any]:
    return asdict(entry) | {"download_bytes": entry.download_bytes, "unconfirmed": entry.unconfirmed}


def _format_entry(entry: dict[str, Any]) -> str:
    licence = entry["licence"] or "licence unknown"
    gate = ", terms to accept" if entry["gated"] else ""
    pictures = ", reads pictures" if entry["vision_parameters"] is not None else ""
    size = f"{entry['parameters'] / 1e9:.2f} B weights, {entry['download_bytes'] / 1e9:.1f} GB"
    return f"{entry['name']:<44} {size} ({licence}{gate}{pictures})\n    {entry['good_for']}"


def _describe_facts(facts: ModelFacts) -> dict[str, Any]:
    return {name: value for name, value in asdict(facts).items() if name != "template"} | {
        "has_template": facts.template is not None or facts.origin == "catalogue"
    }


def _format_facts(facts: dict[str, Any]) -> str:
    shape, chat = facts["shape"], facts["chat"]
    heads = f"{shape['num_attention_heads']} heads, {shape['num_key_value_heads']} for keys"
    experts = f", {shape['num_experts']} experts" if shape["num_experts"] else ""
    supports = [name for name in ("system", "tools") if chat and chat[name]]
    supports += [f"reasoning ({chat['reasoning']})"] if chat and chat["reasoning"] != "none" else []
    template = f"chat format with {', '.join(supports) or 'plain turns'}" if chat else "chat format not known"
    gate = "; its terms have to be accepted" if facts["gated"] else ""
    unconfirmed = f"\nunconfirmed: {', '.join(facts['unconfirmed'])}" if facts["unconfirmed"] else ""
    return (
        f"{facts['name']}  {shape['model_type']}, {facts['parameters'] / 1e9:.2f} B weights, {facts['weight_bytes'] / 1e9:.2f} GB"
        f"{' (' + facts['quantized'] + ')' if facts['quantized'] else ''}\n"
        f"{shape['num_hidden_layers']} layers of {shape['hidden_size']}, {heads}{experts}, vocabulary {shape['vocab_size']:,}, "
        f"context {shape['max_position_embeddings']:,}{', reads pictures' if shape['vision'] else ''}\n"
        f"{template if facts['has_template'] else 'no chat format'}; licence {facts['licence'] or 'unknown'}{gate}{unconfirmed}"
    )


def _format_refresh(outcome: dict[str, Any]) -> str:
    lines = [f"{name}: {'; '.join(changes)}" for name, changes in outcome["changes"].items()]
    lines += [f"{name}: left as it is. {reason}" for name, reason in outcome["failures"].items()]
    return "\n".join(lines) or "Nothing changed."
