"""Resuming in the middle of a round: one round of completions may serve several optimizer steps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from app.engine.trainers.mixin_bases import GRPOTrainerBase

if TYPE_CHECKING:
    from torch.nn import Module

    from app.data.fields import Row
    from app.engine.trainers.mixin_bases import Batch

_STATE_FILE = "groups.pt"  # in a checkpoint: the trainer's state that TRL does not save


class Group(TypedDict):
    """The completions of one prompt, without padding. The keys are stored in checkpoints."""

    prompt: list[int]  # token ids
    answers: list[list[int]]  # token ids of each completion
    counts: list[bool]  # False: the completion is left out of the loss
    advantages: list[float]
    reference: list[list[float]] | None  # log-probability of each token by the reference model, where there is one
    own: NotRequired[list[list[int]]]  # 1 on tokens that the model wrote, 0 on results of tools; only with tools


class ResumeState(TypedDict):
    """What is saved with a checkpoint. The keys are stored."""

    step: int
    answers: list[Batch] | None  # buffered rollouts, where a round is not finished
    tokens: int
    memory: NotRequired[list[tuple[float, Group]]]  # the replay buffer, see replay_buffer.py
    failed_rows: NotRequired[list[int]]  # see retry_failed_prompts.py


class ResumeMixin(GRPOTrainerBase):
    """Saves the rollouts of an unfinished round with each checkpoint, so that a resumed run continues with them."""

    num_tokens_before_resume = 0  # subtracted here, as app/engine/callback.py adds them

    def _generate_and_score_completions(self, inputs: list[Row]) -> Batch:
        batch = super()._generate_and_score_completions(inputs)
        self._metrics["train"]["num_tokens"] = [self.state.num_input_tokens_seen - self.num_tokens_before_resume]
        return batch

    def _save_checkpoint(self, model: Module, trial: dict[str, Any] | None) -> None:
        import torch

        super()._save_checkpoint(model, trial)
        folder = Path(self._get_output_dir(trial)) / f"checkpoint-{self.state.global_step}"
        torch.save(self.resume_state(), folder / _STATE_FILE)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        import torch

        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        path = Path(checkpoint) / _STATE_FILE
        if path.exists():  # checkpoints of older versions have none
            self.load_resume_state(torch.load(path, map_location=self.accelerator.device, weights_only=True))

    def resume_state(self) -> ResumeState:
        """What is saved with a checkpoint; mixins further out add their own keys."""
        steps_per_round = self.num_iterations * (self.args.steps_per_generation or 1)  # TRL fills it in
        steps_into_round = self._step % steps_per_round
        buffered_rollouts = self._buffered_inputs if steps_into_round else None
        return {"step": self._step, "answers": buffered_rollouts, "tokens": self.state.num_input_tokens_seen}

    def load_resume_state(self, state: ResumeState) -> None:
        """Restores what `resume_state` returned."""
        self._step, self._buffered_inputs = state["step"], state["answers"]
        self.num_tokens_before_resume = state["tokens"]
