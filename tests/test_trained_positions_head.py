"""Head: scoring only trained positions gives the losses and gradients that TRL's own head gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support import chats, pairs, spec_of, texts, write_rows

ROWS = {"assistant": chats, "completion": pairs, "everything": texts}


def trainer_of(learn_from: str, adapter: str, folder: Path, new: tuple[str, ...] = ()) -> Any:
    """TRL's trainer as the method builds it, before its head is wrapped."""
    from trl import SFTConfig, SFTTrainer

    from app.engine.job import Job
    from app.engine.libraries import prepare_libraries
    from app.engine.methods.sft import config_args
    from app.engine.model.device import Device

    prepare_libraries()
    source = write_rows(folder / "rows.jsonl", ROWS[learn_from](16))
    knobs = {"batch_size": 8, "learn_from": learn_from, "precision": "fp32", "checkpointing": "off"}
    model = {"id": "pocket", "new_tokens": [*new]}
    job = Job(spec_of("sft", source, knobs, model=model, adapter={"kind": adapter}), folder, Device("cpu"))
    return job.trainer(SFTTrainer, config_args(job, SFTConfig, learn_from))


def loss_and_gradients(trainer: Any, batch: dict[str, Any]) -> tuple[float, dict[str, Any]]:
    import torch

    torch.manual_seed(7)
    trainer.model.train()
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, dict(batch), num_items_in_batch=(batch["labels"][:, 1:] != -100).sum())
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("learn_from", "adapter", "new"),
    [
        ("assistant", "lora", ()),
        ("completion", "lora", ()),
        ("everything", "none", ()),
        ("assistant", "none", ()),
        ("assistant", "lora", (" it is", "fingers")),
    ],
)
def test_losses_and_gradients_are_those_of_trls_own_head(
    learn_from: str, adapter: str, new: tuple[str, ...], tmp_path: Path
) -> None:
    import torch

    from app.engine.model.trained_positions_head import score_trained_positions_only

    trainer = trainer_of(learn_from, adapter, tmp_path, new)
    for name, weight in trainer.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)  # at zero half of the gradients would be zero
    batch = next(iter(trainer.get_train_dataloader()))
    theirs, their_gradients = loss_and_gradients(trainer, batch)

    score_trained_positions_only(trainer)
    scored: list[int] = []
    trainer.model.get_output_embeddings().register_forward_hook(lambda module, given, out: scored.append(out.shape[0]))
    ours, our_gradients = loss_and_gradients(trainer, batch)

    assert scored == [int((batch["labels"][:, 1:] != -100).sum())], "only the trained positions were scored"
    assert ours == pytest.approx(theirs, rel=1e-5)
    assert set(ours_and_theirs := our_gradients) == set(their_gradients)
    assert len(ours_and_theirs) > 4
    for name, gradient in our_gradients.items():
        assert gradient.abs().max() > 0, name
        difference = (gradient - their_gradients[name]).norm() / their_gradients[name].norm()
        assert difference < 1e-5, f"{name}: {difference:.1e}"


@pytest.mark.slow
def test_scores_worked_by_hand() -> None:
    """Two positions, three words. log-softmax of (0, ln 2, ln 5): log of 1/8, 2/8, 5/8."""
    import torch

    from app.engine.model.trained_positions_head import score_targets

    row = torch.tensor([0.0, 2.0, 5.0]).add(torch.tensor([1.0, 0.0, 0.0])).log()
    log_probs, entropy, top = score_targets(torch.stack([row, row]), torch.tensor([2, 0]))
    assert log_probs.exp().tolist() == pytest.approx([5 / 8, 1 / 8])
    expected = -(
        1 / 8 * torch.tensor(1 / 8).log() + 2 / 8 * torch.tensor(2 / 8).log() + 5 / 8 * torch.tensor(5 / 8).log()
    )
    assert entropy.tolist() == pytest.approx([expected.item()] * 2)
    assert top.tolist() == [True, False]
