"""Critic: the value model of PPO, which says before each token how much the whole answer will probably earn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.core.problems import Problem
from app.engine.job import Job
from app.engine.model import init_from
from app.engine.model.quantization import HEADS, keep_heads_exact
from app.setup import models

if TYPE_CHECKING:
    from app.setup.spec import Reward, Spec

FILE = "critic.safetensors"  # in a checkpoint: what of the value model is trained


class ScoringJob(Job):
    """The same job, as if it trained a model that scores: from the same start, with the same adapter, under a new head."""

    @property
    def kind(self) -> str:
        return "scores"


def reward_model_of(spec: Spec) -> Reward | None:
    """The first reward that asks a model."""
    return next((one for one in spec.rewards if one.name == "reward_model" and one.params.get("model")), None)


def critic(job: Job, begins_as: str) -> Any:
    """A model that scores, of which all or an adapter is trained. begins_as: policy, reward_model, or auto: the reward model
    where there is one. Raises Problem."""
    reward = reward_model_of(job.spec)
    if begins_as == "policy" or reward is None:
        made = from_policy(job)
    else:
        made = from_reward_model(job, reward.params["model"])
        # so that it begins by expecting just what the reward would give; beside others no bound must hold it
        made.earns = (reward.weight, reward.params.get("squash") == "sigmoid" and len(job.spec.rewards) == 1)
    require_one_head(made)
    keep_heads_exact(made)
    return made


def from_policy(job: Job) -> Any:
    """The model as the run starts from it. Its new head says 0 everywhere: it expects nothing yet."""
    own = ScoringJob(job.spec, job.folder, job.device)
    own.data = job.data  # read once
    model = own.model
    for name, weight in model.named_parameters():
        if any(head in name.split(".") for head in HEADS):
            weight.data.zero_()
    return adapted(model, own.peft_config)


def from_reward_model(job: Job, name: str) -> Any:
    """The reward model: its adapter goes on learning, or gets one, or all of it learns, as the setup says."""
    from peft import PeftModel

    from app.engine.model.load_model import load_tuned

    place = models.place(name)
    dtype = job.device.dtype(job.knobs.precision, job.spec.adapter.kind, bool(init_from.whole_layers(place)))
    model, tokenizer = load_tuned(place, dtype=dtype)
    require_same_words(job, tokenizer, name)
    if isinstance(model, PeftModel):
        for weight_name, weight in model.named_parameters():
            learns = "lora_" in weight_name or "modules_to_save" in weight_name
            weight.requires_grad_(learns)
        return model
    own = ScoringJob(job.spec, job.folder, job.device)
    own.data, own.model = job.data, model
    return adapted(model, own.peft_config)


def adapted(model: Any, config: Any) -> Any:
    if config is None:
        return model
    from peft import get_peft_model

    return get_peft_model(model, config)


def require_same_words(job: Job, tokenizer: Any, name: str) -> None:
    if tokenizer.get_vocab() != job.tokenizer.get_vocab():
        raise Problem(f"The reward model “{name}” reads other tokens than the model that learns, so the critic cannot begin as it.",
                      advice="Let the critic begin as the model itself.")  # fmt: skip


def require_one_head(model: Any) -> None:
    inner = inside(model)
    if not hasattr(inner, "score") or not hasattr(inner, inner.base_model_prefix):
        raise Problem(f"The critic cannot begin as a {type(inner).__name__}: it has no head that reads each token.",
                      advice="Let the critic begin as the model itself.")  # fmt: skip


def inside(model: Any) -> Any:
    """Without the adapter's own wrapper; its layers stay in place."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def values(model: Any, rows: dict[str, Any]) -> Any:
    """(answers, positions): at each token what the answer will earn, seen from there."""
    inner = inside(model)
    told = getattr(inner, inner.base_model_prefix)(**rows, use_cache=False).last_hidden_state
    scores = inner.score(told)[..., 0].float()
    weight, squashed = getattr(model, "earns", (1.0, False))
    return weight * (scores.sigmoid() if squashed else scores)


def trained(model: Any) -> dict[str, Any]:
    """{name: weight} of what is trained."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def save(model: Any, folder: Path) -> None:
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: weight.detach().cpu().contiguous() for name, weight in trained(model).items()}, folder / FILE)


def restore(model: Any, folder: Path) -> None:
    import torch
    from safetensors.torch import load_file

    kept, own = load_file(folder / FILE), trained(model)
    assert kept.keys() == own.keys(), "a checkpoint holds exactly what is trained"
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(kept[name])
