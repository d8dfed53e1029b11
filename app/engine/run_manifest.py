"""Facts: what a run turned out to be made of, written once it is known; a card or a colleague can check them."""

from __future__ import annotations

import hashlib
import platform
from importlib.metadata import version
from typing import Any

from app.engine.job import Job
from app.engine.model import quantization
from app.engine.model.vision import sees
from app.engine.tokens.tokenized_examples import measured

PACKAGES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "bitsandbytes")


def facts(job: Job, trainer: Any) -> dict[str, Any]:
    """Revisions and hashes of model and data, the template's hash, rows and tokens, versions, device."""
    template = job.tokenizer.chat_template or ""
    train = trainer.train_dataset
    weights = quantization.weights(trainer.model)
    return {
        "model": {
            "id": job.spec.model.id,
            "revision": getattr(trainer.model.config, "_commit_hash", None) or job.spec.model.revision,
            "parameters": sum(size for size, _ in weights),
            "trained": sum(size for size, trained in weights if trained),
            "held": job.spec.model.quantization,  # tests and talk hold it so too: an adapter fits what it was trained beside
            "bytes": quantization.footprint(trainer.model),
            "sees": sees(trainer.model.config),
        },
        "others": job.others,
        "data": {
            "files": job.data.files,
            "rows": None if job.streaming else len(job.data.train),
            "prepared_rows": None if job.streaming else len(train),
            "held_out": len(job.data.holdout),
            "dropped": dict(job.data.dropped),
            "tokens": tokens_of(train, job.streaming),
        },
        "chat": job.speaks,
        "template": hashlib.sha256(template.encode()).hexdigest() if template else None,
        "versions": {name: version(name) for name in PACKAGES} | {"python": platform.python_version()},
        "device": {"name": job.device.name, "machine": platform.machine(), **settings(trainer.args)},
    }


def tokens_of(train: Any, streaming: bool) -> dict[str, int] | None:
    """All and trained tokens of one pass; None where rows are only prepared on the way."""
    counted = None if streaming else measured(train)
    return None if counted is None else {"all": int(counted[0].sum()), "trained": int(counted[1].sum())}


def settings(args: Any) -> dict[str, Any]:
    return {"bf16": args.bf16, "checkpointing": bool(args.gradient_checkpointing)}
