"""Chat: the completion of one prompt by a run's result and by its base model, streamed side by side."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app import contracts

if TYPE_CHECKING:
    from app.engine.generation.chat import ChatCompletion, ChatText


@dataclass(frozen=True)
class Question(contracts.Question["dict[str, ChatCompletion]", "ChatText"]):
    """messages: the turns before the prompt. base: also by the base model. longest: most new tokens of a completion.
    temperature: 0 for greedy decoding."""

    title = "Chat"
    timeout = 300.0
    schedule = "on_device"

    run: str
    prompt: str
    messages: tuple[dict[str, str], ...] = ()
    base: bool = True
    longest: int = 256
    temperature: float = 0.0

    def early_answer(self) -> None:
        from app.engine.generation.chat import require_generative_result

        require_generative_result(self.run)

    def answer(self) -> Generator[ChatText, None, dict[str, ChatCompletion]]:
        from app.engine.generation.chat import stream_chat

        conversation = [*self.messages, {"role": "user", "content": self.prompt}]
        return stream_chat(self.run, conversation, self.base, self.longest, self.temperature)
