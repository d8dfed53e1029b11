"""Share: a setup as the text of a link, and back. What comes back is untrusted: it fills the form and does nothing else."""

from __future__ import annotations

import base64
import json
import os
from typing import Any

from app.core import registry
from app.core.problems import Problem, shorten
from app.planning.resolve import named_models, resolve, resolve_rewards
from app.setup import presets
from app.setup.models import SHIPPED
from app.setup.spec import HUB, NAMED_FORMAT, Reward, Spec, read, set_value

PARAMETER = "setup"  # the one query parameter of all links
LONGEST = 8_000  # characters
PRIVATE = ("address", "secret")  # parts of a reward's settings that belong to one machine
MOST_WEIGHT = 100  # of all sources together: a link is counted as soon as it is opened


def encode(spec: Spec) -> str:
    """The difference from the nearest preset, as text for a link. Raises Problem when it holds something of this machine."""
    spec = resolve(spec)
    spec = spec.model_copy(update={"rewards": [public(one) for one in spec.rewards]})
    refuse_local(spec)
    name, changes = nearest(spec)
    packed = json.dumps({"v": 1, "preset": name, "set": changes}, ensure_ascii=False, separators=(",", ":"))
    text = base64.urlsafe_b64encode(packed.encode()).decode().rstrip("=")
    if len(text) > LONGEST:
        raise Problem(
            f"This setup needs a link of {len(text)} characters; browsers take {LONGEST}.",
            advice="Shorten its prompts.",
        )
    return text


def nearest(spec: Spec) -> tuple[str, dict[str, Any]]:
    """The preset that a resolved Spec differs least from, and what differs."""
    data = spec.to_dict()
    found = {name: difference(presets.spec(name).to_dict(), data) for name in registry.choices("presets")}
    name = min(found, key=lambda name: len(json.dumps(found[name])))
    return name, found[name]


def beside(spec: Spec, preset: str) -> dict[str, Any]:
    """A resolved Spec as a change of that preset: what both leave to their method is left out, so that it goes on following."""
    data, filled, left = spec.to_dict(), presets.spec(preset), presets.spec_unresolved(preset)
    if spec.method == filled.method:
        own = {
            name: value for name, value in spec.knobs.items() if name in left.knobs or value != filled.knobs.get(name)
        }
        shorter = (
            data | {"knobs": own} | ({"rewards": left.to_dict()["rewards"]} if spec.rewards == filled.rewards else {})
        )
        return shorter if resolve(read(shorter)) == spec else data
    return data


def link(spec: Spec, page: str = "http://127.0.0.1:7860") -> str:
    """The address that opens `page` with this setup."""
    return f"{page}/?{PARAMETER}={encode(spec)}"


def decode(text: str) -> Spec:
    """The resolved Spec of a link or of its parameter. Raises Problem for anything that is not a whole, harmless setup."""
    return open_link(text)[1]


def open_link(text: str) -> tuple[str, Spec]:
    """The preset that a link started from, and its resolved Spec. Raises Problem as `decode` does."""
    code = text.rpartition(f"{PARAMETER}=")[2].partition("&")[0]
    try:
        if len(code) > LONGEST:
            raise ValueError("too long")
        data = json.loads(base64.b64decode(code + "=" * (-len(code) % 4), altchars=b"-_", validate=True))
        name, changes, version = data["preset"], dict(data["set"].items()), data.get("v", 1)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:  # a border: a stranger's text
        raise Problem("This link is not a whole setup.", advice="Ask for it again, or start from a preset.") from error
    if version != 1:
        raise Problem("This link was made by a newer version.", advice="Update, or ask for the setup as a file.")
    filled = presets.spec(shorten(str(name), 80)).to_dict()
    for path, value in changes.items():
        filled = remove(filled, path) if value is None else set_value(filled, path, value)
    spec = read(filled)
    rewards = [switched_off(one) for one in resolve_rewards(spec)]
    spec = resolve(spec).model_copy(update={"rewards": rewards})
    refuse_local(spec)
    return name, spec


