"""What a verifier service says of the answer: it gets the question and the answer, and returns a reward (NeMo Gym's /verify)."""

from __future__ import annotations

from typing import Any

from app.data.row_types import as_messages
from app.engine.reward_runtime.http_client import Unreachable, post
from app.engine.reward_runtime.reward import per_row
from app.setup.knob import Knobs, knob

TITLE = "A verifier's result"
CALLS_OUT = True
WAITS = 30.0  # seconds, as the service's own clients do
SECONDS = WAITS + 5


class Params(Knobs):
    address: str = knob(
        "", "Where the service answers, such as http://127.0.0.1:11000; /verify is added.", picks="address"
    )
    columns: list[str] = knob(
        [], "The columns that go along with the question, such as expected_answer, one on each line."
    )


def lacking(params: Params) -> str | None:
    """What it cannot work without, as the end of a sentence."""
    return None if params.address else "needs the address of a verifier"


def make(params: Params) -> per_row:
    def score(completion: str, *values: Any) -> float:
        *columns, asked = values
        question = dict(zip(params.columns, columns, strict=True)) | {
            "responses_create_params": {"input": as_messages(asked, "user")},
            "response": response(completion),
        }
        told = post(f"{params.address.rstrip('/')}/verify", question, WAITS)
        if not isinstance(told, dict) or not isinstance(told.get("reward"), int | float):
            raise Unreachable("the verifier gave no reward")
        return float(told["reward"])

    return per_row(score, *params.columns, given=("prompts",))


def response(text: str) -> dict[str, Any]:
    """An answer in the shape of OpenAI's Responses."""
    content = [{"type": "output_text", "text": text, "annotations": []}]
    message = {"id": "message", "type": "message", "role": "assistant", "status": "completed", "content": content}
    return {"id": "response", "created_at": 0.0, "model": "tunesmith", "object": "response", "output": [message],
            "parallel_tool_calls": False, "tool_choice": "none", "tools": []}  # fmt: skip
