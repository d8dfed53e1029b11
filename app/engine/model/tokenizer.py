"""Tokenizer of a run, the new tokens of its vocabulary, and the tokens that its model was never trained on."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from app.core.problems import Problem
from app.engine.model import init_from, template_source
from app.engine.model.adapter import has_tied_embeddings, input_embedding_weight, input_embeddings_name, module_name
from app.runs import adapters
from app.setup import models

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from app.contracts import Severity
    from app.core.json_types import JsonObject
    from app.engine.job import Job
    from app.setup.spec import Model

_LISTED_TOKENS = 8  # in a message
_MIN_NORM_SHARE = 1e-3  # of the median norm: an embedding row below it was never trained
_MARKER_PATTERN = re.compile(r"<\|?[A-Za-z_][^<>\s]{0,40}\|?>")  # how chat templates write special tokens
_RowReader = Callable[[list[int]], "Tensor"]  # token ids -> embedding rows in float32
_EMBEDDING_NAMES = (
    "embed_tokens.weight",
    "wte.weight",
    "word_embeddings.weight",
    "embed_in.weight",
    "tok_embeddings.weight",
)


class _TensorSlice(Protocol):
    """A tensor in a file, of which safetensors reads the rows that are asked for."""

    def __getitem__(self, rows: slice) -> Tensor:
        """These rows."""
        ...

    def get_shape(self) -> list[int]:
        """The tensor's shape."""
        ...


def load_tokenizer(model: Model) -> PreTrainedTokenizerBase:
    """The tokenizer of the model that the run starts from, with the Spec's template and new tokens."""
    from transformers import AutoTokenizer

    name, revision = _tokenizer_location(model)
    tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
    if model.template:
        tokenizer.chat_template = template_source.template_text(model.template)
        template_source.require_valid_template(tokenizer)
    _add_tokens(tokenizer, model.new_tokens)
    _set_end_and_padding(tokenizer, model)
    return tokenizer


def _tokenizer_location(model: Model) -> tuple[str, str | None]:
    """(folder or Hub name, revision). An earlier result has its own tokenizer: with the tokens and the template it was trained with."""
    from transformers.utils import cached_file

    start = adapters.locate_adapter(model.start_from) if model.start_from else None
    no_exceptions = {
        f"_raise_exceptions_for_{error}": False for error in ("missing_entries", "gated_repo", "connection_errors")
    }
    if start and cached_file(start, "tokenizer_config.json", **no_exceptions):
        return start, None
    return models.locate_model(model.id), model.revision


def _add_tokens(tokenizer: PreTrainedTokenizerBase, new_tokens: list[str]) -> None:
    """Adds each text as one token. Those that the chat template writes become special tokens; the others stay readable in answers."""
    from transformers import AddedToken

    template = str(tokenizer.chat_template or "")
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=token in template) for token in new_tokens])


def _set_end_and_padding(tokenizer: PreTrainedTokenizerBase, model: Model) -> None:
    """Raises Problem for an end token that is no token of this model, and for a padding token that texts may contain."""
    vocabulary = tokenizer.get_vocab() if model.end_token or model.pad_token else {}
    if model.end_token:
        if model.end_token not in vocabulary:
            raise Problem(f"“{model.end_token}” is no token of this model.", advice=_list_special_tokens(tokenizer))
        tokenizer.eos_token = model.end_token
    if model.pad_token:
        if vocabulary.get(model.pad_token) not in special_token_ids(tokenizer):
            text = f"“{model.pad_token}” is no special token of this model, and texts may contain it."
            raise Problem(text, advice=_list_special_tokens(tokenizer))
        tokenizer.pad_token = model.pad_token


def _list_special_tokens(tokenizer: PreTrainedTokenizerBase) -> str:
    token_ids = sorted(special_token_ids(tokenizer))
    listed = ", ".join(tokenizer.convert_ids_to_tokens(token_ids[:_LISTED_TOKENS]))
    return f"Its special tokens are {listed}{' and more' if len(token_ids) > _LISTED_TOKENS else ''}."


