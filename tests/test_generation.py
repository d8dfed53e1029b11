"""Text generation: batches that change no answer, a stream that is the answer token by token, and an interface that others can implement."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from typing import Any

import pytest

from app.engine.contracts import GeneratedCompletion, Prompt, SamplingSettings, TextGenerator
from app.engine.generation.generate import generate_completions
from app.engine.generation.transformers_generator import TransformersGenerator, single_batch, tokenize_rendered
from app.engine.tokens.length_batches import length_batches, map_batches, pad_texts
from tests.support import until

PROMPTS = [f"What is {number} + {number * 3}?" + " Please." * (number % 4) for number in range(40)]
GREEDY, SAMPLED = SamplingSettings(max_new_tokens=12), SamplingSettings(max_new_tokens=12, temperature=1.5, seed=3)


@pytest.fixture(scope="module")
def pocket() -> tuple[Any, Any]:
    from app.engine.model.load_model import load_tuned
    from app.setup import models

    return load_tuned(models.locate_model("pocket"))


def rendered(tokenizer: Any) -> list[str]:
    from app.engine.generation.generate import render_prompt

    return [render_prompt(tokenizer, prompt, chat=True) for prompt in PROMPTS]


# -- batches -----------------------------------------------------------------------------------------------------------


def test_a_batch_holds_texts_of_similar_lengths() -> None:
    lengths = [5, 1, 3, 1, 4]
    assert length_batches(lengths, 2) == [[1, 3], [2, 4], [0]]
    assert length_batches(lengths, 2, longest_first=True) == [[0, 4], [2, 1], [3]]
    assert length_batches(lengths, lambda longest: 8 // longest, longest_first=True) == [[0], [4, 2], [1, 3]]
    assert length_batches([9, 9], lambda longest: 8 // longest) == [[0], [1]], "at least one text in each"
    assert length_batches([], 2) == []


def test_results_come_in_the_order_of_the_texts() -> None:
    assert map_batches([[2, 0], [1]], ["a", "b", "c"], lambda batch: [text * len(batch) for text in batch]) == [
        "aa", "b", "cc",
    ]  # fmt: skip


def test_texts_are_padded_on_either_side() -> None:
    ids, mask = pad_texts([[5], [6, 7]], "cpu", 9)
    assert (ids.tolist(), mask.tolist()) == ([[5, 9], [6, 7]], [[1, 0], [1, 1]])
    ids, mask = pad_texts([[5], [6, 7]], "cpu", 9, side="left")
    assert (ids.tolist(), mask.tolist()) == ([[9, 5], [6, 7]], [[0, 1], [1, 1]])


# -- the generator -----------------------------------------------------------------------------------------------------


def test_neither_batches_nor_token_ids_change_an_answer(pocket: tuple[Any, Any]) -> None:
    model, tokenizer = pocket
    texts = rendered(tokenizer)
    in_batches = TransformersGenerator(model, tokenizer).generate(texts, GREEDY)
    token_ids = [tokenize_rendered(tokenizer, text) for text in texts]
    assert TransformersGenerator(model, tokenizer, make_batches=single_batch).generate(token_ids, GREEDY) == in_batches
    assert len({completion.text for completion in in_batches}) > 10
    for completion in in_batches:
        assert tokenizer.eos_token_id not in completion.token_ids[:-1], "nothing follows the end"
        assert completion.text == tokenizer.decode(completion.token_ids, skip_special_tokens=True)


def test_a_seed_repeats_what_was_sampled(pocket: tuple[Any, Any]) -> None:
    generator = TransformersGenerator(*pocket)
    texts = rendered(generator.tokenizer)
    first = generator.generate(texts, SAMPLED)
    assert generator.generate(texts, SAMPLED) == first != generator.generate(texts, GREEDY)


def test_an_answer_ends_at_the_tokens_that_were_named(pocket: tuple[Any, Any]) -> None:
    generator = TransformersGenerator(*pocket)
    [text, *_] = rendered(generator.tokenizer)
    [whole] = generator.generate([text], GREEDY)
    end_token_id = whole.token_ids[1]
    [cut] = generator.generate([text], SamplingSettings(max_new_tokens=12, end_token_ids=[end_token_id]))
    assert cut.token_ids == whole.token_ids[: whole.token_ids.index(end_token_id) + 1]


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED])
def test_a_stream_is_the_answer_token_by_token(pocket: tuple[Any, Any], sampling: SamplingSettings) -> None:
    generator = TransformersGenerator(*pocket)
    [text, *_] = rendered(generator.tokenizer)
    [completion] = generator.generate([text], sampling)
    assert [*generator.stream(text, sampling)] == completion.token_ids


def test_a_stream_that_nobody_reads_on_leaves_no_thread(pocket: tuple[Any, Any]) -> None:
    generator = TransformersGenerator(*pocket)
    [text, *_] = rendered(generator.tokenizer)
    before = threading.active_count()
    stream, unread = generator.stream(text, GREEDY), generator.stream(text, GREEDY)
    next(stream)
    assert threading.active_count() == before + 1
    stream.close()
    unread.close()
    assert until(lambda: threading.active_count() == before, seconds=10)


def test_what_breaks_in_a_stream_reaches_its_reader(pocket: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    generator = TransformersGenerator(*pocket)

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(generator, "_generate", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        next(generator.stream([1, 2], GREEDY))


# -- another implementation --------------------------------------------------------------------------------------------


class Parrot:
    """Says each prompt again."""

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer

    def generate(self, prompts: Sequence[Prompt], sampling: SamplingSettings) -> list[GeneratedCompletion]:
        return [GeneratedCompletion([1], str(prompt)) for prompt in prompts]

    def decode(self, token_ids: list[int]) -> str:
        return str(token_ids)

    def stream(self, prompt: Prompt, sampling: SamplingSettings) -> Generator[int, None, None]:
        yield 1


def test_another_generator_answers_as_well(pocket: tuple[Any, Any]) -> None:
    parrot: TextGenerator = Parrot(pocket[1])
    assert generate_completions(parrot, ["Hello"], GREEDY, chat=False) == ["Hello"]
    [said] = generate_completions(parrot, ["Hello"], GREEDY)
    assert "Hello" in said != "Hello"
