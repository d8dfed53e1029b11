"""Written: a chat format is tried on a short conversation; what it writes, or what is wrong with it, is said in a sentence."""

from __future__ import annotations

import pytest

from app.core.problems import Problem
from app.engine.preview.template_preview import preview_template
from app.setup.spec import Model
from tests.test_audit import ENDLESS

BEGINS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


def test_the_models_own_format_is_written_with_its_end() -> None:
    told = preview_template(Model())
    assert told["text"] == "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nGood day<|im_end|>\n"
    assert (told["end"], told["broken"]) == ("<|im_end|>", [])


def test_marks_that_the_model_does_not_know_and_a_lacking_end_are_told() -> None:
    assert preview_template(Model(template=ENDLESS))["end"] == ""
    broken = preview_template(Model(template="trl:gemma"))
    assert (broken["end"], broken["broken"]) == ("", ["<start_of_turn>", "<end_of_turn>"])
    known = preview_template(Model(template="trl:gemma", new_tokens=broken["broken"]))
    assert (known["end"], known["broken"]) == ("<end_of_turn>", [])
    assert known["tokens"] < broken["tokens"]


@pytest.mark.parametrize(("template", "said"), [
    ("{% for m in messages %}{{ m.content }", "unexpected '}' (line 1)"),
    ("{{ ''.__class__.__mro__ }}{{ messages[0].content }}", "access to attribute '__class__' of 'str' object is unsafe"),
    ("{% for a in range(99999) %}{% for b in range(99999) %}{{ messages[0].content }}{% endfor %}{% endfor %}", "takes more"),
    ("Nothing of it.", "it writes nothing of what is said"),
    ("trl:nobody", "TRL ships no chat format called “nobody”"),
])  # fmt: skip
def test_a_format_that_cannot_be_used_says_why(template: str, said: str) -> None:
    with pytest.raises(Problem) as found:
        preview_template(Model(template=template))
    assert said in found.value.text
    assert "\n" not in found.value.text
    assert found.value.advice
    assert template == "trl:nobody" or found.value.reason == "bad_template"
