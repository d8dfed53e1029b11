"""The model that a run trains: its device, base weights, quantization, tokenizer and adapter."""
