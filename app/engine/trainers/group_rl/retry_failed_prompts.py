"""Retries of failed prompts: prompts whose completions all earned nothing are sampled again later in the run, by a better model."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from app.data.fields import Row
from app.engine.trainers.group_rl.resume import ResumeMixin
from app.engine.trainers.group_rl.zero_variance_groups import REWARD_TOLERANCE, ZeroVarianceMixin, total_rewards

if TYPE_CHECKING:
    from app.engine.trainers.group_rl.resume import ResumeState
    from app.engine.trainers.mixin_bases import Batch

ROW_INDEX_COLUMN = "__row__"  # the column with a row's index; it is not passed to rewards


class RetryMixin(ZeroVarianceMixin, ResumeMixin):
    """Samples failed prompts again, where the rows have ROW_INDEX_COLUMN."""

    @cached_property
    def failed_rows(self) -> list[int]:
        """Row indices, the oldest failure first."""
        return []

    def _generate_and_score_completions(self, inputs: list[Row]) -> Batch:
        if ROW_INDEX_COLUMN not in inputs[0] or not self.model.training:
            return super()._generate_and_score_completions(inputs)
        size, step = self.num_generations, self.state.global_step
        is_due = step >= self.knobs.reroll_after * self.state.max_steps
        new_indices = [row[ROW_INDEX_COLUMN] for row in inputs[::size]]
        max_retries = self.knobs.reroll_groups if is_due else 0
        row_indices, num_retries = add_retries(new_indices, self.failed_rows, max_retries)
        self.failed_rows = self.failed_rows[num_retries:]
        self._metrics["train"]["rerolled"].append(num_retries)
        rows = [row for row_index in row_indices for row in [self._train_row(row_index)] * size]
        batch = super()._generate_and_score_completions(rows)
        best_totals = total_rewards(self.rewards_per_func, self.reward_weights).nan_to_num(0).view(-1, size).amax(1)
        failed = (self.is_zero_variance & (best_totals <= REWARD_TOLERANCE)).tolist()
        newly_failed = [row_index for row_index, has_failed in zip(row_indices, failed, strict=True) if has_failed]
        self.failed_rows += [row_index for row_index in newly_failed if row_index not in self.failed_rows]
        return batch

    def _train_row(self, row_index: int) -> Row:
        return {name: cell for name, cell in self.train_dataset[row_index].items() if name != ROW_INDEX_COLUMN}

    def resume_state(self) -> ResumeState:
        return super().resume_state() | {"failed_rows": self.failed_rows}

    def load_resume_state(self, state: ResumeState) -> None:
        super().load_resume_state(state)
        self.failed_rows = state["failed_rows"]


def add_retries(row_indices: list[int], failed_rows: list[int], max_retries: int) -> tuple[list[int], int]:
    """(row indices to sample, number of retries): the oldest failures replace the last of the new rows."""
    num_retries = min(max_retries, len(failed_rows), len(row_indices))
    return row_indices[: len(row_indices) - num_retries] + failed_rows[:num_retries], num_retries
