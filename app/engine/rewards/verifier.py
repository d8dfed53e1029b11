"""What a verifier service says of the answer: it gets the question and the answer, and returns a reward (NeMo Gym's /verify)."""

from __future__ import annotations

from app.core.json_types import JsonObject
from app.data.fields import Cell
from app.data.row_types import as_messages
from app.engine.contracts import RewardDefinition
from app.engine.reward_runtime.http_client import Unreachable, post_json
from app.engine.reward_runtime.reward import PerRowReward
from app.setup.knob import Knobs, knob

_TIMEOUT = 30.0  # seconds, as in the service's own clients


class Params(Knobs):
    address: str = knob(
        "", "Where the service answers, such as http://127.0.0.1:11000; /verify is added.", picks="address"
    )
    columns: list[str] = knob(
        [], "The columns that go along with the question, such as expected_answer, one on each line."
    )


def lacking(params: Params) -> str | None:
    """What is missing for this reward to work, as the end of a sentence; None when nothing is."""
    return None if params.address else "needs the address of a verifier"


def make(params: Params) -> PerRowReward:
    def score(completion: str, *row_values: Cell) -> float:
        *column_values, prompt = row_values
        payload = dict(zip(params.columns, column_values, strict=True)) | {
            "responses_create_params": {"input": as_messages(prompt, "user")},
            "response": _openai_response(completion),
        }
        reply = post_json(f"{params.address.rstrip('/')}/verify", payload, _TIMEOUT)
        reward = reply.get("reward") if isinstance(reply, dict) else None
        if not isinstance(reward, int | float):
            raise Unreachable("the verifier gave no reward")
        return float(reward)

    return PerRowReward(score, *params.columns, trainer_columns=("prompts",))


def _openai_response(text: str) -> JsonObject:
    """An answer in the shape of OpenAI's Responses API."""
    message: JsonObject = {
        "id": "message",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": text, "annotations": []}],
    }
    return {
        "id": "response",
        "created_at": 0.0,
        "model": "tunesmith",
        "object": "response",
        "output": [message],
        "parallel_tool_calls": False,
        "tool_choice": "none",
        "tools": [],
    }


REWARD = RewardDefinition(
    title="A verifier's result",
    sentence=__doc__,
    params=Params,
    make=make,
    calls_out=True,
    seconds=_TIMEOUT + 5,
    lacking=lacking,
)
