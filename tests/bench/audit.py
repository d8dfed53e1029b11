"""Audit: the audit of all rows compared with TRL's tokenisation of them; a warm preview; a run that starts from prepared rows.

Each measurement runs in its own process and prepares the rows without further worker processes. CPU seconds are compared, so
that other load on the machine does not matter. Ours covers everything from reading the file to the last finding; TRL's covers
only the preparation of the rows, without reading the file.
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
from tests.bench.speed import log_normal_conversations
from tests.support import build_spec, drain_generator, write_rows

ROW_COUNT = int(os.environ.get("TUNESMITH_BENCH_ROWS", "100000"))
MAX_LENGTH = 512
KNOBS = {"max_length": MAX_LENGTH, "learn_from": "assistant"}


def run(folder: Path) -> list[dict[str, Any]]:
    source = write_rows(folder / "lessons.jsonl", log_normal_conversations(ROW_COUNT))
    path = source.removeprefix("path:")
    trl_timing = measure_in_subprocess("theirs", path, folder)
    audit_timing = measure_in_subprocess("ours", path, folder)
    cold_start_timing = measure_in_subprocess("start", path, folder, home_name="cold")  # with empty caches
    cached_audit_timing, warm_start_timing = (
        measure_in_subprocess("ours", path, folder),
        measure_in_subprocess("start", path, folder),
    )
    preview_seconds = median_preview_seconds(build_spec("sft", source, KNOBS))
    speed_ratio = trl_timing["seconds"] / audit_timing["seconds"]
    return [
        table_row(f"TRL’s own tokenising of {ROW_COUNT:,} rows", trl_timing),
        table_row(f"the whole audit of them, from the file to {audit_timing['findings']} findings", audit_timing, f"speed {speed_ratio:.2f} of TRL’s; at least 0.9 is promised"),
        table_row("the same audit, asked again in another process", cached_audit_timing),
        table_row("a run’s trainer and rows, nothing kept", cold_start_timing),
        table_row("a run’s trainer and rows, from what the audit prepared", warm_start_timing, f"{cold_start_timing['seconds'] / warm_start_timing['seconds']:.1f} times as fast"),
        {"what": "preview of 50 rows, worker warm", "processor seconds": "", "seconds": f"{preview_seconds:.3f}", "memory": "", "note": "under 0.3 is promised"},
    ]  # fmt: skip


def table_row(label: str, timing: dict[str, Any], note: str = "") -> dict[str, Any]:
    return {"what": label, "processor seconds": f"{timing['seconds']:.1f}", "seconds": f"{timing['wall']:.1f}",
            "memory": f"{timing['peak']:,} MB", "note": note}  # fmt: skip


def median_preview_seconds(spec: Spec) -> float:
    """Median seconds of five previews, after one that is not counted."""
    with WorkerClient() as worker:
        durations = []
        for _ in range(6):
            started_at = time.monotonic()
            assert len(worker.preview_rows(spec, 50)["rows"]) == 50
            durations.append(time.monotonic() - started_at)
    return statistics.median(durations[1:])


def measure_in_subprocess(mode: str, path: str, folder: Path, home_name: str = "home") -> dict[str, Any]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TUNESMITH_HOME": str(folder / home_name), "HF_DATASETS_CACHE": str(folder / "datasets"), "HF_HUB_DISABLE_TELEMETRY": "1"}  # fmt: skip
    process = subprocess.run([sys.executable, "-m", "tests.bench.audit", mode, path], cwd=ROOT, env=environment, text=True, capture_output=True)  # fmt: skip
    assert process.returncode == 0, process.stderr[-3000:]
    return json.loads(process.stdout.splitlines()[-1])


def measure_usage(operation: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """{"seconds": CPU seconds, "wall": seconds, "peak": peak memory of the process in MB} and what the operation returns."""
    cpu_started_at, wall_started_at = time.process_time(), time.monotonic()
    counts = operation()
    usage = {"seconds": time.process_time() - cpu_started_at, "wall": time.monotonic() - wall_started_at}
    return usage | {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} | counts


def prepare_with_trl(path: str) -> dict[str, Any]:
    """Measures only `SFTTrainer._prepare_dataset`, called as in any TRL script."""
    from datasets import disable_progress_bars, load_dataset
    from trl import SFTConfig, SFTTrainer

    from app.setup.models import locate_model

    disable_progress_bars()
    timing: dict[str, Any] = {}

    class TimedTrainer(SFTTrainer):
        def _prepare_dataset(self, *args: Any) -> Any:
            prepared_datasets: list[Any] = []
            timing.update(measure_usage(lambda: {"rows": len(prepared_datasets.append(super(TimedTrainer, self)._prepare_dataset(*args)) or prepared_datasets[0])}))  # fmt: skip
            return prepared_datasets[0]

    args = SFTConfig(output_dir=str(Path(path).parent / "theirs"), max_length=MAX_LENGTH, assistant_only_loss=True, use_cpu=True, report_to="none")  # fmt: skip
    TimedTrainer(
        model=locate_model("pocket"), args=args, train_dataset=load_dataset("json", data_files=path, split="train")
    )
    return timing


def audit_rows(path: str) -> dict[str, Any]:
    from app.engine.audit import runner
    from app.engine.libraries import prepare_libraries, warm_up

    prepare_libraries()
    warm_up()
    spec = build_spec("sft", f"path:{path}", KNOBS)

    def audit() -> dict[str, Any]:
        report = runner.find_cached_audit(spec) or drain_generator(runner.run_audit(spec))[1]
        return {"findings": len(report["findings"]), "rows": report["rows"]}

    return measure_usage(audit)


def build_trainer(path: str) -> dict[str, Any]:
    from app.engine.job import Job
    from app.engine.libraries import prepare_libraries, warm_up
    from app.engine.model.device import Device

    prepare_libraries()
    warm_up()
    job = Job(build_spec("sft", f"path:{path}", KNOBS), Path(path).parent / "run", Device("cpu"))
    return measure_usage(lambda: {"rows": len(job.method.build(job).train_dataset)})


if __name__ == "__main__":
    print(
        json.dumps({"theirs": prepare_with_trl, "ours": audit_rows, "start": build_trainer}[sys.argv[1]](sys.argv[2]))
    )
