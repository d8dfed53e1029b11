"""Names of trainer classes that are extended at run time."""

from app.engine.trainer_class import named_after


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
