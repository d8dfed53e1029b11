"""Programs in answers that try to set their own score: each trick earns what the program itself deserves, and no more."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import psutil
import pytest

from app.core.validation import validate
from app.engine.contracts import RewardFunction, load_reward
from app.engine.reward_runtime import pool, reward_factory
from app.engine.reward_runtime.reward import FailedScore, Score
from app.setup.spec import Reward

TESTS = ["assert add(1, 2) == 3", "assert add(20, 22) == 42"]
RIGHT, WRONG = "def add(a, b): return a + b", "def add(a, b): return 0"


@pytest.fixture(scope="module", autouse=True)
def single_process() -> Iterator[None]:
    """One process for each reward of all tests here, so that what an answer leaves behind meets the next answer."""
    pools: list[pool._RewardPool] = []

    @lru_cache
    def pool_with_one_process(
        reward_json: str, timeout: float, process_count: int, calls_out: bool
    ) -> pool._RewardPool:
        pools.append(pool._RewardPool(reward_json, timeout, 1, calls_out))
        return pools[-1]

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(pool, "_shared_pool", pool_with_one_process)
        yield
    for used_pool in pools:
        used_pool.close()


def reward(name: str, **params: Any) -> RewardFunction:
    full_params = validate(load_reward(name).params, params, f"The reward {name}").model_dump()
    return reward_factory.build_reward(Reward(name=name, label="it", params=full_params))


def scores(*programs: str, tests: list[str] = TESTS) -> list[Score]:
    """The scores of these answers, one after another in one reward process."""
    return reward("passes_tests", seconds=2)(completions=[*programs], tests=[tests] * len(programs))


WRITES_TO_ALL_DESCRIPTORS = """
import os
for descriptor in range(3, 64):
    try:
        os.write(descriptor, LINES)
    except OSError:
        pass
"""
READS_SECRET_FROM_FRAMES = """
import os, sys
frame = sys._getframe()
while frame:
    for value in list(frame.f_locals.values()):
        if isinstance(value, str) and len(value) == 32:
            for descriptor in range(3, 64):
                try:
                    os.write(descriptor, f"{value} 2\\n".encode())
                except OSError:
                    pass
            os._exit(0)
    frame = frame.f_back
"""
PATCHES_THE_COUNTER = """
import sys
for module in list(sys.modules.values()):
    for name in ("_passes", "_run_tests", "_count_passing_tests"):
        if hasattr(module, name):
            setattr(module, name, lambda *arguments: 2)
"""
PATCHES_BUILTINS = """
import builtins
builtins.compile = lambda *arguments, **options: (lambda: None).__code__
builtins.exec = builtins.eval = lambda *arguments: None
builtins.AssertionError = None
"""
EQUALS_EVERYTHING = """
class Anything:
    def __eq__(self, other): return True
    __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __eq__
    def __sub__(self, other): return 0.0
    __rsub__ = __sub__
    def __bool__(self): return True
    def __hash__(self): return 0
def add(a, b): return Anything()
"""
EQUALS_EVERY_NUMBER = """
class Number(int):
    def __eq__(self, other): return True
    def __sub__(self, other): return 0
def add(a, b): return Number(7)
"""
READS_TESTS_FROM_MEMORY = """
import gc, re, sys
texts, frame = [], sys._getframe()
while frame:
    texts.append(repr(frame.f_locals))
    frame = frame.f_back
