"""Problem, the exception whose text reaches the page, and the table of library errors that become Problems."""

from __future__ import annotations

import re
from dataclasses import dataclass


class Problem(Exception):
    """An error that a person can fix. The page shows it as it is.

    text: what is wrong, with the value. advice: the next step. reason: a stable identifier for programs.
    """

    def __init__(self, text: str, *, advice: str = "", reason: str = "refused"):
        super().__init__(f"{text} {advice}".strip())
        self.text, self.advice, self.reason = text, advice, reason


@dataclass(frozen=True)
class KnownError:
    """A known library error. pattern: a regular expression over `TypeName: message`. quotes_original: the library's own
    message is shown too. The other fields are as in Problem."""

    reason: str
    pattern: str
    text: str
    advice: str
    quotes_original: bool = True


# Starts from the common errors that Axolotl's guide lists; the others occurred during development. The first match
# counts.
KNOWN_ERRORS = (
    KnownError(
        "out_of_memory",
        r"OutOfMemoryError|CUDA out of memory|DefaultCPUAllocator: can't allocate|not enough memory|^MemoryError|std::bad_alloc",
        "The device ran out of memory.",
        "Halve the batch size and double the accumulation, then shorten the maximum length. What was saved can be resumed.",
    ),
    KnownError(
        "disk_full",
        r"No space left on device|Errno 28\b|Disk quota exceeded|Errno 122\b|basic_ios::clear: iostream error",
        "The disk is full.",
        "Free some space (delete runs you no longer need), then resume: it goes on from the last whole checkpoint.",
    ),
    KnownError(
        "pickled_weights",
        r"UnpicklingError|Weights only load failed|weights_only",
        "The weights are in a format that can hold program code, and this file holds more than numbers.",
        "Choose a model whose weights are .safetensors files; most have them.",
        quotes_original=False,  # it says how to run the code
    ),
    KnownError(
        "own_code",
        r"requires you to execute custom code|contains custom code which must be executed",
        "This model comes with program code of its own, which is never run here.",
        "Choose a model of a common architecture, such as Llama or Qwen.",
    ),
    KnownError(
        "missing_pad_token",
        r"does not have a padding token|pad_token.*is not found in the vocabulary",
        "The model's tokenizer has no padding token.",
        "Choose a model whose tokenizer defines one; most instruct models do.",
    ),
    KnownError(
        "bad_template",
        r"^(TemplateError|UndefinedError|TemplateRuntimeError|SecurityError|TemplateAssertionError)\b",
        "The chat format refuses one of the examples.",
        "Look at the order of its turns: many formats want questions and answers in turn. Or choose another chat format.",
    ),
    KnownError(
        "no_rows",
        r"num_samples should be a positive integer|Dataset is empty|dataset.*0 rows|no usable rows|out of bounds for size 0",
        "No example is left to train on.",
        "Check the examples: rows that are empty, or have no token to train, are left out.",
    ),
    KnownError(
        "no_answers_in_template",
        r"assistant_only_loss.*(generation|template)|chat template.*\{% generation %\}|does not.*training.*template",
        "This model's chat template does not mark where answers begin and end.",
        "Set “learn from” to everything, or give the examples as prompt and completion.",
    ),
    KnownError(
        "picture_cut",
        r"Mismatch in `image` token count|Image features and image tokens do not match|image placeholder tokens .* to be truncated",
        "The maximum length cuts into a picture.",
        "Set the maximum length higher: a picture takes many tokens.",
    ),
    KnownError(
        "gated_model",
        r"GatedRepoError|Access to model .* is restricted|gated repo",
        "This model is behind a licence you have not accepted yet.",
        "Open the model's page on the Hub, accept the terms, sign in, and start again.",
    ),
    KnownError(
        "data_not_found",
        r"DatasetNotFoundError|^ConnectionError: Couldn't reach '|doesn't exist on the Hub or cannot be accessed",
        "The dataset could not be found or reached.",
        "Check its spelling (owner/name), your connection, and that you are signed in if it is private.",
    ),
    KnownError(
        "model_not_found",
        r"RepositoryNotFoundError|is not a local folder and is not a valid model identifier|Can't load the configuration of"
        r"|Unrecognized model in|does not appear to have a file named|LocalEntryNotFoundError|couldn't connect to"
        r"|Cannot send a request to|OfflineModeIsEnabled|couldn't find them in the cached files",
        "The model could not be found or reached.",
        "Check its spelling (owner/name), your connection, and that you are signed in if it is private.",
    ),
    KnownError(
        "hub_out_of_reach",
        r"^(ConnectError|ConnectTimeout|ReadTimeout|ProxyError|OfflineModeIsEnabled)\b",
        "The Hub could not be reached.",
        "Check your connection and try again; what was trained is safe on this machine.",
    ),
    KnownError(
        "wrong_column",
        r"KeyError: '(prompt|completion|messages|text|answer)'|Column \S+ (not in the dataset|doesn't exist)",
        "A column that this method needs is missing.",
        "Open the examples and say which column is which.",
    ),
    KnownError(
        "group_does_not_divide",
        r"generation_batch_size.*divisible|num_generations.*(divisible|greater than|must be)",
        "The batch cannot be split into whole groups of attempts.",
        "Make the batch size a multiple of the attempts per prompt.",
    ),
    KnownError(
        "no_precision",
        r"doesn't support bf16|Your setup doesn't support",
        "This device cannot compute in the number format asked for.",
        "Leave the precision on automatic.",
    ),
    KnownError(
        "processes_lost",
        r"NCCL communicator was aborted|NCCL error|Socket Timeout.*store",
        "The processes lost contact with each other.",
        "Resume: it goes on from the last checkpoint. If it happens again, train on one device.",
    ),
    KnownError(
        "missing_package",
        r"ModuleNotFoundError",
        "A package this setting needs is not installed.",
        "Install what the log names, or leave that setting at its default.",
    ),
    KnownError(
        "not_permitted",
        r"PermissionError|Errno 13\b|Read-only file system",
        "A file or folder may not be written.",
        "Give this account the right to write there, or set TUNESMITH_HOME to another folder.",
    ),
)

# Signal number: (reason, text, advice), by what usually sends this signal.
SIGNAL_CAUSES = {
    9: (
        "killed",
        "The system ended the run without warning, most often because memory ran out.",
        "Use fewer examples at once or a smaller model, close other programs, then resume.",
    ),
    7: (
        "bus_error",
        "The run lost a part of its memory that lay on disk.",
        "Check that the disk is not full, then resume.",
    ),
    11: ("crashed", "A library below crashed.", "Resume; if it happens again, the log names the place."),
}


def process_lost() -> Problem:
    """The Problem of a run whose process is gone without a final event."""
    reason, text, advice = SIGNAL_CAUSES[9]
    return Problem(text, advice=advice, reason=reason)


def to_problem(error: BaseException) -> Problem:
    """The Problem for any error: the error itself, a known one with the original message, or “Something broke”."""
    if isinstance(error, Problem):
        return error
    error_text = f"{type(error).__name__}: {error}"
    for known_error in KNOWN_ERRORS:
        if re.search(known_error.pattern, error_text, re.IGNORECASE | re.DOTALL):
            original = f" ({shorten(str(error))})" if str(error) and known_error.quotes_original else ""
            return Problem(f"{known_error.text}{original}", advice=known_error.advice, reason=known_error.reason)
    return Problem(
        f"Something broke: {shorten(error_text)}",
        advice="The log has the details. What was saved can be resumed.",
        reason="crashed",
    )


def shorten(text: str, limit: int = 300) -> str:
    """The text on one line, cut to `limit` characters with an ellipsis."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
