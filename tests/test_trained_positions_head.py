"""Head: scoring only trained positions gives the losses and gradients that TRL's own head gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support import build_spec, conversation_rows, prompt_completion_rows, text_rows, write_rows

ROWS = {"assistant": conversation_rows, "completion": prompt_completion_rows, "everything": text_rows}


def build_trl_trainer(learn_from: str, adapter: str, folder: Path, new_tokens: tuple[str, ...] = ()) -> Any:
    """TRL's trainer as the SFT method builds it, before its output head is wrapped."""
    from trl import SFTConfig, SFTTrainer

    from app.engine.job import Job
    from app.engine.libraries import prepare_libraries
    from app.engine.methods.sft import config_args
    from app.engine.model.device import Device

    prepare_libraries()
    source = write_rows(folder / "rows.jsonl", ROWS[learn_from](16))
    knobs = {"batch_size": 8, "learn_from": learn_from, "precision": "fp32", "checkpointing": "off"}
    model = {"id": "pocket", "new_tokens": [*new_tokens]}
    job = Job(build_spec("sft", source, knobs, model=model, adapter={"kind": adapter}), folder, Device("cpu"))
    return job.trainer(SFTTrainer, config_args(job, SFTConfig, learn_from))


def loss_and_gradients(trainer: Any, batch: dict[str, Any]) -> tuple[float, dict[str, Any]]:
    import torch

    torch.manual_seed(7)
    trainer.model.train()
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, dict(batch), num_items_in_batch=(batch["labels"][:, 1:] != -100).sum())
    loss.backward()
    return loss.item(), {
        name: parameter.grad.clone()
        for name, parameter in trainer.model.named_parameters()
        if parameter.grad is not None
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("learn_from", "adapter", "new_tokens"),
    [
        ("assistant", "lora", ()),
        ("completion", "lora", ()),
        ("everything", "none", ()),
        ("assistant", "none", ()),
        ("assistant", "lora", (" it is", "fingers")),
    ],
)
def test_losses_and_gradients_equal_those_of_trls_own_head(
    learn_from: str, adapter: str, new_tokens: tuple[str, ...], tmp_path: Path
) -> None:
    import torch

    from app.engine.model.trained_positions_head import score_trained_positions_only

    trainer = build_trl_trainer(learn_from, adapter, tmp_path, new_tokens)
    for name, weight in trainer.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)  # with LoRA B at zero, half of the gradients would be zero
    batch = next(iter(trainer.get_train_dataloader()))
    trl_loss, trl_gradients = loss_and_gradients(trainer, batch)

    score_trained_positions_only(trainer)
    scored_positions: list[int] = []
    trainer.model.get_output_embeddings().register_forward_hook(
        lambda module, inputs, output: scored_positions.append(output.shape[0])
    )
    trained_positions_loss, trained_positions_gradients = loss_and_gradients(trainer, batch)

    assert scored_positions == [int((batch["labels"][:, 1:] != -100).sum())], "only the trained positions were scored"
    assert trained_positions_loss == pytest.approx(trl_loss, rel=1e-5)
    assert set(gradient_names := trained_positions_gradients) == set(trl_gradients)
    assert len(gradient_names) > 4
    for name, gradient in trained_positions_gradients.items():
        assert gradient.abs().max() > 0, name
        difference = (gradient - trl_gradients[name]).norm() / trl_gradients[name].norm()
        assert difference < 1e-5, f"{name}: {difference:.1e}"


@pytest.mark.slow
def test_score_targets_equals_values_worked_by_hand() -> None:
    """Two positions, three tokens. log-softmax of (0, ln 2, ln 5): log of 1/8, 2/8, 5/8."""
    import torch

    from app.engine.model.trained_positions_head import score_targets

    logits = torch.tensor([0.0, 2.0, 5.0]).add(torch.tensor([1.0, 0.0, 0.0])).log()
    log_probs, entropy, is_top_token = score_targets(torch.stack([logits, logits]), torch.tensor([2, 0]))
    assert log_probs.exp().tolist() == pytest.approx([5 / 8, 1 / 8])
    expected_entropy = -(
        1 / 8 * torch.tensor(1 / 8).log() + 2 / 8 * torch.tensor(2 / 8).log() + 5 / 8 * torch.tensor(5 / 8).log()
    )
    assert entropy.tolist() == pytest.approx([expected_entropy.item()] * 2)
    assert is_top_token.tolist() == [True, False]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("piece_rows", [1, 3, 100])
def test_a_frozen_head_scores_in_pieces_as_the_logits_of_all_positions_do(
    piece_rows: int, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from torch.testing import assert_close

    from app.engine.model import frozen_head
    from app.engine.model.trained_positions_head import score_targets

    torch.manual_seed(7)
    head = torch.nn.Linear(16, 50, bias=False, dtype=getattr(torch, dtype)).requires_grad_(False)
    assert frozen_head.is_frozen_head(head)
    monkeypatch.setattr(frozen_head, "PIECE_ELEMENTS", piece_rows * 50)
    targets, weights = torch.randint(0, 50, (8,)), torch.rand(8)
    whole, piecewise = (torch.randn(8, 16, dtype=head.weight.dtype).requires_grad_() for _ in range(2))
    with torch.no_grad():
        piecewise.copy_(whole)
    expected = score_targets(head(whole), targets)
    scores = frozen_head.score_by_frozen_head(head, piecewise, targets)
    for score, expected_score in zip(scores, expected, strict=True):
        assert_close(score, expected_score)
    (expected[0] * weights).sum().backward()
    (scores[0] * weights).sum().backward()
    assert whole.grad is not None
    assert whole.grad.abs().max() > 0
    tolerance = {"float32": (1e-5, 1e-5), "bfloat16": (0.02, 1e-3)}[dtype]
    assert_close(piecewise.grad, whole.grad, rtol=tolerance[0], atol=tolerance[1])


def test_a_trained_or_adapted_head_is_not_taken_for_a_frozen_one() -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    from app.engine.model.frozen_head import is_frozen_head

    assert not is_frozen_head(torch.nn.Linear(4, 4))
    model = get_peft_model(
        torch.nn.ModuleDict({"lm_head": torch.nn.Linear(4, 4)}), LoraConfig(target_modules=["lm_head"])
    )
    assert not is_frozen_head(model.base_model.model["lm_head"])
