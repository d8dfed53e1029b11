"""Loads a result without this repository, and prints its greedy answers as JSON. Run by tests/bench/elsewhere.py."""

import json
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

job = json.loads(sys.argv[1])  # result, base, loader, is_full_model, quantization, end_tokens, prompts, max_new_tokens
arguments = {"dtype": torch.float32}
if job["quantization"] == "nf4":
    from transformers import BitsAndBytesConfig

    arguments["quantization_config"] = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True
    )
tokenizer = AutoTokenizer.from_pretrained(job["result"])
if job["is_full_model"]:
    model = AutoModelForCausalLM.from_pretrained(job["result"], **arguments)
elif job["loader"] in ("plain PEFT", "PEFT's own merge"):
    from peft import PeftModel

    model = AutoModelForCausalLM.from_pretrained(job["base"], **arguments)
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model = PeftModel.from_pretrained(model, job["result"])
    if job["loader"] == "PEFT's own merge":
        model = model.merge_and_unload()
else:
    from peft import AutoPeftModelForCausalLM

    model = AutoPeftModelForCausalLM.from_pretrained(job["result"], **arguments)
ends = {} if job["is_full_model"] else {"eos_token_id": job["end_tokens"]}  # a whole model names them itself
answers = []
for prompt in job["prompts"]:
    messages = [{"role": "user", "content": prompt}]
    inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    token_ids = model.generate(**inputs, max_new_tokens=job["max_new_tokens"], do_sample=False, **ends)[0]
    answers.append(token_ids[inputs["input_ids"].shape[1] :].tolist())
print(json.dumps(answers))
