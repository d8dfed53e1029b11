"""Words: the tokenizer a run speaks with, the tokens its vocabulary gets, and those that its model never learned."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.engine.model import init_from, template_source
from app.engine.model.adapter import input_name, is_tied, name_of
from app.setup import models

if TYPE_CHECKING:
    from app.engine.job import Job
    from app.setup.spec import Model

FLAT = 1e-3  # of the usual length: a row shorter than this never learned anything
MARK = re.compile(r"<\|?[A-Za-z_][^<>\s]{0,40}\|?>")  # how chat formats write their marks
Rows = Callable[[list[int]], Any]  # ids -> rows in float32
TABLES = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight", "tok_embeddings.weight")


def tokenizer_of(model: Model) -> Any:
    """The tokenizer of what the run starts from, with the Spec's own template and new tokens."""
    from transformers import AutoTokenizer

    name, revision = place_of(model)
    tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
    if model.template:
        tokenizer.chat_template = template_source.text_of(model.template)
        template_source.require_sound(tokenizer)
    add(tokenizer, model.new_tokens)
    return tokenizer


def place_of(model: Model) -> tuple[str, str | None]:
    """An earlier result brings its own: the tokens and the template that it learned with."""
    from transformers.utils import cached_file

    start = models.start_folder(model.start_from) if model.start_from else None
    quiet = {f"_raise_exceptions_for_{what}": False for what in ("missing_entries", "gated_repo", "connection_errors")}
    if start and cached_file(start, "tokenizer_config.json", **quiet):
        return start, None
    return models.locate(model.id), model.revision


def add(tokenizer: Any, new: list[str]) -> None:
    """Each becomes one token. Those that the chat format writes are marks; the others are words of answers and stay readable."""
    from transformers import AddedToken

    template = str(tokenizer.chat_template or "")
    tokenizer.add_tokens([AddedToken(one, normalized=False, special=one in template) for one in new])


def with_arguments(tokenizer: Any, arguments: dict[str, Any]) -> Any:
    """A tokenizer whose template has these arguments unless it is told others; the same one where there are none."""
    if not arguments or not isinstance(tokenizer.chat_template, str):
        return tokenizer
    told = [
        f"{{%- set {name} = {name} if {name} is defined else {json.dumps(value, ensure_ascii=False)} %}}"
        for name, value in arguments.items()
    ]
    made = copy.deepcopy(tokenizer)
    made.chat_template = "".join(told) + tokenizer.chat_template
    return made


def remarks(job: Job) -> list[tuple[str, str]]:
    """(severity, sentence) on marks of the chat format that this model cannot know yet."""
    if not job.chat:
        return []
    tokenizer, found = job.tokenizer, []
    begins = job.spec.adapter.kind != "none" and init_from.adapter_of(job.spec.model) is None
    if begins and (ids := unlearned(job)):
        named = ", ".join(tokenizer.convert_ids_to_tokens(ids))
        found.append(("good", f"This model never learned what the chat format writes between turns ({named}): that is learned too, and saved with the adapter."))  # fmt: skip
    if broken := broken_marks(tokenizer):
        found.append(("careful", f"The chat format writes {', '.join(broken)}, which this model reads as several tokens. Among the new tokens of the model each would be one."))  # fmt: skip
    return found


# -- rows of the embeddings ---------------------------------------------------------------------------------------


def fit(model: Any, tokenizer: Any, multiple: int) -> None:
    """Lets the embeddings grow to hold every token, to a multiple of so many rows. New rows begin as the average word does, alike
    at each loading."""
    import torch

    rows = model.get_input_embeddings().weight
    if len(tokenizer) <= rows.shape[0]:
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=multiple, mean_resizing=not rows.is_meta)


def to_train(job: Job, model: Any = None) -> list[int]:
    """Ids of the tokens whose rows must be learned beside an adapter: new ones, and marks of the chat format that the base
    never trained. model: the job's own, where it is there; otherwise its files are looked into."""
    return sorted({*new_ids(job), *unlearned(job, model)})


