"""Rewards: expected scores worked by hand, also for malformed and hostile completions."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import psutil
import pytest

from app.core.problems import Problem
from app.core.validation import validate
from app.core.workspace import local_workspace
from app.engine.contracts import load_reward, reward_columns
from app.engine.reward_runtime import reward_factory
from app.engine.reward_runtime.reward import FailedScore
from app.setup.spec import Reward


def score(name: str, completion: Any, params: dict[str, Any] | None = None, **row: Any) -> float | None:
    """The score of a single completion, by a reward that is built as in a run."""
    full_params = validate(load_reward(name).params, params or {}, f"The reward {name}").model_dump()
    [only_score] = reward_factory.build_reward(Reward(name=name, label="it", params=full_params))(
        completions=[completion], **{column: [cell] for column, cell in row.items()}
    )
    return only_score


def validate_params(name: str, **params: Any) -> None:
    """Raises Problem for parameters that the reward refuses."""
    validate(load_reward(name).params, params, f"The reward {name}")


@pytest.mark.parametrize(("completion", "answer", "expected"), [
    ("The answer is 42.", "42", 1), ("41, no: 42", "42", 1), ("42, no: 41", "42", 0), ("none", "42", 0), ("", "42", 0),
    ("1,234", "1234", 1), ("$1,234,567.50 in all", 1234567.5, 1), ("1234", "1,234", 1), ("12,34", "1234", 0),
    ("-5", "-5", 1), ("+5", "5", 1), ("−5", "-5", 1), ("-0", "0", 1), (".5", "0.5", 1), ("0.5", ".5", 1), ("1e3", "1000", 1), ("50%", "50", 1),
    ("x=7", 7, 1), ("10-4", "4", 1), ("from 2019-2024", "2024", 1), ("3-2=1", "1", 1),
    ("1e400", "5", 0), ("9" * 5000, "5", 0), ("3", "3.0000005", 1), ("3", "3.00001", 0), ("٣", "3", 0), ("3.", "3", 1), ("#### 18", "step 1: 9, then 18", 1),
    ("5", None, None), ("5", "", None), ("5", "unknown", None), ("5", "1e400", None),
])  # fmt: skip
def test_number_compares_the_last_number_with_the_answer(completion: str, answer: Any, expected: float | None) -> None:
    assert score("number", completion, answer=answer) == expected


def test_number_accepts_answers_within_the_tolerance() -> None:
    assert score("number", "10.5", {"tolerance": 0.5}, answer="10") == 1
    assert score("number", "10.51", {"tolerance": 0.5}, answer="10") == 0


@pytest.mark.parametrize(("completion", "answer", "params", "expected"), [
    ("yes", "yes", {}, 1), (" yes\n", "yes", {}, 1), ("yes", " yes ", {}, 1), ("Yes", "yes", {}, 0), ("Yes", "yes", {"ignore_case": True}, 1),
    ("yes.", "yes", {}, 0), ("", "", {}, 1), ("5", 5, {}, 1), ("STRASSE", "straße", {"ignore_case": True}, 1), ("None", None, {}, None),
])  # fmt: skip
def test_exact_match_compares_stripped_text(
    completion: str, answer: Any, params: dict[str, Any], expected: float | None
) -> None:
    assert score("exact_match", completion, params, answer=answer) == expected


def test_exact_match_ignores_unicode_composition() -> None:
    """é as one code point and as e with a combining accent look the same; both occur in real data."""
    assert score("exact_match", "caf\u00e9", answer="cafe\u0301") == 1


@pytest.mark.parametrize(("completion", "params", "row", "expected"), [
    ("Hello World", {"words": ["hello", "moon"]}, {}, 0.5), ("Hello", {"words": ["hello"], "ignore_case": False}, {}, 0),
    ("the red fox", {"column": "fox"}, {"fox": "RED"}, 1), ("the red fox", {"column": "fox", "words": ["the", "blue"]}, {"fox": "red"}, 2 / 3),
    ("anything", {"column": "fox"}, {"fox": None}, None), ("anything", {"column": "fox"}, {"fox": ""}, None),
])  # fmt: skip
def test_contains_scores_the_share_of_the_words(
    completion: str, params: dict[str, Any], row: dict[str, Any], expected: float | None
) -> None:
    assert score("contains", completion, params, **row) == (expected if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("words", [[""], ["a", " "]])
def test_contains_refuses_an_empty_word(words: list[str]) -> None:
    """An empty word occurs in every completion."""
    with pytest.raises(Problem, match="word"):
        score("contains", "a", {"words": words})


@pytest.mark.parametrize(("completion", "params", "expected"), [
    ("{}", {}, 1), (' {"a": 1}\n', {}, 1), ('{"a": 1}', {"keys": ["a"]}, 1), ('{"a": 1}', {"keys": ["a", "b"]}, 0.5), ("{}", {"keys": ["a"]}, 0.5),
    ("{", {}, 0), ("", {}, 0), ("Sure! {}", {}, 0), ("[]", {}, 0), ("5", {}, 0), ('"a"', {}, 0), ("null", {}, 0), ("[]", {"keys": ["a"]}, 0),
    ('{"a": NaN}', {}, 0), ('{"a": Infinity}', {}, 0), ('{"a": 1, "a": 2}', {"keys": ["a"]}, 1),
])  # fmt: skip
def test_valid_json_scores_an_object_and_its_keys(completion: str, params: dict[str, Any], expected: float) -> None:
    assert score("valid_json", completion, params) == expected


@pytest.mark.parametrize("nested_json", ["[" * 1_000_000, '{"a":' * 1_000_000, '{"a":' * 100_000 + "1" + "}" * 100_000])
def test_deeply_nested_json_is_rejected_quickly(nested_json: str) -> None:
    start_time = time.monotonic()
    assert score("valid_json", nested_json) == 0
    assert time.monotonic() - start_time < 2


@pytest.mark.parametrize(("completion", "params", "expected"), [
    ("12345678", {"least": 10, "most": 20}, 0.6), ("12345", {"least": 10, "most": 20}, 0), ("", {"least": 10, "most": 20}, 0),
    ("x" * 10, {"least": 10, "most": 20}, 1), ("x" * 20, {"least": 10, "most": 20}, 1), ("x" * 25, {"least": 10, "most": 20}, 0.5),
    ("x" * 30, {"least": 10, "most": 20}, 0), ("x" * 10**6, {"least": 10, "most": 20}, 0), ("  x  ", {"least": 1, "most": 1}, 1),
    ("🜁🜁", {"least": 2, "most": 2}, 1), ("", {"least": 0, "most": 5}, 1), ("", {}, 0),
    ("one two three", {"least": 2, "most": 3, "unit": "words"}, 1), ("one two three four five", {"least": 1, "most": 4, "unit": "words"}, 0.5),
])  # fmt: skip
def test_length_band_decreases_with_the_distance_from_the_band(
    completion: str, params: dict[str, Any], expected: float
) -> None:
    assert score("length_band", completion, params) == pytest.approx(expected)


def test_a_length_band_with_minimum_above_maximum_is_refused() -> None:
    with pytest.raises(Problem, match=r"shortest \(5\) is longer than the longest \(2\)"):
        score("length_band", "x", {"least": 5, "most": 2})


@pytest.mark.parametrize(("completion", "params", "expected"), [
    ("12", {"pattern": r"^\d+$"}, 1), ("a 12", {"pattern": r"^\d+$"}, 0), ("a 12", {"pattern": r"\d"}, 1), ("a 12", {"pattern": r"\d+", "whole": True}, 0),
    (" 12\n", {"pattern": r"\d+", "whole": True}, 1), ("a\nb", {"pattern": "a.b"}, 1), ("", {}, 0), ("x", {}, 1), ("ÄÖ", {"pattern": r"^\w+$"}, 1),
])  # fmt: skip
def test_pattern_scores_a_regular_expression(completion: str, params: dict[str, Any], expected: float) -> None:
    assert score("pattern", completion, params) == expected


def test_a_pattern_that_takes_too_long_gives_a_failed_score() -> None:
    start_time = time.monotonic()
    failed_score = score("pattern", "a" * 60 + "b", {"pattern": r"(a|aa)+$"})
    assert failed_score == FailedScore("TimeoutError: the pattern took longer than 1 s")
    assert time.monotonic() - start_time < 4


@pytest.mark.parametrize("pattern", ["(", "[", "*", "a{2,1}", "(?P<x", "(" * 2000 + ")" * 2000])
def test_an_invalid_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(Problem, match="pattern"):
        score("pattern", "a", {"pattern": pattern})


def test_reward_columns_lists_the_columns_that_a_reward_reads() -> None:
    assert reward_columns(Reward(name="exact_match", params={"column": "team"})) == ("team",)
    assert reward_columns(Reward(name="valid_json")) == ()
    assert reward_columns(Reward(name="contains", params={"column": "x", "words": ["a"]})) == ("x",)


# -- slow rewards, in separate processes --------------------------------------------------------------------------


@pytest.mark.parametrize(("completion", "answer", "expected"), [
    (r"so \boxed{\frac{1}{2}}", "0.5", 1), ("$2x + 1$", "$1 + 2x$", 1), ("7", "8", 0), ("no idea", "8", 0),
    ("<think>it is 8</think> 7", "8", 0), ("7", "", None), ("7", None, None),
    # right answers without math delimiters, as in many data sets
    (r"So \boxed{3\sqrt{13}}.", r"3\sqrt{13}", 1), ("3", r"3\sqrt{13}", 0), (r"3\sqrt{13}", r"3\sqrt{13}", 1),
    (r"It is $\left(3, \frac{\pi}{2}\right)$.", r"\left( 3, \frac{\pi}{2} \right)", 1), ("$y = 3 + 2x$", "y = 2x + 3", 1),
    (r"\boxed{6 - 5i}", "6 - 5i", 1), ("5", "6 - 5i", 0), ("$x^2$", "x^2", 1), (r"\boxed{\sqrt{2}}", r"\sqrt{2}", 1), (r"\boxed{(1,2)}", "(1,2)", 1),
    ("5", "x = 5", 1), ("The answer is 42.", "42", 1), ("42", "The answer is 42.", 1), ("So x = 3 and y = 4.", r"x = 3 \text{ and } y = 4", 0),
    ("12", "12 cm", 1), (r"\boxed{1,000}", "1,000", 1), ("0.5", "50%", 1), ("18", "18 eggs", 1), ("18 eggs", "18", 1), ("5 dollars", "5", 1),
    ("18 / 2 = 9 eggs", "9", 1), ("60 km/h", "60", 1), ("3/4 cup", "3/4", 1), ("**18**", "18", 1), ("€5", "5", 1), ("5 (five)", "5", 1), ("x: 5", "5", 1),
    ("1 000", "1000", 1), ("5 m", "5", 1), ("2", "3 1/2", 0), ("3.5", "3 1/2", 1), ("-3.5", "-3 1/2", 1), ("$2yx$", "2xy", 1), ("xy", "2xy", 0), ("2*3", "6", 1),
    (r"\sin x", r"$\sin(x)$", 1), ("First 3, then 4.\nSo it is 7.", "7", 1), ("approximately 3.14", "3.14", 1), ("-7", "-7", 1), ("x^" * 200 + "x", "5", 0),
])  # fmt: skip
def test_math_equal_compares_mathematical_expressions(completion: str, answer: str, expected: float | None) -> None:
    assert score("math_equal", completion, answer=answer) == expected


SCHEMA = '{"type": "object", "required": ["team"], "properties": {"team": {"enum": ["a", "b"]}}}'


@pytest.mark.parametrize(
    ("completion", "expected"), [('{"team": "a"}', 1), ('{"team": "c"}', 0.5), ("{}", 0.5), ("team a", 0), ("NaN", 0)]
)
def test_json_schema_scores_validity(completion: str, expected: float) -> None:
    assert score("json_schema", completion, {"schema_text": SCHEMA}) == expected


@pytest.mark.parametrize(("schema", "error_message"), [
    ('{"$ref": "http://127.0.0.1:9/x"}', "it points to “http://127.0.0.1:9/x”, which is not in it"), ('{"$ref": "#/nope"}', "it points to “#/nope”"),
    ('{"properties": {"a": {"items": {"$ref": "file:///etc/passwd"}}}}', "it points to “file:///etc/passwd”"),
    ('{"minimum": 5, "$ref": "#/minimum/a"}', "it points to “#/minimum/a”"), ('{"title": "a", "$ref": "#/title/b"}', "it points to “#/title/b”"),
    ('{"title": "a", "$ref": "#/title"}', "it points to “#/title”"), ('{"$ref": "#"}', "in a circle without an end"),
])  # fmt: skip
def test_a_schema_with_external_missing_or_circular_references_is_refused(schema: str, error_message: str) -> None:
    with pytest.raises(Problem, match=error_message):
        score("json_schema", "{}", {"schema_text": schema})


def test_a_schema_that_branches_without_end_is_checked_at_once() -> None:
    """60 parts of which each applies the next one twice: 2 to the power of 60 ways."""
    parts = {f"p{i}": {"allOf": [{"$ref": f"#/$defs/p{i + 1}"}] * 2} for i in range(60)} | {"p60": {}}
    start_time = time.monotonic()
    validate_params("json_schema", schema_text=json.dumps({"$defs": parts, "$ref": "#/$defs/p0"}))
    circle = {"$defs": parts | {"p60": {"not": {"$ref": "#/$defs/p30"}}}, "$ref": "#/$defs/p0"}
    with pytest.raises(Problem, match="in a circle without an end"):
        validate_params("json_schema", schema_text=json.dumps(circle))
    assert time.monotonic() - start_time < 5
    below = {"$ref": "#/$defs/node", "$defs": {"node": {"properties": {"next": {"$ref": "#/$defs/node"}}}}}
    validate_params("json_schema", schema_text=json.dumps(below))  # a circle that goes deeper into the document


@pytest.mark.parametrize(
    "pattern",
    [
        "a{100000000}",
        "(?:(?:a{1000}){1000}){1000}",
        "[a-z)]{9999999999999999999999}",
        r"(\{{99999}){99,}",
        "a" * 200_000,
    ],
)
def test_a_pattern_that_is_huge_when_it_is_written_out_is_refused(pattern: str) -> None:
    start_time = time.monotonic()
    with pytest.raises(Problem, match="it repeats too much"):
        validate_params("pattern", pattern=pattern)
    assert time.monotonic() - start_time < 5


@pytest.mark.parametrize(
    "pattern", [r"^\d{3}-\d{3}-\d{4}$", "[0-9a-f]{8}(-[0-9a-f]{4}){3}", "a{1,50000}", r"x{,3}\{5}", "[{9}]{9}"]
)
def test_usual_repetitions_are_accepted(pattern: str) -> None:
    validate_params("pattern", pattern=pattern)


def test_a_schema_may_reference_its_own_parts_and_the_meta_schema() -> None:
    schema = '{"$defs": {"team": {"$id": "https://example.org/team", "enum": ["a"], "$defs": {"x": {}}}}, "properties": {"team": {"$ref": "#/$defs/team"}}}'
    assert score("json_schema", '{"team": "a"}', {"schema_text": schema}) == 1
    assert score("json_schema", '{"team": "b"}', {"schema_text": schema}) == 0.5
    assert score("json_schema", "{}", {"schema_text": '{"$ref": "https://json-schema.org/draft/2020-12/schema"}'}) == 1


def test_a_schema_pattern_that_takes_too_long_fails_only_for_that_completion() -> None:
    slow_schema = {"schema_text": '{"type": "string", "pattern": "^(a+)+$"}'}
    assert score("json_schema", '"' + "a" * 60 + '!"', slow_schema) == FailedScore("it took longer than 2 seconds")
    assert score("json_schema", '"aaa"', slow_schema) == 1


PROGRAM = "Here it is:\n```python\ndef add(a, b):\n    return a + b\n```\n"


@pytest.mark.parametrize(("completion", "tests", "expected"), [
    (PROGRAM, ["assert add(1, 2) == 3", "assert add(1, 2) == 4"], 0.5), (PROGRAM, "assert add('a', 'b') == 'ab'", 1),
    ("def add(a, b): return a - b", ["assert add(1, 2) == 3"], 0), ("this is no program", ["assert True"], 0), (PROGRAM, None, None),
    ("import os; os._exit(0)", ["assert False"], 0), ("raise SystemExit(0)", ["assert False"], 0), ("while True: pass", ["assert True"], 0),
    ("import sys; sys.stdout = None; print = None", ["assert True"], 1), ("class assert_: pass\nadd = lambda *a: 3", ["assert add() == 3", "assert add(1) == 4"], 0.5),
])  # fmt: skip
def test_passes_tests_scores_the_share_of_passed_tests(completion: str, tests: Any, expected: float | None) -> None:
    assert score("passes_tests", completion, {"seconds": 1}, tests=tests) == expected


def test_a_program_that_hangs_scores_0_and_its_child_processes_are_killed() -> None:
    start_time = time.monotonic()
    assert score("passes_tests", "import time; time.sleep(1000)", {"seconds": 1}, tests="assert True") == 0
    forking_program = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(1000)"
    for _ in range(70):  # more than the limit of concurrent processes
        assert score("passes_tests", forking_program, {"seconds": 1}, tests="assert True") == 1
    assert time.monotonic() - start_time < 30, "the reward must not wait for child processes"


def test_the_processes_of_a_reward_that_nobody_uses_any_more_end() -> None:
    earlier = {*psutil.Process().children()}
    for number in range(17):  # one more than the kinds of rewards that are kept
        assert score("own_python", "", {"code": f"def score(answer, row):\n    return 0.5  # {number}"}) == 0.5
    started = {*psutil.Process().children()} - earlier
    assert sum("app.engine.reward_runtime.reward_process" in child.cmdline() for child in started) == 16
    assert len(list(local_workspace().folder("scratch").glob("tmp*"))) == 16


@pytest.mark.parametrize("fence", ["```Python", "```python3", "```py ", "```"])
def test_a_program_may_be_in_a_code_block(fence: str) -> None:
    assert score("passes_tests", f"So:\n{fence}\nx = 1\n```\n", tests="assert x == 1") == 1


@pytest.mark.parametrize("expression", [
    "open('/etc/passwd').read()", f"open({__file__!r}).read()", "open('/tmp/left-behind', 'w')", "__import__('os').listdir('/root')",
    "__import__('socket').create_connection(('127.0.0.1', 22), 1)", "__import__('os').kill(PARENT, 0)", "bytearray(4 << 30)",
    "open('/proc/1/environ').read()", "open('/proc/self/environ').read()", "__import__('os').environ['TUNESMITH_HOME']",
])  # fmt: skip
def test_sandboxed_code_cannot_access_files_network_processes_or_environment(expression: str) -> None:
    expression = expression.replace("PARENT", str(os.getpid()))
    reward_score = score("own_python", "", {"code": f"def score(answer, row):\n    {expression}\n    return 1.0\n"})
    assert isinstance(reward_score, FailedScore)


def test_own_python_receives_the_columns_it_names() -> None:
    code = "def score(answer, row):\n    return row['x'] if answer == 'yes' else None\n"
    assert score("own_python", "yes", {"code": code, "columns": ["x"]}, x=0.25) == 0.25
    assert score("own_python", "no", {"code": code, "columns": ["x"]}, x=0.25) is None


@pytest.mark.parametrize(("code", "error_message"), [
    ("def score(answer, row):\n    return 1 / 0\n", "ZeroDivisionError: division by zero"), ("def score(answer, row):\n    return 'good'\n", "it gave no finite number"),
    ("def score(answer, row):\n    return float('nan')\n", "it gave no finite number"), ("import os\ndef score(answer, row):\n    os._exit(3)\n", "its process ended"),
])  # fmt: skip
def test_own_python_that_raises_or_returns_no_number_gives_a_failed_score(code: str, error_message: str) -> None:
    assert score("own_python", "yes", {"code": code}) == FailedScore(error_message)


@pytest.mark.parametrize("code", ["def score(answer): return 1", "score = 5", "def score(answer, row", "\0"])
def test_own_python_without_a_valid_score_function_is_refused(code: str) -> None:
    with pytest.raises(Problem):
        score("own_python", "yes", {"code": code})


# -- fast rewards -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("completion", "params", "expected"), [
    ("<think>a</think><answer>b</answer>", {}, 1), ("<think>a</think> so <answer>b</answer>", {"nothing_else": True}, 0),
    ("<think>a</think>\n<answer>b</answer>\n", {"nothing_else": True}, 1), ("<answer>b</answer><think>a</think>", {}, 0.5),
    ("<think>a<answer>b</answer>", {}, 0.5), ("<think>a</think><think>a</think><answer>b</answer>", {}, 0.5), ("b", {}, 0), ("</think><think>", {"tags": ["think"]}, 0),
])  # fmt: skip
def test_tags_scores_the_expected_tags_in_order(completion: str, params: dict[str, Any], expected: float) -> None:
    assert score("tags", completion, params) == expected


def test_avoids_scores_the_share_of_avoided_words() -> None:
    assert score("avoids", "I am a language model", {"words": ["Language Model", "sorry"]}) == 0.5
    assert score("avoids", "Hello", {"words": ["sorry"]}) == 1
    assert score("avoids", "Hello") is None
    assert (
        score("avoids", "cafe\u0301", {"words": ["caf\u00e9"]})
        == score("contains", "cafe\u0301", {"words": ["caf\u00e9"]}) - 1
        == 0
    )


def test_little_repetition_scores_the_share_of_distinct_ngrams() -> None:
    assert score("little_repetition", "a b a b a b", {"words": 2}) == 2 / 5  # ab ba ab ba ab
    assert score("little_repetition", "one two three four") == 1
    assert score("little_repetition", "one") == 1


def test_language_scores_the_probability_of_the_language() -> None:
    assert score("language", "The children are playing in the garden.", {"language": "en"}) > 0.9
    assert score("language", "Die Kinder spielen heute im Garten.", {"language": "en"}) < 0.1
    assert score("language", "Ja.", {"language": "de"}) is None
    assert score("language", "O‘zbekiston Respublikasi Markaziy Osiyodagi davlat.", {"language": "uz"}) > 0.9
    with pytest.raises(Problem, match="letters of a language"):
        score("language", "The children are playing in the garden.", {"language": "qq"})


def test_known_languages_equal_those_of_the_language_model() -> None:
    from app.engine.rewards.language import KNOWN_LANGUAGES, language_detector

    assert {*language_detector().identifier.nb_classes} - {"zxx"} == KNOWN_LANGUAGES, (
        "zxx is the code for no linguistic content"
    )


def test_similar_scores_rouge_l_or_edit_distance() -> None:
    """ROUGE-L of “the cat sat” and “the black cat”: the longest common subsequence has two words, 2·2/(3+3)."""
    assert score("similar", "the cat sat", answer="The black cat") == 2 / 3
    assert score("similar", "kitten", {"by": "letters"}, answer="sitting") == pytest.approx(1 - 3 / 7)
    assert score("similar", "", answer="word") == 0
    assert score("similar", "", answer="") == 1
    assert score("similar", "word", answer=None) is None


@pytest.mark.parametrize(("token_count", "expected"), [(10, 0), (80, 0), (90, -0.5), (100, -1), (500, -1)])
def test_not_overlong_penalizes_lengths_near_and_above_the_maximum(token_count: int, expected: float) -> None:
    assert score("not_overlong", "", {"most": 100, "margin": 20}, completion_ids=[1] * token_count) == expected


@pytest.mark.parametrize(
    ("completion", "token_count", "expected"),
    [("7", 0, 1), ("7", 50, 0.75), ("7", 100, 0.5), ("8", 0, -1), ("8", 50, -0.75), ("8", 900, -0.5)],
)
def test_short_and_right_prefers_short_right_and_long_wrong_answers(
    completion: str, token_count: int, expected: float
) -> None:
    assert score(
        "short_and_right", completion, {"most": 100}, answer="7", completion_ids=[1] * token_count
    ) == pytest.approx(expected)
