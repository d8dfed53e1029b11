"""Contracts of the engine: what a method, a reward, a tool and a text generator are, each a typed shape, on one page."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

from app.core import registry

if TYPE_CHECKING:
    from accelerate import Accelerator
    from datasets import Dataset, IterableDataset
    from torch import Tensor
    from torch.utils.data import DataLoader
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback, TrainingArguments
    from transformers.trainer_utils import TrainOutput

    from app.data.conversations.messages import Messages
    from app.data.fields import Cell, Row
    from app.engine.job import Job
    from app.engine.reward_runtime.reward import Score
    from app.engine.trainers.training_args import TrainingKnobs
    from app.setup.knob import Knobs
    from app.setup.spec import Reward, Spec
    from app.setup.step_memory import RowLengths, StepMemory

_KnobsT = TypeVar("_KnobsT", bound="TrainingKnobs")
_ParamsT = TypeVar("_ParamsT", bound="Knobs")

Metrics = dict[str, float | None]  # {name: value}, None where it could not be measured

# -- methods ------------------------------------------------------------------------------------------------------


class Trainer(Protocol):
    """A trainer of TRL or of ours, as far as all of them are used alike."""

    model: PreTrainedModel
    args: TrainingArguments
    processing_class: PreTrainedTokenizerBase
    train_dataset: Dataset | IterableDataset
    eval_dataset: Dataset | None
    eval_tables: dict[str, Dataset]  # of all evaluated sets, prepared; see app/engine/datasets/eval_tables.py
    uncut_rows: Dataset | None  # the rows before truncation and packing, where these are done ahead of the batches
    accelerator: Accelerator
    training_step: Callable[..., Tensor]  # the loss of one batch, after its backward pass
    floating_point_ops: Callable[[dict[str, Tensor]], int]  # of one batch

    def compute_loss_context_manager(self) -> AbstractContextManager[None]:
        """The context that computes in the precision of training."""
        ...

    def train(self, resume_from_checkpoint: str | None = None) -> TrainOutput:
        """Trains to the end, or until a callback stops it."""
        ...

    def evaluate(self) -> dict[str, float]:
        """The trainer's own metrics of `eval_dataset`."""
        ...

    def get_train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """The batches of one epoch."""
        ...

    def set_initial_training_values(
        self, args: TrainingArguments, dataloader: DataLoader[dict[str, Tensor]]
    ) -> tuple[*tuple[int | None, ...], int]:
        """Counts of a training, of which the last is the number of its steps."""
        ...

    def add_callback(self, callback: TrainerCallback) -> None:
        """Adds a callback behind those it has."""
        ...

    def remove_callback(self, callback: type[TrainerCallback]) -> None:
        """Removes the callback of this class, where it has one."""
        ...

    def save_model(self, output_dir: str | None = None) -> None:
        """Saves the model or its adapter, with the tokenizer."""
        ...


ModelKind = Literal["causal", "scores", "step_scores"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Method(Generic[_KnobsT]):
    """One training method: a file in app/engine/methods/ ends with `METHOD = Method(...)`. The server process reads these
    declarations, so heavy libraries are imported inside the functions only.

    title: what people call it, without a full stop. term: the field's word for it, such as DPO. sentence: what it does;
    the module's docstring. row_types: the row types it trains on, the usual one first; see app/data/rows.py. knobs: its
    settings. build: makes the trainer from a job alone. defaults: settings that depend on the adapter's kind and on the
    number of the model's parameters, None where that is unknown. step_memory: what a step holds in memory.
    """

    title: str
    term: str
    sentence: str
    row_types: tuple[str, ...]
    knobs: type[_KnobsT]
    build: Callable[[Job], Trainer]
    defaults: Callable[[str, int | None], dict[str, float]]
    step_memory: Callable[[_KnobsT, RowLengths], StepMemory]

    # The menu's category, and nothing else; see METHOD_FAMILIES in app/data/findings/compatible_methods.py.
    family: str = "imitate"
    # A language model, or a model that scores answers or steps; see app/engine/model/load_model.py.
    produces: ModelKind = "causal"
    # It may change or leave TRL, and stands behind the others in the menu.
    experimental: bool = False
    # It learns from the rewards of its own completions; in other methods rewards only measure.
    needs_rewards: bool = False
    # Its trainer stores what a teacher says about the rows with them, so that preparation costs as much as training:
    # rows are prepared in one pass and never cached.
    prepares_rows_with_teacher: bool = False
    # Where it writes all completions itself, the sentence that a preview shows in place of what is learned.
    generation_note: str = ""
    # Columns of the trained completions, in the order of the batch; empty where a row holds one.
    batch_sides: tuple[str, ...] = ()
    # {the trainer's name of a metric: (ours as group/name, its label)}
    curves: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    # {name of a metric of `measure`: its label}
    eval_metrics: Mapping[str, str] = field(default_factory=dict)
    # Preflight of a resolved Spec, before a run starts; raises Problem.
    check: Callable[[Spec], None] | None = None
    # The training rows as the trainer should get them: reordered or converted.
    arrange_rows: Callable[[Job, Dataset], Dataset] | None = None
    # Its own metrics of the held-out rows.
    measure: Callable[[Job, Trainer], Metrics] | None = None
    # Samples of a model that scores: held-out rows with its scores, as in a sample event.
    samples: Callable[[Job, Trainer], list[Row]] | None = None
    # A sentence that the preview adds; empty for none.
    remark: Callable[[Job], str] | None = None
    # Optimizer steps that one round of completions serves, by the settings.
    steps_per_round: Callable[[_KnobsT], int] | None = None


# -- rewards ------------------------------------------------------------------------------------------------------


Completion: TypeAlias = "str | Messages"  # a text, or the messages that the model wrote


class RewardFunction(Protocol):
    """What a reward's `make` returns: (completions, **columns) -> one score for each completion.

    A score is None where the reward does not apply to the row, and a FailedScore where scoring failed. columns: the
    dataset columns it reads. trainer_columns: what it reads of that which TRL passes beside them: `prompts`,
    `completion_ids`.
    """

    __name__: str
    columns: tuple[str, ...]
    trainer_columns: tuple[str, ...]

    def __call__(self, completions: list[Completion], **columns: list[Cell]) -> list[Score]:
        """The scores. Raises Problem where a column is missing."""
        ...


DEFAULT_REWARD_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True, eq=False)
class RewardDefinition(Generic[_ParamsT]):
    """One reward: a file in app/engine/rewards/ ends with `REWARD = RewardDefinition(...)`.

    make: the reward function of settings. lacking: what is missing for it to work, as the end of a sentence. seconds: that
    one answer may take, for a reward that is slow, runs code or calls a service: it works in processes of its own.
    before_sandbox: called before a process that runs code enters the sandbox, with the folder that it may write to.
    """

    title: str
    sentence: str
    params: type[_ParamsT]
    make: Callable[[_ParamsT], RewardFunction]
    runs_code: bool = False
    before_sandbox: Callable[[Path], None] | None = None
    calls_out: bool = False
    slow: bool = False
    seconds: float = DEFAULT_REWARD_SECONDS
    lacking: Callable[[_ParamsT], str | None] | None = None

    @property
    def needs_own_process(self) -> bool:
        """Whether one answer could hold up or harm the process that asks."""
        return self.slow or self.runs_code or self.calls_out


