"""Contracts: what the page's side of the program can be extended with, each a typed shape, on one page."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, TypedDict, TypeVar, final

if TYPE_CHECKING:
    from app.data.fields import Row
    from app.data.reading.text_lines import FileNote, UnreadableRow
    from app.runs.events import Event as Event  # what a run tells: the union of its events, one class for each kind
    from app.runs.store import Run
    from app.setup.spec import Launch, Source

AnswerT = TypeVar("AnswerT")
AnswerT_co = TypeVar("AnswerT_co", covariant=True)
PartT_co = TypeVar("PartT_co", covariant=True)

# -- findings -----------------------------------------------------------------------------------------------------

Severity = Literal["good", "careful", "wrong"]


class Remedy(TypedDict):
    """A change of the setup that a person can take with one click. changes: {path in the Spec: new value}."""

    title: str
    changes: dict[str, Any]


class Finding(TypedDict):
    """What a preview, an audit or a source report found, as JSON for the page.

    count: how many rows it concerns, 0 where that is not known. rows: the numbers of the first of them, from 1.
    """

    id: str
    severity: Severity
    text: str
    count: int
    rows: list[int]
    remedy: Remedy | None


# -- data ---------------------------------------------------------------------------------------------------------


class Layout(Protocol):
    """A shape that rows come in. A module in app/data/layouts/ is one; its docstring says what such rows are.

    It may also have: MAY, columns that it takes besides. NAMES: {column: names that it goes by, instead of those in
    app/data/columns.py}. KNOWN: tuples of column names, in the order of NEEDS, that are surely this layout. TELLING: what its
    columns hold, for people, where there is `fits`. NOTE: a sentence on what is left out or changed. fits(row): whether
    the values of a row are those of this layout. choices(columns): what verdicts say, by the columns {our column: column
    of the file}, as `labels` of a source. doubtful(table): whether a table that fits may well be something else.
    row(mapped_row): the row under the
    names of its row type; without it a row stays as it is.
    """

    @property
    def TITLE(self) -> str:
        """What people call it, without a full stop."""
        ...

    @property
    def KIND(self) -> str:
        """The row type that its rows become; see REQUIRED_COLUMNS in app/data/rows.py."""
        ...

    @property
    def NEEDS(self) -> tuple[str, ...]:
        """The columns that it cannot do without."""
        ...


class Reader(Protocol):
    """A kind of file. A module in app/data/readers/ is one."""

    @property
    def SUFFIXES(self) -> tuple[str, ...]:
        """The endings of such files, in lower case, with the dot."""
        ...

    def read(self, path: Path, source: Source) -> Iterator[Row | UnreadableRow | FileNote]:
        """The rows of a file, one at a time, and sentences about the form in which it holds them. Raises ValueError or UnreadableFile where it cannot be read at all."""
        ...


# -- questions to the worker --------------------------------------------------------------------------------------

Schedule = Literal["at_once", "cooperative", "on_device"]


@final
class Done(TypedDict, Generic[AnswerT]):
    """The last message of a streamed answer."""

    done: AnswerT


@final
class Waiting(TypedDict):
    """A message while another process uses the device: a sentence for people."""

    waiting: str


class Question(Protocol[AnswerT_co, PartT_co]):
    """What the page can ask the worker. A file in app/engine/questions/ holds one, called `Question`: a frozen dataclass
    whose fields are the arguments and go to the worker as JSON. The file's name is the question's name.

    title: names it in messages. timeout: seconds of silence after which it is given up and the worker started anew,
    long enough to download a model or a dataset first; while it waits for the device, the clock stands. schedule:
    `at_once` answers in one task of a second or less; `cooperative` answers in parts between which others are computed,
    and waits for no run; `on_device` computes for long and waits for the device with the runs. The server process reads
    these declarations, so the file imports heavy libraries inside its methods only.
    """

    title: ClassVar[str]
    timeout: ClassVar[float]
    schedule: ClassVar[Schedule]

    def early_answer(self) -> AnswerT_co | None:
        """What is known without computing, else None; not for `at_once`. Raises Problem for a question without an answer."""
        return None

    def answer(self) -> AnswerT_co | Generator[PartT_co, None, AnswerT_co]:
        """The answer, JSON for the page; or a generator that yields parts of it and returns it. Raises Problem."""
        ...


# -- backends -----------------------------------------------------------------------------------------------------

Handle = dict[str, Any]  # what a backend needs to find a started run again: {"backend", …}, as in handle.json


class Machine(TypedDict):
    """A place where a run can compute. name: `BACKEND:…`, as in launch.json."""

    name: str
    title: str


class Backend(Protocol):
    """Where runs compute. A module in backends/ is one; its docstring is a sentence for people.

    Readers never call it: they read the run's folder through its store, which is kept current by the engine on this
    machine, and by a mirror for other machines.
    """

    @property
    def TITLE(self) -> str:
        """What people call it."""
        ...

    def machines(self) -> list[Machine]:
        """The machines a run can take, best first."""
        ...

    def start(self, run: Run, launch: Launch) -> Handle:
        """Starts the engine on a run, or resumes a run with checkpoints. Raises Problem when it refuses."""
        ...

    def alive(self, handle: Handle) -> bool:
        """Whether the run's engine lives."""
        ...

    def follow(self, handle: Handle, after_seq: int = 0) -> Iterator[str]:
        """The lines of events after `after_seq` as they come, until the engine has ended."""
        ...

    def control(self, handle: Handle, command: str) -> str:
        """Sends a command, such as `save`, and returns its id, which the engine answers with a note."""
        ...

    def stop(self, handle: Handle) -> str:
        """Asks the engine to save and stop, then insists. Returns how far it had to go."""
        ...

    def fetch(self, handle: Handle, paths: list[str], to: Path) -> list[Path]:
        """Copies files of the run's folder to a folder on this machine. Returns the copies."""
        ...
