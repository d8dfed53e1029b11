"""Scratch folders: they go with their process, also when it is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from app.core import paths
from app.core.scratch import ScratchFolder
from app.core.workspace import local_workspace

KEEPS_A_FOLDER = (
    "import sys, time\nfrom app.core.scratch import ScratchFolder\nfrom app.core.workspace import local_workspace\n"
    "folder = ScratchFolder(local_workspace())\n(folder.path / 'mine').write_text('x')\nprint(folder.path, flush=True)\ntime.sleep(60)"
)


def scratch_folders() -> list[str]:
    return sorted(path.name for path in local_workspace().folder("scratch").iterdir() if path.is_dir())


def test_a_folder_is_removed_at_the_end_also_after_an_error() -> None:
    with ScratchFolder(local_workspace()) as folder:
        (folder / "file").write_text("x")
        assert len(scratch_folders()) == 1
    with pytest.raises(ValueError, match="it broke"), ScratchFolder(local_workspace()):
        raise ValueError("it broke")
    assert scratch_folders() == []


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_uses_stays() -> None:
    with ScratchFolder(local_workspace()) as own_folder:
        (own_folder / "file").write_text("x")
        process = subprocess.Popen(
            [sys.executable, "-c", KEEPS_A_FOLDER], cwd=paths.ROOT, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout
        left_folder = process.stdout.readline().strip()
        with ScratchFolder(local_workspace()):
            assert os.path.exists(f"{left_folder}/mine")
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert os.path.exists(f"{left_folder}/mine")
        with ScratchFolder(local_workspace()):
            assert not os.path.exists(left_folder)
            assert (own_folder / "file").exists()
    process.stdout.close()