def with_template_arguments(tokenizer: PreTrainedTokenizerBase, arguments: JsonObject) -> PreTrainedTokenizerBase:
    """A copy of the tokenizer whose chat template has these arguments as defaults; the same tokenizer where there are none."""
    if not arguments or not isinstance(tokenizer.chat_template, str):
        return tokenizer
    assignments = [
        f"{{%- set {name} = {name} if {name} is defined else {json.dumps(value, ensure_ascii=False)} %}}"
        for name, value in arguments.items()
    ]
    copied_tokenizer = copy.deepcopy(tokenizer)
    copied_tokenizer.chat_template = "".join(assignments) + tokenizer.chat_template
    return copied_tokenizer


def chat_token_findings(job: Job) -> list[tuple[Severity, str]]:
    """(severity, sentence) on special tokens of the chat template, and on the end token, that this model cannot know yet."""
    tokenizer = job.tokenizer
    findings: list[tuple[Severity, str]] = []
    starts_new_adapter = job.spec.adapter.kind != "none" and init_from.adapter_source(job.spec.model) is None
    if starts_new_adapter and (untrained_ids := _untrained_marks(job)):
        token_names = ", ".join(tokenizer.convert_ids_to_tokens(untrained_ids))
        what = (
            "what the chat format writes between turns" if job.uses_chat_template else "the token that ends an answer"
        )
        findings.append(
            (
                "good",
                f"This model never learned {what} ({token_names}): that is learned too, and saved with the adapter.",
            )
        )
    if job.uses_chat_template and (broken_markers := split_markers(tokenizer)):
        findings.append(
            (
                "careful",
                f"The chat format writes {', '.join(broken_markers)}, which this model reads as several tokens. Among the new tokens of the model each would be one.",
            )
        )
    return findings


# -- embedding rows -----------------------------------------------------------------------------------------------


def resize_embeddings(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, multiple: int) -> None:
    """Grows the embeddings to hold every token, to a multiple of `multiple` rows. New rows start at the mean of the old ones, with the
    same random noise at each loading."""
    import torch

    weight = input_embedding_weight(model)
    if len(tokenizer) <= weight.shape[0]:
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=multiple, mean_resizing=not weight.is_meta)


def trainable_token_ids(job: Job, model: PreTrainedModel | None = None) -> list[int]:
    """Ids of the tokens whose embedding rows must be trained beside an adapter: new tokens, and special tokens of the chat template that
    the base was never trained on. model: the job's own where it is loaded, otherwise its files are read."""
    return sorted({*_new_token_ids(job), *_untrained_marks(job, model)})


def trainable_embedding_rows(model: PreTrainedModel, token_ids: list[int]) -> dict[str, list[int]]:
    """{layer: token ids} as peft takes it, for the embeddings and, where it has weights of its own, the output layer."""
    if not token_ids:
        return {}
    output = model.get_output_embeddings()
    output_names = [module_name(model, output)] if output is not None and not has_tied_embeddings(model) else []
    return dict.fromkeys([input_embeddings_name(model), *output_names], token_ids)


def _untrained_marks(job: Job, model: PreTrainedModel | None = None) -> list[int]:
    """Special tokens of the chat template, and the end token that was set, whose embedding rows were never trained; empty
    where that cannot be determined."""
    written_ids = _chat_token_ids(job.tokenizer) if job.uses_chat_template else []
    if job.spec.model.end_token:
        written_ids = [*written_ids, job.tokenizer.eos_token_id]
    chat_token_ids = sorted({*written_ids} - _new_token_ids(job))
    embedding_rows = _embedding_rows(job, model) if chat_token_ids else None
    return (
        _untrained_rows(*embedding_rows, chat_token_ids, special_token_ids(job.tokenizer))
        if embedding_rows is not None
        else []
    )


