"""Text generation: batching does not change completions, a stream yields the tokens of the completion, and other generators can be used."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from typing import Any

import pytest

from app.engine.contracts import GeneratedCompletion, Prompt, SamplingSettings, TextGenerator
from app.engine.generation.generate import generate_completions
from app.engine.generation.transformers_generator import TransformersGenerator, single_batch, tokenize_rendered
from app.engine.tokens.length_batches import length_batches, map_batches, pad_texts
from tests.support import wait_until

PROMPTS = [f"What is {number} + {number * 3}?" + " Please." * (number % 4) for number in range(40)]
GREEDY, SAMPLED = SamplingSettings(max_new_tokens=12), SamplingSettings(max_new_tokens=12, temperature=1.5, seed=3)


@pytest.fixture(scope="module")
def pocket_model() -> tuple[Any, Any]:
    from app.engine.model.load_model import load_tuned
    from app.setup import models

    return load_tuned(models.locate_model("pocket"))


def render_prompts(tokenizer: Any) -> list[str]:
    from app.engine.generation.generate import render_prompt

    return [render_prompt(tokenizer, prompt, chat=True) for prompt in PROMPTS]


# -- batches -----------------------------------------------------------------------------------------------------------


def test_a_batch_contains_texts_of_similar_lengths() -> None:
    lengths = [5, 1, 3, 1, 4]
    assert length_batches(lengths, 2) == [[1, 3], [2, 4], [0]]
    assert length_batches(lengths, 2, longest_first=True) == [[0, 4], [2, 1], [3]]
    assert length_batches(lengths, lambda longest: 8 // longest, longest_first=True) == [[0], [4, 2], [1, 3]]
    assert length_batches([9, 9], lambda longest: 8 // longest) == [[0], [1]], "each batch has at least one text"
    assert length_batches([], 2) == []


def test_batch_results_are_returned_in_the_order_of_the_texts() -> None:
    assert map_batches([[2, 0], [1]], ["a", "b", "c"], lambda batch: [text * len(batch) for text in batch]) == [
        "aa", "b", "cc",
    ]  # fmt: skip


def test_texts_are_padded_on_the_right_or_on_the_left() -> None:
    ids, mask = pad_texts([[5], [6, 7]], "cpu", 9)
    assert (ids.tolist(), mask.tolist()) == ([[5, 9], [6, 7]], [[1, 0], [1, 1]])
    ids, mask = pad_texts([[5], [6, 7]], "cpu", 9, side="left")
    assert (ids.tolist(), mask.tolist()) == ([[9, 5], [6, 7]], [[0, 1], [1, 1]])


# -- the generator -----------------------------------------------------------------------------------------------------


def test_batching_and_token_id_prompts_do_not_change_completions(pocket_model: tuple[Any, Any]) -> None:
    model, tokenizer = pocket_model
    texts = render_prompts(tokenizer)
    batched_completions = TransformersGenerator(model, tokenizer).generate(texts, GREEDY)
    token_ids = [tokenize_rendered(tokenizer, text) for text in texts]
    assert (
        TransformersGenerator(model, tokenizer, make_batches=single_batch).generate(token_ids, GREEDY)
        == batched_completions
    )
    assert len({completion.text for completion in batched_completions}) > 10
    for completion in batched_completions:
        assert tokenizer.eos_token_id not in completion.token_ids[:-1], "no token follows the end token"
        assert completion.text == tokenizer.decode(completion.token_ids, skip_special_tokens=True)


def test_sampling_with_a_seed_is_reproducible(pocket_model: tuple[Any, Any]) -> None:
    generator = TransformersGenerator(*pocket_model)
    texts = render_prompts(generator.tokenizer)
    first_completions = generator.generate(texts, SAMPLED)
    assert generator.generate(texts, SAMPLED) == first_completions != generator.generate(texts, GREEDY)


def test_a_completion_ends_at_the_given_end_tokens(pocket_model: tuple[Any, Any]) -> None:
    generator = TransformersGenerator(*pocket_model)
    [text, *_] = render_prompts(generator.tokenizer)
    [full_completion] = generator.generate([text], GREEDY)
    end_token_id = full_completion.token_ids[1]
    [ended_completion] = generator.generate([text], SamplingSettings(max_new_tokens=12, end_token_ids=[end_token_id]))
    assert ended_completion.token_ids == full_completion.token_ids[: full_completion.token_ids.index(end_token_id) + 1]


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED])
def test_a_stream_yields_the_tokens_of_the_completion(
    pocket_model: tuple[Any, Any], sampling: SamplingSettings
) -> None:
    generator = TransformersGenerator(*pocket_model)
    [text, *_] = render_prompts(generator.tokenizer)
    [completion] = generator.generate([text], sampling)
    assert [*generator.stream(text, sampling)] == completion.token_ids


def test_a_closed_stream_leaves_no_thread(pocket_model: tuple[Any, Any]) -> None:
    generator = TransformersGenerator(*pocket_model)
    [text, *_] = render_prompts(generator.tokenizer)
    thread_count_before = threading.active_count()
    stream, unread_stream = generator.stream(text, GREEDY), generator.stream(text, GREEDY)
    next(stream)
    assert threading.active_count() == thread_count_before + 1
    stream.close()
    unread_stream.close()
    assert wait_until(lambda: threading.active_count() == thread_count_before, seconds=10)


def test_an_error_in_a_stream_is_raised_in_its_reader(
    pocket_model: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = TransformersGenerator(*pocket_model)

    def raise_out_of_memory(*_: Any, **__: Any) -> Any:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(generator, "_generate", raise_out_of_memory)
    with pytest.raises(RuntimeError, match="out of memory"):
        next(generator.stream([1, 2], GREEDY))


# -- another implementation --------------------------------------------------------------------------------------------


class EchoGenerator:
    """Returns each prompt as its completion."""

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer

    def generate(self, prompts: Sequence[Prompt], sampling: SamplingSettings) -> list[GeneratedCompletion]:
        return [GeneratedCompletion([1], str(prompt)) for prompt in prompts]

    def decode(self, token_ids: list[int]) -> str:
        return str(token_ids)

    def stream(self, prompt: Prompt, sampling: SamplingSettings) -> Generator[int, None, None]:
        yield 1


def test_another_implementation_of_text_generator_works(pocket_model: tuple[Any, Any]) -> None:
    echo_generator: TextGenerator = EchoGenerator(pocket_model[1])
    assert generate_completions(echo_generator, ["Hello"], GREEDY, chat=False) == ["Hello"]
    [completion] = generate_completions(echo_generator, ["Hello"], GREEDY)
    assert "Hello" in completion != "Hello"
