"""EBFT on the practice model: blocks are generated as by `generate`, features come from the frozen model, and a run can be resumed."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.core.problems import Problem
from tests.support import (
    build_spec,
    conversation_rows,
    drain_generator,
    metrics_by_step,
    prompt_completion_rows,
    text_rows,
    train,
    write_rows,
)

SMALL_KNOBS = {"steps": 2, "batch_size": 2, "attempts": 3, "max_length": 40, "max_completion_length": 12, "temperature": 1.0,
         "precision": "fp32", "checkpointing": "off"}  # fmt: skip


def build_job(folder: Path, rows: list[dict[str, Any]], adapter: str = "lora", **knobs: Any) -> Any:
    from app.engine.job import Job
    from app.engine.libraries import prepare_libraries
    from app.engine.model.device import Device

    prepare_libraries()
    source = write_rows(folder / "rows.jsonl", rows)
    return Job(build_spec("ebft", source, SMALL_KNOBS | knobs, adapter={"kind": adapter}), folder, Device("cpu"))


def build_trainer(folder: Path, rows: list[dict[str, Any]], adapter: str = "lora", **knobs: Any) -> Any:
    job = build_job(folder, rows, adapter, **knobs)
    return job.method.build(job)


def randomize_lora_b(trainer: Any) -> None:
    """Gives LoRA B random weights: they are initialised with zeros, so that a new adapter changes nothing."""
    import torch

    torch.manual_seed(7)
    for name, weight in trainer.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    trainer.model.eval()


@pytest.fixture(scope="module")
def trainer_batch_and_layout(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A strided trainer whose adapter changes the outputs, a batch, and the block layout of that batch."""
    from app.engine.trainers.ebft import blocks

    trainer = build_trainer(
        tmp_path_factory.mktemp("strided"), text_rows(6), stride=5, context=4, generate=3, ce_weight=0.5
    )
    randomize_lora_b(trainer)
    batch = next(iter(trainer.get_train_dataloader()))
    return trainer, batch, blocks.build_layout(trainer.ebft_config.plan, batch["attention_mask"], batch["begin"])


def block_positions(layout: Any) -> list[tuple[int, int, int]]:
    """(row, block, start position in tokens) of each block that is generated."""
    return [(row, block, int(layout.block_starts[block])) for row, block in layout.attempted.nonzero().tolist()]


@pytest.mark.full
@pytest.mark.slow
def test_generated_blocks_equal_generate_after_each_prefix(trainer_batch_and_layout: Any) -> None:
    """Generated in parallel under one attention mask, compared with one call of `generate` per block."""
    trainer, batch, layout = trainer_batch_and_layout
    generated_ids = trainer.generate_attempts(trainer.model, batch["input_ids"], layout, 2, temperature=0.0)
    assert len({tuple(block_ids) for block_ids in generated_ids[:, :, 0].flatten(0, 1).tolist()}) > 3
    for row, block, block_start in block_positions(layout):
        expected_ids = trainer.model.generate(batch["input_ids"][row : row + 1, :block_start], max_new_tokens=3, do_sample=False,
                                       eos_token_id=None)[0, block_start:]  # fmt: skip
        assert generated_ids[row, block].tolist() == [expected_ids.tolist()] * 2


@pytest.mark.full
@pytest.mark.slow
def test_token_log_probs_and_entropy_equal_those_of_the_single_sequence(trainer_batch_and_layout: Any) -> None:
    import torch

    trainer, batch, layout = trainer_batch_and_layout
    torch.manual_seed(7)
    generated_ids = trainer.generate_attempts(trainer.model, batch["input_ids"], layout, 3, temperature=1.0)
    log_probs, entropy = trainer.token_log_probs(trainer.model, batch["input_ids"], layout, generated_ids)
    for row, block, block_start in block_positions(layout):
        for attempt in range(3):
            sequence = torch.cat([batch["input_ids"][row, :block_start], generated_ids[row, block, attempt]])
            vocabulary_log_probs = (
                trainer.model(input_ids=sequence[None]).logits[0, block_start - 1 : -1].log_softmax(-1)
            )
            expected_log_probs = vocabulary_log_probs.gather(-1, generated_ids[row, block, attempt][:, None])[:, 0]
            assert torch.allclose(log_probs[row, block, attempt], expected_log_probs, atol=1e-4)
            assert torch.allclose(
                entropy[row, block, attempt], -(vocabulary_log_probs.exp() * vocabulary_log_probs).sum(-1), atol=1e-4
            )