def _new_token_ids(job: Job) -> set[int]:
    token_ids = job.tokenizer.convert_tokens_to_ids(job.spec.model.new_tokens)
    return {token_ids} if isinstance(token_ids, int) else {*token_ids}


def _untrained_rows(read_rows: _RowReader, row_count: int, token_ids: list[int], special_ids: set[int]) -> list[int]:
    """Those of `token_ids` whose embedding row is almost zero or equals that of another special token: both mean that it was never
    trained."""
    token_ids, special_in_table = (
        [token_id for token_id in token_ids if token_id < row_count],
        sorted(token_id for token_id in special_ids if token_id < row_count),
    )
    if not token_ids:  # all are new and have no row yet
        return []
    median_norm = read_rows([*range(0, row_count, max(1, row_count // 512))]).norm(dim=-1).median()
    special_rows = read_rows(special_in_table)
    untrained_ids = []
    for token_id, row in zip(token_ids, read_rows(token_ids), strict=True):
        equal_rows = int((special_rows == row).all(dim=-1).sum()) - (
            token_id in special_ids
        )  # the row itself is among them
        if equal_rows or row.norm() < _MIN_NORM_SHARE * median_norm:
            untrained_ids.append(token_id)
    return untrained_ids


def _chat_token_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Special tokens that the chat template writes into a conversation."""
    text = render_trial(tokenizer)
    special_ids = special_token_ids(tokenizer)
    return sorted(
        {token_id for token_id in tokenizer(text, add_special_tokens=False).input_ids if token_id in special_ids}
    )


def split_markers(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Markers of the chat template that are no single token of this tokenizer."""
    text = render_trial(tokenizer)
    vocabulary = tokenizer.get_vocab()
    return list(dict.fromkeys(marker for marker in _MARKER_PATTERN.findall(text) if marker not in vocabulary))


def render_trial(tokenizer: PreTrainedTokenizerBase) -> str:
    """A short conversation as the chat template writes it; empty where the template refuses it."""
    return template_source.try_render(tokenizer, template_source.TRIAL_MESSAGES) or ""


def special_token_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Ids of special tokens: those with a role, such as the end-of-sequence token, and those that a chat template writes."""
    return {
        *tokenizer.all_special_ids,
        *(token_id for token_id, token in tokenizer.added_tokens_decoder.items() if token.special),
    }


def _embedding_rows(job: Job, model: PreTrainedModel | None) -> tuple[_RowReader, int] | None:
    """(function that reads rows of the embeddings, number of rows): of the loaded model or, for a model without weights, of its files on
    this machine; None without these. Never reads the whole table, which may be a gigabyte."""
    if model is not None and not (weight := input_embedding_weight(model)).is_meta:
        return lambda token_ids: weight.detach()[token_ids].float(), weight.shape[0]
    from safetensors import safe_open

    for file in _weight_files(job.spec.model):
        tensors = safe_open(str(file), "pt")
        name = next((tensor_name for tensor_name in tensors.keys() if tensor_name.endswith(_EMBEDDING_NAMES)), None)  # noqa: SIM118 no dict
        if name:
            return _rows_of_file(tensors.get_slice(name))
    return None


def _rows_of_file(embedding_slice: _TensorSlice) -> tuple[_RowReader, int]:
    import torch

    return lambda token_ids: torch.cat(
        [embedding_slice[token_id : token_id + 1] for token_id in token_ids]
    ).float(), embedding_slice.get_shape()[0]


def _weight_files(model: Model) -> list[Path]:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    name = models.locate_model(model.id)
    if not Path(name).is_dir():
        try:
            name = snapshot_download(name, revision=model.revision, local_files_only=True)
        except LocalEntryNotFoundError:  # a boundary: it was not downloaded yet
            return []
    return sorted(Path(name).glob("*.safetensors"))
