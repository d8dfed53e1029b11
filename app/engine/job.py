"""Job: the model, tokenizer, rows and trainer of one training, as a method's `build` uses them.

It holds what all methods share, so that a method's file contains only what is its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from app.core.json_types import JsonObject
from app.data.refused_rows import RefusedRows
from app.engine.contracts import AnyMethod, load_method
from app.engine.datasets.cached_preparation import with_cached_preparation
from app.engine.datasets.eval_tables import separate_eval_tables
from app.engine.datasets.load import LoadedData, load_data
from app.engine.datasets.trained_tokens import require_trained_tokens
from app.engine.emitter import Emitter
from app.engine.generation.sampling import parse_template_arguments
from app.engine.lockless_property import lockless_cached_property
from app.engine.model import init_from, quantization
from app.engine.model.device import Device, choose_device
from app.engine.model.processor_precision import automatic_precision
from app.engine.model.tokenizer import load_tokenizer, with_template_arguments
from app.engine.model.trained_model import finish_model
from app.engine.reward_runtime import reward_factory
from app.engine.reward_runtime.error_policy import RewardErrorPolicy
from app.engine.trainer_class import extended
from app.engine.trainers.device_settings import require_device
from app.engine.trainers.lr_schedule import StepScheduleMixin
from app.engine.trainers.resumable_sampler import ResumableSamplerMixin
from app.engine.trainers.training_args import training_kwargs
from app.engine.trainers.weight_groups import OptimizerMixin
from app.runs.events import NoteEvent
from app.setup.sources import HELD_OUT_SET, MAX_EVAL_ROWS
from app.setup.spec import Budget, Spec

if TYPE_CHECKING:
    import torch
    from datasets import Dataset, IterableDataset
    from peft import PeftConfig
    from transformers import (
        PreTrainedModel,
        PreTrainedTokenizerBase,
        ProcessorMixin,
        TrainerCallback,
        TrainingArguments,
    )

_ConfigT = TypeVar("_ConfigT", bound="TrainingArguments")
_RowsT = TypeVar("_RowsT", "Dataset", "IterableDataset")


class AuxModel(TypedDict):
    """A model that a run uses but does not train; see app/engine/model/aux_models.py."""

    revision: str | None


COMMON_MIXINS = (
    ResumableSamplerMixin,  # orders of rows that a resumed run repeats
    OptimizerMixin,  # Muon, and learning rates of single weights
    StepScheduleMixin,  # schedules whose arguments depend on the number of steps
    quantization.ResultNoteMixin,  # a note beside the result on how its base was loaded
)  # over the class of every trainer


def _unwrapped(trainer: type) -> type:
    return trainer


@dataclass
class Job:
    """One training to build. preview: on a model without weights. emitter: writes the run's events; None in a preview.
    evaluated_set: whose rows are its held-out rows."""

    spec: Spec
    folder: Path
    device: Device
    emitter: Emitter | None = None
    callbacks: list[TrainerCallback] = field(default_factory=list)
    preview: bool = False
    wrap_trainer: Callable[[type], type] = _unwrapped  # a preview subclasses the trainer
    budget: Budget = field(default_factory=Budget)
    max_rows: int | None = None  # only the first rows, for the instant preview
    warned: set[str] = field(default_factory=set)
    aux_models: dict[str, AuxModel] = field(default_factory=dict)  # by name
    evaluated_set: str = HELD_OUT_SET
    training_template: str | None = None  # that the built trainer renders answers with, where it is not the tokenizer's

    @cached_property
    def method(self) -> AnyMethod:
        return load_method(self.spec.method)

    @property
    def kind(self) -> str:
        """What is trained: `causal`, a language model, or one that scores texts or steps; see app/engine/model/load_model.py."""
        return self.method.produces

    @cached_property
    def knobs(self) -> Any:
        """The method's settings. Of a training on a processor the precision `auto` is what was measured there."""
        knobs = self.method.knobs.model_validate(self.spec.knobs)
        if self.preview or not self.device.is_cpu or knobs.precision != "auto":
            return knobs
        return knobs.model_copy(update={"precision": automatic_precision(self.spec.model)})

    @cached_property
    def trainers_tokenizer(self) -> PreTrainedTokenizerBase:
        """For the trainer: with the chat template unchanged, because TRL recognises some templates by their text. The template's
        arguments are in the rows instead."""
        return load_tokenizer(self.spec.model)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """For prompts and chats: its chat template has the Spec's arguments."""
        return with_template_arguments(self.trainers_tokenizer, self.template_arguments)

    @property
    def rendering_template(self) -> str | None:
        """The chat template that rows are rendered with, once the trainer is built; None for a model without one."""
        return self.training_template or self.trainers_tokenizer.chat_template

    @property
    def template_arguments(self) -> JsonObject:
        """Arguments of the chat template, such as enable_thinking=false."""
        return parse_template_arguments(self.spec.knobs.get("template_arguments", []))

    @cached_property
    def processor(self) -> ProcessorMixin | None:
        """The processor of a vision model, for examples with images; None for examples without."""
        from app.engine.model.vision import load_processor

        return load_processor(self) if "images" in next(iter(self.data.train)) else None

    @cached_property
    def image_token_id(self) -> int | None:
        """Id of the placeholder token for a part of an image; None for models without vision."""
        from app.engine.model.vision import find_image_token_id

        return find_image_token_id(self.model.config)

    @cached_property
    def uses_chat_template(self) -> bool:
        """Plain prompts become chat messages: the model has a chat template, and the setup does not turn it off."""
        return bool(self.tokenizer.chat_template) and getattr(self.knobs, "chat_format", True)

    @property
    def is_generative(self) -> bool:
        """Whether the model writes completions; one that scores does not."""
        return self.kind == "causal"

    @lockless_cached_property
    def prompts_are_chat(self) -> bool:
        """Prompts are chat messages; for plain text they are beginnings that the model continues."""
        return self.uses_chat_template and not {"text", "segments"} & {*next(iter(self.data.train))}

    @cached_property
    def streaming(self) -> bool:
        return getattr(self.knobs, "streaming", False)

    @lockless_cached_property
    def data(self) -> LoadedData:
        data = load_data(
            self.spec,
            self.method.row_types,
            self.method.title,
            self.uses_chat_template,
            self.streaming,
            self.max_rows,
            self._refused_rows(),
        )
        if self.max_rows is not None:
            data.train = (
                data.train.take(self.max_rows)
                if self.streaming
                else data.train.select(range(min(self.max_rows, len(data.train))))
            )
        if self.method.arrange_rows:
            data.train = self.method.arrange_rows(self, data.train)
        data.train = self.add_template_arguments(data.train)
        return data

    def _refused_rows(self) -> RefusedRows:
        """What happens to rows that may be left out only where the person allows it: a run stops there, and everything that
        only looks at rows leaves them out and reports them."""
        from app.engine.masking.select_mask import template_of_rows
        from app.engine.masking.template_refusals import TemplateRefusals

        refuses = None
        if self.uses_chat_template:
            refuses = TemplateRefusals(
                self.trainers_tokenizer,
                template_of_rows(self),
                self.template_arguments,
                self.method.row_types,
                is_thorough="refused" in self.spec.drop,
            )
        return RefusedRows(self.emitter is not None, self.spec, refuses)

    def add_template_arguments(self, rows: _RowsT) -> _RowsT:
        """The rows with the chat template's arguments in a column, where the trainer reads them from each row."""
        arguments = self.template_arguments
        columns = rows.column_names or next(iter(rows))
        if not (arguments and self.uses_chat_template) or not any(
            name in columns for name in ("messages", "completion", "chosen")
        ):
            return rows
        return rows.map(lambda row: {"chat_template_kwargs": arguments | (row.get("chat_template_kwargs") or {})})

    @cached_property
    def dtype(self) -> torch.dtype:
        """dtype of the weights that are not quantized."""
        earlier_adapter = init_from.adapter_source(self.spec.model)
        has_full_layers = bool(self.spec.adapter.unfreeze) or bool(
            earlier_adapter and init_from.fully_trained_layers(earlier_adapter)
        )
        return self.device.dtype(self.knobs.precision, self.spec.adapter.kind, has_full_layers)

    @property
    def num_evaluated_rows(self) -> int:
        """How many of the deciding rows an evaluation scores: with rewards, those that are answered."""
        return min(len(self.data.deciding_rows), self.knobs.eval_answers if self.spec.rewards else MAX_EVAL_ROWS)

    @cached_property
    def model(self) -> PreTrainedModel:
        from app.engine.model.load_model import meta_model, real_model

        return meta_model(self) if self.preview else real_model(self)

    @cached_property
    def peft_config(self) -> PeftConfig | None:
        from app.engine.model.load_model import peft_config_of_job

        return peft_config_of_job(self)

    def resolve_label_policy(self, choice: str) -> str:
        """Which tokens are trained: `auto` becomes the policy that fits the rows: the answers of conversations, completions, or every
        token of plain text."""
        if choice != "auto":
            return choice
        first_row = next(iter(self.data.train))
        return "assistant" if "messages" in first_row else "completion" if "completion" in first_row else "everything"

    def rewards(self) -> list[RewardErrorPolicy]:
        """The Spec's rewards, in its order. Errors of a reward become warnings of the run."""
        stops_run = self.emitter is not None
        return [
            RewardErrorPolicy(
                reward_factory.build_reward(reward_spec, self.device.name), reward_spec.label, self.warn, stops_run
            )
            for reward_spec in self.spec.rewards
        ]

    def warn(self, text: str) -> None:
        """Writes a warning to the run's events, each text only once, because evaluations repeat it."""
        if self.emitter and text not in self.warned:
            self.warned.add(text)
            self.emitter.emit(NoteEvent, level="careful", text=text)

    def arguments(self, config: type[_ConfigT], **method_settings: Any) -> _ConfigT:
        """The trainer's config: the shared settings, those of the device, and the method's own."""
        if self.preview or self.emitter:  # a run or its preview; other jobs only use the trainer
            require_device(self.knobs, Device(choose_device("local")) if self.preview else self.device)
        shared_settings = training_kwargs(self.knobs, self.spec.seed) | self.device.arguments(self)
        return config(output_dir=str(self.folder / "checkpoints"), **(shared_settings | method_settings))

    def trainer(self, trainer: type, args: TrainingArguments, **trainer_kwargs: Any) -> Any:
        """The trainer, built on this job's model and rows; a preview stops its constructor before it would train."""
        shared_kwargs = {
            "model": self.model,
            "args": args,
            "train_dataset": self.data.train,
            "processing_class": self.trainers_tokenizer if self.processor is None else self.processor,
        }
        if self.peft_config:
            shared_kwargs["peft_config"] = self.peft_config
        if not self.preview:
            shared_kwargs["callbacks"] = self.callbacks
        built_trainer = self.wrap_trainer(with_cached_preparation(extended(trainer, COMMON_MIXINS, self), self))(
            **(shared_kwargs | trainer_kwargs)
        )
        separate_eval_tables(built_trainer)
        self.training_template = getattr(built_trainer, "chat_template", None)
        if not self.streaming:
            require_trained_tokens(self, built_trainer.train_dataset, built_trainer.uncut_rows)
        if not self.preview:
            finish_model(self, built_trainer)
        return built_trainer
