"""Matching meaning on the practice model: pieces are what the model would write, features are the untouched model's, and a run can be taken up again."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.core.problems import Problem
from tests.support import chats, pairs, run_to_end, spec_of, steps_of, texts, train, write_rows

SMALL = {"steps": 2, "batch_size": 2, "attempts": 3, "max_length": 40, "max_completion_length": 12, "temperature": 1.0,
         "precision": "fp32", "checkpointing": "off"}  # fmt: skip


def job_of(folder: Path, rows: list[dict[str, Any]], adapter: str = "lora", **knobs: Any) -> Any:
    from app.engine.job import Job
    from app.engine.libraries import prepare_libraries
    from app.engine.model.device import Device

    prepare_libraries()
    source = write_rows(folder / "rows.jsonl", rows)
    return Job(spec_of("ebft", source, SMALL | knobs, adapter={"kind": adapter}), folder, Device("cpu"))


def built(folder: Path, rows: list[dict[str, Any]], adapter: str = "lora", **knobs: Any) -> Any:
    job = job_of(folder, rows, adapter, **knobs)
    return job.method.build(job)


def stir(trainer: Any) -> None:
    """A fresh adapter does nothing; this one does."""
    import torch

    torch.manual_seed(7)
    for name, weight in trainer.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    trainer.model.eval()


@pytest.fixture(scope="module")
def strided(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The trainer of pieces with an adapter that does something, and a batch with its layout."""
    from app.engine.trainers.ebft import blocks

    trainer = built(tmp_path_factory.mktemp("strided"), texts(6), stride=5, context=4, generate=3, ce_weight=0.5)
    stir(trainer)
    batch = next(iter(trainer.get_train_dataloader()))
    return trainer, batch, blocks.build_layout(trainer.ebft_config.plan, batch["attention_mask"], batch["begin"])


def places(plan: Any) -> list[tuple[int, int, int]]:
    """(text, block, where it begins)"""
    return [(row, block, int(plan.block_starts[block])) for row, block in plan.attempted.nonzero().tolist()]


@pytest.mark.slow
def test_pieces_are_what_the_model_would_write_after_each_beginning(strided: Any) -> None:
    """All at once under one mask, and one by one by the library's own generate."""
    trainer, batch, plan = strided
    written = trainer.generate_attempts(trainer.model, batch["input_ids"], plan, 2, temperature=0.0)
    assert len({tuple(piece) for piece in written[:, :, 0].flatten(0, 1).tolist()}) > 3
    for row, block, place in places(plan):
        alone = trainer.model.generate(batch["input_ids"][row : row + 1, :place], max_new_tokens=3, do_sample=False,
                                       eos_token_id=None)[0, place:]  # fmt: skip
        assert written[row, block].tolist() == [alone.tolist()] * 2


@pytest.mark.slow
def test_each_token_is_as_likely_as_after_its_own_beginning(strided: Any) -> None:
    import torch

    trainer, batch, plan = strided
    torch.manual_seed(7)
    written = trainer.generate_attempts(trainer.model, batch["input_ids"], plan, 3, temperature=1.0)
    told, entropy = trainer.token_log_probs(trainer.model, batch["input_ids"], plan, written)
    for row, block, place in places(plan):
        for attempt in range(3):
            whole = torch.cat([batch["input_ids"][row, :place], written[row, block, attempt]])
            every = trainer.model(input_ids=whole[None]).logits[0, place - 1 : -1].log_softmax(-1)
            alone = every.gather(-1, written[row, block, attempt][:, None])[:, 0]
            assert torch.allclose(told[row, block, attempt], alone, atol=1e-4)
            assert torch.allclose(entropy[row, block, attempt], -(every.exp() * every).sum(-1), atol=1e-4)


@pytest.mark.slow
def test_features_under_the_mask_are_those_of_the_text_read_alone(strided: Any) -> None:
    import torch

    from app.engine.trainers.ebft import blocks

    trainer, batch, plan = strided
    ids = batch["input_ids"]
    truth = blocks.reference_blocks(plan, ids)[:, :, None]
    found = trainer.block_features(ids, plan, truth, torch.ones_like(truth, dtype=torch.bool))
    for row, block, place in places(plan):
        alone = trainer.feature_network.text_features(
            trainer, [ids[row, :place].tolist()], [ids[row, place : place + 3].tolist()]
        )
        assert torch.allclose(found[row, block], alone, atol=1e-4)
    assert (
        trainer.score_attempts(ids, plan, truth, torch.ones_like(truth, dtype=torch.bool))
        .alignment[plan.attempted]
        .min()
        > 0.9999
    )


