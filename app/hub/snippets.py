"""Snippets: Python that loads a published result and uses it, by what it does: write, look at pictures, score, or judge steps."""

from __future__ import annotations

import json
from typing import Any

from app.core import registry
from app.setup.spec import Spec

FOUR = 'load_in_4bit=True, bnb_4bit_quant_type="{}", bnb_4bit_use_double_quant=True'
HELD = {"nf4": FOUR.format("nf4"), "fp4": FOUR.format("fp4"), "int8": "load_in_8bit=True"}
PIPELINES = {"causal": "text-generation", "scores": "text-classification", "step_scores": "token-classification"}
Lines = list[str]


def pipeline(spec: Spec, sees: bool) -> str:
    """What the Hub calls what it does."""
    return "image-text-to-text" if sees else PIPELINES[kind_of(spec)]


def snippet(spec: Spec, facts: dict[str, Any], repo: str, base: str) -> str:
    """In the precision it was trained in: another one answers a little differently. base: where the base stands."""
    dtype = "bfloat16" if (facts.get("device") or {}).get("bf16") else "float32"
    if (facts.get("model") or {}).get("sees"):
        return "\n".join(looking(spec, repo, base))
    lines = {"causal": asking, "scores": scoring, "step_scores": judging}[kind_of(spec)]
    return "\n".join(lines(spec, repo, f'dtype="{dtype}"', facts.get("chat", True)))


def kind_of(spec: Spec) -> str:
    """What the result does: it writes (causal), gives a whole answer one score, or judges steps."""
    return getattr(registry.load("methods", spec.method), "MODEL", "causal")


def loaded(spec: Spec, shape: str, repo: str, how: str) -> Lines:
    """Model and tokenizer. shape: of the model's class. how: arguments that load it."""
    whole = spec.adapter.kind == "none"
    library, kind = ("transformers", f"AutoModelFor{shape}") if whole else ("peft", f"AutoPeftModelFor{shape}")
    held = HELD.get(spec.model.quantization)  # an adapter fits what it was trained beside
    how += f", quantization_config=BitsAndBytesConfig({held})" if held else ""
    return [f"from {library} import {kind}", f"from transformers import AutoTokenizer{', BitsAndBytesConfig' if held else ''}", "",
            f'model = {kind}.from_pretrained("{repo}", {how})', f'tokenizer = AutoTokenizer.from_pretrained("{repo}")']  # fmt: skip


def asking(spec: Spec, repo: str, dtype: str, chat: bool) -> Lines:
    ask = ['messages = [{"role": "user", "content": "Hello"}]',
           'inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)'] if chat else [
           'inputs = tokenizer("Hello", return_tensors="pt")']  # fmt: skip
    return [*loaded(spec, "CausalLM", repo, dtype), *ask, "answer = model.generate(**inputs, max_new_tokens=200, do_sample=False)",
            'print(tokenizer.decode(answer[0][inputs["input_ids"].shape[1]:], skip_special_tokens=True))']  # fmt: skip


def looking(spec: Spec, repo: str, base: str) -> Lines:
    whole = spec.adapter.kind == "none"
    base = repo if whole else base
    return [*([] if whole else ["from peft import PeftModel"]), "from PIL import Image", "from transformers import AutoModelForImageTextToText, AutoProcessor", "",
            f'model = AutoModelForImageTextToText.from_pretrained("{base}", dtype="float32")',
            *([] if whole else [f'model = PeftModel.from_pretrained(model, "{repo}")']),
            f'processor = AutoProcessor.from_pretrained("{base}")',
            'parts = [{"type": "image", "image": Image.open("picture.png").convert("RGB")}, {"type": "text", "text": "What do you see?"}]',
            'inputs = processor.apply_chat_template([{"role": "user", "content": parts}], add_generation_prompt=True, tokenize=True,',
            '                                       return_tensors="pt", return_dict=True)',
            "answer = model.generate(**inputs, max_new_tokens=200, do_sample=False)",
            'print(processor.decode(answer[0][inputs["input_ids"].shape[1]:], skip_special_tokens=True))']  # fmt: skip


def scoring(spec: Spec, repo: str, dtype: str, chat: bool) -> Lines:
    read = ['messages = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello! How can I help?"}]',
            'inputs = tokenizer.apply_chat_template(messages, return_tensors="pt", return_dict=True)'] if chat else [
            'inputs = tokenizer("Hello! How can I help?" + tokenizer.eos_token, return_tensors="pt")']  # fmt: skip
    return [*loaded(spec, "SequenceClassification", repo, f"num_labels=1, {dtype}"), *read,
            "print(model(**inputs).logits[0, 0].item())  # the higher, the better the answer"]  # fmt: skip


def judging(spec: Spec, repo: str, dtype: str, chat: bool) -> Lines:
    separator = json.dumps(spec.knobs.get("step_separator", "\n"))
    return ["import torch", *loaded(spec, "TokenClassification", repo, f"num_labels=2, {dtype}"), "",
            "def read(text):", '    return tokenizer(text, add_special_tokens=False)["input_ids"]', "",
            'prompt, steps = "Anna has 2 nuts and finds 3 more. How many are there?", ["First I add 2 and 3. That is 5.", "The answer is 6."]',
            "ids, ends = [one for one in [tokenizer.bos_token_id] if one is not None] + read(prompt), []",
            "for step in steps:", f"    ids += read(step) + read({separator})", "    ends.append(len(ids) - 1)",
            "right = model(input_ids=torch.tensor([ids])).logits[0].softmax(-1)[ends, 1]",
            "print(right.tolist())  # for each step the chance that it is right"]  # fmt: skip