def rows_of(model: Any, ids: list[int]) -> dict[str, list[int]]:
    """{layer: rows} as peft takes it: of the embeddings and, where it has its own weights, of the output layer."""
    if not ids:
        return {}
    output = model.get_output_embeddings()
    own = [name_of(model, output)] if output is not None and not is_tied(model) else []
    return dict.fromkeys([input_name(model), *own], ids)


def unlearned(job: Job, model: Any = None) -> list[int]:
    """Marks that the chat format writes and whose rows never learned anything; none where that cannot be seen."""
    marks = [one for one in marks_of(job.tokenizer) if one not in new_ids(job)] if job.chat else []
    table = embeddings(job, model) if marks else None
    return flat(*table, marks, special_ids(job.tokenizer)) if table is not None else []


def new_ids(job: Job) -> set[int]:
    return {job.tokenizer.convert_tokens_to_ids(one) for one in job.spec.model.new_tokens}


def flat(rows: Rows, count: int, ids: list[int], special: set[int]) -> list[int]:
    """Those of `ids` whose row is nothing, or the very row of another special token: both are as they were before training."""
    ids, others = [one for one in ids if one < count], sorted(one for one in special if one < count)
    if not ids:  # all are new, and have no row yet
        return []
    usual = rows([*range(0, count, max(1, count // 512))]).norm(dim=-1).median()
    known = rows(others)
    found = []
    for one, row in zip(ids, rows(ids), strict=True):
        twins = int((known == row).all(dim=-1).sum()) - (one in special)  # itself is among them
        if twins or row.norm() < FLAT * usual:
            found.append(one)
    return found


def marks_of(tokenizer: Any) -> list[int]:
    """Special tokens that the chat format writes into a conversation."""
    text = rendered(tokenizer)
    special = special_ids(tokenizer)
    return sorted({one for one in tokenizer(text, add_special_tokens=False).input_ids if one in special})


def broken_marks(tokenizer: Any) -> list[str]:
    """What looks like a mark of the chat format but is read as several tokens."""
    text = rendered(tokenizer)
    known = tokenizer.get_vocab()
    return list(dict.fromkeys(one for one in MARK.findall(text) if one not in known))


def rendered(tokenizer: Any) -> str:
    turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day"}]
    try:
        return tokenizer.apply_chat_template(turns, tokenize=False)
    except Exception:  # a border: a template is a stranger's program and may refuse this conversation
        return ""


def special_ids(tokenizer: Any) -> set[int]:
    """Of the tokens with a role, such as the end, and of those that a chat template writes between turns."""
    return {
        *tokenizer.all_special_ids,
        *(one for one, token in tokenizer.added_tokens_decoder.items() if token.special),
    }


def embeddings(job: Job, model: Any) -> tuple[Rows, int] | None:
    """(a function that gives some rows of the embeddings, how many there are): of the model itself or, without weights, of its
    files where these are on this machine; never the whole table, which may be a gigabyte."""
    if model is not None and not (weight := model.get_input_embeddings().weight).is_meta:
        return lambda ids: weight.detach()[ids].float(), weight.shape[0]
    from safetensors import safe_open

    for file in weight_files(job.spec.model):
        tensors = safe_open(str(file), "pt")
        name = next((one for one in tensors.keys() if one.endswith(TABLES)), None)  # noqa: SIM118 it is no dictionary
        if name:
            return rows_in(tensors.get_slice(name))
    return None


def rows_in(table: Any) -> tuple[Rows, int]:
    import torch

    return lambda ids: torch.cat([table[one : one + 1] for one in ids]).float(), table.get_shape()[0]


def weight_files(model: Model) -> list[Path]:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    name = models.locate(model.id)
    if not Path(name).is_dir():
        try:
            name = snapshot_download(name, revision=model.revision, local_files_only=True)
        except LocalEntryNotFoundError:  # a border: it was not fetched yet
            return []
    return sorted(Path(name).glob("*.safetensors"))
