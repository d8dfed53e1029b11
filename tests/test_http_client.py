"""Calling: judges and verifiers on this machine, well and badly behaved, and where no call may go."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from app.core.problems import Problem
from app.engine.contracts import load_method
from app.engine.evaluation.completion_rewards import CompletionScorer, PromptRow
from app.engine.reward_runtime import http_client, reward_factory, reward_probe
from app.engine.reward_runtime.error_policy import MIN_CERTAIN_FAILURES
from app.engine.reward_runtime.reward import FailedScore, Score
from app.planning.resolve import resolve
from app.setup.spec import Reward, parse_spec

Answer = Callable[[str, dict[str, Any], Any], tuple[int, bytes]]


@contextmanager
def service(answer: Answer) -> Iterator[str]:
    """A server on this machine; `answer` gets the path, the question and the headers."""

    class Desk(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, body = answer(self.path, question, self.headers)
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Desk) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def says(text: str) -> bytes:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()


def judged(address: str, completion: str = "Paris", **params: Any) -> Score:
    asked = Reward(name="judge", label="it", params={"address": f"{address}/v1", "model": "wise", **params})
    [one] = reward_factory.build_reward(asked)(
        completions=[completion], prompts=[[{"role": "user", "content": "Capital of France?"}]], right=["Paris"]
    )
    return one


def test_a_judges_number_becomes_a_share() -> None:
    heard: list[Any] = []

    def judge(path: str, question: dict[str, Any], headers: Any) -> tuple[int, bytes]:
        heard.append((path, question["model"], question["messages"][0]["content"], headers["Authorization"]))
        return 200, says('{"score": 7}')

    with service(judge) as address:
        assert judged(address, rubric="Names a city.", reference="right") == 0.7
    path, model, asked, token = heard[0]
    assert (path, model, token) == ("/v1/chat/completions", "wise", None)
    assert "Names a city." in asked
    assert "user: Capital of France?" in asked
    assert "<right_answer>\nParis" in asked
    assert "<answer>\nParis" in asked


def test_a_key_comes_from_the_machine_and_goes_to_the_judge_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []
    monkeypatch.setenv("JUDGE_KEY", "secret-word")
    with service(
        lambda path, question, headers: (heard.append(headers["Authorization"]), (200, says("10")))[1]
    ) as address:
        assert judged(address, key_variable="JUDGE_KEY") == 1.0
    assert heard == ["Bearer secret-word"]


@pytest.mark.parametrize(("answer", "why"), [
    *(((200, says(said)), "the judge gave no number from 0 to 10") for said in ("I would rather not.", '{"score": 11}', '{"score": -1}', '{"score": 0.8}', '{"score": 1.0}', '{"score": null}', "[]")),
    ((200, says('The answer says {"score": 10}, yet I give {"score": 1}')), "the judge gave several numbers"),
    ((200, b"[]"), "the judge's reply is not that of a chat model"), ((200, b"<html>"), "127.0.0.1 answered no JSON"),
    ((500, b""), "127.0.0.1 answered 500 Internal Server Error"), ((302, b""), "127.0.0.1 answered 302 Found"),
    ((200, b"9" * (http_client.MAX_RESPONSE_BYTES + 1)), "127.0.0.1 answered more than 1000 kB"),
])  # fmt: skip
def test_a_judge_that_answers_nonsense_fails_on_that_answer(answer: tuple[int, bytes], why: str) -> None:
    with service(lambda *_: answer) as address:
        assert judged(address) == FailedScore(why)


@pytest.mark.parametrize(("said", "number"), [
    ('```json\n{"score": 7}\n```', 0.7), ('<think>perhaps "score": 3</think>{"score": 9}', 0.9), ('{"score": "8"}', 0.8), ('{"score": 7.5}', 0.75),
    ("4", 0.4), ('{"score": 0}', 0.0), ('{"score": 6} {"score": 6}', 0.6),
    ('{"kind": {"score": 4}, "score": 7}', 0.7), ('{"score": 1}', 0.1),
])  # fmt: skip
def test_a_number_is_found_in_what_a_judge_says(said: str, number: float) -> None:
    with service(lambda *_: (200, says(said))) as address:
        assert judged(address) == number


ROW = {"prompt": [{"role": "user", "content": "Capital of France?"}], "answer": "Paris"}


def asking(address: str, method: str = "grpo", **params: Any) -> Any:
    """A job that would ask a judge there."""
    asked = {"name": "judge", "as": "wise", "params": {"address": f"{address}/v1", "model": "wise"} | params}
    spec = resolve(parse_spec({"method": method, "data": [{"source": "sample:sums"}], "rewards": [asked]}))
    return SimpleNamespace(spec=spec, method=load_method(method), data=SimpleNamespace(train=[ROW]))


def test_who_is_asked_is_tried_before_anything_is_learned() -> None:
    reward_probe.require_working_rewards(
        asking("http://127.0.0.1:9", "sft")
    )  # where they only measure, the first test tells
    with pytest.raises(
        Problem, match=r"“wise” was tried before anything is learned, and gave no score .*cannot be reached"
    ):
        reward_probe.require_working_rewards(asking("http://127.0.0.1:9"))
    answers = [(500, b""), (200, says('{"score": 3}'))]
    with service(lambda *_: answers.pop(0)) as address:
        reward_probe.require_working_rewards(asking(address, reference="answer"))
    assert not answers, "one stumble is forgiven"
    with pytest.raises(Problem, match="reads the column `right`"):
        reward_probe.require_working_rewards(asking("http://127.0.0.1:9", reference="right"))


def test_a_judge_that_goes_down_ends_no_test_but_says_so() -> None:
    """While learning from its opinion the run stops; where it only measures there is nothing to lose."""
    wise = Reward(name="judge", label="wise", params={"address": "http://127.0.0.1:9/v1", "model": "wise"})
    asked, told = [PromptRow({"prompt": "a"}, "a", "b")] * MIN_CERTAIN_FAILURES, []
    tokenizer = lambda texts, **_: {"input_ids": [[1]] * len(texts)}  # noqa: E731
    assert CompletionScorer([wise], tokenizer, "cpu", told.append).scores(asked, ["b"] * MIN_CERTAIN_FAILURES) == {
        "wise": [None] * MIN_CERTAIN_FAILURES
    }
    assert len(told) == 1
    with pytest.raises(Problem, match="failed on 16 of the last 16 answers"):
        CompletionScorer([wise], tokenizer, "cpu").scores(asked, ["b"] * MIN_CERTAIN_FAILURES)


def test_a_judge_that_is_down_fails_at_once() -> None:
    began = time.monotonic()
    found = judged("http://127.0.0.1:9")
    assert isinstance(found, FailedScore)
    assert "cannot be reached" in found.reason
    assert time.monotonic() - began < 20


def test_a_verifier_gets_the_row_and_the_answer_in_its_own_shape() -> None:
    heard: list[Any] = []
    with service(
        lambda path, question, headers: (heard.append((path, question)), (200, b'{"reward": 0.5}'))[1]
    ) as address:
        asked = Reward(name="verifier", label="it", params={"address": address, "columns": ["expected_answer"]})
        scores = reward_factory.build_reward(asked)(
            completions=["5"], prompts=["What is 2 + 2?"], expected_answer=["4"]
        )
    [(path, question)] = heard
    assert scores == [0.5]
    assert path == "/verify"
    assert question["expected_answer"] == "4"
    assert question["responses_create_params"]["input"] == [{"role": "user", "content": "What is 2 + 2?"}]
    assert question["response"]["output"][0]["content"][0]["text"] == "5"


@pytest.mark.parametrize("address", ["ftp://example.org", "judge", "http://", "file:///etc/passwd"])
def test_only_http_is_called(address: str) -> None:
    with pytest.raises(http_client.Unreachable):
        http_client.post_json(address, {}, 1)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "169.254.169.254", "10.0.0.1", "[::1]", "0.0.0.0", "2130706433"]
)
def test_a_shared_server_calls_nobody_in_a_private_network(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYSTEM", "spaces")
    with pytest.raises(http_client.Unreachable, match=r"private network|no machine called"):
        http_client.post_json(f"http://{host}:9/", {}, 1)


def test_a_link_brings_no_address_no_key_and_no_program_and_leaves_such_rewards_off() -> None:
    from app.planning import links, presets

    def with_reward(**one: Any) -> Any:
        return presets.preset_spec("first_reward").model_copy(update={"rewards": [Reward(**one)]})

    judge = with_reward(
        name="judge",
        label="it",
        params={"address": "http://a.b/v1", "model": "m", "key_variable": "HOME", "rubric": "Kind."},
    )
    [came] = links.decode_setup(links.link_to_setup(judge)).rewards
    assert (came.on, came.params["address"], came.params["key_variable"], came.params["rubric"]) == (
        False,
        "",
        "",
        "Kind.",
    )
    with pytest.raises(Problem, match="a program of one's own"):
        links.link_to_setup(with_reward(name="own_python", label="it"))
