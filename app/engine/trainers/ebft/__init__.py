"""Energy-based fine-tuning (EBFT): rewards completions whose features match those of the references.

Features are hidden states of the frozen model. The method follows Jelassi et al. 2026 (arXiv 2603.12248) and axolotl's
guide. Structured mode (structured.py) generates full completions with TRL's GRPOTrainer; strided mode (strided.py)
generates short blocks at many positions of a text with a trainer of ours. feature_rewards.py holds every formula. Where
we depart from the guide, or the guide is not clear, we do this:

- Features: each layer's hidden state is normalised to length 1, then the layers are concatenated, in structured mode
  too. Without whitening the dot product of two completions can therefore reach the number of layers, and diversity
  weighs more than alignment.
- Whitening is done for each group, the attempts at one prompt or block. Directions below a thousandth of the strongest
  are dropped. Attempts that differ become orthogonal and their squared alignments add up to 1, so the alignment curve
  cannot rise while they differ; the cosine before whitening (`ebft/likeness`) can, and the held-out evaluation measures
  it.
- A block attends to the full text before it, as in the paper and as the model generates later; the guide gives it only
  its context, which is the setting context_only. Attempts and references are read under the same mask, so a perfect
  block has a cosine of 1.
- Tokens of a block after an end-of-sequence token are ignored. Log-probabilities are taken at the sampling temperature.
- Where prompts are answered in blocks, block positions are counted from the start of the text, and those before the
  answer are left out.
- The attention mask is a plain additive one, on any device. There is no flex attention, so nothing must be compiled and
  gradient checkpointing needs no reentrant form. Its memory grows with the square of the text length, and it needs
  models in which all layers have full attention.
- Attempts may get 1.5 times as long as the longest reference completion of the batch, with no lower limit. Nothing
  needs vLLM.
- The cross-entropy loss on the references counts each example once, however often it is attempted.
- Conversations are generated turn by turn and all their answers are trained; the guide trains only the first.
- Reasoning in examples stays as it is: the model's own chat template decides how much of it the model reads.
"""
