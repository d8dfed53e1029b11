"""Calls between two processes over a pipe, in both directions: one message a line.

A request is {"id", "function", "arguments", "options"}, its answer {"answer": id} with "value" or "raised". While a side
waits for an answer it serves requests, as a function may call another that it was given. Arguments are copied, so an
answer also says which lists, dicts and sets the call changed, and what it printed.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections import deque
from collections.abc import Callable, Mapping
from typing import IO, Any, NoReturn

from app.engine.reward_runtime.plain_values import Objects, decode, encode

_MAX_LINE = 64 << 20  # bytes of one message
_MUTABLE = (list, dict, set, deque, bytearray)


class Disconnected(BaseException):
    """The other process has ended, or wrote what is no message; for the code that calls it no error like others."""


class RemoteCalls:
    """One side. functions: what the other may call, by name. objects: how values that are not plain travel."""

    def __init__(
        self, reader: IO[bytes], writer: IO[bytes], functions: Mapping[str, Callable[..., Any]], objects: Objects
    ):
        self.reader, self.writer, self.functions, self.objects = reader, writer, functions, objects
        self.request_count = 0
        self.is_connected = True

    def call(self, function: str, *arguments: Any, **options: Any) -> Any:
        """The value that the other side's function returns. Raises what it raises, or Disconnected."""
        if not self.is_connected:
            raise Disconnected
        self.request_count += 1
        request_id = self.request_count
        encoded = [encode(argument, self.objects) for argument in arguments]
        self._send(
            {
                "id": request_id,
                "function": function,
                "arguments": encoded,
                "options": {name: encode(option, self.objects) for name, option in options.items()},
            }
        )
        return self._read_answer(self.serve(request_id), arguments)

    def serve(self, request_id: int | None = None) -> dict[str, Any]:
        """Answers requests until the answer to this request of ours comes. Raises Disconnected."""
        while True:
            message = self._receive()
            if "answer" not in message:
                self._send(self._answer_request(message))
            elif message["answer"] == request_id:
                return message
            else:  # answers come in the order of their requests, so this is none of ours
                self.disconnect()

    def disconnect(self) -> NoReturn:
        """Ends the exchange for good. Raises Disconnected."""
        self.is_connected = False
        raise Disconnected

    def _read_answer(self, answer: dict[str, Any], arguments: tuple[Any, ...]) -> Any:
        print(str(answer.get("printed", "")), end="")
        for index, changed in answer.get("changed", {}).items():
            _replace_content(arguments[int(index)], decode(changed, self.objects))
        if "raised" in answer:
            error = decode(answer["raised"], self.objects)
            raise error if isinstance(error, BaseException) else TypeError("no exception")
        return decode(answer["value"], self.objects)

    def _answer_request(self, request: dict[str, Any]) -> dict[str, Any]:
        printed = io.StringIO()
        answer: dict[str, Any] = {"answer": request.get("id")}
        try:
            arguments = [decode(argument, self.objects) for argument in request["arguments"]]
            options = {name: decode(option, self.objects) for name, option in request["options"].items()}
            with contextlib.redirect_stdout(printed):
                value = self.functions[request["function"]](*arguments, **options)
            answer["value"] = encode(value, self.objects)
            answer["changed"] = {
                str(index): encoded
                for index, argument in enumerate(arguments)
                if type(argument) in _MUTABLE
                and (encoded := encode(argument, self.objects)) != request["arguments"][index]
            }
        except Disconnected:
            raise
        except BaseException as error:  # a program, or a test: it may raise anything, also to exit
            answer["raised"] = self.objects.export(error)
        if printed.getvalue():
            answer["printed"] = printed.getvalue()
        return answer

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self.writer.write(json.dumps(message).encode() + b"\n")
            self.writer.flush()
        except OSError:  # boundary: another process
            self.disconnect()

    def _receive(self) -> dict[str, Any]:
        try:
            line = self.reader.readline(_MAX_LINE)
            message = json.loads(line)
        except (OSError, ValueError, RecursionError):  # boundary: another process
            self.disconnect()
        if not isinstance(message, dict):
            self.disconnect()
        return message


def _replace_content(argument: Any, content: Any) -> None:
    """Gives a list, dict, set, deque or bytearray the content that a copy of it has now."""
    if type(argument) not in _MUTABLE or type(content) is not type(argument):
        raise TypeError("no content for this argument")
    argument.clear()
    if isinstance(argument, dict | set):
        argument.update(content)
    else:
        argument.extend(content)