texts += [repr(thing) for thing in gc.get_objects() if isinstance(thing, (list, tuple, dict))]
expected = dict(re.findall(r"assert add\\((\\d+, \\d+)\\) == (\\d+)", " ".join(texts)))
def add(a, b): return int(expected[f"{a}, {b}"])
"""
KILLS_ALL = "import os, signal\nfor pid in (-1, 1, os.getppid()):\n    try:\n        os.kill(pid, signal.SIGKILL)\n    except OSError:\n        pass"
EXITS = {
    "at once": "import os; os._exit(0)",
    "by exception": "raise SystemExit(0)",
    "in a call": "import os\ndef add(a, b): os._exit(0)",
    "at exit": "import atexit, os\natexit.register(os._exit, 0)\nraise SystemExit",
}


@pytest.mark.parametrize(
    "trick",
    [
        READS_SECRET_FROM_FRAMES,
        PATCHES_THE_COUNTER,
        PATCHES_BUILTINS,
        WRITES_TO_ALL_DESCRIPTORS.replace("LINES", r"b'2\n' * 9"),
        WRITES_TO_ALL_DESCRIPTORS.replace("LINES", r"""b'{"score": 1.0}\n' * 9"""),
        WRITES_TO_ALL_DESCRIPTORS.replace("LINES", r"""b'{"id": 1, "value": true}\n' * 9"""),
        KILLS_ALL,
    ],
    ids=["frames", "counter", "builtins", "count", "score line", "reply line", "kills"],
)
def test_a_trick_earns_a_wrong_program_nothing_and_leaves_later_scores_alone(trick: str) -> None:
    assert scores(f"{trick}\n{WRONG}", WRONG, RIGHT, WRONG, RIGHT) == [0, 0, 1, 0, 1]


@pytest.mark.parametrize("program", EXITS.values(), ids=EXITS.keys())
def test_a_program_that_ends_its_process_passes_no_test(program: str) -> None:
    forgiving_test = "try:\n    add(1, 2)\nexcept BaseException:\n    pass"
    assert scores(program, RIGHT, tests=[forgiving_test]) == [0, 1]


@pytest.mark.parametrize("program", [EQUALS_EVERYTHING, EQUALS_EVERY_NUMBER], ids=["object", "number"])
@pytest.mark.parametrize(
    "test",
    [
        "assert add(1, 2) == 3",
        "assert 3 == add(1, 2)",
        "assert not add(1, 2) != 3",
        "assert abs(add(1, 2) - 3) < 1e-6",
        "assert abs(3 - add(1, 2)) < 1e-6",
        "assert 2 < add(1, 2) < 4",
        "assert add(1, 2) in (3,)",
        "assert [add(1, 2)] == [3]",
        "assert {'sum': add(1, 2)} == {'sum': 3}",
    ],
)
def test_an_object_that_equals_everything_is_not_what_the_test_expects(program: str, test: str) -> None:
    assert scores(program, RIGHT, tests=[test]) == [0, 1]


@pytest.mark.parametrize(
    ("program", "test"),
    [
        ("abs = lambda number: 0", "assert abs(add(1, 2) - 3) < 1e-6"),
        ("sorted = set = list = lambda items: 0", "assert sorted([add(1, 2)]) == list([3])"),
        ("class math: isclose = lambda a, b: True", "import math\nassert math.isclose(add(1, 2), 3)"),
        ("class math: isclose = lambda a, b: True", "assert math.isclose(add(1, 2), 3)"),
        ("import math\nmath.isclose = lambda a, b: True", "assert math.isclose(add(1, 2), 3)"),
    ],
)
def test_a_program_cannot_replace_what_a_test_compares_with(program: str, test: str) -> None:
    assert scores(f"{program}\n{WRONG}", f"import math\n{RIGHT}", tests=[test]) == [0, 1]


def test_a_program_cannot_find_the_expected_values_in_its_memory() -> None:
    assert scores(READS_TESTS_FROM_MEMORY, READS_TESTS_FROM_MEMORY) == [0, 0]


@pytest.mark.parametrize("folder", [".", "..", "/tmp", "HOME"])
def test_files_left_by_one_answer_cannot_be_read_by_the_next(folder: str) -> None:
    """The first answer is right and leaves its source, also in a module that the next would import."""
    place = f"import os\nfolder = os.environ['HOME'] if {folder!r} == 'HOME' else {folder!r}\n"
    leaves = f"{place}try:\n    open(folder + '/left.py', 'w').write({RIGHT!r})\nexcept OSError:\n    pass\n{RIGHT}"
    reads = f"{place}import glob, sys\nsys.path.insert(0, folder)\nfor path in glob.glob(folder + '/**/left.py', recursive=True):\n    exec(open(path).read())\nfrom left import add"
    assert scores(leaves, reads, "import os\ndef entries(): return os.listdir('.')") == [1, 0, 0]
    assert scores(leaves, "import os\ndef entries(): return os.listdir('.')", tests=["assert entries() == []"]) == [
        0,
        1,
    ]


def test_a_process_left_behind_ends_with_its_answer() -> None:
    lingers = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    while True: pass"
    assert scores(*[f"{lingers}\n{WRONG}"] * 3, RIGHT) == [0, 0, 0, 1]


def test_a_forged_line_of_own_python_does_not_become_the_score_of_another_answer() -> None:
    forging = WRITES_TO_ALL_DESCRIPTORS.replace("LINES", r"""b'{"score": 1.0}\n{"id": 2, "score": 1.0}\n' * 3""")
    code = f"def score(answer, row):\n    if answer == 'forge':\n        exec({forging!r})\n    return 0.25"
    given = reward("own_python", code=code)(completions=["forge", "honest", "honest", "honest"])
    assert isinstance(given[0], FailedScore)
    assert given[1:] == [0.25, 0.25, 0.25]


@pytest.mark.parametrize(("drop", "error"), [("b' ', 0.05", TimeoutError), ("b' ' * 65_536, 0", ValueError)])
def test_a_reply_that_never_ends_is_given_up(drop: str, error: type[Exception]) -> None:
    dripping = f"""
