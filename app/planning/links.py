"""Links that carry a setup, and reading them back. A link is untrusted input: it fills the form and starts nothing."""

from __future__ import annotations

import base64
import json
import os
from functools import cache

from app.core import paths, registry
from app.core.json_types import JsonObject
from app.core.problems import Problem, shorten
from app.engine.contracts import load_reward
from app.planning import presets
from app.planning.resolve import models_in_settings, resolve, resolve_rewards
from app.setup.models import SHIPPED_MODELS
from app.setup.set_value import set_value
from app.setup.sources import HUB_NAME
from app.setup.spec import NAMED_TEMPLATE, Reward, Spec, parse_spec

QUERY_PARAMETER = "setup"  # the one query parameter of all links
MAX_LINK_LENGTH = 8_000  # characters
_LOCAL_PICKS = ("address", "secret")  # `picks` of reward settings that belong to one machine
MAX_TOTAL_WEIGHT = 100  # of all sources together: a form that is filled by a link counts its rows at once


def encode_setup(spec: Spec) -> str:
    """The setup as text for a link: its changes against the nearest preset, as base64url of JSON.

    Raises Problem when it refers to something on this machine, or is too long.
    """
    spec = resolve(spec)
    spec = spec.model_copy(update={"rewards": [_without_local_params(reward) for reward in spec.rewards]})
    refuse_local(spec)
    name, changes = nearest_preset(spec)
    json_text = json.dumps({"v": 1, "preset": name, "set": changes}, ensure_ascii=False, separators=(",", ":"))
    encoded = base64.urlsafe_b64encode(json_text.encode()).decode().rstrip("=")
    if len(encoded) > MAX_LINK_LENGTH:
        raise Problem(
            f"This setup needs a link of {len(encoded)} characters; browsers take {MAX_LINK_LENGTH}.",
            advice="Shorten its prompts.",
        )
    return encoded


def nearest_preset(spec: Spec) -> tuple[str, JsonObject]:
    """The preset with the shortest changes to a resolved Spec, and these changes as {path: value}."""
    data = spec.to_dict()
    changes_by_preset = {name: changed_paths(preset_data, data) for name, preset_data in _resolved_presets().items()}
    name = min(changes_by_preset, key=lambda name: len(json.dumps(changes_by_preset[name])))
    return name, changes_by_preset[name]


@cache  # they are files of the program
def _resolved_presets() -> dict[str, JsonObject]:
    """{name: resolved Spec as plain data} of all presets, to be read only."""
    return {name: presets.preset_spec(name).to_dict() for name in registry.names("presets")}


def preset_changes(spec: Spec, preset: str) -> JsonObject:
    """A resolved Spec as plain data, without settings that the preset leaves to its method.

    So these settings still follow the defaults of the method when a person changes others.
    """
    data = spec.to_dict()
    unresolved_preset = presets.preset_for(preset, spec)
    if spec.method != unresolved_preset.method:
        return data
    # Resolved for this model, so that a rate that the method chose for it is not taken for one that the person chose.
    resolved_preset = resolve(unresolved_preset.model_copy(update={"model": spec.model, "adapter": spec.adapter}))
    own_knobs = {
        name: value
        for name, value in spec.knobs.items()
        if name in unresolved_preset.knobs or value != resolved_preset.knobs.get(name)
    }
    reduced_setup = data | {"knobs": own_knobs}
    if spec.rewards == resolved_preset.rewards:
        reduced_setup["rewards"] = unresolved_preset.to_dict()["rewards"]
    return reduced_setup if resolve(parse_spec(reduced_setup)) == spec else data


def link_to_setup(spec: Spec, page: str = "http://127.0.0.1:7860") -> str:
    """The address that opens `page` with this setup."""
    return f"{page}/?{QUERY_PARAMETER}={encode_setup(spec)}"


def decode_setup(text: str) -> Spec:
    """The resolved Spec of a link, or of its parameter alone.

    Raises Problem unless it is a complete and harmless setup.
    """
    return open_link(text)[1]


def open_link(text: str) -> tuple[str, Spec]:
    """The preset that a link is based on, and its resolved Spec. Raises Problem as `decode_setup` does."""
    encoded = text.rpartition(f"{QUERY_PARAMETER}=")[2].partition("&")[0]
    try:
        if len(encoded) > MAX_LINK_LENGTH:
            raise ValueError("too long")
        data = json.loads(base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True))
        name, changes, version = data["preset"], dict(data["set"].items()), data.get("v", 1)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:  # boundary: text from a stranger
        raise Problem("This link is not a whole setup.", advice="Ask for it again, or start from a preset.") from error
    if version != 1:
        raise Problem("This link was made by a newer version.", advice="Update, or ask for the setup as a file.")
    setup = presets.preset_spec(shorten(str(name), 80)).to_dict()
    for path, value in changes.items():
        setup = _remove_path(setup, path) if value is None else set_value(setup, path, value)
    spec = parse_spec(setup)
    rewards = [_disable_outward(reward) for reward in resolve_rewards(spec)]
    spec = resolve(spec).model_copy(update={"rewards": rewards})
    refuse_local(spec)
    return name, spec


