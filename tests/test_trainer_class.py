"""Names of trainer classes that are extended at run time."""

from __future__ import annotations

from pathlib import Path

from app.engine.job import Job
from app.engine.model.device import Device
from app.engine.trainer_class import extended, named_after
from tests.support import chats, spec_of, write_rows


def test_a_name_says_the_extension_and_the_trainer_and_the_qualified_name_all_extensions() -> None:
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


def test_mixins_come_in_the_order_of_their_list_and_find_the_job(tmp_path: Path) -> None:
    class Trainer:
        def steps(self) -> list[str]:
            return ["trainer"]

    class OuterMixin:
        def steps(self) -> list[str]:
            return ["outer", *super().steps()]

    class InnerMixin:
        def steps(self) -> list[str]:
            return ["inner", *super().steps()]

    Trainer.__qualname__ = "Trainer"
    source = write_rows(tmp_path / "chats.jsonl", chats(4))
    job = Job(spec_of("sft", source), tmp_path, Device("cpu"))
    trainer_class = extended(Trainer, (OuterMixin, InnerMixin), job)
    trainer = trainer_class()
    assert trainer.steps() == ["outer", "inner", "trainer"]
    assert (trainer.job, trainer.knobs) == (job, job.knobs)
    assert (trainer_class.__name__, trainer_class.__qualname__) == ("OuterTrainer", "Outer.Inner.Trainer")