def public(reward: Reward) -> Reward:
    """Without what stays on this machine: whom to call, and with which key."""
    kept = {name: value for name, value in reward.params.items() if picks_of(reward, name) not in PRIVATE}
    return reward.model_copy(update={"params": kept})


def picks_of(reward: Reward, name: str) -> str:
    return (registry.load("rewards", reward.name).Params.model_fields[name].json_schema_extra or {}).get("picks", "")


def switched_off(reward: Reward) -> Reward:
    """A reward that runs code or calls out stays off until its new owner turns it on."""
    module = registry.load("rewards", reward.name)
    outward = any(getattr(module, flag, False) for flag in ("RUNS_CODE", "CALLS_OUT"))
    return reward.model_copy(update={"on": False}) if outward else reward


def refuse_outward(reward: Reward) -> None:
    """Nobody else's program, and nobody else's address or key."""
    named = [picks_of(reward, name) for name, value in reward.params.items() if value]
    if "program" in named:
        raise Problem(f"The reward “{reward.label}” is a program of one's own, which a link cannot carry.", advice="Remove it first.")  # fmt: skip
    if any(one in PRIVATE for one in named):
        raise Problem(
            f"This link would have the reward “{reward.label}” call somebody.", advice="Ask for the setup without it."
        )


def difference(base: dict[str, Any], other: dict[str, Any], at: str = "") -> dict[str, Any]:
    """{path: value} that turns `base` into `other`; null removes. Lists are replaced whole."""
    found: dict[str, Any] = {}
    for key in base.keys() | other.keys():
        path, before, after = f"{at}{key}", base.get(key), other.get(key)
        if before == after:
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            found |= difference(before, after, f"{path}.")
        else:
            found[path] = after
    return dict(sorted(found.items()))


def remove(data: dict[str, Any], path: str) -> dict[str, Any]:
    """A copy of plain data without `a.b`; what is not there needs no removing."""
    key, _, rest = path.partition(".")
    if rest and isinstance(data.get(key), dict):
        return data | {key: remove(data[key], rest)}
    return {name: value for name, value in data.items() if name != key}


def is_here(name: str) -> bool:
    """Whether the libraries would take a Hub name for a folder: in this directory, or in the one that engines work in."""
    return os.path.exists(name) or os.path.exists(registry.ROOT / name)


def refuse_local(spec: Spec) -> None:
    """A link carries no path, no upload, no pasted template and no run of one's own; nor a Hub name that is a folder here."""
    local = [source.source for source in spec.sources if source.source.startswith(("path:", "upload:"))
             or (source.source.startswith("hub:") and is_here(source.source.removeprefix("hub:")))]  # fmt: skip
    if local and local[0].startswith("upload:"):
        raise Problem(
            "The examples were uploaded and lie on one machine, so a link cannot carry them.",
            advice="Choose a sample to share the rest of the setup.",
        )
    if local:
        raise Problem(
            f"The examples “{local[0]}” lie on one machine, so a link cannot carry them.",
            advice="Use a sample or a Hub dataset.",
        )
    for reward in spec.rewards:
        refuse_outward(reward)
    for name in (spec.model.id, *named_models(spec)):
        if name not in SHIPPED and (not HUB.fullmatch(name) or is_here(name)):
            raise Problem(f"The model “{name}” lies on one machine, so a link cannot carry it.", advice="Use a Hub model.")  # fmt: skip
    if sum(source.weight for source in spec.data) > MOST_WEIGHT:
        raise Problem(f"This setup repeats its examples more than {MOST_WEIGHT} times.", advice="Train for more epochs instead.")  # fmt: skip
    start, template = spec.model.start_from, spec.model.template
    if (template and not NAMED_FORMAT.fullmatch(template)) or (start and (not HUB.fullmatch(start) or is_here(start))):
        raise Problem("A pasted template or a result of one's own cannot be part of a link.", advice="Remove it first.")
