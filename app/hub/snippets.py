"""Usage snippets: Python code that loads and uses a published model, by its task."""

from __future__ import annotations

import json
from typing import Any

from app.engine.contracts import load_method
from app.setup.spec import Spec

_BNB_4BIT = 'load_in_4bit=True, bnb_4bit_quant_type="{}", bnb_4bit_use_double_quant=True'
_QUANTIZATION_ARGUMENTS = {"nf4": _BNB_4BIT.format("nf4"), "fp4": _BNB_4BIT.format("fp4"), "int8": "load_in_8bit=True"}
_PIPELINE_TAGS = {"causal": "text-generation", "scores": "text-classification", "step_scores": "token-classification"}
_Lines = list[str]  # of code


def pipeline_tag(spec: Spec, has_vision: bool) -> str:
    """The Hub's name of the model's task."""
    return "image-text-to-text" if has_vision else _PIPELINE_TAGS[_model_kind(spec)]


def usage_snippet(spec: Spec, facts: dict[str, Any], repo: str, base: str) -> str:
    """The code for a published model, in the precision of its training, because another one gives slightly different
    answers.

    base: the base model of an adapter, on the Hub.
    """
    device = facts.get("device") or {}
    dtype = "bfloat16" if device.get("bf16") else "float16" if device.get("fp16") else "float32"
    generate_line = _generate_line(facts.get("end_tokens", []))
    if (facts.get("model") or {}).get("sees"):
        return "\n".join(_vision_lines(spec, repo, base, generate_line))
    arguments = (spec, repo, f'dtype="{dtype}"', facts.get("chat", True))
    if _model_kind(spec) == "causal":
        return "\n".join(_generation_lines(*arguments, generate_line))
    return "\n".join((_scoring_lines if _model_kind(spec) == "scores" else _step_scoring_lines)(*arguments))


def _generate_line(end_tokens: list[int]) -> str:
    """end_tokens: named, because loaders take those of an adapter's base, which may not be those that end its answers."""
    ends = f", eos_token_id={end_tokens}" if end_tokens else ""
    return f"answer = model.generate(**inputs, max_new_tokens=200, do_sample=False{ends})"


def _model_kind(spec: Spec) -> str:
    """The task of the model: causal (text generation), scores (one for an answer) or step_scores (one for each
    step)."""
    return load_method(spec.method).produces


def _loading_lines(spec: Spec, model_class: str, repo: str, load_arguments: str) -> _Lines:
    """Code that loads model and tokenizer. model_class: the end of the AutoModelFor class. load_arguments: of
    from_pretrained."""
    is_full_model = spec.adapter.kind == "none"
    library = "transformers" if is_full_model else "peft"
    class_name = f"AutoModelFor{model_class}" if is_full_model else f"AutoPeftModelFor{model_class}"
    # an adapter is used with the quantization of its training
    quantization = _QUANTIZATION_ARGUMENTS.get(spec.model.quantization)
    load_arguments += f", quantization_config=BitsAndBytesConfig({quantization})" if quantization else ""
    return [
        f"from {library} import {class_name}",
        f"from transformers import AutoTokenizer{', BitsAndBytesConfig' if quantization else ''}",
        "",
        f'model = {class_name}.from_pretrained("{repo}", {load_arguments})',
        f'tokenizer = AutoTokenizer.from_pretrained("{repo}")',
    ]


def _generation_lines(spec: Spec, repo: str, dtype: str, is_chat: bool, generate_line: str) -> _Lines:
    """Code that generates text."""
    input_lines = (
        [
            'messages = [{"role": "user", "content": "Hello"}]',
            'inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)',
        ]
        if is_chat
        else ['inputs = tokenizer("Hello", return_tensors="pt")']
    )
    return [
        *_loading_lines(spec, "CausalLM", repo, dtype),
        *input_lines,
        generate_line,
        'print(tokenizer.decode(answer[0][inputs["input_ids"].shape[1]:], skip_special_tokens=True))',
    ]


def _vision_lines(spec: Spec, repo: str, base: str, generate_line: str) -> _Lines:
    """Code that generates text from an image and a question."""
    is_full_model = spec.adapter.kind == "none"
    base = repo if is_full_model else base
    return [
        *([] if is_full_model else ["from peft import PeftModel"]),
        "from PIL import Image",
        "from transformers import AutoModelForImageTextToText, AutoProcessor",
        "",
        f'model = AutoModelForImageTextToText.from_pretrained("{base}", dtype="float32")',
        *([] if is_full_model else [f'model = PeftModel.from_pretrained(model, "{repo}")']),
        f'processor = AutoProcessor.from_pretrained("{base}")',
        'parts = [{"type": "image", "image": Image.open("picture.png").convert("RGB")}, {"type": "text", "text": "What do you see?"}]',
        'inputs = processor.apply_chat_template([{"role": "user", "content": parts}], add_generation_prompt=True, tokenize=True,',
        '                                       return_tensors="pt", return_dict=True)',
        generate_line,
        'print(processor.decode(answer[0][inputs["input_ids"].shape[1]:], skip_special_tokens=True))',
    ]


def _scoring_lines(spec: Spec, repo: str, dtype: str, is_chat: bool) -> _Lines:
    """Code that scores an answer with a reward model."""
    input_lines = (
        [
            'messages = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello! How can I help?"}]',
            'inputs = tokenizer.apply_chat_template(messages, return_tensors="pt", return_dict=True)',
        ]
        if is_chat
        else ['inputs = tokenizer("Hello! How can I help?" + tokenizer.eos_token, return_tensors="pt")']
    )
    return [
        *_loading_lines(spec, "SequenceClassification", repo, f"num_labels=1, {dtype}"),
        *input_lines,
        "print(model(**inputs).logits[0, 0].item())  # the higher, the better the answer",
    ]


def _step_scoring_lines(spec: Spec, repo: str, dtype: str, is_chat: bool) -> _Lines:
    """Code that scores each step of a solution with a process reward model."""
    separator = json.dumps(spec.knobs.get("step_separator", "\n"))
    return [
        "import torch",
        *_loading_lines(spec, "TokenClassification", repo, f"num_labels=2, {dtype}"),
        "",
        "def read(text):",
        '    return tokenizer(text, add_special_tokens=False)["input_ids"]',
        "",
        'prompt, steps = "Anna has 2 nuts and finds 3 more. How many are there?", ["First I add 2 and 3. That is 5.", "The answer is 6."]',
        "ids, ends = [one for one in [tokenizer.bos_token_id] if one is not None] + read(prompt), []",
        "for step in steps:",
        f"    ids += read(step) + read({separator})",
        "    ends.append(len(ids) - 1)",
        "right = model(input_ids=torch.tensor([ids])).logits[0].softmax(-1)[ends, 1]",
        "print(right.tolist())  # for each step the chance that it is right",
    ]
