"""The result of a run: from which of its checkpoints it is, and putting that of another one in its place.

Nothing is loaded for this: a checkpoint holds the files of a result, byte for byte, beside the state of the training.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal, cast

from app.core.json_files import sync_to_disk
from app.core.problems import Problem
from app.runs import checkpoints
from app.runs.cleanup import without_engine
from app.runs.records import ResultRecord, read_record, write_record
from app.runs.store import Run, result_folder
from app.setup.portable_files import make_portable

RESULT_FILE = "result.json"
PROFILE_FILE = "profile.json.gz"  # the trace of a few steps, see app/engine/profiler.py
ResultChoice = Literal["best", "last"]


def read_result(run: Run) -> ResultRecord | None:
    """What is known of the result; None before there is one, and for runs of earlier versions. Raises DamagedFile."""
    record = read_record(run.path / RESULT_FILE)
    return cast(ResultRecord, record) if record else None


def result_step(run: Run) -> int | None:
    """The step of the result; None where it is not known. Raises DamagedFile."""
    record = read_result(run)
    return record["step"] if record else None


def other_choice(record: ResultRecord) -> ResultChoice | None:
    """What the result can be changed to: the best or the last checkpoint; None where there is only one of them."""
    if record["best_step"] is None or record["best_step"] == record["last_step"]:
        return None
    return "last" if record["step"] == record["best_step"] else "best"


def copy_from_checkpoint(checkpoint: Path, folder: Path) -> None:
    """Replaces the files of a result by those of the same names in a checkpoint, which has others too."""
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        saved_path = checkpoint / path.relative_to(folder)
        if saved_path.is_file():
            shutil.copyfile(saved_path, path)
    make_portable(folder)


def install_result(run: Run, draft: Path, record: ResultRecord) -> None:
    """Puts a complete folder in the place of the result. A kill in between never leaves a record of another result."""
    sync_to_disk(draft)
    (run.path / RESULT_FILE).unlink(missing_ok=True)
    earlier = run.path / ".adapter-earlier"
    shutil.rmtree(earlier, ignore_errors=True)
    if run.adapter.exists():
        run.adapter.rename(earlier)
    draft.rename(run.adapter)
    write_record(run.path / RESULT_FILE, record)
    shutil.rmtree(earlier, ignore_errors=True)


def draft_folder(run: Run) -> Path:
    """An empty place for the next result."""
    draft = run.path / ".adapter"
    shutil.rmtree(draft, ignore_errors=True)
    return draft


def use_checkpoint(run: Run, choice: ResultChoice) -> ResultRecord:
    """Makes the best or the last checkpoint the result of a run that has ended.

    Raises Problem while it runs, and where that checkpoint cannot be used.
    """
    with without_engine(run, "given another result"):
        record = read_result(run)
        step = record and (record["best_step"] if choice == "best" else record["last_step"])
        if record is None or step is None:
            raise Problem(
                f"Which checkpoint of the run {run.id} was {choice} is not known.", advice="Its result stays as it is."
            )
        if step == record["step"]:
            return record
        checkpoint = run.checkpoints / f"checkpoint-{step}"
        if checkpoint not in checkpoints.usable_checkpoints(run.checkpoints):
            raise Problem(f"The checkpoint of step {step} is gone or damaged.", advice="The result stays as it is.")
        draft = draft_folder(run)
        shutil.copytree(result_folder(run), draft)
        copy_from_checkpoint(checkpoint, draft)
        changed_record: ResultRecord = {**record, "step": step}
        install_result(run, draft, changed_record)
    return changed_record
