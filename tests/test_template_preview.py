"""Template preview: a chat template is rendered for a short conversation, or refused with a one-line reason."""

from __future__ import annotations

import time

import pytest

from app.core.problems import Problem
from app.engine.preview.template_preview import preview_template
from app.setup.spec import Model
from tests.test_audit import TEMPLATE_WITHOUT_END_TOKENS

CHATML_TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


def test_the_model_template_is_rendered_with_its_end_token() -> None:
    preview = preview_template(Model())
    assert preview["text"] == "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nGood day<|im_end|>\n"
    assert (preview["end"], preview["broken"]) == ("<|im_end|>", [])


def test_chatml_is_a_template_by_name() -> None:
    preview = preview_template(Model(template="chatml"))
    assert preview["text"] == "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nGood day<|im_end|>\n"
    assert preview_template(Model(template="trl:qwen2_5"))["text"] != preview["text"]  # it adds a system message


def test_unknown_special_tokens_and_a_missing_end_token_are_reported() -> None:
    assert preview_template(Model(template=TEMPLATE_WITHOUT_END_TOKENS))["end"] == ""
    unknown_token_preview = preview_template(Model(template="trl:gemma"))
    assert (unknown_token_preview["end"], unknown_token_preview["broken"]) == ("", ["<start_of_turn>", "<end_of_turn>"])
    added_token_preview = preview_template(Model(template="trl:gemma", new_tokens=unknown_token_preview["broken"]))
    assert (added_token_preview["end"], added_token_preview["broken"]) == ("<end_of_turn>", [])
    assert added_token_preview["tokens"] < unknown_token_preview["tokens"]


@pytest.mark.parametrize(("template", "message"), [
    ("{% for m in messages %}{{ m.content }", "unexpected '}' (line 1)"),
    ("{{ ''.__class__.__mro__ }}{{ messages[0].content }}", "access to attribute '__class__' of 'str' object is unsafe"),
    ("{% for a in range(99999) %}{% for b in range(99999) %}{{ messages[0].content }}{% endfor %}{% endfor %}", "takes more"),
    ("{{ 10 ** (10 ** 10) }}{{ messages[0].content }}", "multiplies to more"), ("{{ 'a' * 10 ** 9 }}{{ messages[0].content }}", "multiplies to more"),
    ("{% set n = namespace(x=99) %}{% for i in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}{{ messages[0].content }}", "multiplies to more"),
    ("{{ [1] * 10 ** 9 }}{{ messages[0].content }}", "multiplies to more"),
    ("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}{{ messages[0].content }}", "recursion"),
    ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}{{ messages[0].content }}", ""),
    ("{{ messages.__class__.__base__.__subclasses__() }}{{ messages[0].content }}", "is unsafe"),
    ("{{ messages.append(1) }}{{ messages[0].content }}", "unsafe"),
    ("{{ 'x'.rjust(10 ** 10) }}{{ messages[0].content }}", ""), ("{{ '%9999999999d' | format(1) }}{{ messages[0].content }}", ""),
    ("Nothing of it.", "it writes nothing of what is said"),
    ("trl:nobody", "TRL ships no chat format called “nobody”"),
])  # fmt: skip
def test_an_unusable_template_is_refused_with_a_reason(template: str, message: str) -> None:
    start_time = time.monotonic()
    with pytest.raises(Problem) as raised:
        preview_template(Model(template=template))
    assert message in raised.value.text
    assert "\n" not in raised.value.text
    assert raised.value.advice
    assert template == "trl:nobody" or raised.value.reason == "bad_template"
    assert time.monotonic() - start_time < 10


@pytest.mark.parametrize("tag", ["include '/etc/passwd'", "import '/etc/passwd' as it", "extends '/etc/passwd'"])
def test_a_template_reads_no_file(tag: str) -> None:
    assert "root:" not in preview_template(Model(template=f"{{% {tag} %}}{{{{ messages[0].content }}}}"))["text"]


def test_a_template_may_multiply_small_numbers_and_texts() -> None:
    template = "{{ '=' * 40 }} {{ 3 * 4 }} {{ 2 ** 10 }} {{ 0.5 * 4 }} {{ messages[0].content }}"
    assert preview_template(Model(template=template))["text"] == f"{'=' * 40} 12 1024 2.0 Hello"
