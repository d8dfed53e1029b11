"""1 when the answer fits a pattern (a regular expression), 0 otherwise."""

from __future__ import annotations

import regex  # unlike re it can stop a pattern that takes forever
from pydantic import field_validator

from app.engine.contracts import RewardDefinition
from app.engine.reward_runtime.reward import PerRowReward
from app.setup.knob import Knobs, knob

_SECONDS = 1.0
_MAX_SIZE = 100_000  # characters, with repetitions written out
_TOKEN = regex.compile(r"\\.|\[(?:\\.|[^\]\\])+\]|\{(?P<count>\d+)(?:,\d*)?\}|.", regex.DOTALL)


class Params(Knobs):
    pattern: str = knob(r".+", "The regular expression to fit, such as `^\\d+$` for digits only.")
    whole: bool = knob(False, "The whole answer must fit, not just a part of it.")

    @field_validator("pattern")
    @classmethod
    def check_pattern(cls, pattern: str) -> str:
        if _written_out_size(pattern) > _MAX_SIZE:
            raise ValueError(f"it repeats too much: written out it has more than {_MAX_SIZE:,} characters")
        try:
            regex.compile(pattern)
        except (regex.error, RecursionError) as error:
            raise ValueError(f"it is not a regular expression ({error})") from error
        return pattern


def _written_out_size(pattern: str) -> int:
    """About how many characters a pattern has once `a{3}` is written as `aaa`, as the library does before it compiles."""
    group_sizes, last_size = [0], 0
    for token in _TOKEN.finditer(pattern):
        if token[0] == "(":
            group_sizes.append(0)
        elif token[0] == ")" and len(group_sizes) > 1:
            last_size = group_sizes.pop()
            group_sizes[-1] += last_size
        elif token["count"]:
            count = max(int(token["count"][:12]), 1)
            group_sizes[-1] += last_size * (count - 1)
            last_size *= count
        else:
            last_size = 1
            group_sizes[-1] += 1
    return sum(group_sizes)


def make(params: Params) -> PerRowReward:
    compiled = regex.compile(params.pattern, regex.DOTALL)
    match = compiled.fullmatch if params.whole else compiled.search

    def score(completion: str) -> float:
        try:
            return float(bool(match(completion.strip(), timeout=_SECONDS)))
        except TimeoutError as error:  # a person's pattern
            raise TimeoutError(f"the pattern took longer than {_SECONDS:g} s") from error

    return PerRowReward(score)


REWARD = RewardDefinition(
    title="Fits a pattern",
    sentence=__doc__,
    params=Params,
    make=make,
    seconds=_SECONDS,
)
