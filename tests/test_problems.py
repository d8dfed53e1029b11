"""Problems: every known error is recognized by the real messages of the libraries, and an unknown error says that it is unknown."""

from __future__ import annotations

import errno
import os
import pickle
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from app.core.problems import KNOWN_ERRORS, SIGNAL_CAUSES, Problem, shorten, to_problem


def make_exception(class_name: str, message: str, base_class: type[Exception] = Exception) -> Exception:
    """An exception with the class name of a library, which is not imported here."""
    return type(class_name, (base_class,), {})(message)


LIBRARY_ERRORS = [
    ("out_of_memory", make_exception("OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.68 GiB of which "
                             "1.10 GiB is free.", RuntimeError)),
    ("out_of_memory", RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
                                   "4398046511104 bytes. Error code 12 (Cannot allocate memory)")),
    ("out_of_memory", MemoryError()),
    ("disk_full", OSError(errno.ENOSPC, "No space left on device", "checkpoints/checkpoint-4/model.safetensors")),
    ("disk_full", RuntimeError("[enforce fail at inline_container.cc:664] . PytorchStreamWriter failed writing file data/12: file write failed: "
                               "No space left on device")),
    ("disk_full", RuntimeError("basic_ios::clear: iostream error")),  # of torch.save
    ("disk_full", OSError(errno.EDQUOT, "Disk quota exceeded")),
    ("pickled_weights", make_exception("UnpicklingError", "Weights only load failed. This file can still be loaded, to do so you have two options, do those "
                               "steps only if you trust the source of the checkpoint. (1) In PyTorch 2.6, we changed the default value of the `weights_only` "
                               "argument in `torch.load` from `False` to `True`. Re-running `torch.load` with `weights_only` set to `False` …")),
    ("own_code", ValueError("Loading this model requires you to execute custom code contained in the model repository on your local machine. Please set "
                            "the option `trust_remote_code=True` to permit loading of this model.")),
    ("missing_pad_token", ValueError("Asking to pad but the tokenizer does not have a padding token. Please select a token to use as `pad_token` "
                                     "`(tokenizer.pad_token = tokenizer.eos_token e.g.)`")),
    ("no_rows", ValueError("num_samples should be a positive integer value, but got num_samples=0")),
    ("no_answers_in_template", ValueError("`assistant_only_loss=True` requires a chat template that supports `return_assistant_tokens_mask`: "
                                          "it has no `{% generation %}` block")),
    ("picture_cut", ValueError("Mismatch in `image` token count between text and `input_ids`. Got ids=[13] and text=[16]. Likely due to "
                               "`truncation='max_length'`. Please disable truncation or increase `max_length`.")),
    ("gated_model", make_exception("GatedRepoError", "403 Client Error. Cannot access gated repo for url https://huggingface.co/meta-llama/x/resolve/main/config"
                           ".json. Access to model meta-llama/x is restricted and you are not in the authorized list.", OSError)),
    ("gated_model", OSError("You are trying to access a gated repo.\nMake sure to have access to it at https://huggingface.co/meta-llama/x.")),
    ("model_not_found", OSError("nobody/nothing is not a local folder and is not a valid model identifier listed on 'https://huggingface.co/models'")),
    ("model_not_found", make_exception("RepositoryNotFoundError", "404 Client Error. Repository Not Found for url: https://huggingface.co/api/models/a/b.")),
    ("model_not_found", make_exception("LocalEntryNotFoundError", "Cannot find an appropriate cached snapshot folder for the specified revision on the local disk")),
    ("model_not_found", OSError("We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them in the cached files.")),
    ("model_not_found", ValueError("Unrecognized model in /tmp/m. Should have a `model_type` key in its config.json.")),
    ("data_not_found", make_exception("DatasetNotFoundError", "Dataset 'nobody/nothing' doesn't exist on the Hub or cannot be accessed.", FileNotFoundError)),
    ("data_not_found", ConnectionError("Couldn't reach 'nobody/nothing' on the Hub (OfflineModeIsEnabled)")),
    ("data_not_found", ConnectionError("Couldn't reach 'nobody/nothing' on the Hub (LocalEntryNotFoundError)")),
    ("hub_out_of_reach", make_exception("ConnectError", "[Errno 111] Connection refused")),
    ("hub_out_of_reach", make_exception("ConnectTimeout", "timed out")),
    ("hub_out_of_reach", make_exception("ConnectError", "[Errno -3] Temporary failure in name resolution")),
    ("wrong_column", KeyError("prompt")),
    ("wrong_column", KeyError("Column answer not in the dataset. Current columns in the dataset: ['text']")),
    ("group_does_not_divide", ValueError("generation_batch_size (7) must be divisible by num_generations (4).")),
    ("group_does_not_divide", ValueError("GRPO requires at least 2 generations per prompt to calculate the advantages. You provided 1, which is less than "
                                         "the minimum required: num_generations must be at least 2.")),
    ("no_precision", ValueError("Your setup doesn't support bf16/gpu.")),
    ("no_precision", ValueError("Your setup doesn't support bf16/gpu. You need Ampere+ GPU with cuda>=11.0")),
    ("processes_lost", RuntimeError("NCCL communicator was aborted on rank 1.")),
    ("processes_lost", make_exception("DistBackendError", "NCCL error in: ProcessGroupNCCL.cpp:1275, remote process exited or there was a network error",
                              RuntimeError)),
    ("bad_template", make_exception("TemplateError", "Conversation roles must alternate user/assistant/user/assistant/...")),
    ("missing_package", ModuleNotFoundError("No module named 'bitsandbytes'")),
    ("not_permitted", PermissionError(errno.EACCES, "Permission denied", "/srv/runs")),
    ("not_permitted", OSError(errno.EROFS, "Read-only file system", "/srv/runs")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "error"), LIBRARY_ERRORS, ids=lambda case: case if isinstance(case, str) else type(case).__name__
)
def test_a_known_error_is_explained(reason: str, error: Exception) -> None:
    problem = to_problem(error)
    assert problem.reason == reason
    known_error = next(known for known in KNOWN_ERRORS if known.reason == reason)
    assert problem.text.startswith(known_error.text)
    assert problem.advice == known_error.advice
    assert (shorten(str(error)) in problem.text) == known_error.quotes_original


