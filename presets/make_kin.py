"""Make kin: small relatives of the practice model that some methods need, made in seconds. `python -m presets.make_kin`.

tokenizer  A second tokenizer that cuts text differently, with a chat format of its own, in a tiny untrained Llama.
stranger   The same after an ordinary sft run: it has learned from nothing to sort support messages, so it can teach that.
vision     A tiny untrained model that takes pictures: a SigLIP eye, a Qwen3 reader, and the processor for both.

Each takes at most 2 MB. `ready(NAME)` gives the folder and makes it when it is missing; before a run, never inside one:
the stranger's run waits for its turn on this machine.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from app.core import registry
from app.core.json_files import read_json
from app.core.workspace import local_workspace
from app.engine.libraries import prepare_libraries
from app.runs import cleanup, events
from app.setup import models
from presets import pocket_text
from presets.make_teacher import halve, learned
from presets.pocket_shape import END, START, STOP

SEED = 3
TEXTS = 2_000  # pages the tokenizers are trained on
VOCABULARY = 600  # tokens; the practice model has 2048
PICTURE, PATCH = 48, 12  # pixels: 16 patches, so 16 tokens for a picture

SORTING = {
    "steps": 60, "batch_size": 16, "learning_rate": 4e-3, "schedule": "cosine", "warmup": 0.05, "max_length": 256,
    "evaluations": 0, "eval_answers": 100, "eval_length": 40, "saves": 0,
}  # fmt: skip

IMAGE = "<image>"
BEGIN, FINISH, PAD, ASKED, ANSWERED, RULED = "<s>", "</s>", "<pad>", "<|user|>", "<|assistant|>", "<|system|>"
SECOND_TEMPLATE = (
    "{{- '<s>' }}"
    "{%- for message in messages %}"
    "{{- '<|' + message['role'] + '|>' }}"
    "{%- if message['role'] == 'assistant' %}"
    "{% generation %}{{- message['content'] + '</s>' }}{% endgeneration %}"
    "{%- else %}{{- message['content'] + '</s>' }}{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- endif %}"
)
# The practice model's format, where the content of a turn may be a list of parts: text, or a picture.
SEEING_TEMPLATE = (
    "{%- macro parts(content) %}"
    "{%- if content is string %}{{- content }}"
    "{%- else %}{%- for part in content %}"
    "{{- '<image>' if part['type'] == 'image' else part['text'] }}"
    "{%- endfor %}{%- endif %}{%- endmacro %}"
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message['role'] + '\\n' }}"
    "{%- if message['role'] == 'assistant' %}"
    "{% generation %}{{- parts(message['content']) + '<|im_end|>' }}{% endgeneration %}"
    "{%- else %}{{- parts(message['content']) + '<|im_end|>' }}{%- endif %}"
    "{{- '\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
EYE_SIZES = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2,
    "image_size": PICTURE, "patch_size": PATCH, "vision_use_head": False,
}  # fmt: skip
SIZES = {  # of both untrained language models
    "hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 1024, "tie_word_embeddings": True,
}  # fmt: skip


# -- a second tokenizer
def tokenizer(folder: Path) -> dict[str, Any]:
    """Numbers are not cut into digits here, roles have tokens of their own, and a text has a beginning token."""
    from transformers import LlamaConfig, LlamaForCausalLM

    second = trained([PAD, BEGIN, FINISH, ASKED, ANSWERED, RULED], bos_token=BEGIN, eos_token=FINISH, pad_token=PAD)
    second.chat_template = SECOND_TEMPLATE
    second.save_pretrained(folder)
    return untrained(LlamaForCausalLM, LlamaConfig(vocab_size=len(second), **SIZES, **ends(second)), folder)


def stranger(folder: Path) -> dict[str, Any]:
    """All its weights learn from the sample of tickets; kept in bfloat16, and the run is removed."""
    with TemporaryDirectory() as place:
        tokenizer(Path(place))
        run = learned({"title": "stranger", "method": "sft", "model": {"id": place}, "data": [{"source": "sample:tickets"}],
                       "holdout": {"split": "holdout"}, "adapter": {"kind": "none"}, "knobs": SORTING, "seed": SEED,
                       "rewards": [{"name": "exact_match", "as": "correct"}]})  # fmt: skip
    for file in run.adapter.iterdir():
        shutil.copy2(file, folder / file.name)
    halve(folder / "model.safetensors")
    tests = [event.metrics for event in events.of_type(events.read_events(run.events), events.EvalEvent)]
    cleanup.delete_run(run)
    return {"correct": tests[-1]["eval/correct"]}


def trained(special: list[str], **roles: Any) -> Any:
    """A byte-level BPE of VOCABULARY tokens, trained on the practice model's reading; the special tokens come first."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
    from tokenizers import models as kinds
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(kinds.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=special, show_progress=False,
                                  initial_alphabet=sorted(alphabet))  # fmt: skip
    raw.train_from_iterator((row["text"] for row in pocket_text.reading_rows(TEXTS)), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, model_max_length=1024, clean_up_tokenization_spaces=False, **roles
    )


