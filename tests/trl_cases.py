"""TRL cases: what is compared with a plain TRL script, one entry a case: our settings, and the same in TRL's words."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from app.engine.model import template_source
from tests.support import chats, pairs, preferences, ranks, sums, texts, thumbs

GROUPED = {"train_sampling_strategy": "group_by_length"}
TEACHER = "TEACHER"  # stands for the folder of a teacher that both load whole
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """method, knobs, spec: ours. trainer, config, script: TRL's, in the words of tests/plain_trl.py.

    theirs: the rows as somebody would write them for TRL, where that differs. short: runs in CI. adapter: lora or none.
    """

    method: str
    trainer: str
    rows: Rows
    knobs: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    theirs: Rows | None = None
    spec: dict[str, Any] = field(default_factory=dict)
    script: dict[str, Any] = field(default_factory=dict)
    adapter: str = "lora"
    short: bool = True


def as_turns(rows: Rows) -> Rows:
    """Plain prompts and answers as chat messages, as a person writing a script would do by hand."""
    return [{key: [{"role": ROLES[key], "content": told}] if key in ROLES else told for key, told in row.items()} for row in rows]  # fmt: skip


def as_text(rows: Rows) -> Rows:
    """As the practice model's own template writes them, with nothing after the end token: TRL's older trainers would add a second one."""
    frames = {"prompt": "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n", "chosen": "{}<|im_end|>", "rejected": "{}<|im_end|>"}  # fmt: skip
    return [{key: frames[key].format(told) for key, told in row.items()} for row in rows]


def one_by_one(rows: Rows) -> Rows:
    """Pairs as single answers with a thumb."""
    return [{"prompt": row["prompt"], "completion": row[side], "label": side == "chosen"} for row in rows for side in ("chosen", "rejected")]  # fmt: skip


ROLES = {"prompt": "user", **dict.fromkeys(("completion", "chosen", "rejected", "reference"), "assistant")}

CASES = {
    "sft on conversations": Case("sft", "trl.SFTTrainer", chats(200), {"learn_from": "assistant"}, {"assistant_only_loss": True, **GROUPED}),
    "sft on conversations, all weights": Case("sft", "trl.SFTTrainer", chats(200), {"learn_from": "assistant"},
        {"assistant_only_loss": True, **GROUPED}, adapter="none"),
    "sft by dft": Case("sft", "trl.SFTTrainer", chats(200), {"learn_from": "assistant", "loss": "dft"},
                       {"assistant_only_loss": True, "loss_type": "dft", **GROUPED}),
    "sft on pairs": Case("sft", "trl.SFTTrainer", pairs(200), {}, {"completion_only_loss": True, **GROUPED}, as_turns(pairs(200))),
    "sft packed": Case("sft", "trl.SFTTrainer", chats(200), {"packing": True, "learn_from": "everything", "max_length": 256},
        {"packing": True, "max_length": 256}),
    "pretrain": Case("pretrain", "trl.SFTTrainer", texts(200), {"max_length": 128},
        {"packing": True, "packing_strategy": "wrapped", "max_length": 128}),
}  # fmt: skip

PAIRS, RANKED, THUMBS = preferences(120), ranks(120), thumbs(120)
MIXED = {"divergence": "js_divergence", "beyond_shorter": 0.5, "loss": "own_mix", "mix": "robust 0.7, hinge 0.2, sft 0.5", "label_smoothing": 0.1}  # fmt: skip
MIXED_THERE = {"loss_type": ["robust", "hinge", "sft"], "loss_weights": [0.7, 0.2, 0.5], "label_smoothing": 0.1,
               "f_divergence_type": "js_divergence", "ld_alpha": 0.5}  # fmt: skip
SYNCED = {"sync_ref_model": True, "ref_model_sync_steps": 2, "ref_model_mixup_alpha": 0.9}
FLOAT = {"model_init_kwargs": {"dtype": "float32"}}  # TRL's older trainers take the type that the weights are stored in
CLOSED = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"  # fmt: skip
ORPO, CPO, TPO = (f"trl.experimental.{name.lower()}.{name}Trainer" for name in ("ORPO", "CPO", "TPO"))


def dpo(knobs: dict[str, Any], config: dict[str, Any], **more: Any) -> Case:
    return Case("dpo", "trl.DPOTrainer", PAIRS, knobs, config, as_turns(PAIRS), **more)


CASES |= {
    "dpo": dpo({"beta": 0.2}, {"beta": 0.2}),
    "dpo, all weights": dpo({}, {}, adapter="none"),
    "dpo, all weights, the start catches up": dpo({"sync_every": 2}, SYNCED, adapter="none", short=False),
    "dpo, reference asked beforehand": dpo({"precompute_reference": True}, {"precompute_ref_log_probs": True}, short=False),
    "dpo, own mix": dpo(MIXED, MIXED_THERE),
    "dpo, weighed pairs": dpo({"weigh_pairs": True}, {"use_weighting": True}, short=False),
    "dpo, mpo": dpo({"loss": "mpo"}, {"loss_type": ["sigmoid", "bco_pair", "sft"], "loss_weights": [0.8, 0.2, 1.0]}, short=False),
    "dpo, rpo": dpo({"loss": "rpo"}, {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 1.0]}, short=False),
    **{f"dpo, {loss}": dpo({"loss": loss}, {"loss_type": [loss]}, short=False) for loss in
       ("sigmoid_norm", "hinge", "ipo", "nca_pair", "bco_pair", "sppo_hard", "aot", "aot_unpaired", "apo_zero", "apo_down", "discopop", "sft")},
    **{f"dpo, {loss}": dpo({"loss": loss, "label_smoothing": 0.1}, {"loss_type": [loss], "label_smoothing": 0.1}, short=False) for loss in
       ("robust", "exo_pair")},
    "kto": Case("kto", "trl.KTOTrainer", THUMBS, {}, {"desirable_weight": 2.0}, as_turns(THUMBS), script={"shuffle": 7}),
    "kto, all weights": Case("kto", "trl.KTOTrainer", THUMBS, {"balance": False}, {}, as_turns(THUMBS), script={"shuffle": 7}, adapter="none", short=False),
    "kto from pairs": Case("kto", "trl.KTOTrainer", PAIRS, {}, {}, as_turns(one_by_one(PAIRS)), script={"shuffle": 7}),
    "kto, apo_zero_unpaired": Case("kto", "trl.KTOTrainer", THUMBS, {"loss": "apo_zero_unpaired"},
        {"loss_type": "apo_zero_unpaired", "desirable_weight": 2.0, "train_sampling_strategy": "random"}, as_turns(THUMBS), script={"shuffle": 7}, short=False),
    "orpo": Case("orpo", ORPO, PAIRS, {}, FLOAT, as_text(PAIRS), short=False),
    "orpo, cut off": Case("orpo", ORPO, PAIRS, {"max_length": 26}, FLOAT | {"max_length": 26}, as_text(PAIRS)),
    "cpo": Case("cpo", CPO, PAIRS, {}, FLOAT, as_text(PAIRS), short=False),
    "cpo, a template that ends with its end token": Case("cpo", CPO, PAIRS, {}, FLOAT, as_turns(PAIRS),
        spec={"model": {"template": CLOSED}}, script={"template": CLOSED}),
    "simpo": Case("simpo", CPO, PAIRS, {}, FLOAT | {"loss_type": "simpo", "cpo_alpha": 0.0, "beta": 2.0}, as_text(PAIRS)),
    "simpo, bent": Case("simpo", CPO, PAIRS, {"shape": 0.25}, FLOAT | {"loss_type": "alphapo", "alpha": 0.25, "beta": 2.0}, as_text(PAIRS), short=False),
    "tpo": Case("tpo", TPO, RANKED, {}, {}, as_turns(RANKED)),
    "tpo, tpo_l": Case("tpo", TPO, RANKED, {"loss": "tpo_l", "beta": 2.0}, {"loss_type": "tpo-l", "beta": 2.0}, as_turns(RANKED), short=False),
}  # fmt: skip

HEAD = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0, "task_type": "SEQ_CLS", "modules_to_save": ["score"]}
MARGINS = [row | {"margin": i % 3 / 2} for i, row in enumerate(PAIRS)]
CASES |= {
    "reward": Case("reward", "trl.RewardTrainer", PAIRS, {}, {"center_rewards_coefficient": 0.01}, as_turns(PAIRS), script={"lora": HEAD}),
    "reward, all weights, with margins": Case("reward", "trl.RewardTrainer", MARGINS, {"center": 0.0}, {}, as_turns(MARGINS), adapter="none"),
    "reward, with pairs that are too long": Case("reward", "trl.RewardTrainer", PAIRS, {"max_length": 30}, {"center_rewards_coefficient": 0.01,
        "max_length": 30}, as_turns(PAIRS), script={"lora": HEAD}, short=False),
}  # fmt: skip

ROUND = {"batch_size": 16, "attempts": 4, "max_completion_length": 8}
ROUND_THERE = {"per_device_train_batch_size": 16, "num_generations": 4, "max_completion_length": 8}
SHORTER = {"name": "length_band", "as": "short", "weight": 0.5, "params": {"least": 1, "most": 2}}
ONLINE = "trl.experimental.online_dpo.OnlineDPOTrainer"


def earn(
    method: str, trainer: str, knobs: dict[str, Any], config: dict[str, Any], two: bool = False, **more: Any
) -> Case:
    """two: rewards, of which the second counts half."""
    rewards = {"rewards": [{"name": "exact_match"}, SHORTER] if two else [{"name": "exact_match"}]}
    weights = {"reward_weights": [1.0, 0.5]} if two else {}
    script = {"keywords": {"reward_funcs": ["exact", "short"] if two else ["exact"]}}
    return Case(method, trainer, sums(64), knobs, config | weights, as_turns(sums(64)), spec=rewards, script=script, **more)  # fmt: skip


def grpo(knobs: dict[str, Any], config: dict[str, Any], **more: Any) -> Case:
    return earn("grpo", "trl.GRPOTrainer", ROUND | knobs, ROUND_THERE | {"beta": 0.0} | config, **more)


AHEAD, AHEAD_THERE = {"written_ahead": 2}, {"steps_per_generation": 2}
CASES |= {
    "grpo": grpo({}, {}),
    "grpo, all weights, held near the start": grpo({"recipe": "grpo"}, {"loss_type": "grpo", "beta": 0.04}, adapter="none", short=False),
    "grpo, recipe grpo": grpo({"recipe": "grpo"}, {"loss_type": "grpo", "beta": 0.04}, short=False),
    "grpo, recipe dapo": grpo({"recipe": "dapo"}, {"epsilon": 0.2, "epsilon_high": 0.28, "mask_truncated_completions": True}, short=False),
    "grpo, recipe dr_grpo": grpo({"recipe": "dr_grpo"}, {"loss_type": "dr_grpo", "scale_rewards": "none"}, short=False),
    "grpo, recipe gspo": grpo({"recipe": "gspo"}, {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 3e-4,
        "epsilon_high": 4e-4, "steps_per_generation": 4}, short=False),
    "grpo, recipe gdpo": grpo({"recipe": "gdpo"}, {"multi_objective_aggregation": "normalize_then_sum"}, two=True),
    "grpo, recipe cispo": grpo({"recipe": "cispo"} | AHEAD, {"loss_type": "cispo", "epsilon_high": 5.0} | AHEAD_THERE, short=False),
    "grpo, recipe scalerl": grpo({"recipe": "scalerl"}, {"loss_type": "cispo", "epsilon_high": 5.0, "scale_rewards": "batch"}, short=False),
    "grpo, recipe sapo": grpo({"recipe": "sapo"} | AHEAD, {"loss_type": "sapo"} | AHEAD_THERE, short=False),
    "grpo, recipe luspo": grpo({"recipe": "luspo"} | AHEAD, {"loss_type": "luspo", "importance_sampling_level": "sequence", "epsilon": 2e-3,
        "epsilon_high": 2.5e-3} | AHEAD_THERE, short=False),
    "grpo, recipe vespo": grpo({"recipe": "vespo"} | AHEAD, {"loss_type": "vespo"} | AHEAD_THERE, short=False),
    "grpo, recipe eighty_twenty": grpo({"recipe": "eighty_twenty"}, {"epsilon_high": 0.28, "mask_truncated_completions": True,
        "top_entropy_quantile": 0.2}, short=False),
    "grpo, recipe intellect": grpo({"recipe": "intellect", "times_used": 2}, {"delta": 4.0, "beta": 0.001, "num_iterations": 2}, short=False),
    "grpo, bnpo": grpo({"loss": "bnpo"}, {"loss_type": "bnpo"}, short=False),
    "grpo, undecided": grpo({"entropy_bonus": 0.01, "entropy_target": 0.6, "drop_stale": 0.5} | AHEAD, {"entropy_coef": 0.01,
        "use_adaptive_entropy": True, "entropy_target": 0.6, "off_policy_mask_threshold": 0.5} | AHEAD_THERE, short=False),
    "rloo": earn("rloo", "trl.RLOOTrainer", ROUND | AHEAD, ROUND_THERE | AHEAD_THERE),
    "rloo, limited and normalized": earn("rloo", "trl.RLOOTrainer", ROUND | {"times_used": 2, "normalize": True, "most_reward": 0.5, "kl": 0.0},
        ROUND_THERE | {"num_iterations": 2, "normalize_advantages": True, "reward_clip_range": [-1e30, 0.5], "beta": 0.0}, short=False),
    "online_dpo": earn("online_dpo", ONLINE, {"batch_size": 16, "max_completion_length": 8, "skip_ties": False}, FLOAT | {
        "per_device_train_batch_size": 16, "max_new_tokens": 8, "max_length": 2048}, short=False),
    "online_dpo, ipo": earn("online_dpo", ONLINE, {"batch_size": 16, "max_completion_length": 8, "skip_ties": False, "loss": "ipo",
        "unfinished_penalty": 0.5}, FLOAT | {"per_device_train_batch_size": 16, "max_new_tokens": 8, "max_length": 2048, "loss_type": "ipo",
        "missing_eos_penalty": 0.5}, two=True, short=False),
}  # fmt: skip

CALLING = "trl:lfm2_2_5"  # a chat format that can call tools
CASES["grpo, with a tool"] = replace(CASES["grpo, recipe gdpo"], knobs=ROUND | {"tools": ["calculator"], "tool_turns": 2}, short=False,
    config=ROUND_THERE | {"beta": 0.0, "max_tool_calling_iterations": 2, "reward_weights": [1.0, 0.5]},
    spec={"rewards": [{"name": "exact_match"}, SHORTER], "model": {"template": CALLING}},
    script={"keywords": {"reward_funcs": ["exact", "short"], "tools": ["calculator"]}, "template": template_source.template_text(CALLING)})  # fmt: skip

COPIED, ALSO = {"teacher": TEACHER, "max_completion_length": 8}, {"keywords": {"teacher_model": TEACHER}}
GKD, GOLD, SDFT = (f"trl.experimental.{name.lower()}.{name}Trainer" for name in ("GKD", "GOLD", "SDFT"))
HINTED = [row | {"privileged_context": row["prompt"].replace("What is", "Add").replace(" + ", " and ")} for row in sums(64)]  # fmt: skip
ALIGNED = {"max_completion_length": 8, "use_uld_loss": True, "uld_token_merge_strategy": "bayesian", "uld_use_hybrid_loss": True}  # fmt: skip


def copied(method: str, trainer: str, rows: Rows, knobs: dict[str, Any], config: dict[str, Any], **more: Any) -> Case:
    return Case(method, trainer, rows, COPIED | knobs, config, as_turns(rows), script=ALSO, **more)


CASES |= {
    "distill": copied("distill", "trl.DistillationTrainer", sums(64), {}, {"max_completion_length": 8}),
    "distill, all weights, both ways": copied("distill", "trl.DistillationTrainer", sums(64), {"beta": 0.5, "temperature": 0.8, "accumulation": 2},
        {"max_completion_length": 8, "beta": 0.5, "temperature": 0.8, "gradient_accumulation_steps": 2}, adapter="none", short=False),
    "gkd": copied("gkd", GKD, chats(64), {}, {"max_new_tokens": 8}),
    "gkd, the teacher writes": copied("gkd", GKD, chats(64), {"own_share": 0.0, "teacher_writes": True, "beta": 0.0},
        {"max_new_tokens": 8, "lmbda": 0.0, "seq_kd": True, "beta": 0.0}, adapter="none", short=False),
    "gold": copied("gold", GOLD, chats(64), {"teacher_reads": "same", "own_share": 0.5, "examples_weight": 0.0}, ALIGNED, short=False),
    "gold, imitating too": copied("gold", GOLD, chats(64), {"teacher_reads": "same", "compare": "order"}, ALIGNED | {"lmbda": 0.0,
        "uld_use_hybrid_loss": False, "uld_crossentropy_weight": 0.5}, short=False),
    "sdft": Case("sdft", SDFT, HINTED, {"max_completion_length": 8}, {"num_generations": 1, "max_completion_length": 8}, as_turns(HINTED), short=False),
    "sdft, all weights, in groups": Case("sdft", SDFT, HINTED, {"max_completion_length": 8, "attempts": 4, "likeliest": 20},
        {"num_generations": 4, "max_completion_length": 8, "distillation_topk": 20}, as_turns(HINTED), adapter="none", short=False),
    "sdft, from itself as it is now": Case("sdft", SDFT, HINTED, {"max_completion_length": 8, "teacher_is": "now"},
        {"num_generations": 1, "max_completion_length": 8, "teacher_model_kind": "live"}, as_turns(HINTED), short=False),
}  # fmt: skip

ANSWERED = [{"prompt": row["prompt"], "completion": f"It is {row['answer']}."} for row in sums(64)]
WITH_TRUTH = [{"prompt": row["prompt"], "truth": row["completion"]} for row in as_turns(ANSWERED)]
MATCHED = {
    "batch_size": 4,
    "attempts": 4,
    "max_completion_length": 8,
    "temperature": 1.0,
    "answer_length": 0.0,
    "loss": "dapo",
}
MATCHED_THERE = ROUND_THERE | {"temperature": 1.0, "loss_type": "dapo", "beta": 0.0}


def matched(knobs: dict[str, Any], reward: str, **more: Any) -> Case:
    return Case("ebft", "trl.GRPOTrainer", ANSWERED, MATCHED | knobs, MATCHED_THERE, WITH_TRUTH,
                script={"keywords": {"reward_funcs": [reward]}}, **more)  # fmt: skip


CASES |= {
    "ebft": matched({"whitening": True}, "whitened_meaning"),
    "ebft, all weights": matched({"whitening": True}, "whitened_meaning", adapter="none", short=False),
}
