"""Preflight checks: finds what would make a run fail before anything starts. Imports no heavy library."""

from __future__ import annotations

from pathlib import Path

from app.core import platform, registry
from app.core.json_types import JsonValue
from app.core.problems import Problem, shorten
from app.core.workspace import local_workspace
from app.engine.contracts import AnyMethod, load_method, load_reward
from app.planning.data_preflight import check_data
from app.planning.model_preflight import require_trainable
from app.planning.resolve import models_in_settings, resolve
from app.planning.setting_conflicts import check_compilation, check_float8, check_loftq
from app.runs import adapters
from app.setup import models
from app.setup.cached_models import known_facts
from app.setup.spec import Model, Spec

# where the page is shared: app.py
_ALLOW_ADVICE = " The page’s owner can allow it at start, with --allow-code."


def check_spec(spec: Spec, future_models: frozenset[str] = frozenset()) -> Spec:
    """The resolved Spec, when no check fails. Raises the first Problem.

    future_models: names of models that earlier stages of a pipeline will make; they do not exist yet and are not
    checked.
    """
    spec = resolve(spec)
    _ = local_workspace().runs  # raises where nothing can be stored
    _check_weights(spec)
    if spec.model.start_from:
        adapters.locate_adapter(spec.model.start_from)
    for name in models_in_settings(spec):
        if not _is_future_model(name, future_models):
            adapters.locate_model_or_adapter(name)
    _check_quantization(spec)
    _check_model(spec)
    if not platform.takes_local_files():
        _refuse_local_paths(spec, future_models)
    if platform.is_shared():
        _refuse_code(spec)
    method = load_method(spec.method)
    check_compilation(spec)
    check_float8(spec, method)
    check_loftq(spec, method)
    _check_steps(spec)
    _check_warmup(spec)
    _check_rates(spec)
    _check_early_stopping(spec)
    _check_best_metric(spec, method)
    check_data(spec, method)
    if method.needs_rewards and not spec.rewards:
        raise Problem(
            f"“{method.title}” needs at least one reward.",
            advice=f"Choose from: {', '.join(registry.names('rewards'))}.",
        )
    check_rewards(spec, future_models)
    if method.check:
        method.check(spec)
    return spec


def _check_quantization(spec: Spec) -> None:
    """Quantized weights cannot be trained, only an adapter beside them."""
    if spec.model.quantization != "none" and spec.adapter.kind == "none":
        raise Problem(
            f"Weights held as {spec.model.quantization} cannot be trained themselves.",
            advice="Train an adapter beside them, or keep the weights as they are.",
        )


def _check_model(spec: Spec) -> None:
    """What is known here of the model allows the setup. Of others on the Hub, app/hub/model_choice.py asks before a start."""
    facts = None if spec.knobs.get("from_scratch") else known_facts(spec.model.id, spec.model.revision)
    if facts:
        require_trainable(facts, spec)


def check_rewards(spec: Spec, future_models: frozenset[str] = frozenset()) -> None:
    """Raises Problem when a reward lacks something it needs. A reward with a future model is not checked."""
    for reward in spec.rewards:
        if any(_is_future_model(value, future_models) for value in reward.params.values()):
            continue
        definition = load_reward(reward.name)
        params = definition.params.model_validate(reward.params)
        if definition.lacking and (reason := definition.lacking(params)):
            raise Problem(f"The reward “{reward.label}” {reason}.", advice="Give it that, or choose another reward.")


def _refuse_local_paths(spec: Spec, future_models: frozenset[str]) -> None:
    """On a Space, or where others reach the page, nobody may read files of the machine it runs on."""
    local_names = [source.source for source in spec.sources if source.source.startswith("path:")]
    local_names += [
        name
        for name in filter(None, (spec.model.id, spec.model.start_from, *models_in_settings(spec)))
        if name not in models.SHIPPED_MODELS
        and not name.startswith("run:")
        and not _is_future_model(name, future_models)
        and Path(adapters.locate_model_or_adapter(name)).is_dir()
    ]
    if local_names:
        raise Problem(
            f"“{local_names[0]}” is a file of the machine this page runs on.",
            advice="Upload the file, or name it on the Hub." + _ALLOW_ADVICE * platform.is_shared(),
        )


