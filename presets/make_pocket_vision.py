"""Make pocket vision: a practice model that sees, built from nothing by an ordinary sft run. `python -m presets.make_pocket_vision`.

It learns to say of small pictures which colour and which shape they show, always in the same few words. A preset then teaches
it to answer questions instead. None of its pictures is one of the sample's. About five minutes on two idle cores.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path
from random import Random
from typing import Any

from app.core import paths
from app.core.json_files import read_json
from app.core.problems import Problem
from app.core.workspace import local_workspace
from app.engine.libraries import prepare_libraries
from app.planning import preflight
from app.runs import cleanup, events, store
from app.runs.store import Run
from app.setup.spec import Launch, parse_spec
from backends import local
from presets import make_kin, pocket_text
from presets.make_samples import PICTURES as PICTURES_OF_SAMPLE
from presets.make_samples import SHAPES_SEED, assistant, user
from presets.pictures import PAINTS, SHAPES, Place, draw, places

FOLDER = paths.ROOT / "presets" / "pocket-vision"
SEED = 5
PICTURES, ASKED = 6_000, "Describe the picture."
VOCABULARY, TEXTS = 512, 500  # tokens; pages of the practice model's reading that the tokenizer is trained on too
EYE = {"hidden_size": 96, "intermediate_size": 192, "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": 24,
       "patch_size": 6, "vision_use_head": False}  # fmt: skip
READER = make_kin.SIZES | {"hidden_size": 128, "intermediate_size": 320, "num_hidden_layers": 3}
LEARNING = {
    "epochs": 10.0, "batch_size": 32, "learning_rate": 2e-3, "schedule": "cosine", "warmup": 0.05, "max_length": 64,
    "evaluations": 3, "eval_answers": 200, "eval_length": 8, "saves": 0,
}  # fmt: skip


def described(place: Place) -> str:
    """The same few words in the same order for every picture."""
    shape, colour, *_ = place
    return f"a {colour} {shape}"


def own_places() -> list[Place]:
    """Different ones, none of which the sample shows."""
    taken = set(sample_places())
    return [place for place in places(Random(SEED), PICTURES + PICTURES_OF_SAMPLE) if place not in taken][:PICTURES]


def sample_places() -> list[Place]:
    """As presets/make_samples.py draws them."""
    return places(Random(SHAPES_SEED), PICTURES_OF_SAMPLE)


def write_rows(folder: Path) -> Path:
    """Pictures, and a file of conversations that name them."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as lines:
        for number, place in enumerate(own_places()):
            name = f"images/{number:05}.png"
            (folder / name).write_bytes(draw(*place))
            row = {"messages": user(ASKED) + assistant(described(place)), "images": [name]}
            lines.write(json.dumps(row) + "\n")
    return folder / "rows.jsonl"


def tokenizer() -> Any:
    """A byte-level BPE in which the words for what it sees are single tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    special = [make_kin.END, make_kin.START, make_kin.STOP, make_kin.IMAGE]
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=special, show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))  # fmt: skip
    said = [
        f"A {colour} {shape}. {colour.capitalize()}. It is a {colour} {shape}." for colour in PAINTS for shape in SHAPES
    ]
    said += ["What do you see? Which colour is it? Which shape is it? Describe the picture."]
    raw.train_from_iterator(said * 40 + [row["text"] for row in pocket_text.reading_rows(TEXTS)], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, model_max_length=1024, clean_up_tokenization_spaces=False, eos_token=make_kin.STOP,
        pad_token=make_kin.END, extra_special_tokens={"image_token": make_kin.IMAGE},
    )  # fmt: skip


def write_shape(folder: Path) -> None:
    """Tokenizer, eye and reader, untrained."""
    from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor, Qwen3Config, SiglipVisionConfig
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil  # without torchvision

    words = tokenizer()
    eye = SiglipImageProcessorPil(size={"height": EYE["image_size"], "width": EYE["image_size"]})
    LlavaProcessor(eye, words, patch_size=EYE["patch_size"], vision_feature_select_strategy="full",
                   chat_template=make_kin.SEEING_TEMPLATE).save_pretrained(folder)  # fmt: skip
    config = LlavaConfig(
        vision_config=SiglipVisionConfig(**EYE), text_config=Qwen3Config(vocab_size=len(words), **READER, **make_kin.ends(words)),
        image_token_index=words.convert_tokens_to_ids(make_kin.IMAGE), image_seq_length=(EYE["image_size"] // EYE["patch_size"]) ** 2,
        vision_feature_select_strategy="full", vision_feature_layer=-1, tie_word_embeddings=True,
    )  # fmt: skip
    make_kin.untrained(LlavaForConditionalGeneration, config, folder)


def learn(shape: Path, rows: Path) -> Run:
    """The finished run. Raises Problem when it did not finish."""
    data = {"title": "practice model that sees", "method": "sft", "model": {"id": str(shape)}, "data": [{"source": f"path:{rows}"}],
            "holdout": {"share": 0.04}, "adapter": {"kind": "none"}, "knobs": LEARNING, "seed": SEED,
            "rewards": [{"name": "exact_match", "as": "correct"}]}  # fmt: skip
    run = store.create_run(local_workspace(), preflight.check_spec(parse_spec(data)), Launch())
    for line in local.follow(local.start(run, run.launch)):
        event = events.parse_line(line)
        if isinstance(event, events.EvalEvent):
            print(event.step, event.metrics, flush=True)
    last = events.last_event(run.events)
    if not isinstance(last, events.DoneEvent) or last.why != "finished":
        raise Problem("The run did not finish.", advice=f"{run.path / 'log.txt'} says why.")
    return run


def publish(run: Run, shape: Path, out: Path, facts: dict[str, Any]) -> None:
    """Weights in bfloat16 with the shape's own files; the README beside them is written by hand."""
    import torch
    from transformers import AutoModelForImageTextToText

    out.mkdir(parents=True, exist_ok=True)
    for file in shape.iterdir():
        shutil.copy2(file, out / file.name)
    AutoModelForImageTextToText.from_pretrained(run.adapter, dtype=torch.bfloat16).save_pretrained(out)
    run_facts = read_json(run.path / "facts.json")
    tests = [event.metrics for event in events.of_type(events.read_events(run.events), events.EvalEvent)]
    facts |= {"parameters": run_facts["model"]["parameters"], "pictures": PICTURES, "correct": tests[-1]["eval/correct"],
              "settings": LEARNING, "versions": run_facts["versions"]}  # fmt: skip
    (out / "made.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FOLDER, help="where the model goes")
    out = parser.parse_args().out
    prepare_libraries()
    build = local_workspace().cache("pocket-vision")
    shutil.rmtree(build / "shape", ignore_errors=True)
    (build / "shape").mkdir()
    write_shape(build / "shape")
    began = time.monotonic()
    run = learn(build / "shape", write_rows(build))
    publish(run, build / "shape", out, {"minutes": round((time.monotonic() - began) / 60, 1)})
    cleanup.delete_run(run)


if __name__ == "__main__":
    main()
