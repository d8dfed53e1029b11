"""GPU: what only a graphics card shows: training at true sizes, memory beside its estimate, speed beside TRL's defaults.

Models are of the shape of catalogue entries, with random weights that are made in place: nothing is downloaded. Each part
runs in a process of its own, for four minutes at most, on a card with 80 GB. A part that cannot run is listed as not
run, with the reason. It runs also with other versions than those of requirements.txt; the table names those it found. What a
machine with PyTorch and transformers mostly lacks, as wheels: trl, peft, accelerate, datasets, bitsandbytes, pydantic,
msgspec, orjson, tomlkit, regex, psutil, pyseccomp, jsonschema, rapidfuzz, math-verify, py3langid; for flash attention
flash-attn, or kernels with a copy of its kernel; for FP8 torchao; and for compilation a C compiler with the headers of Python.
"""

from __future__ import annotations

import importlib.util
import json
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.core.paths import ROOT
from tests.bench._gpu_cases import CASES, SFT, GpuCase
from tests.memory_cases import MemoryCase, estimate_case, spec_of

if TYPE_CHECKING:
    from app.engine.model.device import Device

STEPS = 8
_TIMEOUT = 240  # seconds of one part
_PRODUCT_SIZE, _PRODUCTS = 8192, 20  # of the matrix product that shows what the card computes at most
_PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes")


def run(folder: Path, names: list[str] | None = None) -> list[dict[str, Any]]:
    """One table row per part, printed as soon as it is known, and one for the machine. names: only these."""
    table = [machine_row()]
    for name in names or CASES:
        reason = _missing(CASES[name])
        table.append(_row(name, f"not run: {reason}") if reason else _run_part(name, folder))
        print(table[-1], flush=True)
    return table


def machine_row() -> dict[str, Any]:
    """The card and the versions found."""
    versions = []
    for package in _PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            versions.append(f"no {package}")
    return _row(f"{_card_name() or 'no NVIDIA card'}; Python {platform.python_version()}", ", ".join(versions))


def _missing(case: GpuCase) -> str:
    if not _card_name():
        return "no NVIDIA card"
    if lacking := [package for package in ("trl", "peft") if importlib.util.find_spec(package) is None]:
        return f"{lacking[0]} is not installed"
    if case.needs and not any(importlib.util.find_spec(package) for package in case.needs):
        return f"{' or '.join(case.needs)} is not installed"
    return ""


