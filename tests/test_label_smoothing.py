"""Label smoothing: the loss of SFT equals PyTorch's own, and it is refused where it means nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.core.problems import Problem
from app.engine.methods.sft import Knobs, step_memory
from app.planning import preflight
from app.planning.resolve import resolve
from app.setup.spec import parse_spec
from app.setup.step_memory import RowLengths
from tests.support import conversation_rows, write_rows
from tests.test_trained_positions_head import build_trl_trainer, loss_and_gradients


def plain_loss_and_gradients(trainer: Any, batch: dict[str, Any], smoothing: float) -> tuple[float, dict[str, Any]]:
    """By PyTorch's cross-entropy on the model's own logits of all positions."""
    import torch

    trainer.model.train()
    trainer.model.zero_grad()
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask") if name in batch}
    logits = trainer.model(**inputs).logits[:, :-1].float()
    targets = batch["labels"][:, 1:]
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), label_smoothing=smoothing)
    loss.backward()
    return loss.item(), {
        name: weight.grad.clone() for name, weight in trainer.model.named_parameters() if weight.grad is not None
    }


@pytest.mark.slow
@pytest.mark.first_cases(1)
@pytest.mark.parametrize(
    ("learn_from", "adapter"), [("assistant", "lora"), ("completion", "lora"), ("everything", "none")]
)
def test_smoothed_losses_and_gradients_equal_those_of_pytorch(learn_from: str, adapter: str, tmp_path: Path) -> None:
    import torch

    from app.engine.model.label_smoothing import smooth_labels
    from app.engine.model.trained_positions_head import score_trained_positions_only

    trainer = build_trl_trainer(learn_from, adapter, tmp_path)
    for name, weight in trainer.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)  # with LoRA B at zero, half of the gradients would be zero
    batch = next(iter(trainer.get_train_dataloader()))
    plain_loss, _ = plain_loss_and_gradients(trainer, batch, 0.0)
    expected_loss, expected_gradients = plain_loss_and_gradients(trainer, batch, 0.2)
    score_trained_positions_only(trainer)
    smooth_labels(trainer, 0.2)
    loss, gradients = loss_and_gradients(trainer, batch)

    assert expected_loss != pytest.approx(plain_loss, rel=1e-3), "equal losses would not show a difference"
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert set(gradients) == set(expected_gradients)
    for name, gradient in gradients.items():
        difference = (gradient - expected_gradients[name]).norm() / expected_gradients[name].norm()
        assert difference < 1e-4, f"{name}: {difference:.1e}"
    trainer.model.eval()
    with torch.no_grad():
        eval_loss = trainer.compute_loss(trainer.model, dict(batch), num_items_in_batch=None)
    assert eval_loss.item() == pytest.approx(plain_loss, rel=1e-5), "evaluations keep the plain loss"


@pytest.mark.parametrize("method", ["pretrain", "grpo", "dpo", "reward"])
def test_label_smoothing_is_refused_by_name_where_it_means_nothing(method: str) -> None:
    spec = parse_spec(
        {"method": method, "data": [{"source": "sample:tickets"}], "knobs": {"label_smoothing_factor": 0.1}}
    )
    with pytest.raises(Problem, match=f"no setting called “label_smoothing_factor” for {method}"):
        resolve(spec)


def test_label_smoothing_is_refused_with_a_loss_that_it_contradicts(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", conversation_rows(10))
    for loss, is_refused in (("nll", False), ("dft", True)):
        knobs = {"label_smoothing_factor": 0.1, "loss": loss}
        spec = parse_spec({"method": "sft", "data": [{"source": source}], "knobs": knobs})
        if not is_refused:
            assert preflight.check_spec(spec).knobs["label_smoothing"] == 0.1
            continue
        with pytest.raises(Problem, match="contradict each other"):
            preflight.check_spec(spec)


def test_smoothed_logits_are_all_in_memory_at_once() -> None:
    lengths = RowLengths(text=200, learned=50, prompt=150)
    plain, smoothed = (step_memory(Knobs(label_smoothing=share), lengths).logits[0] for share in (0.0, 0.1))
    assert (plain.kernel, smoothed.kernel) == ("learned", "whole")
    assert (plain.positions, smoothed.positions) == (50, 200)
