"""Trainers that sample a group of completions for each prompt and learn from their rewards (GRPO, RLOO)."""
