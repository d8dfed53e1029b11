"""Launcher: starts, stops and controls runs through the backend of the machine that their launch names."""

from __future__ import annotations

from app.contracts import Backend, Handle, Machine
from app.core import registry
from app.core.dates import format_date
from app.core.problems import Problem
from app.core.validation import validate
from app.core.workspace import Workspace
from app.data.reading import files
from app.data.source_title import title_of_sources
from app.planning import preflight, resources
from app.runs import checkpoints, events, store
from app.runs.events import StepEvent
from app.runs.mirror_record import MIRROR_FILE
from app.runs.store import Run
from app.setup.spec import Extension, Launch, Spec

# What becomes of the learning rate when a finished run is extended; transformers does so on resume with more steps.
LAID_OUT_ANEW = (
    "The learning rate follows its schedule laid out over the new length: where it had fallen, it first rises to what a "
    "run of that length has at this step."
)
CHANGED_DATA = "changed_data"  # reason of the Problem where a person has to agree to changed examples


def launch_run(workspace: Workspace, spec: Spec, launch: Launch | None = None) -> Run:
    """Checks a setup and starts a run of it. Raises the first Problem of the preflight, before anything is written."""
    launch = launch or Launch()
    run = create_run(workspace, preflight.check_spec(spec), launch)
    start_run(run, launch)
    return run


def create_run(workspace: Workspace, spec: Spec, launch: Launch) -> Run:
    """Creates a run of a checked setup; one without a title is named after its examples. Raises Problem, and creates
    nothing, where it could not begin or not be saved."""
    resources.require_resources(workspace, spec)
    if not spec.title.strip():
        spec = spec.model_copy(update={"title": title_of_sources(spec.data)})
    return store.create_run(workspace, spec, launch)


def list_machines() -> list[Machine]:
    """The machines of all backends that a run can take, those of this machine first."""
    backend_names = sorted(registry.names("backends"), key=lambda name: (name != "local", name))
    backends: list[Backend] = [registry.load_module("backends", name) for name in backend_names]
    return [machine for backend in backends for machine in backend.machines()]


def require_machine(name: str) -> None:
    """Raises Problem when the backend knows no such machine. A device of another machine is named after it: `ssh:lab:cuda:1`."""
    machine_names = [machine["name"] for machine in backend_of(Launch(machine=name)).machines()]
    is_device_elsewhere = not name.startswith("local") and name.startswith(
        tuple(f"{known}:" for known in machine_names)
    )
    if name not in ("local", *machine_names) and not is_device_elsewhere:
        raise Problem(f"There is no machine called “{name}”.", advice=registry.suggest_name(name, machine_names))


def create_launch(
    machine: str, minutes: float | None = None, dollars: float | None = None, dollars_per_hour: float | None = None
) -> Launch:
    """The launch of a run on a machine, with the limits at which it stops; 0 and None are no limit. Raises Problem."""
    require_machine(machine)
    if dollars and not dollars_per_hour:
        raise Problem("To stop at a cost, say what the machine costs per hour.", advice="Or set no limit in dollars.")
    budget = {"minutes": minutes or None, "dollars": dollars or None, "dollars_per_hour": dollars_per_hour or None}
    return validate(Launch, {"machine": machine, "budget": budget}, "The launch")


def start_run(run: Run, launch: Launch) -> Handle:
    """Starts a run, or resumes one that has checkpoints. Raises Problem when the backend refuses.

    The launch, in launch.json, records which backend started it; the engine does not know.
    """
    backend = backend_of(launch)
    store.write_launch(run, launch)
    (run.path / MIRROR_FILE).unlink(missing_ok=True)  # of a start on another machine
    return backend.start(run, launch)


def resume_run(run: Run, accept_changed_data: bool = False, launch: Launch | None = None) -> Handle:
    """Goes on from a run's last checkpoint, or begins again where it has none. Raises Problem, also where its files of
    examples have changed since it began and nobody said that it may go on with them. launch: in place of the stored one."""
    changed_files = find_changed_files(run)
    if changed_files and not accept_changed_data:
        raise Problem(
            f"The examples have changed since this run began: {', '.join(changed_files)}.",
            advice="Go on with the changed examples, or put the earlier ones back. A new run would learn from one state only.",
            reason=CHANGED_DATA,
        )
    return start_run(run, launch or run.launch)


def extend_run(run: Run, more_steps: int, accept_changed_data: bool = False) -> Handle:
    """Goes on with a finished run for more steps, from its last checkpoint with the state of the optimizer.

    The schedule of the learning rate is laid out over the new length, as transformers does it. Raises Problem.
    """
    if store.is_alive(run) or store.run_state(run, alive=False) != "finished":
        raise Problem("Only a finished run can be extended.", advice="Let it finish, or resume it if it was stopped.")
    usable = checkpoints.usable_checkpoints(run.checkpoints)
    last_step = events.last_of_type(store.recent_events(run), StepEvent)
    if not usable or last_step is None:
        raise Problem(
            f"The run {run.id} has no checkpoint to go on from.",
            advice="Start a new run from its result (model.start_from).",
        )
    extension = {
        "from_step": checkpoints.checkpoint_step(usable[-1]),
        "planned": last_step.of,
        "steps": last_step.step + more_steps,
    }
    checked = validate(Extension, extension, "The number of steps")
    return resume_run(run, accept_changed_data, run.launch.model_copy(update={"extension": checked}))


def find_changed_files(run: Run) -> list[str]:
    """The files that a run has begun to learn from and that are others now, with the time of their change.

    Raises Problem where one is missing.
    """
    try:
        hashes = run.facts.get("data", {}).get("files", {})
    except Problem:  # its facts are damaged: nothing can be compared
        hashes = {}
    paths = files.local_files_of_spec(run.spec)
    return [
        f"{path.name} ({format_date(path.stat().st_mtime)})"
        for name, path in paths.items()
        if name in hashes and files.fingerprint(path) != hashes[name]
    ]


def stop_run(run: Run) -> str:
    """Saves and stops. Returns how far the backend had to go: not running, asked, terminated or killed."""
    return backend_of(run.launch).stop(run.handle)


def send_command(run: Run, command: str) -> str:
    """Sends a command, such as `save`, and returns its id, which the engine answers with a note."""
    return backend_of(run.launch).control(run.handle, command)


def backend_of(launch: Launch) -> Backend:
    """The backend of the launch's machine. Raises Problem when there is none of that name."""
    backend: Backend = registry.load_module("backends", launch.machine.partition(":")[0])
    return backend