@pytest.mark.slow
def test_features_are_the_untouched_models_at_three_depths_each_of_length_one(strided: Any) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from app.setup.models import locate_model

    trainer, batch, _ = strided
    ids = batch["input_ids"][:1, :20]
    found = trainer.feature_network.text_features(trainer, [[]], [ids[0].tolist()])[0]
    base = AutoModelForCausalLM.from_pretrained(locate_model("pocket"), dtype=torch.float32)
    seen = base(input_ids=ids, output_hidden_states=True).hidden_states
    parts = [seen[place][0, -1] / seen[place][0, -1].norm() for place in (1, 2, 3)]
    assert torch.allclose(found, torch.cat(parts), atol=1e-5)
    tuned = trainer.model(input_ids=ids, output_hidden_states=True).hidden_states
    assert not torch.allclose(tuned[2], seen[2], atol=1e-2), "the adapter would show"
    assert all(weight.requires_grad == ("lora" in name) for name, weight in trainer.model.named_parameters())


@pytest.mark.slow
def test_the_loss_is_a_weighted_sum_of_rewards_and_words(strided: Any) -> None:
    import torch

    trainer, batch, _ = strided
    kept = trainer.ebft_config

    def loss(rl_weight: float, ce_weight: float) -> float:
        trainer.ebft_config = replace(kept, rl_weight=rl_weight, ce_weight=ce_weight)
        torch.manual_seed(7)
        return trainer.compute_loss(trainer.model, dict(batch)).item()

    words = trainer.model(**{name: batch[name] for name in ("input_ids", "attention_mask", "labels")}).loss.item()
    assert loss(0.0, 1.0) == pytest.approx(words, rel=1e-4)
    assert loss(0.7, 0.2) == pytest.approx(0.7 * loss(1.0, 0.0) + 0.2 * words, rel=1e-4)
    assert abs(loss(1.0, 0.0)) > 1e-3
    trainer.ebft_config = kept


@pytest.mark.slow
def test_the_gradient_makes_better_pieces_likelier(strided: Any) -> None:
    """minus the mean over tokens of advantage times log-probability, worked out by its parts."""
    import torch

    from app.engine.generation.end_tokens import mask_until_end
    from app.engine.trainers.ebft.feature_rewards import advantages

    trainer, batch, plan = strided
    torch.manual_seed(7)
    written = trainer.generate_attempts(trainer.model, batch["input_ids"], plan, 3, temperature=1.0)
    alive = mask_until_end(written, trainer.prompt_tokenizer.end_token_ids)
    worth = advantages(trainer.score_attempts(batch["input_ids"], plan, written, alive).rewards, "rloo")
    told, _ = trainer.token_log_probs(trainer.model, batch["input_ids"], plan, written)
    sums = [float(worth[row, block, i]) * told[row, block, i, step].item()
            for row, block, _ in places(plan) for i in range(3) for step in range(3) if alive[row, block, i, step]]  # fmt: skip
    kept, trainer.ebft_config = trainer.ebft_config, replace(trainer.ebft_config, ce_weight=0.0)
    torch.manual_seed(7)
    assert trainer.compute_loss(trainer.model, dict(batch)).item() == pytest.approx(-sum(sums) / len(sums), rel=1e-3)
    trainer.ebft_config = kept


@pytest.mark.slow
@pytest.mark.parametrize("rows", [texts(8), pairs(8)], ids=["pieces", "answers"])
def test_where_all_weights_are_trained_features_come_from_a_copy_that_stays(rows: Any, tmp_path: Path) -> None:
    import torch

    trainer = built(tmp_path, rows, "none", learning_rate=0.01)
    before = trainer.feature_network.text_features(trainer, [[5, 6]], [[7, 8]])
    first = [weight.clone() for weight in trainer.feature_network.frozen_model.parameters()]
    trainer.train()
    assert torch.equal(trainer.feature_network.text_features(trainer, [[5, 6]], [[7, 8]]), before)
    assert all(
        torch.equal(now, then)
        for now, then in zip(trainer.feature_network.frozen_model.parameters(), first, strict=True)
    )
    moved = [not torch.equal(now, then) for now, then in zip(trainer.model.parameters(), first, strict=True)]
    assert any(moved)


@pytest.mark.slow
def test_a_conversation_is_written_turn_by_turn(tmp_path: Path) -> None:
    """Each answer after the model's own earlier ones; what the user says stands between them and is not learned."""
    from app.engine.trainers.ebft.structured import rollout_conversations

    trainer = built(tmp_path, chats(4), turns="conversation", max_completion_length=16, ce_weight=0.1)
    trainer.generation_config.do_sample = False
    trainer.batch_prompts = [
        trainer.prompt_tokenizer.tokenize(row["prompt"], row["truth"]) for row in trainer.train_dataset
    ]
    found = rollout_conversations([], trainer)
    for told, written, own in zip(trainer.batch_prompts, found["completion_ids"], found["env_mask"], strict=True):
        between = told.gap_ids[0]
        start = own.index(0)
        first, second = written[:start], written[start + len(between) :]
        assert written[start : start + len(between)] == between
        assert own == [1] * len(first) + [0] * len(between) + [1] * len(second)
        assert [first, second] == [
            trainer._generate_single_turn([before], None, {}, 1)[0][0]
            for before in (told.prompt_ids, told.prompt_ids + first + between)
        ]
        assert "Are you sure?" in trainer.processing_class.decode(between)
    trainer.generation_config.do_sample = True
    trainer.train()
    assert all(math.isfinite(line["ce"]) for line in trainer.state.log_history if "ce" in line)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [texts(8), chats(8)], ids=["pieces", "answers"])
