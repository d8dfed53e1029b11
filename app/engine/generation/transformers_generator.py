"""Text generation with transformers: batches for many prompts, and a stream of tokens for one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from app.engine.contracts import GeneratedCompletion, ImagePrompt, Prompt, SamplingSettings
from app.engine.generation.end_tokens import cut_after_first_end, declared_end_token_ids
from app.engine.tokens.length_batches import length_batches, map_batches, pad_texts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor
    from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin
    from transformers.generation.streamers import BaseStreamer

BatchIndices = Callable[[Sequence[int]], list[list[int]]]  # lengths of the prompts -> indices of each batch

batches_of_32: BatchIndices = partial(length_batches, batch_size=32)


def single_batch(lengths: Sequence[int]) -> list[list[int]]:
    """All prompts in one batch, in their order."""
    return [[*range(len(lengths))]] if lengths else []


class TransformersGenerator:
    """A `TextGenerator` (app/engine/contracts.py) with a model in this process, which is in eval mode.

    processor: of a vision-language model, for prompts with images. make_batches: which prompts are generated together;
    it gets the length of each in characters or tokens, as it was given.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        processor: ProcessorMixin | None = None,
        make_batches: BatchIndices = batches_of_32,
    ):
        self.model, self.tokenizer, self.processor, self.make_batches = model, tokenizer, processor, make_batches

    def generate(self, prompts: Sequence[Prompt], sampling: SamplingSettings) -> list[GeneratedCompletion]:
        """One completion for each prompt, in their order."""
        _seed(sampling)
        batches = self.make_batches([_length(prompt) for prompt in prompts])
        return map_batches(batches, prompts, partial(self._complete_batch, sampling=sampling))

    def stream(self, prompt: Prompt, sampling: SamplingSettings) -> Generator[int, None, None]:
        """The token ids of one completion as they are generated. Computes only while the next one is waited for."""
        _seed(sampling)
        paused = _PausedGeneration(partial(self._generate, self._model_inputs([prompt]), sampling))
        try:
            while (token_id := paused.next_token_id()) is not None:
                yield token_id
        finally:
            paused.close()

    def decode(self, token_ids: list[int]) -> str:
        """The text of a completion, without special tokens."""
        return str(self.tokenizer.decode(token_ids, skip_special_tokens=True))

    def _complete_batch(self, prompts: list[Prompt], sampling: SamplingSettings) -> list[GeneratedCompletion]:
        model_inputs = self._model_inputs(prompts)
        output_ids = self._generate(model_inputs, sampling)
        end_token_ids = sampling.end_token_ids or declared_end_token_ids(self.model)
        completions = []
        for row in output_ids[:, model_inputs["input_ids"].shape[1] :].tolist():
            token_ids = cut_after_first_end(row, end_token_ids)
            completions.append(GeneratedCompletion(token_ids, self.decode(token_ids)))
        return completions

    def _generate(
        self, model_inputs: Mapping[str, Tensor], sampling: SamplingSettings, streamer: BaseStreamer | None = None
    ) -> Tensor:
        """(prompts, prompt + completion tokens): token ids, after the end of a completion those of padding."""
        import torch

        with torch.no_grad():
            return self.model.generate(  # type: ignore[operator]  # of GenerationMixin, beside PreTrainedModel
                **model_inputs, generation_config=self._generation_config(sampling), streamer=streamer
            )

    def _generation_config(self, sampling: SamplingSettings) -> GenerationConfig:
        """What is None is filled in by `generate` from the model's own."""
        from transformers import GenerationConfig

        is_sampled = sampling.temperature > 0
        return GenerationConfig(
            max_new_tokens=sampling.max_new_tokens,
            do_sample=is_sampled,
            temperature=sampling.temperature if is_sampled else None,
            top_p=sampling.top_p if is_sampled else None,
            top_k=sampling.top_k if is_sampled else None,
            min_p=sampling.min_p if is_sampled else None,
            repetition_penalty=sampling.repetition_penalty,
            pad_token_id=self._pad_token_id,
            eos_token_id=sampling.end_token_ids,
            use_cache=True,
            disable_compile=True,
        )

    @property
    def _pad_token_id(self) -> int:
        pad_token_id = self.tokenizer.pad_token_id
        return self.tokenizer.eos_token_id if pad_token_id is None else pad_token_id

    def _model_inputs(self, prompts: list[Prompt]) -> Mapping[str, Tensor]:
        """Arguments of the model's forward, padded on the left."""
        image_prompts: list[ImagePrompt] = []
        token_ids: list[list[int]] = []
        for prompt in prompts:
            if isinstance(prompt, ImagePrompt):
                image_prompts.append(prompt)
            else:
                token_ids.append(tokenize_rendered(self.tokenizer, prompt) if isinstance(prompt, str) else prompt)
        if image_prompts:
            from app.engine.model.vision import prepare_prompts

            assert self.processor is not None, "images are given to a model that reads them"
            return prepare_prompts(self.processor, image_prompts).to(self.model.device)
        input_ids, attention_mask = pad_texts(token_ids, self.model.device, self._pad_token_id, side="left")
        return {"input_ids": input_ids, "attention_mask": attention_mask}


def tokenize_rendered(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of a rendered prompt. A chat template has already written the beginning-of-sequence token."""
    return tokenizer(text, add_special_tokens=not tokenizer.chat_template)["input_ids"]


def _length(prompt: Prompt) -> int:
    """In characters or tokens. Prompts with images count as equal, so they stay in their order: an image has no length yet."""
    return 0 if isinstance(prompt, ImagePrompt) else len(prompt)


def _seed(sampling: SamplingSettings) -> None:
    import torch

    if sampling.seed is not None:
        torch.manual_seed(sampling.seed)


class _Cancelled(Exception):
    """Raised inside `generate` to stop it when nobody waits for its tokens any more."""


class _PausedGeneration:
    """One `generate` call in its own thread, paused after each token; also its streamer.

    So several models can take turns within one answer, each generated by the same function that anybody calls to use
    the result. The thread computes only while `next_token_id` waits for it, so never more than one of them computes.
    """

    def __init__(self, generate: Callable[..., Tensor]):
        self._generate_tokens = generate
        self._token_ids: list[int] = []  # generated, and not returned yet
        self._has_prompt = self._is_finished = self._is_cancelled = False
        self._error: BaseException | None = None
        self._resume, self._paused = threading.Semaphore(0), threading.Semaphore(0)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        self._resume.acquire()
        try:
            if not self._is_cancelled:
                self._generate_tokens(streamer=self)
        except _Cancelled:
            pass
        except BaseException as error:  # raised again in `_advance`
            self._error = error
        self._is_finished = True
        self._paused.release()

    def put(self, token_ids: Tensor) -> None:
        """Called by `generate`: first with the prompt, then with each token."""
        if self._has_prompt:
            self._token_ids += token_ids.reshape(-1).tolist()
            self._paused.release()
            self._resume.acquire()
        self._has_prompt = True
        if self._is_cancelled:
            raise _Cancelled

    def end(self) -> None:
        """Called by `generate` at its end; part of the streamer protocol."""

    def next_token_id(self) -> int | None:
        """The next token; None at the end. Raises what `generate` raised."""
        if not self._is_finished:
            self._advance()
        return self._token_ids.pop(0) if self._token_ids else None

    def _advance(self) -> None:
        self._resume.release()
        self._paused.acquire()
        if self._error:
            raise self._error

    def close(self) -> None:
        """Stops the generation, if it is not finished, and ends its thread."""
        self._is_cancelled = True
        if not self._is_finished:
            self._advance()
