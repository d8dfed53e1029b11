"""Libraries: how the heavy ones below us are told to behave, before and just after their import."""

from __future__ import annotations

import gc
import logging as python_logging
import os
import warnings

ENVIRONMENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRL_EXPERIMENTAL_SILENCE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # Threads that wait in a loop for each other starve when another program wants the core: on two shared cores,
    # answering 64 prompts took 14.8 s this way and 0.3 s with waiting threads asleep. Read when torch is loaded.
    "OMP_WAIT_POLICY": "PASSIVE",
}


def prepare_libraries() -> None:
    """Call before torch is imported: no telemetry, no progress bars, no warnings that are not for the person."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    warnings.filterwarnings(
        "ignore", category=FutureWarning, module="transformers"
    )  # TRL still says gradient_checkpointing
    python_logging.getLogger("bitsandbytes").setLevel(
        python_logging.ERROR
    )  # it says at every layer of every step how it casts
    import datasets
    from transformers import dynamic_module_utils
    from transformers.utils import logging

    dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0  # a model that wants to run its own code is refused, not asked about

    datasets.disable_progress_bars()
    logging.disable_progress_bar()
    logging.set_verbosity_error()


def warm_up() -> None:
    """The slow imports, done before anybody asks; trl itself loads its trainers only when they are named."""
    import peft
    import trl

    assert trl.SFTTrainer
    assert trl.GRPOTrainer
    assert peft.AutoPeftModelForCausalLM
    gc.freeze()  # a million objects of theirs that stay: looking through them for rubbish takes a twentieth of an audit
