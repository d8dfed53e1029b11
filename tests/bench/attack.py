"""Attack: what strangers' code, files, links and other people on the machine try, and how often it works.

Every attack is a test of its own, in the variants that are known; one that fails is an attack that worked.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from app.core.paths import ROOT

ITEMS = {
    "a judged program sets its own score": ["tests/test_judged_programs.py", "-k", "not token"],
    "confined code reads access tokens": ["tests/test_judged_programs.py", "-k", "token"],
    "code leaves the sandbox, or takes more than it may": ["tests/test_sandbox.py"],
    "sandboxed code reaches files, network, processes": ["tests/test_rewards.py", "-k", "sandboxed or hangs"],
    "a clock step, or a reused pid, hides a living run": ["tests/test_runs.py", "tests/test_launcher.py"],
    "a schema, pattern or template computes for ever": [
        "tests/test_rewards.py",
        "tests/test_template_preview.py",
        "-k",
        "schema or pattern or template",
    ],
    "an upload or link keeps the server busy": ["tests/test_bounded_calls.py"],
    "Ctrl-C does not end a busy server": ["tests/test_page.py", "-k", "ctrl_c"],
    "somebody else on the machine gets in": ["tests/test_local_access.py"],
    "another site signs a Space's owner in or out": ["tests/test_space_access.py"],
    "damaged files hide runs, or break a command": ["tests/test_damaged_files.py"],
    "changed examples are learned unnoticed": ["tests/test_changed_data.py"],
    "a run begins with nothing to learn": ["tests/test_nothing_to_learn.py"],
    "a run begins without disk or Hub": ["tests/test_resources.py"],
    "weights run code": ["tests/test_problems.py", "-k", "pickled"],
    "links carry code, addresses or paths": ["tests/test_links.py"],
    "uploads have hostile names or contents": ["tests/test_uploads.py", "tests/test_files.py"],
    "sandboxed code speaks to other programs by their sockets": ["tests/test_sandbox.py", "-k", "sockets or namespace"],
    "a copied run leads to other files, or to no end": ["tests/test_copied_runs.py"],
    "a model folder brings programs or kernels": [
        "tests/test_strangers_models.py",
        "-k",
        "kernels or programs or index",
    ],
    "a model's headers or card break a command": ["tests/test_strangers_models.py", "-k", "header or card"],
    "text of strangers steers the terminal": ["tests/test_command_line.py", "-k", "control_characters"],
    "the number of an event breaks the stream": ["tests/test_sse.py", "-k", "hostile_number"],
    "a run's name leads out of its folder": ["tests/test_sse.py", "-k", "invalid_run_id or outside"],
    "a calculation takes the machine": ["tests/test_tools.py", "-k", "calculator"],
    "a template leaves its sandbox, or takes the memory": ["tests/test_template_preview.py", "-k", "unusable"],
    "a revision or a number of rows is a path, or breaks a form": ["tests/test_spec.py", "-k", "jargon or revision"],
    "a title or an answer adds to a published card": ["tests/test_model_card.py", "-k", "untrusted"],
    "scratch files of killed processes stay": ["tests/test_scratch.py"],
}


def run(folder: Path) -> list[dict[str, Any]]:
    table = []
    for number, (attack, arguments) in enumerate(ITEMS.items()):
        report = folder / f"{number}.xml"
        options = ["-q", "--all-cases", "-p", "no:cacheprovider", f"--junitxml={report}"]
        command = [sys.executable, "-m", "pytest", *options, *arguments]
        environment = {name: value for name, value in os.environ.items() if name != "TUNESMITH_HOME"}
        subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=False)
        suite = ElementTree.parse(report).getroot()[0]
        tried, worked = int(suite.get("tests", 0)), int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        assert tried, f"no test tries “{attack}”"
        table.append({"attack": attack, "variants tried": tried, "worked": worked})
        print(table[-1], flush=True)
    total = {name: sum(row[name] for row in table) for name in ("variants tried", "worked")}
    return [*table, {"attack": "all"} | total]
