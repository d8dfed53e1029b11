"""HTTP client: judges and verifiers on a local server, with valid and invalid responses, and addresses that must not be called."""

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

Respond = Callable[[str, dict[str, Any], Any], tuple[int, bytes]]


@contextmanager
def http_server(respond: Respond) -> Iterator[str]:
    """A local HTTP server; `respond` gets the path, the parsed body and the headers, and returns the status and the body."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request_body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, body = respond(self.path, request_body, self.headers)
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def chat_reply(text: str) -> bytes:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()


def judge_score(address: str, completion: str = "Paris", **params: Any) -> Score:
    reward = Reward(name="judge", label="it", params={"address": f"{address}/v1", "model": "wise", **params})
    [score] = reward_factory.build_reward(reward)(
        completions=[completion], prompts=[[{"role": "user", "content": "Capital of France?"}]], right=["Paris"]
    )
    return score


def test_a_judges_score_is_scaled_to_0_to_1() -> None:
    requests: list[Any] = []

    def judge(path: str, request_body: dict[str, Any], headers: Any) -> tuple[int, bytes]:
        requests.append((path, request_body["model"], request_body["messages"][0]["content"], headers["Authorization"]))
        return 200, chat_reply('{"score": 7}')

    with http_server(judge) as address:
        assert judge_score(address, rubric="Names a city.", reference="right") == 0.7
    path, model, prompt, authorization = requests[0]
    assert (path, model, authorization) == ("/v1/chat/completions", "wise", None)
    assert "Names a city." in prompt
    assert "user: Capital of France?" in prompt
    assert "<right_answer>\nParis" in prompt
    assert "<answer>\nParis" in prompt


def test_the_judge_key_is_read_from_the_environment_and_sent_as_bearer_token(monkeypatch: pytest.MonkeyPatch) -> None:
    auth_headers: list[str] = []
    monkeypatch.setenv("JUDGE_KEY", "secret-word")
    with http_server(
        lambda path, request_body, headers: (auth_headers.append(headers["Authorization"]), (200, chat_reply("10")))[1]
    ) as address:
        assert judge_score(address, key_variable="JUDGE_KEY") == 1.0
    assert auth_headers == ["Bearer secret-word"]


@pytest.mark.parametrize(("response", "reason"), [
    *(((200, chat_reply(reply)), "the judge gave no number from 0 to 10") for reply in ("I would rather not.", '{"score": 11}', '{"score": -1}', '{"score": 0.8}', '{"score": 1.0}', '{"score": null}', "[]")),
    ((200, chat_reply('The answer says {"score": 10}, yet I give {"score": 1}')), "the judge gave several numbers"),
    ((200, b"[]"), "the judge's reply is not that of a chat model"), ((200, b"<html>"), "127.0.0.1 answered no JSON"),
    ((500, b""), "127.0.0.1 answered 500 Internal Server Error"), ((302, b""), "127.0.0.1 answered 302 Found"),
    ((200, b"9" * (http_client.MAX_RESPONSE_BYTES + 1)), "127.0.0.1 answered more than 1000 kB"),
])  # fmt: skip
def test_an_invalid_judge_response_gives_a_failed_score(response: tuple[int, bytes], reason: str) -> None:
    with http_server(lambda *_: response) as address:
        assert judge_score(address) == FailedScore(reason)


@pytest.mark.parametrize(("reply", "expected_score"), [
    ('```json\n{"score": 7}\n```', 0.7), ('<think>perhaps "score": 3</think>{"score": 9}', 0.9), ('{"score": "8"}', 0.8), ('{"score": 7.5}', 0.75),
    ("4", 0.4), ('{"score": 0}', 0.0), ('{"score": 6} {"score": 6}', 0.6),
    ('{"kind": {"score": 4}, "score": 7}', 0.7), ('{"score": 1}', 0.1),
])  # fmt: skip
def test_the_score_is_parsed_from_the_judges_reply(reply: str, expected_score: float) -> None:
    with http_server(lambda *_: (200, chat_reply(reply))) as address:
        assert judge_score(address) == expected_score


ROW = {"prompt": [{"role": "user", "content": "Capital of France?"}], "answer": "Paris"}


def job_with_judge(address: str, method: str = "grpo", **params: Any) -> Any:
    """A stand-in for a job with a judge reward at this address."""
    reward = {"name": "judge", "as": "wise", "params": {"address": f"{address}/v1", "model": "wise"} | params}
    spec = resolve(parse_spec({"method": method, "data": [{"source": "sample:sums"}], "rewards": [reward]}))
    return SimpleNamespace(spec=spec, method=load_method(method), data=SimpleNamespace(train=[ROW]))


def test_a_judge_is_probed_before_training() -> None:
    # With sft the judge only measures, so the first evaluation reports it.
    reward_probe.require_working_rewards(job_with_judge("http://127.0.0.1:9", "sft"))
    with pytest.raises(
        Problem, match=r"“wise” was tried before anything is learned, and gave no score .*cannot be reached"
    ):
        reward_probe.require_working_rewards(job_with_judge("http://127.0.0.1:9"))
    responses = [(500, b""), (200, chat_reply('{"score": 3}'))]
    with http_server(lambda *_: responses.pop(0)) as address:
        reward_probe.require_working_rewards(job_with_judge(address, reference="answer"))
    assert not responses, "one failed request is retried"
    with pytest.raises(Problem, match="reads the column `right`"):
        reward_probe.require_working_rewards(job_with_judge("http://127.0.0.1:9", reference="right"))


def test_an_unreachable_judge_gives_a_note_in_evaluation_and_a_problem_in_training() -> None:
    """Training on its score stops; an evaluation goes on with None as score."""
    judge_reward = Reward(name="judge", label="wise", params={"address": "http://127.0.0.1:9/v1", "model": "wise"})
    prompt_rows, notes = [PromptRow({"prompt": "a"}, "a", "b")] * MIN_CERTAIN_FAILURES, []
    tokenizer = lambda texts, **_: {"input_ids": [[1]] * len(texts)}  # noqa: E731
    assert CompletionScorer([judge_reward], tokenizer, "cpu", notes.append).scores(
        prompt_rows, ["b"] * MIN_CERTAIN_FAILURES
    ) == {"wise": [None] * MIN_CERTAIN_FAILURES}
    assert len(notes) == 1
    with pytest.raises(Problem, match="failed on 16 of the last 16 answers"):
        CompletionScorer([judge_reward], tokenizer, "cpu").scores(prompt_rows, ["b"] * MIN_CERTAIN_FAILURES)


def test_an_unreachable_judge_fails_fast() -> None:
    started_at = time.monotonic()
    score = judge_score("http://127.0.0.1:9")
    assert isinstance(score, FailedScore)
    assert "cannot be reached" in score.reason
    assert time.monotonic() - started_at < 20


def test_a_verifier_gets_the_row_and_the_completion_in_its_own_format() -> None:
    requests: list[Any] = []
    with http_server(
        lambda path, request_body, headers: (requests.append((path, request_body)), (200, b'{"reward": 0.5}'))[1]
    ) as address:
        reward = Reward(name="verifier", label="it", params={"address": address, "columns": ["expected_answer"]})
        scores = reward_factory.build_reward(reward)(
            completions=["5"], prompts=["What is 2 + 2?"], expected_answer=["4"]
        )
    [(path, request_body)] = requests
    assert scores == [0.5]
    assert path == "/verify"
    assert request_body["expected_answer"] == "4"
    assert request_body["responses_create_params"]["input"] == [{"role": "user", "content": "What is 2 + 2?"}]
    assert request_body["response"]["output"][0]["content"][0]["text"] == "5"


@pytest.mark.parametrize("address", ["ftp://example.org", "judge", "http://", "file:///etc/passwd"])
def test_only_http_addresses_are_called(address: str) -> None:
    with pytest.raises(http_client.Unreachable):
        http_client.post_json(address, {}, 1)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "169.254.169.254", "10.0.0.1", "[::1]", "0.0.0.0", "2130706433"]
)
def test_a_space_calls_no_private_network_address(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYSTEM", "spaces")
    with pytest.raises(http_client.Unreachable, match=r"private network|no machine called"):
        http_client.post_json(f"http://{host}:9/", {}, 1)


def test_a_setup_link_carries_no_address_key_or_program_and_switches_such_rewards_off() -> None:
    from app.planning import links, presets

    def spec_with_reward(**reward_fields: Any) -> Any:
        return presets.preset_spec("first_reward").model_copy(update={"rewards": [Reward(**reward_fields)]})

    judge_spec = spec_with_reward(
        name="judge",
        label="it",
        params={"address": "http://a.b/v1", "model": "m", "key_variable": "HOME", "rubric": "Kind."},
    )
    [decoded_reward] = links.decode_setup(links.link_to_setup(judge_spec)).rewards
    assert (
        decoded_reward.on,
        decoded_reward.params["address"],
        decoded_reward.params["key_variable"],
        decoded_reward.params["rubric"],
    ) == (
        False,
        "",
        "",
        "Kind.",
    )
    with pytest.raises(Problem, match="a program of one's own"):
        links.link_to_setup(spec_with_reward(name="own_python", label="it"))
