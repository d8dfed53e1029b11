"""Cases that are compared with a plain TRL script: our settings, and the same settings in the names of TRL."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from app.engine.model import template_source
from tests.support import (
    addition_rows,
    conversation_rows,
    preference_rows,
    prompt_completion_rows,
    ranked_rows,
    text_rows,
    unpaired_preference_rows,
)

GROUP_BY_LENGTH_CONFIG = {"train_sampling_strategy": "group_by_length"}
TEACHER = "TEACHER"  # placeholder for the folder of the merged teacher
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """method, knobs, spec: for Tunesmith. trainer, config, script: for TRL; script holds more settings of tests/plain_trl.py.

    trl_rows: the rows in the format of TRL, where it differs. adapter: lora or none.
    """

    method: str
    trainer: str
    rows: Rows
    knobs: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    trl_rows: Rows | None = None
    spec: dict[str, Any] = field(default_factory=dict)
    script: dict[str, Any] = field(default_factory=dict)
    adapter: str = "lora"
    runs_in_ci: bool = True


def to_messages(rows: Rows) -> Rows:
    """Converts plain prompts and answers to chat messages, as a TRL script has them."""
    return [{key: [{"role": ROLES[key], "content": text}] if key in ROLES else text for key, text in row.items()} for row in rows]  # fmt: skip


def to_chatml_text(rows: Rows) -> Rows:
    """Applies the practice model's chat template without text after the end token: TRL's older trainers would add a second one."""
    frames = {"prompt": "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n", "chosen": "{}<|im_end|>", "rejected": "{}<|im_end|>"}  # fmt: skip
    return [{key: frames[key].format(text) for key, text in row.items()} for row in rows]


def to_unpaired(rows: Rows) -> Rows:
    """Converts preference pairs to single answers with a label."""
    return [{"prompt": row["prompt"], "completion": row[side], "label": side == "chosen"} for row in rows for side in ("chosen", "rejected")]  # fmt: skip


ROLES = {"prompt": "user", **dict.fromkeys(("completion", "chosen", "rejected", "reference"), "assistant")}

CASES = {
    "sft on conversations": Case("sft", "trl.SFTTrainer", conversation_rows(200), {"learn_from": "assistant"}, {"assistant_only_loss": True, **GROUP_BY_LENGTH_CONFIG}),
    "sft on conversations, all weights": Case("sft", "trl.SFTTrainer", conversation_rows(200), {"learn_from": "assistant"},
        {"assistant_only_loss": True, **GROUP_BY_LENGTH_CONFIG}, adapter="none"),
    "sft, betas and epsilon": Case("sft", "trl.SFTTrainer", conversation_rows(200), {"learn_from": "assistant", "adam_beta1": 0.8, "adam_beta2": 0.95, "adam_epsilon": 1e-4},
        {"assistant_only_loss": True, "adam_beta1": 0.8, "adam_beta2": 0.95, "adam_epsilon": 1e-4, **GROUP_BY_LENGTH_CONFIG}),
    "sft, warm-up in steps": Case("sft", "trl.SFTTrainer", conversation_rows(200), {"learn_from": "assistant", "warmup_steps": 3},
        {"assistant_only_loss": True, "warmup_steps": 3, **GROUP_BY_LENGTH_CONFIG}),
    "sft, labels smoothed": Case("sft", "trl.SFTTrainer", conversation_rows(200), {"learn_from": "assistant", "label_smoothing": 0.1},
        {"assistant_only_loss": True, "label_smoothing_factor": 0.1, **GROUP_BY_LENGTH_CONFIG}),
    "sft by dft": Case("sft", "trl.SFTTrainer", conversation_rows(200), {"learn_from": "assistant", "loss": "dft"},
                       {"assistant_only_loss": True, "loss_type": "dft", **GROUP_BY_LENGTH_CONFIG}),
    "sft on pairs": Case("sft", "trl.SFTTrainer", prompt_completion_rows(200), {}, {"completion_only_loss": True, **GROUP_BY_LENGTH_CONFIG}, to_messages(prompt_completion_rows(200))),
    "sft packed": Case("sft", "trl.SFTTrainer", conversation_rows(200), {"packing": True, "learn_from": "everything", "max_length": 256},
        {"packing": True, "max_length": 256}),
    "pretrain": Case("pretrain", "trl.SFTTrainer", text_rows(200), {"max_length": 128},
        {"packing": True, "packing_strategy": "wrapped", "max_length": 128}),
}  # fmt: skip

PREFERENCE_ROWS, RANKED_ROWS, UNPAIRED_ROWS = preference_rows(120), ranked_rows(120), unpaired_preference_rows(120)
MIXED_LOSS_KNOBS = {"divergence": "js_divergence", "beyond_shorter": 0.5, "loss": "own_mix", "mix": "robust 0.7, hinge 0.2, sft 0.5", "label_smoothing": 0.1}  # fmt: skip
MIXED_LOSS_CONFIG = {"loss_type": ["robust", "hinge", "sft"], "loss_weights": [0.7, 0.2, 0.5], "label_smoothing": 0.1,
               "f_divergence_type": "js_divergence", "ld_alpha": 0.5}  # fmt: skip
SYNC_REFERENCE_CONFIG = {"sync_ref_model": True, "ref_model_sync_steps": 2, "ref_model_mixup_alpha": 0.9}
# TRL's older trainers load the weights in the stored dtype by default.
FLOAT32_CONFIG = {"model_init_kwargs": {"dtype": "float32"}}
TEMPLATE_ENDING_WITH_EOS = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"  # fmt: skip
ORPO_TRAINER, CPO_TRAINER, TPO_TRAINER = (
    f"trl.experimental.{name.lower()}.{name}Trainer" for name in ("ORPO", "CPO", "TPO")
)


def dpo_case(knobs: dict[str, Any], config: dict[str, Any], **case_fields: Any) -> Case:
    return Case("dpo", "trl.DPOTrainer", PREFERENCE_ROWS, knobs, config, to_messages(PREFERENCE_ROWS), **case_fields)


CASES |= {
    "dpo": dpo_case({"beta": 0.2}, {"beta": 0.2}),
    "dpo, all weights": dpo_case({}, {}, adapter="none"),
    "dpo, all weights, the start catches up": dpo_case({"sync_every": 2}, SYNC_REFERENCE_CONFIG, adapter="none", runs_in_ci=False),
    "dpo, reference asked beforehand": dpo_case({"precompute_reference": True}, {"precompute_ref_log_probs": True}, runs_in_ci=False),
    "dpo, own mix": dpo_case(MIXED_LOSS_KNOBS, MIXED_LOSS_CONFIG),
    "dpo, weighed pairs": dpo_case({"weigh_pairs": True}, {"use_weighting": True}, runs_in_ci=False),
    "dpo, mpo": dpo_case({"loss": "mpo"}, {"loss_type": ["sigmoid", "bco_pair", "sft"], "loss_weights": [0.8, 0.2, 1.0]}, runs_in_ci=False),
    "dpo, rpo": dpo_case({"loss": "rpo"}, {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 1.0]}, runs_in_ci=False),
    **{f"dpo, {loss}": dpo_case({"loss": loss}, {"loss_type": [loss]}, runs_in_ci=False) for loss in
       ("sigmoid_norm", "hinge", "ipo", "nca_pair", "bco_pair", "sppo_hard", "aot", "aot_unpaired", "apo_zero", "apo_down", "discopop", "sft")},
    **{f"dpo, {loss}": dpo_case({"loss": loss, "label_smoothing": 0.1}, {"loss_type": [loss], "label_smoothing": 0.1}, runs_in_ci=False) for loss in
       ("robust", "exo_pair")},
    "kto": Case("kto", "trl.KTOTrainer", UNPAIRED_ROWS, {}, {"desirable_weight": 2.0}, to_messages(UNPAIRED_ROWS), script={"shuffle": 7}),
    "kto, all weights": Case("kto", "trl.KTOTrainer", UNPAIRED_ROWS, {"balance": False}, {}, to_messages(UNPAIRED_ROWS), script={"shuffle": 7}, adapter="none", runs_in_ci=False),
    "kto from pairs": Case("kto", "trl.KTOTrainer", PREFERENCE_ROWS, {}, {}, to_messages(to_unpaired(PREFERENCE_ROWS)), script={"shuffle": 7}),
    "kto, apo_zero_unpaired": Case("kto", "trl.KTOTrainer", UNPAIRED_ROWS, {"loss": "apo_zero_unpaired"},
        {"loss_type": "apo_zero_unpaired", "desirable_weight": 2.0, "train_sampling_strategy": "random"}, to_messages(UNPAIRED_ROWS), script={"shuffle": 7}, runs_in_ci=False),
    "orpo": Case("orpo", ORPO_TRAINER, PREFERENCE_ROWS, {}, FLOAT32_CONFIG, to_chatml_text(PREFERENCE_ROWS), runs_in_ci=False),
    "orpo, cut off": Case("orpo", ORPO_TRAINER, PREFERENCE_ROWS, {"max_length": 26}, FLOAT32_CONFIG | {"max_length": 26}, to_chatml_text(PREFERENCE_ROWS)),
    "cpo": Case("cpo", CPO_TRAINER, PREFERENCE_ROWS, {}, FLOAT32_CONFIG, to_chatml_text(PREFERENCE_ROWS), runs_in_ci=False),
    "cpo, a template that ends with its end token": Case("cpo", CPO_TRAINER, PREFERENCE_ROWS, {}, FLOAT32_CONFIG, to_messages(PREFERENCE_ROWS),
        spec={"model": {"template": TEMPLATE_ENDING_WITH_EOS}}, script={"template": TEMPLATE_ENDING_WITH_EOS}),
    "simpo": Case("simpo", CPO_TRAINER, PREFERENCE_ROWS, {}, FLOAT32_CONFIG | {"loss_type": "simpo", "cpo_alpha": 0.0, "beta": 2.0}, to_chatml_text(PREFERENCE_ROWS)),
    "simpo, bent": Case("simpo", CPO_TRAINER, PREFERENCE_ROWS, {"shape": 0.25}, FLOAT32_CONFIG | {"loss_type": "alphapo", "alpha": 0.25, "beta": 2.0}, to_chatml_text(PREFERENCE_ROWS), runs_in_ci=False),
    "tpo": Case("tpo", TPO_TRAINER, RANKED_ROWS, {}, {}, to_messages(RANKED_ROWS)),
    "tpo, tpo_l": Case("tpo", TPO_TRAINER, RANKED_ROWS, {"loss": "tpo_l", "beta": 2.0}, {"loss_type": "tpo-l", "beta": 2.0}, to_messages(RANKED_ROWS), runs_in_ci=False),
}  # fmt: skip

REWARD_LORA_CONFIG = {
    "r": 16,
    "lora_alpha": 32,
    "lora_dropout": 0.0,
    "task_type": "SEQ_CLS",
    "modules_to_save": ["score"],
}
ROWS_WITH_MARGIN = [row | {"margin": i % 3 / 2} for i, row in enumerate(PREFERENCE_ROWS)]
CASES |= {
    "reward": Case("reward", "trl.RewardTrainer", PREFERENCE_ROWS, {}, {"center_rewards_coefficient": 0.01}, to_messages(PREFERENCE_ROWS), script={"lora": REWARD_LORA_CONFIG}),
    "reward, all weights, with margins": Case("reward", "trl.RewardTrainer", ROWS_WITH_MARGIN, {"center": 0.0}, {}, to_messages(ROWS_WITH_MARGIN), adapter="none"),
    "reward, with pairs that are too long": Case("reward", "trl.RewardTrainer", PREFERENCE_ROWS, {"max_length": 30}, {"center_rewards_coefficient": 0.01,
        "max_length": 30}, to_messages(PREFERENCE_ROWS), script={"lora": REWARD_LORA_CONFIG}, runs_in_ci=False),
}  # fmt: skip

ROLLOUT_KNOBS = {"batch_size": 16, "attempts": 4, "max_completion_length": 8}
ROLLOUT_CONFIG = {"per_device_train_batch_size": 16, "num_generations": 4, "max_completion_length": 8}
BREVITY_REWARD = {"name": "length_band", "as": "short", "weight": 0.5, "params": {"least": 1, "most": 2}}
ONLINE_DPO_TRAINER = "trl.experimental.online_dpo.OnlineDPOTrainer"


def rl_case(
    method: str,
    trainer: str,
    knobs: dict[str, Any],
    config: dict[str, Any],
    two_rewards: bool = False,
    **case_fields: Any,
) -> Case:
    """two_rewards: adds a second reward of half the weight."""
    rewards = {"rewards": [{"name": "exact_match"}, BREVITY_REWARD] if two_rewards else [{"name": "exact_match"}]}
    weights = {"reward_weights": [1.0, 0.5]} if two_rewards else {}
    script = {"keywords": {"reward_funcs": ["exact", "short"] if two_rewards else ["exact"]}}
    return Case(method, trainer, addition_rows(64), knobs, config | weights, to_messages(addition_rows(64)), spec=rewards, script=script, **case_fields)  # fmt: skip


def grpo_case(knobs: dict[str, Any], config: dict[str, Any], **case_fields: Any) -> Case:
    return rl_case(
        "grpo", "trl.GRPOTrainer", ROLLOUT_KNOBS | knobs, ROLLOUT_CONFIG | {"beta": 0.0} | config, **case_fields
    )


OFF_POLICY_KNOBS, OFF_POLICY_CONFIG = {"written_ahead": 2}, {"steps_per_generation": 2}
CASES |= {
    "grpo": grpo_case({}, {}),
    "grpo, all weights, held near the start": grpo_case({"recipe": "grpo"}, {"loss_type": "grpo", "beta": 0.04}, adapter="none", runs_in_ci=False),
    "grpo, recipe grpo": grpo_case({"recipe": "grpo"}, {"loss_type": "grpo", "beta": 0.04}, runs_in_ci=False),
    "grpo, recipe dapo": grpo_case({"recipe": "dapo"}, {"epsilon": 0.2, "epsilon_high": 0.28, "mask_truncated_completions": True}, runs_in_ci=False),
    "grpo, recipe dr_grpo": grpo_case({"recipe": "dr_grpo"}, {"loss_type": "dr_grpo", "scale_rewards": "none"}, runs_in_ci=False),
    "grpo, recipe gspo": grpo_case({"recipe": "gspo"}, {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 3e-4,
        "epsilon_high": 4e-4, "steps_per_generation": 4}, runs_in_ci=False),
    "grpo, recipe gdpo": grpo_case({"recipe": "gdpo"}, {"multi_objective_aggregation": "normalize_then_sum"}, two_rewards=True),
    "grpo, recipe cispo": grpo_case({"recipe": "cispo"} | OFF_POLICY_KNOBS, {"loss_type": "cispo", "epsilon_high": 5.0} | OFF_POLICY_CONFIG, runs_in_ci=False),
    "grpo, recipe scalerl": grpo_case({"recipe": "scalerl"}, {"loss_type": "cispo", "epsilon_high": 5.0, "scale_rewards": "batch"}, runs_in_ci=False),
    "grpo, recipe sapo": grpo_case({"recipe": "sapo"} | OFF_POLICY_KNOBS, {"loss_type": "sapo"} | OFF_POLICY_CONFIG, runs_in_ci=False),
    "grpo, recipe luspo": grpo_case({"recipe": "luspo"} | OFF_POLICY_KNOBS, {"loss_type": "luspo", "importance_sampling_level": "sequence", "epsilon": 2e-3,
        "epsilon_high": 2.5e-3} | OFF_POLICY_CONFIG, runs_in_ci=False),
    "grpo, recipe vespo": grpo_case({"recipe": "vespo"} | OFF_POLICY_KNOBS, {"loss_type": "vespo"} | OFF_POLICY_CONFIG, runs_in_ci=False),
    "grpo, recipe eighty_twenty": grpo_case({"recipe": "eighty_twenty"}, {"epsilon_high": 0.28, "mask_truncated_completions": True,
        "top_entropy_quantile": 0.2}, runs_in_ci=False),
    "grpo, recipe intellect": grpo_case({"recipe": "intellect", "times_used": 2}, {"delta": 4.0, "beta": 0.001, "num_iterations": 2}, runs_in_ci=False),
    "grpo, bnpo": grpo_case({"loss": "bnpo"}, {"loss_type": "bnpo"}, runs_in_ci=False),
    "grpo, undecided": grpo_case({"entropy_bonus": 0.01, "entropy_target": 0.6, "drop_stale": 0.5} | OFF_POLICY_KNOBS, {"entropy_coef": 0.01,
        "use_adaptive_entropy": True, "entropy_target": 0.6, "off_policy_mask_threshold": 0.5} | OFF_POLICY_CONFIG, runs_in_ci=False),
    "rloo": rl_case("rloo", "trl.RLOOTrainer", ROLLOUT_KNOBS | OFF_POLICY_KNOBS, ROLLOUT_CONFIG | OFF_POLICY_CONFIG),
    "rloo, limited and normalized": rl_case("rloo", "trl.RLOOTrainer", ROLLOUT_KNOBS | {"times_used": 2, "normalize": True, "most_reward": 0.5, "kl": 0.0},
        ROLLOUT_CONFIG | {"num_iterations": 2, "normalize_advantages": True, "reward_clip_range": [-1e30, 0.5], "beta": 0.0}, runs_in_ci=False),
    "online_dpo": rl_case("online_dpo", ONLINE_DPO_TRAINER, {"batch_size": 16, "max_completion_length": 8, "skip_ties": False}, FLOAT32_CONFIG | {
        "per_device_train_batch_size": 16, "max_new_tokens": 8, "max_length": 2048}, runs_in_ci=False),
    "online_dpo, ipo": rl_case("online_dpo", ONLINE_DPO_TRAINER, {"batch_size": 16, "max_completion_length": 8, "skip_ties": False, "loss": "ipo",
        "unfinished_penalty": 0.5}, FLOAT32_CONFIG | {"per_device_train_batch_size": 16, "max_new_tokens": 8, "max_length": 2048, "loss_type": "ipo",
        "missing_eos_penalty": 0.5}, two_rewards=True, runs_in_ci=False),
}  # fmt: skip

TOOL_TEMPLATE = "trl:lfm2_2_5"  # a chat template that supports tool calls
CASES["grpo, with a tool"] = replace(CASES["grpo, recipe gdpo"], knobs=ROLLOUT_KNOBS | {"tools": ["calculator"], "tool_turns": 2}, runs_in_ci=False,
    config=ROLLOUT_CONFIG | {"beta": 0.0, "max_tool_calling_iterations": 2, "reward_weights": [1.0, 0.5]},
    spec={"rewards": [{"name": "exact_match"}, BREVITY_REWARD], "model": {"template": TOOL_TEMPLATE}},
    script={"keywords": {"reward_funcs": ["exact", "short"], "tools": ["calculator"]}, "template": template_source.template_text(TOOL_TEMPLATE)})  # fmt: skip

TEACHER_KNOBS, TEACHER_SCRIPT = (
    {"teacher": TEACHER, "max_completion_length": 8},
    {"keywords": {"teacher_model": TEACHER}},
)
GKD_TRAINER, GOLD_TRAINER, SDFT_TRAINER = (
    f"trl.experimental.{name.lower()}.{name}Trainer" for name in ("GKD", "GOLD", "SDFT")
)
HINTED_ROWS = [row | {"privileged_context": row["prompt"].replace("What is", "Add").replace(" + ", " and ")} for row in addition_rows(64)]  # fmt: skip
ULD_CONFIG = {"max_completion_length": 8, "use_uld_loss": True, "uld_token_merge_strategy": "bayesian", "uld_use_hybrid_loss": True}  # fmt: skip


def distillation_case(
    method: str, trainer: str, rows: Rows, knobs: dict[str, Any], config: dict[str, Any], **case_fields: Any
) -> Case:
    return Case(
        method, trainer, rows, TEACHER_KNOBS | knobs, config, to_messages(rows), script=TEACHER_SCRIPT, **case_fields
    )


CASES |= {
    "distill": distillation_case("distill", "trl.DistillationTrainer", addition_rows(64), {}, {"max_completion_length": 8}),
    "distill, all weights, both ways": distillation_case("distill", "trl.DistillationTrainer", addition_rows(64), {"beta": 0.5, "temperature": 0.8, "accumulation": 2},
        {"max_completion_length": 8, "beta": 0.5, "temperature": 0.8, "gradient_accumulation_steps": 2}, adapter="none", runs_in_ci=False),
    "gkd": distillation_case("gkd", GKD_TRAINER, conversation_rows(64), {}, {"max_new_tokens": 8}),
    "gkd, the teacher writes": distillation_case("gkd", GKD_TRAINER, conversation_rows(64), {"own_share": 0.0, "teacher_writes": True, "beta": 0.0},
        {"max_new_tokens": 8, "lmbda": 0.0, "seq_kd": True, "beta": 0.0}, adapter="none", runs_in_ci=False),
    "gold": distillation_case("gold", GOLD_TRAINER, conversation_rows(64), {"teacher_reads": "same", "own_share": 0.5, "examples_weight": 0.0}, ULD_CONFIG, runs_in_ci=False),
    "gold, imitating too": distillation_case("gold", GOLD_TRAINER, conversation_rows(64), {"teacher_reads": "same", "compare": "order"}, ULD_CONFIG | {"lmbda": 0.0,
        "uld_use_hybrid_loss": False, "uld_crossentropy_weight": 0.5}, runs_in_ci=False),
    "sdft": Case("sdft", SDFT_TRAINER, HINTED_ROWS, {"max_completion_length": 8}, {"num_generations": 1, "max_completion_length": 8}, to_messages(HINTED_ROWS), runs_in_ci=False),
    "sdft, all weights, in groups": Case("sdft", SDFT_TRAINER, HINTED_ROWS, {"max_completion_length": 8, "attempts": 4, "likeliest": 20},
        {"num_generations": 4, "max_completion_length": 8, "distillation_topk": 20}, to_messages(HINTED_ROWS), adapter="none", runs_in_ci=False),
    "sdft, from itself as it is now": Case("sdft", SDFT_TRAINER, HINTED_ROWS, {"max_completion_length": 8, "teacher_is": "now"},
        {"num_generations": 1, "max_completion_length": 8, "teacher_model_kind": "live"}, to_messages(HINTED_ROWS), runs_in_ci=False),
}  # fmt: skip

ANSWERED_ROWS = [{"prompt": row["prompt"], "completion": f"It is {row['answer']}."} for row in addition_rows(64)]
REFERENCE_ROWS = [{"prompt": row["prompt"], "truth": row["completion"]} for row in to_messages(ANSWERED_ROWS)]
EBFT_KNOBS = {
    "batch_size": 4,
    "attempts": 4,
    "max_completion_length": 8,
    "temperature": 1.0,
    "answer_length": 0.0,
    "loss": "dapo",
}
EBFT_CONFIG = ROLLOUT_CONFIG | {"temperature": 1.0, "loss_type": "dapo", "beta": 0.0}


def ebft_case(knobs: dict[str, Any], reward: str, **case_fields: Any) -> Case:
    return Case("ebft", "trl.GRPOTrainer", ANSWERED_ROWS, EBFT_KNOBS | knobs, EBFT_CONFIG, REFERENCE_ROWS,
                script={"keywords": {"reward_funcs": [reward]}}, **case_fields)  # fmt: skip


CASES |= {
    "ebft": ebft_case({"whitening": True}, "whitened_meaning"),
    "ebft, all weights": ebft_case({"whitening": True}, "whitened_meaning", adapter="none", runs_in_ci=False),
}
