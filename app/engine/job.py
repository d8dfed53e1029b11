"""Job: what a method's `build` works with, so that a method file says only what is its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from app.core import registry
from app.engine.datasets.cached_preparation import starting
from app.engine.datasets.load import Data, load, table
from app.engine.emitter import Emitter
from app.engine.generation.sampling import template_of
from app.engine.lockless_property import once
from app.engine.model import init_from, quantization
from app.engine.model.device import Device, choose
from app.engine.model.tokenizer import tokenizer_of, with_arguments
from app.engine.reward_runtime import reward
from app.engine.reward_runtime.error_policy import Guard
from app.engine.trainers.resumable_sampler import resumable
from app.engine.trainers.training_args import loop_arguments, require_device, scheduled
from app.setup.spec import Budget, Spec

MOST_HELD_OUT = 512  # rows the held-out loss is computed on: enough for two digits


def as_it_is(trainer: type) -> type:
    return trainer


@dataclass
class Job:
    """One training to build. preview: on a model without weights; emitter: where the story goes, None in a preview."""

    spec: Spec
    folder: Path
    device: Device
    emitter: Emitter | None = None
    callbacks: list[Any] = field(default_factory=list)
    preview: bool = False
    shape: Callable[[type], type] = as_it_is  # preview puts its own class around the trainer's
    budget: Budget = field(default_factory=Budget)
    rows: int | None = None  # only the first so many, for the instant preview
    warned: set[str] = field(default_factory=set)
    others: dict[str, Any] = field(default_factory=dict)  # what else was loaded, see app/engine/model/aux_models.py

    @cached_property
    def method(self) -> Any:
        return registry.load("methods", self.spec.method)

    @property
    def kind(self) -> str:
        """What is trained: a model that writes (causal), or one that scores texts or steps; see app/engine/model/load_model.py."""
        return getattr(self.method, "MODEL", "causal")

    @cached_property
    def knobs(self) -> Any:
        return self.method.Knobs.model_validate(self.spec.knobs)

    @cached_property
    def trainers_tokenizer(self) -> Any:
        """With the template as it is: TRL knows some by their very text. Rows bring the template's arguments themselves."""
        return tokenizer_of(self.spec.model)

    @cached_property
    def tokenizer(self) -> Any:
        """The model's, as anybody asks the result: its template has the Spec's arguments."""
        return with_arguments(self.trainers_tokenizer, self.template_arguments)

    @property
    def template_arguments(self) -> dict[str, Any]:
        """What the chat format is told, such as enable_thinking=false."""
        return template_of(self.spec.knobs)

    @cached_property
    def processor(self) -> Any:
        """Of a model that sees, for examples with pictures; None for those without."""
        from app.engine.model.vision import processor_of

        return processor_of(self) if "images" in next(iter(self.data.train)) else None

    @cached_property
    def picture(self) -> int | None:
        """The token that stands for a part of a picture."""
        from app.engine.model.vision import picture_of

        return picture_of(self.model.config)

    @cached_property
    def chat(self) -> bool:
        """Plain prompts become chat messages: the model has a template, and the person did not decline."""
        return bool(self.tokenizer.chat_template) and getattr(self.knobs, "chat_format", True)

    @property
    def writes(self) -> bool:
        """The model answers prompts; one that scores says nothing."""
        return self.kind == "causal"

    @once
    def speaks(self) -> bool:
        """Prompts are questions in a chat; of plain text they are beginnings to go on from."""
        return self.chat and not {"text", "segments"} & {*next(iter(self.data.train))}

    @cached_property
    def streaming(self) -> bool:
        return getattr(self.knobs, "streaming", False)

    @once
    def data(self) -> Data:
        data = load(self.spec, self.method.LAYOUTS, self.method.TITLE, self.chat, self.streaming, self.rows)
        if self.rows is not None:
            data.train = (
                data.train.take(self.rows)
                if self.streaming
                else data.train.select(range(min(self.rows, len(data.train))))
            )
        if hasattr(self.method, "arranged"):
            data.train = self.method.arranged(self, data.train)
        data.train = self.told(data.train)
        return data

    def told(self, rows: Any) -> Any:
        """Rows that bring the template's arguments, where the trainer reads these from each row."""
        arguments = self.template_arguments
        names = rows.column_names or next(iter(rows))
        if not (arguments and self.chat) or not any(one in names for one in ("messages", "completion", "chosen")):
            return rows
        return rows.map(lambda row: {"chat_template_kwargs": arguments | (row.get("chat_template_kwargs") or {})})

    @cached_property
    def dtype(self) -> Any:
        """Of the weights that are not held in few bits."""
        earlier = init_from.adapter_of(self.spec.model)
        whole = bool(self.spec.adapter.unfreeze) or bool(earlier and init_from.whole_layers(earlier))
        return self.device.dtype(self.knobs.precision, self.spec.adapter.kind, whole)

    @cached_property
    def model(self) -> Any:
        from app.engine.model.load_model import meta_model, real_model

        return meta_model(self) if self.preview else real_model(self)

    @cached_property
    def peft_config(self) -> Any:
        from app.engine.model.load_model import lora_config

        return lora_config(self)

    def learn_from(self, choice: str) -> str:
        """`auto` as what fits the rows: answers of conversations, completions, or every token of plain text."""
        if choice != "auto":
            return choice
        first = next(iter(self.data.train))
        return "assistant" if "messages" in first else "completion" if "completion" in first else "everything"

    def held_out_table(self) -> Any:
        """Held-out rows as a table for the held-out loss; None in a preview or when nothing is kept aside."""
        return self.told(table(self.data.holdout[:MOST_HELD_OUT])) if self.data.holdout and not self.preview else None

    def rewards(self) -> list[Guard]:
        """Of the Spec, in its order; what goes wrong with one is told in the run's story."""
        stops = self.emitter is not None
        return [Guard(reward.make(one, self.device.name), one.label, self.warn, stops) for one in self.spec.rewards]

    def warn(self, text: str) -> None:
        """Each sentence once, though tests find the same again and again."""
        if self.emitter and text not in self.warned:
            self.warned.add(text)
            self.emitter.say("note", level="careful", text=text)

    def arguments(self, config: type, **own: Any) -> Any:
        """The trainer's config: the shared knobs, what the device wants, and the method's own settings."""
        if self.preview or self.emitter:  # a run, or the look before it; other jobs only borrow the trainer
            require_device(self.knobs, Device(choose("local")) if self.preview else self.device)
        shared = loop_arguments(self.knobs, self.spec.seed) | self.device.arguments(self)
        return config(output_dir=str(self.folder / "checkpoints"), **(shared | own))

    def trainer(self, trainer: type, args: Any, **own: Any) -> Any:
        """The trainer, built on this job's model and rows; in a preview it is stopped before it would train."""
        shared = {
            "model": self.model,
            "args": args,
            "train_dataset": self.data.train,
            "processing_class": self.trainers_tokenizer if self.processor is None else self.processor,
        }
        if self.peft_config:
            shared["peft_config"] = self.peft_config
        if not self.preview:
            shared["callbacks"] = self.callbacks
        made = self.shape(starting(resumable(scheduled(quantization.noting(trainer, self), self.knobs)), self))(
            **(shared | own)
        )
        if not self.preview:
            quantization.settle(made.model, self.dtype)
        return made
