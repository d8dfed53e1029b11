"""What each method must learn on the practice model: cases with required changes, set before they are measured."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from app.core import paths
from app.core.workspace import local_workspace


@dataclass(frozen=True)
class Case:
    """The required result of one training.

    spec: fields of a spec on the practice model. A teacher “kin:NAME” in it is one of presets/make_kin.py, a source “made:NAME”
    one of SOURCE_WRITERS. measure: the evaluation metric on held-out rows. margin: the smallest required change for every seed,
    negative if the metric must fall; the change must also be larger than three times the spread over the seeds. ci_knobs: settings
    that differ in CI, empty if only the benchmark runs the case. ci_margin: the required change in CI, with one seed.
    ci_holdout_rows: the number of held-out rows in CI, 0 for all.
    """

    spec: dict[str, Any]
    measure: str
    margin: float
    ci_knobs: dict[str, Any] = field(default_factory=dict)
    ci_margin: float = 0.0
    ci_holdout_rows: int = 0


# -- supervised fine-tuning ---------------------------------------------------------------------------------------


def sft_case(knobs: dict[str, Any] | None = None, margin: float = -3.0, **other_fields: Any) -> Case:
    """Support tickets; the held-out loss falls."""
    all_knobs = {"steps": 120, "batch_size": 16, "learning_rate": 0.004, "max_length": 256} | (knobs or {})
    spec = {
        "method": "sft",
        "data": [{"source": "sample:tickets"}],
        "holdout": {"split": "holdout"},
        "knobs": all_knobs,
    }
    return Case(spec | other_fields, "loss", margin)


def pretrain_case(knobs: dict[str, Any], **other_fields: Any) -> Case:
    """Diary pages; the held-out loss falls."""
    spec = {"method": "pretrain", "data": [{"source": "sample:diary"}], "holdout": {"split": "holdout"},
            "knobs": {"steps": 60, "max_length": 128} | knobs}  # fmt: skip
    return Case(spec | other_fields, "loss", -3.0)


def with_ci_settings(case: Case, ci_knobs: dict[str, Any], ci_margin: float, ci_holdout_rows: int = 0) -> Case:
    return replace(case, ci_knobs=ci_knobs, ci_margin=ci_margin, ci_holdout_rows=ci_holdout_rows)


CI_SETTINGS = {"steps": 8}, -1.0
FULL_WEIGHTS = {"adapter": {"kind": "none"}}
SUMS_WITH_COMPLETIONS = {"source": "sample:sums", "mapping": {"completion": "answer"}}
EXACT_MATCH_REWARD = {"rewards": [{"name": "exact_match", "as": "correct"}]}
CASES: dict[str, Case] = {
    "sft": with_ci_settings(sft_case(), *CI_SETTINGS),
    # DFT gives unlikely tokens a small weight: it improves answers that the model already half knows.
    "sft by dft": Case({"method": "sft", "data": [SUMS_WITH_COMPLETIONS], "holdout": {"split": "holdout"}, "knobs": {
        "steps": 60, "batch_size": 32, "learning_rate": 0.002, "schedule": "cosine", "max_length": 64, "loss": "dft", "eval_length": 8,
        "eval_answers": 200}} | EXACT_MATCH_REWARD, "correct", 0.3),
    "sft, all weights": sft_case({"learning_rate": 0.0005}, **FULL_WEIGHTS),
    "sft, dora": sft_case(adapter={"kind": "dora"}),
    "sft, rslora": sft_case({"learning_rate": 0.002}, adapter={"kind": "rslora"}),
    "sft, nf4": with_ci_settings(sft_case(model={"quantization": "nf4"}), *CI_SETTINGS),
    "sft, int8": sft_case(model={"quantization": "int8"}),
    "sft, new words": sft_case(model={"new_tokens": ['{"team":']}, margin=-4.0),
    "sft on pictures": Case({"method": "sft", "model": {"id": "pocket-vision"}, "data": [{"source": "sample:shapes"}],
                             "holdout": {"split": "holdout"}, "knobs": {"steps": 150, "batch_size": 16, "learning_rate": 0.004,
                             "schedule": "cosine", "warmup": 0.04, "max_length": 64, "eval_length": 8, "eval_answers": 60}} | EXACT_MATCH_REWARD,
                            "correct", 0.4, {"steps": 70}, 0.1),
    "pretrain": with_ci_settings(pretrain_case({"learning_rate": 0.002}), *CI_SETTINGS),
    "pretrain from nothing": pretrain_case({"learning_rate": 0.003, "from_scratch": True}, **FULL_WEIGHTS),
}  # fmt: skip

# -- preference optimization --------------------------------------------------------------------------------------


def build_spec_fields(method: str, sample: str, knobs: dict[str, Any], **other_fields: Any) -> dict[str, Any]:
    """Fields of a spec with the holdout split of a sample."""
    return {"method": method, "data": [{"source": f"sample:{sample}"}], "holdout": {"split": "holdout"}, "knobs": {"max_length": 128} | knobs} | other_fields  # fmt: skip


def preference_case(method: str, margin: float = 0.3, **knobs: Any) -> Case:
    """Kind answers are preferred to curt ones; in more held-out pairs the kind answer becomes the likelier one."""
    spec_fields = build_spec_fields(method, "manners", {"steps": 30, "batch_size": 8, "learning_rate": 0.001} | knobs)
    return Case(spec_fields, "preferred", margin)


def preference_case_in_ci(case: Case) -> Case:
    """Adds CI settings to the main case of a preference method."""
    return with_ci_settings(case, {"steps": 8}, 0.1, ci_holdout_rows=40)


KTO_KNOBS = {"steps": 80, "batch_size": 16, "learning_rate": 0.002, "schedule": "cosine"}
TPO_KNOBS = {"steps": 40, "batch_size": 8, "learning_rate": 0.004}
CASES |= {
    "dpo": preference_case_in_ci(preference_case("dpo")),
    "dpo, ipo": preference_case("dpo", loss="ipo"),
    "dpo, mpo": preference_case("dpo", 0.2, loss="mpo"),
    "kto": Case(build_spec_fields("kto", "thumbs", KTO_KNOBS), "told_apart", 0.1, {"steps": 24}, 0.03, ci_holdout_rows=60),
    "orpo": preference_case_in_ci(preference_case("orpo")),
    "cpo": preference_case_in_ci(preference_case("cpo")),
    "simpo": preference_case_in_ci(preference_case("simpo")),
    # The practice model already ranks the right answer higher, so the case measures the loss on the best, also kind, answer.
    "tpo": Case(build_spec_fields("tpo", "ranks", TPO_KNOBS), "loss", -3.0, {"steps": 8}, -1.0, ci_holdout_rows=40),
}  # fmt: skip

# -- distillation -------------------------------------------------------------------------------------------------


def distillation_case(
    method: str, data: dict[str, Any], measure: str, margin: float, ci_margin: float, knobs: dict[str, Any]
) -> Case:
    """Distillation from a teacher, or from the model itself with a hint."""
    spec_fields = {
        "method": method,
        "data": [data],
        "holdout": {"split": "holdout"},
        "knobs": DISTILLATION_KNOBS | knobs,
    } | EXACT_MATCH_REWARD
    ci_knobs = {"steps": 8, "batch_size": 16, "learning_rate": 0.004, "eval_answers": 40}
    return Case(spec_fields, measure, margin, ci_knobs, ci_margin)


DISTILLATION_KNOBS = {
    "steps": 40,
    "batch_size": 32,
    "max_completion_length": 8,
    "learning_rate": 0.002,
    "eval_answers": 200,
}
GOLD_KNOBS = {"teacher": "kin:stranger", "batch_size": 16, "learning_rate": 0.004, "max_completion_length": 40, "eval_answers": 60,
           "examples_weight": 0.0}  # fmt: skip
CASES |= {
    "distill": distillation_case("distill", {"source": "sample:sums"}, "correct", 0.3, 0.12, {}),
    "gkd": distillation_case("gkd", SUMS_WITH_COMPLETIONS, "agreement", 0.1, 0.04, {}),
    "gold": distillation_case("gold", {"source": "sample:tickets"}, "agreement", 0.2, 0.12, GOLD_KNOBS),
    "sdft": distillation_case("sdft", {"source": "sample:hints"}, "correct", 0.4, 0.15, {"max_completion_length": 12}),
}

# -- scores and rewards -------------------------------------------------------------------------------------------

CASES |= {
    "reward": Case({"method": "reward", "data": [{"source": "sample:manners"}], "holdout": {"split": "holdout"},
                    "knobs": {"steps": 40, "batch_size": 16}}, "sure", 0.4, {"steps": 6}, 0.1),
    "process_reward": Case({"method": "process_reward", "data": [{"source": "sample:steps"}], "holdout": {"split": "holdout"},
                            "knobs": {"steps": 250, "batch_size": 16, "learning_rate": 0.002, "schedule": "cosine", "warmup": 0.04}},
                           "sure", 0.2, {"steps": 140, "batch_size": 8, "warmup": 0.1}, 0.05),
    "ppo": Case({"method": "ppo", "data": [{"source": "sample:sums"}], "holdout": {"split": "holdout"},
                 "knobs": {"steps": 25, "batch_size": 128, "minibatches": 4, "passes": 2, "max_completion_length": 8, "learning_rate": 0.001,
                           "kl": 0.02, "schedule": "constant", "eval_answers": 200}} | EXACT_MATCH_REWARD,
                "correct", 0.3, {"steps": 3, "batch_size": 32, "passes": 4}, 0.08),
}  # fmt: skip


def rl_case(method: str, knobs: dict[str, Any], ci_knobs: dict[str, Any] | None = None, ci_margin: float = 0.0) -> Case:
    """Small sums rewarded for the exact answer; the share of correct held-out answers rises."""
    all_knobs = {"batch_size": 64, "max_completion_length": 8, "learning_rate": 0.001, "schedule": "constant", "eval_answers": 200}  # fmt: skip
    spec_fields = {"method": method, "data": [{"source": "sample:sums"}], "holdout": {"split": "holdout"}, "knobs": all_knobs | knobs}  # fmt: skip
    return Case(
        spec_fields | EXACT_MATCH_REWARD,
        "correct",
        0.25,
        {"eval_answers": 64} | ci_knobs if ci_knobs else {},
        ci_margin,
    )


REPLAY_KNOBS = {"recipe": "gspo", "clip": 0.2, "clip_high": 0.28, "replay": 32, "reroll_after": 0.3, "reroll_groups": 2}
CASES |= {
    "grpo": rl_case("grpo", {"steps": 60, "batch_size": 128, "loss": "dr_grpo"}, {"steps": 10, "batch_size": 64}, 0.08),
    "grpo, gspo with replay and second tries": rl_case("grpo", {"steps": 60} | REPLAY_KNOBS),
    # The model starts untrained for this task: it learns mainly the form of the answers, and part of their content.
    "grpo on pictures": Case({"method": "grpo", "model": {"id": "pocket-vision"}, "data": [{"source": "made:asked_pictures"}],
        "holdout": {"share": 0.2}, "rewards": [{"name": "similar", "as": "alike", "params": {"by": "letters"}}],
        "knobs": {"steps": 40, "batch_size": 64, "max_completion_length": 6, "learning_rate": 0.002, "schedule": "constant",
                  "temperature": 1.5, "loss": "dr_grpo", "eval_answers": 60}}, "alike", 0.15),
    "rloo": rl_case("rloo", {"steps": 40, "kl": 0.02}, {"steps": 8}, 0.08),
    "online_dpo": rl_case("online_dpo", {"steps": 40, "learning_rate": 0.002, "beta": 0.05, "schedule": "linear"},
        {"steps": 8, "learning_rate": 0.003}, 0.1),
}  # fmt: skip

# -- EBFT ---------------------------------------------------------------------------------------------------------

CASES |= {
    "ebft": Case({"method": "ebft", "data": [SUMS_WITH_COMPLETIONS], "holdout": {"split": "holdout"},
                  "knobs": {"steps": 40, "batch_size": 16, "attempts": 8, "max_completion_length": 8, "temperature": 1.0, "whitening": True,
                            "learning_rate": 0.001, "schedule": "constant", "eval_answers": 200}} | EXACT_MATCH_REWARD,
                 "correct", 0.15, {"steps": 8, "batch_size": 8, "eval_answers": 64}, 0.04),
    "ebft, pieces of text": Case({"method": "ebft", "data": [{"source": "sample:diary"}], "holdout": {"split": "holdout"},
                  "knobs": {"steps": 40, "batch_size": 8, "attempts": 4, "max_length": 64, "temperature": 1.0, "whitening": True,
                            "learning_rate": 0.001, "eval_answers": 40}}, "alignment", 0.1),
}  # fmt: skip


# -- generated data -----------------------------------------------------------------------------------------------


def write_image_questions(folder: Path) -> Path:
    """Writes the sample of shapes as questions with answers, for reinforcement learning."""
    sample = paths.ROOT / "presets" / "samples" / "shapes"
    shutil.copytree(sample / "images", folder / "images", dirs_exist_ok=True)
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as rows_file:
        for line in (sample / "train.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            question, answer = (message["content"] for message in row["messages"])
            rows_file.write(json.dumps({"prompt": question, "answer": answer, "images": row["images"]}) + "\n")
    return folder / "rows.jsonl"


SOURCE_WRITERS = {"asked_pictures": write_image_questions}


def resolve_source(source: str) -> str:
    """Replaces a source “made:NAME” by the path of its generated file; any other source is returned unchanged."""
    if not source.startswith("made:"):
        return source
    name = source.removeprefix("made:")
    return f"path:{SOURCE_WRITERS[name](local_workspace().folder('cache', 'learning', name))}"
