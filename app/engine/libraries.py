"""Libraries: settings of the heavy libraries, before and just after their import."""

from __future__ import annotations

import gc
import logging as python_logging
import os
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.engine.contracts import Trainer

ENVIRONMENT = {  # set before the libraries are imported, where it is not set already
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRL_EXPERIMENTAL_SILENCE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # Threads that wait in a busy loop for each other starve when another program wants the core: on two shared cores,
    # answering 64 prompts took 14.8 s this way and 0.3 s with waiting threads asleep. Read when torch is loaded.
    "OMP_WAIT_POLICY": "PASSIVE",
}


def prepare_libraries() -> None:
    """Call before torch is imported: no telemetry, no progress bars, no warnings that are not for the person."""
    for name, setting in ENVIRONMENT.items():
        os.environ.setdefault(name, setting)
    # TRL still uses the deprecated argument gradient_checkpointing.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    # It logs at each layer of each step how it casts.
    python_logging.getLogger("bitsandbytes").setLevel(python_logging.ERROR)
    import datasets
    from transformers import dynamic_module_utils
    from transformers.utils import logging

    dynamic_module_utils.TIME_OUT_REMOTE_CODE = (
        0  # a model that wants to run its own code is refused without a question
    )

    datasets.disable_progress_bars()
    logging.disable_progress_bar()
    logging.set_verbosity_error()


def warm_up() -> None:
    """Does the slow imports before a request comes; trl itself loads its trainers only when they are named."""
    import peft
    import trl

    assert all((trl.SFTTrainer, trl.GRPOTrainer, peft.AutoPeftModelForCausalLM))
    gc.freeze()  # a million objects that stay: searching them for garbage takes a twentieth of an audit


def remove_overhead(trainer: Trainer) -> None:
    """Removes what the events do not need: printing each log line, and counting all parameters again at each step."""
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    trainer.floating_point_ops = lambda _: 0
