"""Story: watches the training loop, tells it as events, and does what was asked of the run."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from transformers import TrainerCallback

from app.core.problems import Problem
from app.engine.control import Control
from app.engine.emitter import Emitter
from app.engine.evaluation.evaluate import measure, says
from app.engine.generation.generate import aside, swapped, trained_weights
from app.engine.job import MOST_HELD_OUT, Job
from app.history.summary import score
from app.history.verdict import verdict
from app.runs import checkpoints
from app.runs.events import current, read

# The loop's names for what we show under the name of its room; rewards are renamed by rule.
NAMES = {
    "loss": "train/loss",
    "grad_norm": "train/grad_norm",
    "learning_rate": "train/learning_rate",
    "entropy": "train/entropy",
    "mean_token_accuracy": "train/token_accuracy",
    "kl": "train/kl",
    "reward": "reward/mean",
    "reward_std": "reward/std",
    "frac_reward_zero_std": "reward/share_without_spread",
    "num_tokens": "system/tokens",
}
LEFT_OUT = ("epoch", "total_flos", "train_runtime", "train_loss", "step_time")
WATCHED = ("train/loss", "train/grad_norm")  # not finite here means the run is lost


class Story(TrainerCallback):
    """One per run. Its clock decides when to test and to save, so that both also happen on request."""

    def __init__(self, job: Job, emitter: Emitter, control: Control, before: dict[str, Any] | None = None):
        """before: the facts of the checkpoint that the run goes on from."""
        self.job, self.emitter, self.control_file = job, emitter, control
        self.tokens_before = (before or {}).get("tokens", 0)
        self.score: float | None = (before or {}).get("score")  # of the latest test, higher is better
        self.trainer: Any = None  # set once it is built
        self.curves = {theirs: ours for theirs, (ours, _) in getattr(job.method, "CURVES", {}).items()}
        self.why = "finished"
        self.untrained: list[tuple[Any, Any]] = []  # (a trained weight, what it was before the first step)
        self.wants_test = self.wants_samples = False
        self.times: deque[float] = deque(maxlen=20)
        self.tokens = self.tokens_before
        self.saved_at = self.began = self.step_began = time.monotonic()

    # -- the training loop calls these ---------------------------------------------------------------------------

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.emitter.say("state", state="training")
        self.began = self.saved_at = time.monotonic()
        if state.global_step == 0 and self.job.spec.adapter.kind == "none":
            self.test(0)
        elif state.global_step == 0:
            self.untrained = trained_weights(self.trainer.model)
        self.step_began = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **kwargs: Any) -> None:
        if "loss" not in logs:
            return  # the summary at the end, or a test: told elsewhere
        seconds = time.monotonic() - self.step_began
        self.times.append(seconds)
        metrics = named(logs, self.curves) | self.pace(logs, seconds)
        self.emitter.say("step", step=state.global_step, of=state.max_steps, epoch=rounded(logs.get("epoch")),
                         seconds_left=self.seconds_left(state), metrics=metrics)  # fmt: skip
        self.require_finite(metrics, state.global_step)
        self.after_step(state.global_step)
        self.step_began = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        wishes = self.control_file.poll()
        step, of = state.global_step, state.max_steps
        if self.control_file.stop:
            self.why = "stopped"
        elif self.over_budget():
            self.why = "budget"
        if self.why != "finished":
            self.emitter.say("state", state="stopping")
            control.should_training_stop = True
        ending = step == of or control.should_training_stop
        self.wants_test = "evaluate" in wishes or due(step, of, self.job.knobs.evaluations) or step == of
        self.wants_samples = "sample" in wishes
        late = time.monotonic() - self.saved_at > 60 * self.job.knobs.save_minutes
        control.should_save = ending or late or "save" in wishes or due(step, of, self.job.knobs.saves)
        return control

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        path = checkpoints.complete(
            self.job.folder / "checkpoints", state.global_step, {"tokens": self.tokens, "score": self.score}
        )
        self.emitter.say(
            "saved", step=state.global_step, what="checkpoint", path=str(path.relative_to(self.job.folder))
        )
        self.saved_at = self.step_began = time.monotonic()

    # -- what it does ---------------------------------------------------------------------------------------------

    def after_step(self, step: int) -> None:
        """Tests and samples once the step is told, so that the story stays in order."""
        if self.untrained:
            self.test_untrained()
        if self.wants_test:
            self.test(step)
        elif self.wants_samples:
            with aside(self.trainer.model):
                self.sample(step)

    def test(self, step: int) -> None:
        """Loss and answers on the held-out rows, and the Spec's own prompts. Leaves every random generator as it was."""
        self.emitter.say("state", state="evaluating")
        rows = self.job.data.holdout[: self.job.knobs.eval_answers]
        with aside(self.trainer.model):
            found, shown = measure(self.job, self.trainer, rows)
            if found:
                metrics = {f"eval/{name}": value for name, value in found.items()}
                self.emitter.say("eval", step=step, set="holdout", metrics=metrics)
                self.score = score(metrics)
            self.sample(step, shown[:4])
        self.emitter.say("state", state="training")

    def test_untrained(self) -> None:
        """The test before training, after the first step is told: it takes longer than all before it, and people wait."""
        with swapped(self.untrained):
            self.test(0)
        self.untrained = []

    def sample(self, step: int, more: Sequence[dict] = ()) -> None:
        prompts = self.job.spec.prompts if self.job.writes else []
        said = says(self.job, self.trainer, prompts) if prompts else []
        rows = [{"prompt": prompt, "completion": text} for prompt, text in zip(prompts, said, strict=True)] + list(more)
        if rows:
            self.emitter.say("sample", step=step, rows=rows)

    def verdict(self) -> str:
        """The first and the last test in one sentence."""
        asked = self.job.knobs.eval_answers if self.job.spec.rewards else MOST_HELD_OUT
        story = current(read(self.emitter.path))
        return verdict(story, self.job.spec, min(len(self.job.data.holdout), asked))

    def pace(self, logs: dict[str, Any], seconds: float) -> dict[str, float]:
        tokens = self.tokens_before + logs["num_tokens"] if "num_tokens" in logs else self.tokens
        speed = (tokens - self.tokens) / max(seconds, 1e-9)
        self.tokens = tokens
        return {
            "time/step": round(seconds, 4),
            "system/tokens": tokens,
            "system/tokens_per_second": round(speed, 1),
        } | memory()

    def seconds_left(self, state: Any) -> float:
        """At the pace of this attempt's last steps."""
        return round((state.max_steps - state.global_step) * sum(self.times) / len(self.times), 1)

    def over_budget(self) -> bool:
        minutes = self.job.budget.minutes
        return minutes is not None and time.monotonic() - self.began > 60 * minutes

    def require_finite(self, metrics: dict[str, float | None], step: int) -> None:
        bad = [name for name in WATCHED if name in metrics and not is_finite(metrics[name])]
        if bad:
            raise Problem(
                f"At step {step} {bad[0]} is no longer a number.",
                advice="Lower the learning rate, to a third for a start, and resume from the last checkpoint or start again.",
                reason="diverged",
            )


def due(step: int, of: int, times: int) -> bool:
    """Is this step one of `times` evenly spread over `of` steps, the end not counted?"""
    return step < of and any(step == max(1, round(of * i / (times + 1))) for i in range(1, times + 1))


def named(logs: dict[str, Any], curves: dict[str, str] | None = None) -> dict[str, float | None]:
    """The loop's metrics under our names: the method's own first; `rewards/NAME/mean` is `reward/NAME/mean`, a name without
    a room is train's."""
    names, found = NAMES | (curves or {}), {}
    for name, value in logs.items():
        if name not in LEFT_OUT and name != "num_tokens" and isinstance(value, int | float | None):
            ours = names.get(name) or (
                f"reward/{name.removeprefix('rewards/')}" if name.startswith("rewards/") else name
            )
            found[ours if "/" in ours else f"train/{ours}"] = value
    return found


def memory() -> dict[str, float]:
    """Gigabytes: of this process, and at most on the graphics card."""
    import psutil
    import torch

    found = {"system/memory": round(psutil.Process().memory_info().rss / 1e9, 3)}
    if torch.cuda.is_available():
        found["system/gpu_memory"] = round(torch.cuda.max_memory_allocated() / 1e9, 3)
    return found


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
