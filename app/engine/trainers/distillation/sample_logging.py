"""Some of the answers that a student generates in training, as events of the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.core.json_types import JsonObject
from app.data.conversations.messages import last_message_text
from app.data.rows import Row
from app.engine.trainers.group_rl.rollout_logging import SampleLoggingMixin
from app.engine.trainers.mixin_bases import DistillationTrainerBase, SDFTTrainerBase

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from app.engine.trainers.mixin_bases import Batch

_SAMPLES_PER_EVENT = 4


class AnswerLoggingMixin(SampleLoggingMixin):
    """Shows answers where there are no rewards. It needs a mixin in front that hands it each batch."""

    _tokenizer: PreTrainedTokenizerBase
    logged_samples: list[JsonObject]

    def sample_rows(self) -> list[JsonObject]:
        """The first answers of the latest batch."""
        return self.logged_samples

    def keep_answers(self, inputs: list[Row], batch: Batch) -> None:
        """Remembers a few of the answers. batch: with completion_ids and completion_mask, a row for each of `inputs`."""
        completion_ids = batch["completion_ids"][:_SAMPLES_PER_EVENT]
        completion_mask = batch["completion_mask"][:_SAMPLES_PER_EVENT].bool()
        completions = self._tokenizer.batch_decode(
            [
                token_ids[is_completion].tolist()
                for token_ids, is_completion in zip(completion_ids, completion_mask, strict=True)
            ],
            skip_special_tokens=True,
        )
        self.logged_samples = [
            {"prompt": last_message_text(row["prompt"]), "completion": completion}
            for row, completion in zip(inputs, completions, strict=False)
        ]


class DistillationLoggingMixin(AnswerLoggingMixin, DistillationTrainerBase):
    """Over TRL's DistillationTrainer: shows a few of the student's answers as events of the run."""

    def _generate_and_score_completions(self, inputs: list[Row]) -> Batch:
        batch: Batch = super()._generate_and_score_completions(inputs)
        self.keep_answers(inputs, batch)
        return batch


class SelfDistillationLoggingMixin(AnswerLoggingMixin, SDFTTrainerBase):
    """Over TRL's SDFTTrainer: shows a few of the student's answers as events of the run."""

    def _prepare_training_batch(self, inputs: list[Row]) -> Batch:
        batch: Batch = super()._prepare_training_batch(inputs)
        self.keep_answers(inputs, batch)
        return batch
