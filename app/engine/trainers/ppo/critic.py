"""Value model of PPO, which predicts before each token how much the complete completion will earn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.core.problems import Problem
from app.engine.job import Job
from app.engine.model import init_from
from app.engine.model.quantization import SCORE_HEADS, keep_heads_in_float32
from app.engine.trainers.base import with_adapter
from app.runs import adapters

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import Tensor
    from torch.nn import Module, Parameter
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from app.setup.spec import Reward, Spec

_CHECKPOINT_FILE = "critic.safetensors"  # in a checkpoint: the trained weights of the value model


@dataclass(frozen=True, eq=False)
class Critic:
    """A scoring model of which all weights or an adapter are trained.

    Its prediction is reward_weight · score, or reward_weight · sigmoid(score) with `has_sigmoid`.
    """

    model: PreTrainedModel | PeftModel
    reward_weight: float = 1.0
    has_sigmoid: bool = False

    def predicted_values(self, model_inputs: dict[str, Tensor]) -> Tensor:
        """(completions, positions): the predicted reward of the complete text, as seen from each token."""
        unwrapped = unwrapped_model(self.model)
        backbone = unwrapped.get_submodule(unwrapped.base_model_prefix)
        hidden_states = backbone(**model_inputs, use_cache=False).last_hidden_state
        scores = unwrapped.get_submodule("score")(hidden_states)[..., 0].float()
        return self.reward_weight * (scores.sigmoid() if self.has_sigmoid else scores)

    def trainable_weights(self) -> dict[str, Parameter]:
        """{name: weight} of the weights that are trained."""
        return {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}

    def save(self, folder: Path) -> None:
        """Writes the trained weights into a checkpoint folder."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: weight.detach().cpu().contiguous() for name, weight in self.trainable_weights().items()}
        save_file(weights, folder / _CHECKPOINT_FILE)

    def load(self, folder: Path) -> None:
        """Reads the trained weights back from a checkpoint folder."""
        import torch
        from safetensors.torch import load_file

        saved, weights = load_file(folder / _CHECKPOINT_FILE), self.trainable_weights()
        assert saved.keys() == weights.keys(), "a checkpoint holds exactly what is trained"
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(saved[name])


class _ValueModelJob(Job):
    """The same job as if it trained a scoring model: same initial weights and adapter settings, with a new score head."""

    @property
    def kind(self) -> str:
        return "scores"


def find_model_reward(spec: Spec) -> Reward | None:
    """The first reward of the spec that is given by a reward model; None without one."""
    rewards = (reward for reward in spec.rewards if reward.name == "reward_model" and reward.params.get("model"))
    return next(rewards, None)


def build_critic(job: Job, initial_model: str) -> Critic:
    """The critic of a run that begins.

    initial_model: policy, reward_model, or auto, which is the reward model where the spec has one. Raises Problem.
    """
    reward = find_model_reward(job.spec)
    if initial_model == "policy" or reward is None:
        critic = Critic(_model_from_policy(job))
    else:
        # At first it predicts exactly what the reward gives; beside other rewards it must not be bounded by a sigmoid.
        has_sigmoid = reward.params.get("squash") == "sigmoid" and len(job.spec.rewards) == 1
        critic = Critic(_model_from_reward_model(job, reward.params["model"]), reward.weight, has_sigmoid)
    _require_score_head(critic.model)
    keep_heads_in_float32(critic.model)
    return critic


def _model_from_policy(job: Job) -> PreTrainedModel | PeftModel:
    """The policy's initial weights under a new head that predicts 0 everywhere."""
    value_job = _value_model_job(job)
    model = value_job.model
    for name, weight in model.named_parameters():
        if any(head in name.split(".") for head in SCORE_HEADS):
            weight.data.zero_()
    return with_adapter(model, value_job.peft_config)


def _model_from_reward_model(job: Job, name: str) -> PreTrainedModel | PeftModel:
    """The reward model: training continues its adapter; without one it gets a new adapter or is trained in full, as the spec says."""
    from peft import PeftModel

    from app.engine.model.load_model import load_tuned

    folder = adapters.locate_model_or_adapter(name)
    dtype = job.device.dtype(job.knobs.precision, job.spec.adapter.kind, bool(init_from.fully_trained_layers(folder)))
    model, tokenizer = load_tuned(folder, dtype=dtype)
    _require_same_vocabulary(job, tokenizer, name)
    if isinstance(model, PeftModel):
        for weight_name, weight in model.named_parameters():
            is_trained = model.base_model.prefix in weight_name or "modules_to_save" in weight_name
            weight.requires_grad_(is_trained)
        return model
    value_job = _value_model_job(job)
    value_job.model = model
    return with_adapter(model, value_job.peft_config)


def _value_model_job(job: Job) -> _ValueModelJob:
    adapter = job.spec.adapter.model_copy(update={"init": "default"})  # other initial weights are the policy's alone
    value_job = _ValueModelJob(job.spec.model_copy(update={"adapter": adapter}), job.folder, job.device)
    value_job.data = job.data  # shared, so that the rows are not read twice
    return value_job


def _require_same_vocabulary(job: Job, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Raises Problem where policy and reward model number their tokens differently."""
    if tokenizer.get_vocab() != job.tokenizer.get_vocab():
        raise Problem(
            f"The reward model “{name}” reads other tokens than the model that learns, so the critic cannot begin as it.",
            advice="Let the critic begin as the model itself.",
        )


def _require_score_head(model: PreTrainedModel | PeftModel) -> None:
    """Raises Problem for a model without a `score` layer that can be applied to each token's hidden state."""
    unwrapped = unwrapped_model(model)
    if not hasattr(unwrapped, "score") or not hasattr(unwrapped, unwrapped.base_model_prefix):
        raise Problem(
            f"The critic cannot begin as a {type(unwrapped).__name__}: it has no head that reads each token.",
            advice="Let the critic begin as the model itself.",
        )


def unwrapped_model(model: Module) -> PreTrainedModel:
    """The model without PEFT's wrapper; the adapter's layers stay in it."""
    from peft import PeftModel
    from transformers import PreTrainedModel

    unwrapped = model.get_base_model() if isinstance(model, PeftModel) else model
    assert isinstance(unwrapped, PreTrainedModel), "adapters are put on models of transformers"
    return unwrapped