def _card_name() -> str:
    if importlib.util.find_spec("torch") is None:
        return ""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def _run_part(name: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.gpu", name, str(folder)]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return _row(name, f"not run to its end: longer than {_TIMEOUT} seconds")
    answer = done.stdout.strip().splitlines()
    if done.returncode or not answer:
        return _row(name, f"FAILED: {(done.stderr.strip().splitlines() or ['no word'])[-1][:300]}")
    row: dict[str, Any] = json.loads(answer[-1])
    return row


def _row(name: str, result: str, **figures: Any) -> dict[str, Any]:
    empty = {"estimate, GB": "", "peak, GB": "", "of the middle": "", "tokens a second": "", "of what the card computes": "", "seconds": ""}  # fmt: skip
    return {"part": name, "result": result} | empty | figures


# -- one part, in its process -------------------------------------------------------------------------------------


def measure_part(name: str, folder: Path, device: Device) -> dict[str, Any]:
    """The row of a part: `STEPS` steps of a model with random weights on the device."""
    started_at = time.monotonic()
    part = CASES[name]
    model = random_weights(part.model, folder, device)
    if part.case is None:
        seconds, tokens, peak = train_as_trl_comes(model, folder)
        estimate, flops_per_token = None, _flops_per_token(model, trains_all=False, recomputes=True)
    else:
        seconds, tokens, peak, estimate, recomputes = train_case(part.case, model, folder, device)
        trains_all = part.case.fields.get("adapter", {}).get("kind") == "none"
        flops_per_token = _flops_per_token(model, trains_all=trains_all, recomputes=recomputes)
    speed = tokens / seconds
    figures: dict[str, Any] = {"peak, GB": f"{peak / 1e9:.1f}", "tokens a second": f"{speed:,.0f}"}
    if part.case is None or part.case.method != "grpo":  # there most of the time goes into writing answers
        share = speed * flops_per_token / peak_flops(device)
        figures["of what the card computes"] = f"{share:.0%}"
    result = "done"
    if estimate:
        low, high = estimate
        figures["estimate, GB"] = f"{low / 1e9:.1f} to {high / 1e9:.1f}"
        figures["of the middle"] = f"{2 * peak / (low + high):.2f}"
        result = "done" if low <= peak <= high else "done; the peak is OUTSIDE the estimate"
    return _row(name, result, **figures, seconds=f"{time.monotonic() - started_at:.0f}")


def random_weights(name: str, folder: Path, device: Device) -> str:
    """The folder of a model of the shape of a catalogue entry, with random weights and the practice model's tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from tests.true_shapes import entry_of

    path = folder / name.replace("/", "--")
    if path.is_dir():
        return str(path)
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "presets" / "pocket")
    entry = entry_of(name)
    fields = {key: part for key, part in entry.full_config.items() if key != "model_type"}
    token_ids = {key: getattr(tokenizer, key) for key in ("eos_token_id", "pad_token_id", "bos_token_id")}
    config = AutoConfig.for_model(entry.config["model_type"], **fields | token_ids)
    with torch.device(device.name):
        AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


def train_case(
    case: MemoryCase, model: str, folder: Path, device: Device
) -> tuple[float, int, int, tuple[int, int], bool]:
    """(seconds and tokens of the steps after the first two, peak of tensors in bytes, the estimate of it, whether activations
    are computed again)."""
    from app.engine.job import Job
    from app.engine.libraries import prepare_libraries, remove_overhead
    from app.engine.preview.measured_steps import StepTimes, count_step_tokens, step_timer

    prepare_libraries()
    spec = spec_of(case, model, folder)
    spec = spec.model_copy(update={"knobs": spec.knobs | {"steps": STEPS}})
    job = Job(spec, folder / "run", device)
    times = StepTimes()
    job.callbacks.append(step_timer(times))
    trainer = job.method.build(job)
    remove_overhead(trainer)
    count_step_tokens(trainer, times)
    estimate = estimate_case(job, trainer, device.memory())
    _forget_peak()
    trainer.train()
    return (
        sum(times.seconds[2:]),
        sum(times.tokens[2:]),
        _peak(),
        (estimate["tensors_low"], estimate["tensors_high"]),
        bool(trainer.args.gradient_checkpointing),
    )


def train_as_trl_comes(model: str, folder: Path) -> tuple[float, int, int]:
    """(seconds, tokens, peak in bytes) of TRL's SFTTrainer with a LoRA of the same rank and its own defaults otherwise."""
    import torch
    from datasets import load_dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    from app.engine.preview.measured_steps import StepTimes, count_step_tokens, step_timer

    source = spec_of(SFT, model, folder).data[0].source.removeprefix("path:")
    rows = load_dataset("json", data_files=source, split="train")
    times = StepTimes()
    config = SFTConfig(
        output_dir=str(folder / "trl"),
        max_steps=STEPS,
        report_to="none",
        save_strategy="no",
        use_cpu=not torch.cuda.is_available(),
    )
    trainer = SFTTrainer(model, config, train_dataset=rows, peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"), callbacks=[step_timer(times)])  # fmt: skip
    count_step_tokens(trainer, times)
    _forget_peak()
    trainer.train()
    return sum(times.seconds[2:]), sum(times.tokens[2:]), _peak()


def _flops_per_token(model: str, *, trains_all: bool, recomputes: bool) -> float:
    """Of the matrices: 2 for each weight forward, 2 for the gradient of its input and, where it is trained, 2 for its own."""
    from app.setup.model_shape import read_model_shape

    shape = read_model_shape(json.loads((Path(model) / "config.json").read_text("utf-8")))
    weights = shape.num_parameters - (0 if shape.tie_word_embeddings else shape.vocab_size * shape.hidden_size)
    return weights * (4 + 2 * trains_all + 2 * recomputes)


def peak_flops(device: Device) -> float:
    """Operations a second of a large matrix product in bfloat16 on this device."""
    import torch

    size = _PRODUCT_SIZE if device.is_cuda else 128
    matrix = torch.randn(size, size, dtype=torch.bfloat16, device=device.name)
    matrix @ matrix
    _wait()
    started_at = time.monotonic()
    for _ in range(_PRODUCTS):
        matrix @ matrix
    _wait()
    return 2 * size**3 * _PRODUCTS / (time.monotonic() - started_at)


def _wait() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _forget_peak() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def _peak() -> int:
    import torch

    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0


if __name__ == "__main__":
    from app.engine.model.device import Device

    print(json.dumps(measure_part(sys.argv[1], Path(sys.argv[2]), Device("cuda:0"))))