def ends(words: Any) -> dict[str, int | None]:
    return {"bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id}


def untrained(shape: Any, config: Any, folder: Path) -> dict[str, Any]:
    """Saves a model of this shape with seeded random weights in bfloat16."""
    import torch
    from transformers import set_seed

    set_seed(SEED)
    (model := shape(config).to(torch.bfloat16)).save_pretrained(folder)
    return {"parameters": model.num_parameters()}


# -- a model that sees
def vision(folder: Path) -> dict[str, Any]:
    """LLaVA's plan: the eye's patches, projected, take the places of the image tokens in what the reader reads."""
    from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor, Qwen3Config, SiglipVisionConfig
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil  # without torchvision

    words = trained(
        [END, START, STOP, IMAGE], eos_token=STOP, pad_token=END, extra_special_tokens={"image_token": IMAGE}
    )
    eye = SiglipImageProcessorPil(size={"height": PICTURE, "width": PICTURE})
    LlavaProcessor(eye, words, patch_size=PATCH, vision_feature_select_strategy="full",
                   chat_template=SEEING_TEMPLATE).save_pretrained(folder)  # fmt: skip
    config = LlavaConfig(
        vision_config=SiglipVisionConfig(**EYE_SIZES), text_config=Qwen3Config(vocab_size=len(words), **SIZES, **ends(words)),
        image_token_index=words.convert_tokens_to_ids(IMAGE), image_seq_length=(PICTURE // PATCH) ** 2,
        vision_feature_select_strategy="full", vision_feature_layer=-1, tie_word_embeddings=True,
    )  # fmt: skip
    return untrained(LlavaForConditionalGeneration, config, folder)


MAKERS = {"tokenizer": tokenizer, "stranger": stranger, "vision": vision}


def ready(name: str, out: Path | None = None) -> Path:
    """The folder of one of MAKERS, made when it is missing or when what it is made of has changed."""
    folder = (out or local_workspace().cache("kin")) / name
    return folder if read_json(folder / "made.json").get("made_of") == sources() else make(name, folder.parent)


def make(name: str, out: Path) -> Path:
    """Makes one anew. Its folder appears whole or not at all."""
    prepare_libraries()
    draft, folder = out / f".{name}", out / name
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    made = {"made_of": sources()} | MAKERS[name](draft)
    (draft / "made.json").write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    return draft.rename(folder)


def sources() -> str:
    """A hash of this folder's scripts and words and of the practice model."""
    here, pocket = Path(__file__).parent, Path(models.locate_model("pocket"))
    files = [
        *sorted(here.glob("*.py")),
        *sorted(here.glob("words/*")),
        pocket / "tokenizer.json",
        pocket / "model.safetensors",
    ]
    whole = hashlib.sha256()
    for file in files:
        whole.update(file.read_bytes())
    return whole.hexdigest()


def size(folder: Path) -> int:
    """Bytes of all its files."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="tokenizer, stranger, vision; all when none is named")
    parser.add_argument("--out", type=Path, help="where their folders go (default: TUNESMITH_HOME/cache/kin)")
    options = parser.parse_args()
    for name in options.names:
        if name not in MAKERS:
            parser.error(f"There is no “{name}”. {registry.suggest_name(name, list(MAKERS))}")
    for name in options.names or MAKERS:
        began = time.monotonic()
        folder = make(name, options.out or local_workspace().cache("kin"))
        print(f"{name}: {size(folder) / 1e6:.2f} MB in {time.monotonic() - began:.0f} s, {folder}", flush=True)


if __name__ == "__main__":
    main()