def refuse_local_model(model: Model) -> None:
    """Raises Problem for a model in a folder of this machine, where the page takes none."""
    if platform.takes_local_files() or model.id in models.SHIPPED_MODELS:
        return
    if Path(models.locate_model(model.id)).is_dir():
        raise Problem(f"“{model.id}” is a folder of the machine this page runs on.", advice="Name a model on the Hub.")


def _refuse_code(spec: Spec) -> None:
    """Where others reach the page, no reward runs code that came with the setup."""
    for reward in spec.rewards:
        if load_reward(reward.name).runs_code:
            raise Problem(
                f"The reward “{reward.label}” runs code, which is off because this page is open to other machines.",
                advice=f"Choose another reward.{_ALLOW_ADVICE}",
            )


def _is_future_model(name: JsonValue, future_models: frozenset[str]) -> bool:
    """Whether an earlier stage will make this model, or a checkpoint of it."""
    return str(name).partition("@")[0] in future_models


def _check_steps(spec: Spec) -> None:
    """A streamed dataset has no known length, so the number of steps must be given."""
    if spec.knobs.get("streaming") and not spec.knobs.get("steps"):
        raise Problem("Reading while training has no end of its own.", advice="Set a number of steps.")


def _check_warmup(spec: Spec) -> None:
    """A warm-up must end before a run whose number of steps is set; where passes are counted, the engine checks it."""
    warmup_steps, steps = spec.knobs.get("warmup_steps"), spec.knobs.get("steps")
    if warmup_steps and steps and warmup_steps >= steps:
        raise Problem(
            f"The warm-up of {warmup_steps:,} steps is as long as the whole run, which has {steps:,}.",
            advice="Choose fewer warm-up steps, or train longer.",
        )


def _check_rates(spec: Spec) -> None:
    """Weights that have a learning rate of their own must be among those that are trained."""
    if spec.knobs.get("loraplus_lr_ratio", 1) != 1 and not spec.adapter.is_lora:
        raise Problem(
            "LoRA+ makes one of the two matrices of LoRA learn faster, and this setup trains no LoRA adapter.",
            advice="Choose lora, or set the ratio to 1.",
        )
    trains_embeddings = spec.adapter.kind == "none" or spec.adapter.unfreeze or spec.model.new_tokens
    if "embedding_learning_rate" in spec.knobs and not trains_embeddings:
        raise Problem(
            "Embeddings are given a learning rate of their own, and this setup trains none.",
            advice="Leave that rate empty, or add embed_tokens to the layers that are trained whole.",
        )


def _check_early_stopping(spec: Spec) -> None:
    """Early stopping needs held-out rows or an evaluation set, and enough evaluations before the end."""
    patience, evaluations = spec.knobs.get("early_stopping_patience"), spec.knobs.get("evaluations", 0)
    holdout = spec.holdout
    if patience and not (holdout.share or holdout.split or holdout.source or holdout.column or spec.eval_sets):
        raise Problem(
            "Stopping early needs examples that are kept aside, and this setup keeps none.",
            advice="Keep some aside, or let the run go to its end.",
        )
    if patience and patience > evaluations:
        tests = "1 test" if evaluations == 1 else f"{evaluations} tests"
        raise Problem(
            f"With {tests} on the way, {patience} without improvement cannot come before the end.",
            advice="Test more often, for example 10 times, or stop after fewer.",
        )


def _check_best_metric(spec: Spec, method: AnyMethod) -> None:
    """The measure that decides which checkpoint is best is one that evaluations may have."""
    name = spec.knobs.get("best_metric")
    names = ["loss", *method.eval_metrics, *(reward.label for reward in spec.rewards)]
    if name and name not in names:
        raise Problem(
            f"No held-out measure of this setup is called “{shorten(name, 40)}”.",
            advice=f"It measures {', '.join(dict.fromkeys(names))}.",
        )


def _check_weights(spec: Spec) -> None:
    """A local model folder has weights, unless training starts from scratch."""
    folder = Path(models.locate_model(spec.model.id))
    if (
        folder.is_dir()
        and not spec.knobs.get("from_scratch")
        and not any(folder.glob("*.safetensors"))
        and not any(folder.glob("*.bin"))
    ):
        raise Problem(
            f"The folder {folder} holds no weights.", advice="Bring them as .safetensors files, or start from scratch."
        )