def test_a_run_taken_up_again_goes_on_as_if_undisturbed(rows: Any, tmp_path: Path) -> None:
    knobs = {"steps": 4, "whitening": True, "ce_weight": 0.03, "schedule": "constant"}
    whole = built(tmp_path, rows, **knobs)
    whole.args.save_strategy, whole.args.save_steps = "steps", 2
    whole.train()
    again = built(tmp_path, rows, **knobs)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoints" / "checkpoint-2"))
    told, retold = [[line["loss"] for line in one.state.log_history if "loss" in line] for one in (whole, again)]
    assert len(told) == 4
    assert len({round(loss, 6) for loss in told}) == 4
    assert retold == pytest.approx(told, rel=1e-6, abs=1e-6)
    rewards, later = [[line["reward"] for line in one.state.log_history if "reward" in line] for one in (whole, again)]
    assert later == pytest.approx(rewards, rel=1e-6)


@pytest.mark.slow
def test_a_run_tells_its_curves_its_attempts_and_its_tests(tmp_path: Path) -> None:
    from app.runs import events

    source = write_rows(tmp_path / "rows.jsonl", chats(20))
    spec = spec_of(
        "ebft", source, SMALL | {"evaluations": 0, "eval_answers": 4, "ce_weight": 0.03}, holdout={"share": 0.2}
    )
    run = train(spec)
    steps, story = steps_of(run), events.read_events(run.events)
    for name in ("ebft/alignment", "ebft/diversity", "ebft/cfm", "reward/mean", "train/ce", "train/loss"):
        assert all(math.isfinite(metrics[name]) for metrics in steps.values()), name
    attempts = next(event.rows for event in events.of_type(story, events.SampleEvent) if "advantage" in event.rows[0])
    assert len(attempts) == 3
    assert all(row["completion"] is not None and math.isfinite(row["rewards"]["meaning"]) for row in attempts)
    first, last = [event.metrics for event in events.of_type(story, events.EvalEvent)]
    assert 0 < first["eval/alignment"] <= 1
    assert first["eval/loss"] > last["eval/loss"] > 0


@pytest.mark.slow
def test_the_preview_shows_questions_with_the_answers_whose_meaning_is_learned(tmp_path: Path) -> None:
    from app.engine.preview import row_preview

    source = write_rows(tmp_path / "rows.jsonl", chats(3))
    told = row_preview.preview_rows(spec_of("ebft", source, SMALL), 6)
    assert len(told["rows"]) == 6, "both answers of each conversation"
    tokens = told["rows"][1]["tokens"]
    assert "".join(token["text"] for token in tokens if token["trained"]) == "Yes, I counted on my fingers.<|im_end|>"
    assert "What is 0 + 0?" in "".join(token["text"] for token in tokens if not token["trained"])
    assert [finding["severity"] for finding in told["findings"]] == ["good", "good"]
    assert "writes answers of its own" in told["findings"][1]["text"]
    with pytest.raises(Problem, match="writes its own answers"):
        row_preview.preview_batches(spec_of("ebft", source, SMALL), 1)


@pytest.mark.slow
def test_the_preview_shows_the_texts_whose_pieces_are_tried(tmp_path: Path) -> None:
    from app.engine.preview import row_preview, run_estimate

    rows = [*texts(4), {"text": "Too short."}]
    spec = spec_of("ebft", write_rows(tmp_path / "rows.jsonl", rows), SMALL)
    told = row_preview.preview_rows(spec, 5)
    assert len(told["rows"]) == 4
    assert {finding["text"] for finding in told["findings"] if finding["severity"] == "careful"} == {
        "1 example is left out: too short for one attempt after its context, or cut off before it."
    }
    assert "every 8th place" in told["findings"][-1]["text"]
    shown = row_preview.preview_batches(spec, 1)["batches"][0]["rows"]
    assert len(shown) == 2
    assert run_to_end(run_estimate.estimate_run(spec))[1]["steps"] == 2


@pytest.mark.parametrize(("rows", "knobs", "said"), [
    (texts(2), {"mode": "structured"}, "holds no questions"),
    (pairs(2), {"attempts": 1}, "one attempt is too few"),
    (texts(2), {"repetition_penalty": 1.1}, "no repetition_penalty"),
    (texts(2), {"context": 4000}, "all were left out"),
])  # fmt: skip
@pytest.mark.slow
def test_what_cannot_work_is_said_before_training(rows: Any, knobs: dict[str, Any], said: str, tmp_path: Path) -> None:
    job = job_of(tmp_path, rows, **knobs)
    job.preview = True
    with pytest.raises(Problem, match=said):
        job.method.build(job)