def _without_local_params(reward: Reward) -> Reward:
    """The reward without settings that stay on this machine: addresses and names of secrets."""
    shared_params = {
        name: value for name, value in reward.params.items() if _picks_of_param(reward, name) not in _LOCAL_PICKS
    }
    return reward.model_copy(update={"params": shared_params})


def _picks_of_param(reward: Reward, name: str) -> str:
    """What the text of a reward setting means, as its knob declares."""
    declared = load_reward(reward.name).params.model_fields[name].json_schema_extra
    return str(declared.get("picks", "")) if isinstance(declared, dict) else ""


def _disable_outward(reward: Reward) -> Reward:
    """A reward from a link that runs code or calls an address is off until the person turns it on."""
    definition = load_reward(reward.name)
    is_outward = definition.runs_code or definition.calls_out
    return reward.model_copy(update={"on": False}) if is_outward else reward


def _refuse_outward(reward: Reward) -> None:
    """Raises Problem for a reward with a program of its own, an address or a secret."""
    picks = [_picks_of_param(reward, name) for name, value in reward.params.items() if value]
    if "program" in picks:
        raise Problem(
            f"The reward “{reward.label}” is a program of one's own, which a link cannot carry.",
            advice="Remove it first.",
        )
    if any(pick in _LOCAL_PICKS for pick in picks):
        raise Problem(
            f"This link would have the reward “{reward.label}” call somebody.", advice="Ask for the setup without it."
        )


def changed_paths(base: JsonObject, other: JsonObject, prefix: str = "") -> JsonObject:
    """{path: value} that turns `base` into `other`, sorted; None removes a value.

    A changed list is replaced as a whole.
    """
    changes: JsonObject = {}
    for key in base.keys() | other.keys():
        path, before, after = f"{prefix}{key}", base.get(key), other.get(key)
        if before == after:
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            changes |= changed_paths(before, after, f"{path}.")
        else:
            changes[path] = after
    return dict(sorted(changes.items()))


def _remove_path(data: JsonObject, path: str) -> JsonObject:
    """A copy of plain data without the value at a path such as `a.b`, if it exists."""
    key, _, rest = path.partition(".")
    group = data.get(key)
    if rest and isinstance(group, dict):
        return data | {key: _remove_path(group, rest)}
    return {name: value for name, value in data.items() if name != key}


def _is_local_folder(name: str) -> bool:
    """Whether libraries would read this Hub name as a folder, below the current directory or below ROOT, where engines
    run."""
    return os.path.exists(name) or os.path.exists(paths.ROOT / name)


def refuse_local(spec: Spec) -> None:
    """Raises Problem when a setup refers to something on this machine: a path, upload, pasted template or run, or a Hub
    name that is also a folder here."""
    _refuse_local_sources(spec)
    for reward in spec.rewards:
        _refuse_outward(reward)
    for name in (spec.model.id, *models_in_settings(spec)):
        if name not in SHIPPED_MODELS and (not HUB_NAME.fullmatch(name) or _is_local_folder(name)):
            raise Problem(
                f"The model “{name}” lies on one machine, so a link cannot carry it.", advice="Use a Hub model."
            )
    if sum(source.weight for source in spec.data) > MAX_TOTAL_WEIGHT:
        raise Problem(
            f"This setup repeats its examples more than {MAX_TOTAL_WEIGHT} times.",
            advice="Train for more epochs instead.",
        )
    start, template = spec.model.start_from, spec.model.template
    is_pasted_template = template and not NAMED_TEMPLATE.fullmatch(template)
    is_local_start = start and (not HUB_NAME.fullmatch(start) or _is_local_folder(start))
    if is_pasted_template or is_local_start:
        raise Problem("A pasted template or a result of one's own cannot be part of a link.", advice="Remove it first.")


def _refuse_local_sources(spec: Spec) -> None:
    """Raises Problem when examples are an upload or a path."""
    sources = [source.source for source in spec.sources]
    local_sources = [
        source
        for source in sources
        if source.startswith(("path:", "upload:"))
        or (source.startswith("hub:") and _is_local_folder(source.removeprefix("hub:")))
    ]
    if not local_sources:
        return
    if local_sources[0].startswith("upload:"):
        raise Problem(
            "The examples were uploaded and lie on one machine, so a link cannot carry them.",
            advice="Choose a sample to share the rest of the setup.",
        )
    raise Problem(
        f"The examples “{local_sources[0]}” lie on one machine, so a link cannot carry them.",
        advice="Use a sample or a Hub dataset.",
    )
