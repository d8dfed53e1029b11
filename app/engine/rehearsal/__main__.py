"""The process of a rehearsal: `python -m app.engine.rehearsal` reads one request from stdin and writes JSON lines."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from app.core.problems import Problem, to_problem
from app.core.processes import redirect_stdout_to_stderr
from app.core.workspace import Workspace
from app.engine.device_queue import queue_for_device
from app.engine.libraries import prepare_libraries
from app.engine.model.device import Device, choose_device, hide_other_devices
from app.planning.rehearsal import RehearsalMessage, RehearsalRequest
from app.planning.resolve import resolve
from app.setup.spec import parse_spec


def main() -> None:
    """Answers the request, waiting for the device as runs do."""
    request: RehearsalRequest = json.loads(sys.stdin.read())
    with os.fdopen(os.dup(1), "w") as answers:
        redirect_stdout_to_stderr()

        def send(message: RehearsalMessage) -> None:
            answers.write(json.dumps(message) + "\n")
            answers.flush()

        workspace = Workspace(Path(request["workspace"]))
        device = choose_device(request["machine"])
        queue = queue_for_device(
            workspace, device, f"rehearsal-{os.getpid()}", lambda ahead: send({"waiting": ahead}), lambda: None
        )
        with queue:
            send({"waiting": 0})
            hide_other_devices(device)
            try:
                _rehearse(workspace, Device(device), request, send)
            except Exception as error:  # the outermost boundary of this process
                problem = to_problem(error)
                send({"problem": {"text": problem.text, "advice": problem.advice, "reason": problem.reason}})
                if not isinstance(error, Problem):
                    raise


def _rehearse(
    workspace: Workspace, device: Device, request: RehearsalRequest, send: Callable[[RehearsalMessage], None]
) -> None:
    prepare_libraries()
    from app.engine.rehearsal.steps import Rehearsal, plan_steps, rehearse

    def report_step(done: int) -> None:
        send({"progress": {"done": done, "of": request["steps"]}})

    spec = resolve(parse_spec(request["spec"]))
    rehearsal = Rehearsal(workspace, spec, device, request["steps"], request["memory_limit"])
    plan, workload = plan_steps(rehearsal)
    send({"plan": plan})
    send({"done": rehearse(rehearsal, workload, report_step)})


if __name__ == "__main__":
    main()