# -- tools --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class Tool:
    """One tool: a file in app/engine/tools/ ends with `TOOL = Tool(...)`.

    title: what people call it, without a full stop. sentence: what it does; the module's docstring. function: what the
    model calls, by this function's name; its docstring and types tell the model how. It gets text of the model, and
    returns text for it. Where its first argument is `text`, that is a column of the row.
    """

    title: str
    sentence: str
    function: Callable[..., str]


# -- generation ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """How completions are generated; None where the model's generation config decides.

    max_new_tokens: most tokens of a completion. temperature: 0 for greedy decoding, which reads no top_p, top_k and
    min_p. top_k: 0 for all tokens. end_token_ids: tokens that end a completion. seed: of the random numbers; None goes
    on with those of the process.
    """

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    end_token_ids: list[int] | None = None
    seed: int | None = None


class ImagePrompt(NamedTuple):
    """A prompt with images, for a model that reads them. images: as in the column of a row, in the order of their places."""

    prompt: str | Messages
    images: Sequence[Row]


Prompt = str | list[int] | ImagePrompt  # rendered text, token ids, or messages with images; a request has one kind only


@dataclass(frozen=True)
class GeneratedCompletion:
    """token_ids: with the token that ended it, where one did. text: without special tokens."""

    token_ids: list[int]
    text: str


class TextGenerator(Protocol):
    """Generates completions of prompts with one model; app/engine/generation/transformers_generator.py does."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Of the model, for the rendering of prompts."""
        ...

    def generate(self, prompts: Sequence[Prompt], sampling: SamplingSettings) -> list[GeneratedCompletion]:
        """One completion for each prompt, in their order."""
        ...

    def decode(self, token_ids: list[int]) -> str:
        """The text of a completion, without special tokens."""
        ...

    def stream(self, prompt: Prompt, sampling: SamplingSettings) -> Generator[int, None, None]:
        """The token ids of one completion as they are generated. Computes only while the next one is waited for."""
        ...


# -- loading ------------------------------------------------------------------------------------------------------


AnyMethod: TypeAlias = Method[Any]  # one whose settings are known only to itself
AnyRewardDefinition: TypeAlias = RewardDefinition[Any]


def load_method(name: str) -> AnyMethod:
    """The method of this name. Raises Problem when there is none."""
    method: AnyMethod = registry.load_module("methods", name).METHOD
    return method


def load_reward(name: str) -> AnyRewardDefinition:
    """The reward of this name. Raises Problem when there is none."""
    reward: AnyRewardDefinition = registry.load_module("rewards", name).REWARD
    return reward


def reward_columns(reward: Reward) -> tuple[str, ...]:
    """The dataset columns that the reward of a resolved Spec reads."""
    definition = load_reward(reward.name)
    return definition.make(definition.params.model_validate(reward.params)).columns


def load_tool(name: str) -> Tool:
    """The tool of this name. Raises Problem when there is none."""
    tool: Tool = registry.load_module("tools", name).TOOL
    return tool