@pytest.mark.full
@pytest.mark.slow
def test_block_features_under_the_mask_equal_those_of_the_single_text(trainer_batch_and_layout: Any) -> None:
    import torch

    from app.engine.trainers.ebft import blocks

    trainer, batch, layout = trainer_batch_and_layout
    input_ids = batch["input_ids"]
    reference_ids = blocks.reference_blocks(layout, input_ids)[:, :, None]
    features = trainer.block_features(
        input_ids, layout, reference_ids, torch.ones_like(reference_ids, dtype=torch.bool)
    )
    for row, block, block_start in block_positions(layout):
        expected_features = trainer.feature_network.text_features(
            trainer, [input_ids[row, :block_start].tolist()], [input_ids[row, block_start : block_start + 3].tolist()]
        )
        assert torch.allclose(features[row, block], expected_features, atol=1e-4)
    assert (
        trainer.score_attempts(input_ids, layout, reference_ids, torch.ones_like(reference_ids, dtype=torch.bool))
        .alignment[layout.attempted]
        .min()
        > 0.9999
    )


@pytest.mark.slow
def test_features_are_normalized_hidden_states_of_three_layers_of_the_base_model(trainer_batch_and_layout: Any) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from app.setup.models import locate_model

    trainer, batch, _ = trainer_batch_and_layout
    input_ids = batch["input_ids"][:1, :20]
    features = trainer.feature_network.text_features(trainer, [[]], [input_ids[0].tolist()])[0]
    base_model = AutoModelForCausalLM.from_pretrained(locate_model("pocket"), dtype=torch.float32)
    base_hidden_states = base_model(input_ids=input_ids, output_hidden_states=True).hidden_states
    normalized_states = [
        base_hidden_states[layer][0, -1] / base_hidden_states[layer][0, -1].norm() for layer in (1, 2, 3)
    ]
    assert torch.allclose(features, torch.cat(normalized_states), atol=1e-5)
    tuned_hidden_states = trainer.model(input_ids=input_ids, output_hidden_states=True).hidden_states
    assert not torch.allclose(tuned_hidden_states[2], base_hidden_states[2], atol=1e-2), (
        "the adapter must change the hidden states, so that the comparison can fail"
    )
    assert all(weight.requires_grad == ("lora" in name) for name, weight in trainer.model.named_parameters())


@pytest.mark.slow
def test_the_loss_is_the_weighted_sum_of_rl_loss_and_cross_entropy(trainer_batch_and_layout: Any) -> None:
    import torch

    trainer, batch, _ = trainer_batch_and_layout
    original_config = trainer.ebft_config

    def loss(rl_weight: float, ce_weight: float) -> float:
        trainer.ebft_config = replace(original_config, rl_weight=rl_weight, ce_weight=ce_weight)
        torch.manual_seed(7)
        return trainer.compute_loss(trainer.model, dict(batch)).item()

    cross_entropy = trainer.model(
        **{name: batch[name] for name in ("input_ids", "attention_mask", "labels")}
    ).loss.item()
    assert loss(0.0, 1.0) == pytest.approx(cross_entropy, rel=1e-4)
    assert loss(0.7, 0.2) == pytest.approx(0.7 * loss(1.0, 0.0) + 0.2 * cross_entropy, rel=1e-4)
    assert abs(loss(1.0, 0.0)) > 1e-3
    trainer.ebft_config = original_config


