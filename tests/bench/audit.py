"""Audit: all rows looked at, beside TRL's own tokenising of the same rows; a preview that is warm; a run that starts from what was prepared.

Each way has a process of its own, with one process to prepare in, and processor seconds count, so that a busy machine disturbs
none. Ours begins with the file and ends with every finding; TRL's is its preparation of the rows alone, without reading them.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.core.paths import ROOT
from app.setup.spec import Spec
from app.worker.client import WorkerClient
from tests.bench.speed import lessons
from tests.support import run_to_end, spec_of, write_rows

ROWS = int(os.environ.get("TUNESMITH_BENCH_ROWS", "100000"))
LENGTH = 512
KNOBS = {"max_length": LENGTH, "learn_from": "assistant"}


def run(folder: Path) -> list[dict[str, Any]]:
    source = write_rows(folder / "lessons.jsonl", lessons(ROWS))
    file = source.removeprefix("path:")
    theirs = measured("theirs", file, folder)
    ours = measured("ours", file, folder)
    cold = measured("start", file, folder, home="cold")  # where nothing is kept
    again, warm = measured("ours", file, folder), measured("start", file, folder)
    looks = look(spec_of("sft", source, KNOBS))
    ratio = theirs["seconds"] / ours["seconds"]
    return [
        row(f"TRL’s own tokenising of {ROWS:,} rows", theirs),
        row(f"the whole audit of them, from the file to {ours['findings']} findings", ours, f"speed {ratio:.2f} of TRL’s; at least 0.9 is promised"),
        row("the same audit, asked again in another process", again),
        row("a run’s trainer and rows, nothing kept", cold),
        row("a run’s trainer and rows, from what the audit prepared", warm, f"{cold['seconds'] / warm['seconds']:.1f} times as fast"),
        {"what": "preview of 50 rows, worker warm", "processor seconds": "", "seconds": f"{looks:.3f}", "memory": "", "note": "under 0.3 is promised"},
    ]  # fmt: skip


def row(what: str, found: dict[str, Any], note: str = "") -> dict[str, Any]:
    return {"what": what, "processor seconds": f"{found['seconds']:.1f}", "seconds": f"{found['wall']:.1f}",
            "memory": f"{found['peak']:,} MB", "note": note}  # fmt: skip


def look(spec: Spec) -> float:
    """Seconds of the middle one of five previews."""
    with WorkerClient() as worker:
        took = []
        for _ in range(6):
            began = time.monotonic()
            assert len(worker.preview_rows(spec, 50)["rows"]) == 50
            took.append(time.monotonic() - began)
    return statistics.median(took[1:])


def measured(way: str, file: str, folder: Path, home: str = "home") -> dict[str, Any]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TUNESMITH_HOME": str(folder / home), "HF_DATASETS_CACHE": str(folder / "datasets"), "HF_HUB_DISABLE_TELEMETRY": "1"}  # fmt: skip
    done = subprocess.run([sys.executable, "-m", "tests.bench.audit", way, file], cwd=ROOT, env=environment, text=True, capture_output=True)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def timed(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """{"seconds": of the processor, "wall", "peak": MB that the process ever held, …} of what the work says, once it is warm."""
    began, wall = time.process_time(), time.monotonic()
    told = work()
    took = {"seconds": time.process_time() - began, "wall": time.monotonic() - wall}
    return took | {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} | told


def theirs(file: str) -> dict[str, Any]:
    """TRL's SFTTrainer prepares the rows as it does for any script: only that is timed."""
    from datasets import disable_progress_bars, load_dataset
    from trl import SFTConfig, SFTTrainer

    from app.setup.models import locate_model

    disable_progress_bars()
    found: dict[str, Any] = {}

    class Timed(SFTTrainer):
        def _prepare_dataset(self, *args: Any) -> Any:
            made: list[Any] = []
            found.update(timed(lambda: {"rows": len(made.append(super(Timed, self)._prepare_dataset(*args)) or made[0])}))  # fmt: skip
            return made[0]

    args = SFTConfig(output_dir=str(Path(file).parent / "theirs"), max_length=LENGTH, assistant_only_loss=True, use_cpu=True, report_to="none")  # fmt: skip
    Timed(model=locate_model("pocket"), args=args, train_dataset=load_dataset("json", data_files=file, split="train"))
    return found


def ours(file: str) -> dict[str, Any]:
    from app.engine.audit import runner
    from app.engine.libraries import prepare_libraries, warm_up

    prepare_libraries()
    warm_up()
    spec = spec_of("sft", f"path:{file}", KNOBS)

    def work() -> dict[str, Any]:
        found = runner.find_cached_audit(spec) or run_to_end(runner.run_audit(spec))[1]
        return {"findings": len(found["findings"]), "rows": found["rows"]}

    return timed(work)


def start(file: str) -> dict[str, Any]:
    from app.engine.job import Job
    from app.engine.libraries import prepare_libraries, warm_up
    from app.engine.model.device import Device

    prepare_libraries()
    warm_up()
    job = Job(spec_of("sft", f"path:{file}", KNOBS), Path(file).parent / "run", Device("cpu"))
    return timed(lambda: {"rows": len(job.method.build(job).train_dataset)})


if __name__ == "__main__":
    print(json.dumps({"theirs": theirs, "ours": ours, "start": start}[sys.argv[1]](sys.argv[2])))
