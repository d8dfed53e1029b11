"""Reroll: prompts at which every attempt failed are tried again later in the run, when the model may have learned enough."""

from __future__ import annotations

from typing import Any

from app.engine.trainers.group_rl.zero_variance_groups import SAME, totals

ROW = "__row__"  # the column with a row's number; no reward sees it
Rows = list[dict[str, Any]]


class Rerolling:
    """Part of a trainer of groups (app/engine/trainers/group_rl/trainer.py). Its rows have a column ROW when this is asked for."""

    knobs: Any
    failed_rows: list[int]  # longest ago first

    def _generate_and_score_completions(self, inputs: Rows) -> dict[str, Any]:
        if ROW not in inputs[0] or not self.model.training:
            return super()._generate_and_score_completions(inputs)
        size, step = self.num_generations, self.state.global_step
        due = step >= self.knobs.reroll_after * self.state.max_steps
        asked, taken = with_second_chances([row[ROW] for row in inputs[::size]], self.failed_rows, self.knobs.reroll_groups if due else 0)  # fmt: skip
        self.failed_rows = self.failed_rows[taken:]
        self._metrics["train"]["rerolled"].append(taken)
        batch = super()._generate_and_score_completions([row for number in asked for row in [self.row(number)] * size])
        best = totals(self.earned, self.reward_weights).nan_to_num(0).view(-1, size).amax(1)
        failed = (self.quiet & (best <= SAME)).tolist()
        self.failed_rows += [row for row, one in zip(asked, failed, strict=True) if one and row not in self.failed_rows]
        return batch

    def row(self, number: int) -> dict[str, Any]:
        return {key: value for key, value in self.train_dataset[number].items() if key != ROW}

    def kept(self) -> dict[str, Any]:
        return super().kept() | {"failed_rows": self.failed_rows}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.failed_rows = state["failed_rows"]


def with_second_chances(asked: list[int], failed: list[int], most: int) -> tuple[list[int], int]:
    """(the rows to ask, how many of them are second chances): those that failed longest ago stand in the last places."""
    taken = min(most, len(failed), len(asked))
    return asked[: len(asked) - taken] + failed[:taken], taken