@pytest.mark.slow
def test_the_rl_loss_is_the_negative_mean_of_advantage_times_log_prob(trainer_batch_and_layout: Any) -> None:
    """The expected loss is minus the mean over tokens of advantage times log-probability."""
    import torch

    from app.engine.generation.end_tokens import mask_until_end
    from app.engine.trainers.ebft.feature_rewards import advantages

    trainer, batch, layout = trainer_batch_and_layout
    torch.manual_seed(7)
    generated_ids = trainer.generate_attempts(trainer.model, batch["input_ids"], layout, 3, temperature=1.0)
    completion_mask = mask_until_end(generated_ids, trainer.prompt_tokenizer.end_token_ids)
    block_advantages = advantages(
        trainer.score_attempts(batch["input_ids"], layout, generated_ids, completion_mask).rewards, "rloo"
    )
    log_probs, _ = trainer.token_log_probs(trainer.model, batch["input_ids"], layout, generated_ids)
    weighted_log_probs = [float(block_advantages[row, block, i]) * log_probs[row, block, i, step].item()
            for row, block, _ in block_positions(layout) for i in range(3) for step in range(3) if completion_mask[row, block, i, step]]  # fmt: skip
    original_config, trainer.ebft_config = trainer.ebft_config, replace(trainer.ebft_config, ce_weight=0.0)
    torch.manual_seed(7)
    assert trainer.compute_loss(trainer.model, dict(batch)).item() == pytest.approx(
        -sum(weighted_log_probs) / len(weighted_log_probs), rel=1e-3
    )
    trainer.ebft_config = original_config


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.parametrize("rows", [text_rows(8), prompt_completion_rows(8)], ids=["pieces", "answers"])
def test_full_fine_tuning_takes_features_from_a_frozen_copy(rows: Any, tmp_path: Path) -> None:
    import torch

    trainer = build_trainer(tmp_path, rows, "none", learning_rate=0.01)
    initial_features = trainer.feature_network.text_features(trainer, [[5, 6]], [[7, 8]])
    initial_weights = [weight.clone() for weight in trainer.feature_network.frozen_model.parameters()]
    trainer.train()
    assert torch.equal(trainer.feature_network.text_features(trainer, [[5, 6]], [[7, 8]]), initial_features)
    assert all(
        torch.equal(current, initial)
        for current, initial in zip(trainer.feature_network.frozen_model.parameters(), initial_weights, strict=True)
    )
    weight_changed = [
        not torch.equal(current, initial)
        for current, initial in zip(trainer.model.parameters(), initial_weights, strict=True)
    ]
    assert any(weight_changed)


@pytest.mark.full
@pytest.mark.slow
def test_a_conversation_is_generated_turn_by_turn(tmp_path: Path) -> None:
    """Each answer follows the answers the model generated before; the user turns in between are not trained on."""
    from app.engine.trainers.ebft.structured import rollout_conversations

    trainer = build_trainer(
        tmp_path, conversation_rows(4), turns="conversation", max_completion_length=16, ce_weight=0.1
    )
    trainer.generation_config.do_sample = False
    trainer.batch_prompts = [
        trainer.prompt_tokenizer.tokenize(row["prompt"], row["truth"]) for row in trainer.train_dataset
    ]
    rollout = rollout_conversations([], trainer)
    for tokenized_prompt, completion_ids, generated_mask in zip(
        trainer.batch_prompts, rollout["completion_ids"], rollout["env_mask"], strict=True
    ):
        user_turn_ids = tokenized_prompt.gap_ids[0]
        user_turn_start = generated_mask.index(0)
        first_answer, second_answer = (
            completion_ids[:user_turn_start],
            completion_ids[user_turn_start + len(user_turn_ids) :],
        )
        assert completion_ids[user_turn_start : user_turn_start + len(user_turn_ids)] == user_turn_ids
        assert generated_mask == [1] * len(first_answer) + [0] * len(user_turn_ids) + [1] * len(second_answer)
        assert [first_answer, second_answer] == [
            trainer._generate_single_turn([prompt_ids], None, {}, 1)[0][0]
            for prompt_ids in (tokenized_prompt.prompt_ids, tokenized_prompt.prompt_ids + first_answer + user_turn_ids)
        ]
        assert "Are you sure?" in trainer.processing_class.decode(user_turn_ids)
    trainer.generation_config.do_sample = True
    trainer.train()
    assert all(math.isfinite(log_entry["ce"]) for log_entry in trainer.state.log_history if "ce" in log_entry)


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.parametrize("rows", [text_rows(8), conversation_rows(8)], ids=["pieces", "answers"])
def test_a_resumed_run_has_the_losses_and_rewards_of_an_uninterrupted_one(rows: Any, tmp_path: Path) -> None:
    knobs = {"steps": 4, "whitening": True, "ce_weight": 0.03, "schedule": "constant"}
    uninterrupted = build_trainer(tmp_path, rows, **knobs)
    uninterrupted.args.save_strategy, uninterrupted.args.save_steps = "steps", 2
    uninterrupted.train()
    resumed = build_trainer(tmp_path, rows, **knobs)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoints" / "checkpoint-2"))
    losses, resumed_losses = [
        [log_entry["loss"] for log_entry in trainer.state.log_history if "loss" in log_entry]
        for trainer in (uninterrupted, resumed)
    ]
    assert len(losses) == 4
    assert len({round(loss, 6) for loss in losses}) == 4
    assert resumed_losses == pytest.approx(losses, rel=1e-6, abs=1e-6)
    rewards, resumed_rewards = [
        [log_entry["reward"] for log_entry in trainer.state.log_history if "reward" in log_entry]
        for trainer in (uninterrupted, resumed)
    ]
    assert resumed_rewards == pytest.approx(rewards, rel=1e-6)