def score(answer, row):
    import contextlib, os, time
    def drip(drop, seconds):
        for descriptor in range(3, 64):
            with contextlib.suppress(OSError):
                os.write(descriptor, drop)
        time.sleep(seconds)
    while True:
        drip({drop})
"""
    reward_json = Reward(name="own_python", params={"code": dripping}).model_dump_json(by_alias=True)
    process = pool._RewardProcess(reward_json, 2.0, calls_out=False)
    try:
        with pytest.raises(error):
            process.request_score({"completion": "", "columns": {}})
    finally:
        process.kill()


# -- tokens -------------------------------------------------------------------------------------------------------------

MARKER = "hf_" + "MarkerToken" * 3


def memory_of(pid: int) -> bytes:
    """All readable memory of a process, where its arguments and environment lie too."""
    parts = []
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            first, _, last = line.split()[0].partition("-")
            with contextlib.suppress(OSError, ValueError, OverflowError):  # such as the kernel's own pages
                memory.seek(int(first, 16))
                parts.append(memory.read(int(last, 16) - int(first, 16)))
    return b"".join(parts)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "params", "row", "process_count"),
    [
        # two processes of the reward, two of the server, the program and its tests
        ("passes_tests", {"seconds": 11}, {"tests": "assert wait()"}, 6),
        ("own_python", {"code": "def score(answer, row):\n    exec(answer)\n    return 1.0"}, {}, 2),
    ],
)
def test_no_confined_process_has_a_token_in_its_memory(
    name: str, params: dict[str, Any], row: dict[str, Any], process_count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", MARKER)
    assert MARKER.encode() in memory_of(os.getpid())
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    program = "import time\ndef wait():\n    time.sleep(1000)\nwait()"
    with ThreadPoolExecutor() as threads:
        score = threads.submit(
            reward(name, **params), completions=[program], **{key: [cell] for key, cell in row.items()}
        )
        children: set[int] = set()
        try:
            while len(children) < process_count:
                assert not score.done(), score.result()
                time.sleep(0.2)
                children = {process.pid for process in psutil.Process().children(recursive=True)} - before
            assert [pid for pid in children if MARKER.encode() in memory_of(pid)] == []
        finally:
            for pid in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


# -- what tests may do with a program -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "test"),
    [
        ("def f(xs): xs.sort()", "xs = [3, 1, 2]\nassert f(xs) is None\nassert xs == [1, 2, 3]"),
        ("def f(table): table['a'] += 1", "table = {'a': 1}\nf(table)\nassert table == {'a': 2}"),
        ("def f(function, xs): return [function(x) for x in xs]", "assert f(lambda x: x + 1, [1, 2]) == [2, 3]"),
        ("def f(function, xs): return [function(x) for x in xs]", "assert f(str, (1, 2)) == ['1', '2']"),
        ("def f():\n    n = 0\n    while True:\n        yield n\n        n += 1", "g = f()\nassert [next(g), next(g)] == [0, 1]"),
        ("def f(n):\n    yield from range(n)", "assert list(f(3)) == [0, 1, 2]\nassert sum(f(4)) == 6"),
        ("def f(n): raise ValueError(n)", "try:\n    f(7)\n    assert False\nexcept ValueError as e:\n    assert e.args == (7,)"),
        (
            "class Base(Exception): pass\nclass Own(Base): pass\ndef f(): raise Own('no')",
            "try:\n    f()\nexcept Base as e:\n    assert str(e) == 'no' and isinstance(e, Own)\nelse:\n    assert False",
        ),
        (
            "class Stack:\n    def __init__(self): self.items = []\n    def push(self, x): self.items.append(x)\n"
            "    def pop(self): return self.items.pop()\n    def __len__(self): return len(self.items)",
            "s = Stack()\nassert not s\ns.push(1)\ns.push(2)\nassert len(s) == 2 and s.pop() == 2 and s.items == [1]",
        ),
        (
            "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass P:\n    x: int\n    y: int\n"
            "    def __add__(self, o): return P(self.x + o.x, self.y + o.y)",
            "assert P(1, 2) + P(3, 4) == P(4, 6) and P(1, 2) != P(2, 1)\n"
            "assert isinstance(P(1, 2), P) and str(P(1, 2)) == 'P(x=1, y=2)' and {P(1, 2): 1}[P(1, 2)] == 1",
        ),
        ("from collections import Counter\nf = Counter", "assert f('aab') == {'a': 2, 'b': 1}"),
        ("from collections import namedtuple\nP = namedtuple('P', 'x y')", "assert P(1, 2) == (1, 2) and P(1, 2).y == 2"),
        ("from collections import defaultdict\ndef f():\n    d = defaultdict(int)\n    d['a'] += 1\n    return d", "assert f() == {'a': 1}"),
        ("from fractions import Fraction\ndef f(): return Fraction(1, 2)", "assert f() == 0.5"),
        ("def f(): return 10 ** 5000, float('inf'), {(1, 2): {3}}, b'x', 1j", "assert f() == (10 ** 5000, float('inf'), {(1, 2): {3}}, b'x', 1j)"),
        ("def sum(a, b): return 7", "assert sum(10, 15) == 7"),
        ("def add(a, b): return a + b", "def check(candidate):\n    assert candidate(1, 2) == 3\ncheck(add)"),
        ("def add(a, b): return a + b", "import unittest\nclass T(unittest.TestCase):\n    def test(self): self.assertEqual(add(1, 2), 3)\nT('test').debug()"),
        ("LIMIT = 5", "assert LIMIT == 5"),
        ("count = 0\ndef f():\n    global count\n    count += 1\n    return count", "assert f() == 1 and f() == 2"),
        ("def f(name): print('Hello', name)", "import contextlib, io\nout = io.StringIO()\nwith contextlib.redirect_stdout(out):\n    f('you')\nassert out.getvalue() == 'Hello you\\n'"),
    ],
)  # fmt: skip
def test_tests_of_many_kinds_accept_a_right_program(program: str, test: str) -> None:
    assert scores(program, "x = 1", tests=[test]) == [1, 0]
