"""What a chat template can write, read from its text without running it: a template is a program that may be from anywhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import jinja2
from jinja2 import meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

Reasoning = Literal["none", "optional", "always"]

_GENERATION_TAG = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")  # marks in TRL's templates what the model learns
_MAX_CHARACTERS = 1_000_000  # the longest of TRL's has 18,000
_ROLE = "role"
# variables by which a template turns thinking off or on
_REASONING_SWITCHES = frozenset({"enable_thinking", "thinking", "reasoning_effort", "thinking_mode", "thinking_budget"})
_THOUGHT_MARKS = ("<think>", "[THINK]", "<|channel|>analysis", "reasoning_content")


@dataclass(frozen=True)
class ChatSupport:
    """system: it takes a system message. tools: it writes the tools that a model may call. reasoning: whether
    answers hold written thoughts: never; as a setting or a word asks for; or without such a switch."""

    system: bool
    tools: bool
    reasoning: Reasoning


def read_chat_support(template: str) -> ChatSupport | None:
    """What a template supports; None where it is not valid."""
    tree = _parse(template)
    if tree is None:
        return None
    variables = meta.find_undeclared_variables(tree)
    reasoning: Reasoning = "none"
    if any(_is_argument(tree, name) for name in variables & _REASONING_SWITCHES) or _has_switch_word(tree):
        reasoning = "optional"
    elif any(mark in text for text in _constants(tree) for mark in _THOUGHT_MARKS):
        reasoning = "always"
    return ChatSupport(_takes_system(tree), "tools" in variables, reasoning)


def writes_token(template: str, token: str) -> bool:
    """Whether a template writes a token, by its own text or as the variable eos_token. True for an invalid template."""
    tree = _parse(template)
    if tree is None:
        return True
    return any(token in text for text in _constants(tree)) or "eos_token" in meta.find_undeclared_variables(tree)


def _parse(template: str) -> nodes.Template | None:
    """The template's syntax tree; None where it is not valid."""
    if len(template) > _MAX_CHARACTERS:
        return None
    environment = ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"])
    try:
        return environment.parse(_GENERATION_TAG.sub("", template))
    except (jinja2.TemplateError, RecursionError):  # a boundary: a template may be from anywhere
        return None


def _constants(tree: nodes.Node) -> Iterator[str]:
    """All texts in a template: what it writes, and what it compares with."""
    for node in tree.find_all((nodes.TemplateData, nodes.Const)):
        text = node.data if isinstance(node, nodes.TemplateData) else getattr(node, "value", None)
        if isinstance(text, str):
            yield text


def _takes_system(tree: nodes.Node) -> bool:
    """Whether it knows the role of the system, or writes any role as it is."""
    if any("system" in text for text in _constants(tree)):
        return not _only_refuses_system(tree)
    compared = {id(read) for compare in tree.find_all(nodes.Compare) for read in _role_reads(compare)}
    return any(id(read) not in compared for read in _role_reads(tree))


def _only_refuses_system(tree: nodes.Node) -> bool:
    """Whether all that it does with a system message is to raise an error."""
    branches = [
        branch for branch in tree.find_all(nodes.If) if any(text == "system" for text in _constants(branch.test))
    ]
    return bool(branches) and all(
        branch.body and all(_raises(statement) for statement in branch.body) for branch in branches
    )


def _raises(statement: nodes.Node) -> bool:
    names = [call.node.name for call in statement.find_all(nodes.Call) if isinstance(call.node, nodes.Name)]
    is_blank = isinstance(statement, nodes.Output) and all(
        isinstance(part, nodes.TemplateData) and not part.data.strip() for part in statement.nodes
    )
    return "raise_exception" in names or is_blank


def _role_reads(tree: nodes.Node) -> Iterator[nodes.Node]:
    """The places where a template reads the role of a message."""
    for node in tree.find_all((nodes.Getitem, nodes.Getattr)):
        name = node.attr if isinstance(node, nodes.Getattr) else getattr(getattr(node, "arg", None), "value", None)
        if name == _ROLE:
            yield node


def _is_argument(tree: nodes.Node, name: str) -> bool:
    """Whether a variable comes from outside: it is never assigned, or only where it is not defined."""
    is_assigned = any(node.name == name and node.ctx == "store" for node in tree.find_all(nodes.Name))
    tested = [
        test.node
        for test in tree.find_all((nodes.Test, nodes.Filter))
        if test.name in ("defined", "undefined", "default")
    ]
    return not is_assigned or any(isinstance(node, nodes.Name) and node.name == name for node in tested)


def _has_switch_word(tree: nodes.Node) -> bool:
    """Whether a word in the system message turns thinking off or on, such as SmolLM3's /no_think."""
    return any("/no_think" in text for text in _constants(tree))