@pytest.mark.slow
def test_a_run_reports_metrics_samples_and_evaluations(tmp_path: Path) -> None:
    from app.runs import events

    source = write_rows(tmp_path / "rows.jsonl", conversation_rows(20))
    spec = build_spec(
        "ebft", source, SMALL_KNOBS | {"evaluations": 0, "eval_answers": 4, "ce_weight": 0.03}, holdout={"share": 0.2}
    )
    run = train(spec)
    step_metrics, run_events = metrics_by_step(run), events.read_events(run.events)
    for name in ("ebft/alignment", "ebft/diversity", "ebft/cfm", "reward/mean", "train/ce", "train/loss"):
        assert all(math.isfinite(metrics[name]) for metrics in step_metrics.values()), name
    attempts = next(
        event.rows for event in events.of_type(run_events, events.SampleEvent) if "advantage" in event.rows[0]
    )
    assert len(attempts) == 3
    assert all(row["completion"] is not None and math.isfinite(row["rewards"]["meaning"]) for row in attempts)
    first_evaluation, last_evaluation = [event.metrics for event in events.of_type(run_events, events.EvalEvent)]
    assert 0 < first_evaluation["eval/alignment"] <= 1
    assert first_evaluation["eval/loss"] > last_evaluation["eval/loss"] > 0


@pytest.mark.slow
def test_the_preview_shows_prompts_with_their_reference_answers(tmp_path: Path) -> None:
    from app.engine.preview import row_preview

    source = write_rows(tmp_path / "rows.jsonl", conversation_rows(3))
    preview = row_preview.preview_rows(build_spec("ebft", source, SMALL_KNOBS), 6)
    assert len(preview["rows"]) == 6, "there must be one row for each of the two answers of a conversation"
    tokens = preview["rows"][1]["tokens"]
    assert "".join(token["text"] for token in tokens if token["trained"]) == "Yes, I counted on my fingers.<|im_end|>"
    assert "What is 0 + 0?" in "".join(token["text"] for token in tokens if not token["trained"])
    assert [finding["severity"] for finding in preview["findings"]] == ["good", "good"]
    assert "writes answers of its own" in preview["findings"][1]["text"]
    with pytest.raises(Problem, match="writes its own answers"):
        row_preview.preview_batches(build_spec("ebft", source, SMALL_KNOBS), 1)


@pytest.mark.full
@pytest.mark.slow
def test_the_preview_shows_texts_and_reports_those_that_are_too_short(tmp_path: Path) -> None:
    from app.engine.preview import row_preview, run_estimate

    rows = [*text_rows(4), {"text": "Too short."}]
    spec = build_spec("ebft", write_rows(tmp_path / "rows.jsonl", rows), SMALL_KNOBS)
    preview = row_preview.preview_rows(spec, 5)
    assert len(preview["rows"]) == 4
    assert {finding["text"] for finding in preview["findings"] if finding["severity"] == "careful"} == {
        "1 example is left out: too short for one attempt after its context, or cut off before it."
    }
    assert "every 8th place" in preview["findings"][-1]["text"]
    batch_rows = row_preview.preview_batches(spec, 1)["batches"][0]["rows"]
    assert len(batch_rows) == 2
    assert drain_generator(run_estimate.estimate_run(spec))[1]["steps"] == 2


@pytest.mark.full
@pytest.mark.parametrize(("rows", "knobs", "message"), [
    (text_rows(2), {"mode": "structured"}, "holds no questions"),
    (prompt_completion_rows(2), {"attempts": 1}, "one attempt is too few"),
    (text_rows(2), {"repetition_penalty": 1.1}, "no repetition_penalty"),
    (text_rows(2), {"context": 4000}, "all were left out"),
])  # fmt: skip
@pytest.mark.slow
def test_impossible_settings_are_refused_before_training(
    rows: Any, knobs: dict[str, Any], message: str, tmp_path: Path
) -> None:
    job = build_job(tmp_path, rows, **knobs)
    job.preview = True
    with pytest.raises(Problem, match=message):
        job.method.build(job)
