"""The share of a row's tests that the program in the answer passes; it runs shut off from network, files and other programs."""

from __future__ import annotations

import re

from app.data.fields import Cell
from app.engine.contracts import RewardDefinition
from app.engine.reward_runtime.program_server import judge_program, start_server
from app.engine.reward_runtime.reward import PerRowReward
from app.setup.knob import Knobs, knob

_SECONDS = 30.0
_FENCED_CODE = re.compile(r"```(?:python3?|py)?[ \t]*\n(.*?)```", re.DOTALL | re.IGNORECASE)


class Params(Knobs):
    column: str = knob(
        "tests",
        "The column with the tests: Python statements such as `assert add(1, 2) == 3`, one or a list.",
        picks="column",
    )
    seconds: int = knob(
        5,
        "How long one answer's program may compute; one that waits is ended after about twice that.",
        low=1,
        high=25,
        unit="seconds",
    )


def make(params: Params) -> PerRowReward:
    """The program runs in one process and its tests in another, which calls the program's functions and compares what
    they return. So the program never holds a test, an expected value or the count, whatever it reads or replaces.

    Not prevented: a program that recognises the arguments of a known test, and a test that takes the program's word, as
    `assert is_right()`, the comparison of two objects of the program's own classes, and a name that the program imports
    from a module do. These tests fail, also where the program is right: that give it objects of their own classes, inherit
    from its classes, await its coroutines, compute with one of its objects and a number (`Vector(1, 2) * 3`), or ask for
    the identity (`f(xs) is xs`) or `type(…).__name__` of a result.
    """

    def score(completion: str, tests: Cell) -> float | None:
        tests_to_run = [str(test) for test in tests] if isinstance(tests, list) else [str(tests)] if tests else []
        if not tests_to_run:
            return None  # this row has no tests
        program = "\n\n".join(_FENCED_CODE.findall(completion)) or completion
        # Waiting uses no CPU time, so the limit of it does not end a program that waits.
        timeout = min(2 * params.seconds + 1, _SECONDS - 2)
        return judge_program(program, tests_to_run, params.seconds, timeout) / len(tests_to_run)

    return PerRowReward(score, params.column)


REWARD = RewardDefinition(
    title="A program that passes tests",
    sentence=__doc__,
    params=Params,
    make=make,
    runs_code=True,
    before_sandbox=start_server,
    seconds=_SECONDS,
)
