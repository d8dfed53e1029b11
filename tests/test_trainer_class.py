"""Trainer classes that are extended at run time: their names and the order of their mixins."""

from __future__ import annotations

from pathlib import Path

from app.engine.job import Job
from app.engine.model.device import Device
from app.engine.trainer_class import extended, named_after
from tests.support import build_spec, conversation_rows, write_rows


def test_the_name_has_the_outermost_extension_and_the_qualified_name_all_extensions() -> None:
    class SFTTrainer:
        pass

    SFTTrainer.__qualname__ = "SFTTrainer"

    @named_after(SFTTrainer)
    class Resumable(SFTTrainer):
        pass

    @named_after(Resumable)
    class Caching(Resumable):
        pass

    assert (Resumable.__name__, Resumable.__qualname__) == ("ResumableSFTTrainer", "Resumable.SFTTrainer")
    assert (Caching.__name__, Caching.__qualname__) == ("CachingSFTTrainer", "Caching.Resumable.SFTTrainer")


def test_mixins_are_applied_in_list_order_and_the_trainer_has_the_job(tmp_path: Path) -> None:
    class Trainer:
        def call_order(self) -> list[str]:
            return ["trainer"]

    class OuterMixin:
        def call_order(self) -> list[str]:
            return ["outer", *super().call_order()]

    class InnerMixin:
        def call_order(self) -> list[str]:
            return ["inner", *super().call_order()]

    Trainer.__qualname__ = "Trainer"
    source = write_rows(tmp_path / "chats.jsonl", conversation_rows(4))
    job = Job(build_spec("sft", source), tmp_path, Device("cpu"))
    trainer_class = extended(Trainer, (OuterMixin, InnerMixin), job)
    trainer = trainer_class()
    assert trainer.call_order() == ["outer", "inner", "trainer"]
    assert (trainer.job, trainer.knobs) == (job, job.knobs)
    assert (trainer_class.__name__, trainer_class.__qualname__) == ("OuterTrainer", "Outer.Inner.Trainer")
