"""Ebft: energy-based fine-tuning, in which attempts are rewarded for meaning what the examples mean, as the untouched model reads them.

After Jelassi et al. 2026 (arXiv 2603.12248) and axolotl's guide to it. Whole answers stand on TRL's GRPOTrainer (structured.py),
pieces of plain text on a trainer of ours (strided.py); rewards.py holds every formula. Where we depart from the guide, or it is
not clear, we do this:

- Features: each layer's state is divided by its length, then the layers are put side by side, for whole answers too. Without
  whitening a dot product of two answers can thus reach the number of layers, and diversity weighs more than alignment.
- Whitening is of one group, the attempts at one question or place. Directions below a thousandth of the strongest are dropped.
  Attempts that differ become orthogonal and their squared alignments add up to 1, so the curve of alignment cannot rise while
  they differ; likeness, the cosine before whitening, can, and the held-out test measures it.
- A piece sees all that stands before it, as in the paper and as the model will write later; the guide gives it only its context,
  which is the setting context_only. Attempts and truth are read under the same mask, so a perfect piece has a cosine of 1.
- What a piece writes after an end token counts for nothing. Log-probabilities are taken at the temperature of the attempts.
- Where questions are answered in pieces, places are counted from the text's start and those before the answer are left out.
- The mask is a plain one that attention adds, on any device; there is no flex attention, so nothing must be compiled and gradient
  checkpointing needs no reentrant form. It takes memory that grows with the square of the text, and models whose layers all see
  the whole text.
- Attempts may get 1.5 times as long as the longest true answer of the batch, with no lower limit. Nothing needs vLLM.
- The true words' loss counts every example once, however often it is attempted.
- Whole conversations are written turn by turn with all their answers learned; the guide learns only the first.
- Reasoning in examples stays as it is: the model's own chat format decides what of it is read.
"""
