"""The command line: the same actions as the page. Exit codes: 0 done, 1 failed, 2 refused before start, 130 stopped."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import typer

from app.cli import (
    audit_command,
    catalogue_commands,
    inspect_command,
    machine_commands,
    model_commands,
    pipeline_commands,
    rehearse_command,
    result_commands,
    run_commands,
    setup_commands,
    storage_command,
)
from app.cli.options import FAILED, REFUSED
from app.cli.terminal import print_text
from app.core import platform
from app.core.problems import Problem, to_problem
from app.hub import connection

# In the order in which --help lists them.
_COMMANDS: dict[str, Callable[..., None]] = {
    "presets": catalogue_commands.list_presets,
    "methods": catalogue_commands.list_methods,
    "schema": catalogue_commands.print_schema,
    "inspect": inspect_command.print_source_report,
    "preview": setup_commands.preview,
    "audit": audit_command.print_audit,
    "rehearse": rehearse_command.rehearse_setup,
    "run": run_commands.run,
    "runs": run_commands.list_runs,
    "show": run_commands.show_run,
    "events": run_commands.show_events,
    "stop": run_commands.stop,
    "resume": run_commands.resume,
    "extend": run_commands.extend,
    "result": result_commands.choose_result,
    "chat": result_commands.chat,
    "score": result_commands.score,
    "push": result_commands.push,
    "link": setup_commands.print_link,
    "open": setup_commands.open_link,
    "storage": storage_command.manage_storage,
}

app = typer.Typer(
    name="python -m app", help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
for _name, _command in _COMMANDS.items():
    app.command(_name)(_command)
app.add_typer(model_commands.app, name="models")
app.add_typer(pipeline_commands.app, name="pipelines")
app.add_typer(machine_commands.app, name="machines")


def main() -> None:
    """Runs the command of `sys.argv`; exits with 2 for a refusal and with 1 for a failure, each in one sentence."""
    try:
        platform.require_supported_system()
        app()
    except Problem as problem:  # the outermost boundary: one sentence, and the exit code for a refusal
        print_text(problem, file=sys.stderr)
        sys.exit(FAILED if problem.reason in connection.HUB_FAILURE_REASONS else REFUSED)
    except Exception as error:  # a library's: explained, with its traceback for the person who reports it
        if to_problem(error).reason == "crashed":
            raise
        print_text(to_problem(error), file=sys.stderr)
        sys.exit(FAILED)
    finally:
        try:
            sys.stdout.flush()
        except BrokenPipeError:  # a boundary: the reader of a pipe, such as `head`, may have stopped
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