def test_an_error_without_a_message_adds_no_empty_brackets() -> None:
    assert "()" not in to_problem(MemoryError()).text


def test_every_known_error_has_an_example_here() -> None:
    assert {reason for reason, _ in LIBRARY_ERRORS} == {known_error.reason for known_error in KNOWN_ERRORS}


def test_every_known_error_has_text_and_advice_and_a_unique_reason() -> None:
    for known_error in KNOWN_ERRORS:
        assert known_error.text.endswith(".")
        assert known_error.advice.endswith(".")
        re.compile(known_error.pattern)
    reasons = [known_error.reason for known_error in KNOWN_ERRORS]
    assert len(set(reasons)) == len(reasons)


@pytest.mark.slow
def test_errors_raised_by_the_pinned_libraries_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The messages above, raised by the libraries themselves; offline, as they read it from the environment at their start."""
    import datasets
    from datasets import Dataset, load_dataset
    from huggingface_hub import constants
    from transformers import AutoConfig

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)

    def reason_of(action: Any) -> str:
        try:
            action()
        except Exception as error:
            return to_problem(error).reason
        return "nothing"

    assert reason_of(lambda: AutoConfig.from_pretrained("nobody/nothing")) == "model_not_found"
    assert reason_of(lambda: load_dataset("nobody/nothing")) == "data_not_found"
    assert reason_of(lambda: Dataset.from_list([{"a": 1}])["answer"]) == "wrong_column"


def test_pickled_program_code_is_refused_without_the_advice_to_run_it(tmp_path: Path) -> None:
    import torch

    class RunsCode:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.system, ("exit 1",)

    path = tmp_path / "pytorch_model.bin"
    torch.save({"weight": RunsCode()}, path)
    with pytest.raises(pickle.UnpicklingError) as raised:
        torch.load(path, weights_only=True)
    assert "weights_only" in str(raised.value)
    problem = to_problem(raised.value)
    assert problem.reason == "pickled_weights"
    assert "weights_only" not in str(problem)
    assert "torch" not in str(problem)
    assert ".safetensors" in problem.advice


@pytest.mark.parametrize("error", [ValueError("the moon is too high"), RuntimeError("Errno 131"), AssertionError(), KeyError("moon"),
                                   OSError(errno.ECONNRESET, "Connection reset by peer"), ValueError("Column width 28 not in range")])  # fmt: skip
def test_an_unknown_error_says_that_something_broke(error: Exception) -> None:
    problem = to_problem(error)
    assert problem.text.startswith(f"Something broke: {type(error).__name__}")
    assert str(error) in problem.text
    assert problem.reason == "crashed"
    assert "log" in problem.advice


def test_a_problem_is_returned_unchanged() -> None:
    problem = Problem("Too big.", advice="Try less.", reason="diverged")
    assert to_problem(problem) is problem
    assert str(problem) == "Too big. Try less."
    assert str(Problem("Too big.")) == "Too big."


def test_a_long_message_is_shortened_to_one_line() -> None:
    text = to_problem(ValueError("a\n  b\t" + "c" * 10_000)).text
    assert text.startswith("Something broke: ValueError: a b ccc")
    assert "\n" not in text
    assert len(text) < 350
    assert shorten("x" * 300) == "x" * 300
    assert shorten("x" * 301) == "x" * 299 + "…"


def test_the_signals_that_end_runs_are_explained() -> None:
    assert {signal.SIGKILL, signal.SIGBUS, signal.SIGSEGV} <= set(SIGNAL_CAUSES)
    assert all(text.endswith(".") and advice.endswith(".") for _, text, advice in SIGNAL_CAUSES.values())
