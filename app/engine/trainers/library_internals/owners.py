"""Dotted names of the library classes whose internals our code uses."""

TRAINER = "transformers.Trainer"
BASE = "trl.trainer.base_trainer._BaseTrainer"
SFT, DPO, KTO, REWARD = "trl.SFTTrainer", "trl.DPOTrainer", "trl.KTOTrainer", "trl.RewardTrainer"
GRPO, RLOO, DISTILLATION = "trl.GRPOTrainer", "trl.RLOOTrainer", "trl.DistillationTrainer"
GROUP = (GRPO, RLOO)
TPO, GKD = "trl.experimental.tpo.TPOTrainer", "trl.experimental.gkd.GKDTrainer"
GOLD, SDFT = "trl.experimental.gold.GOLDTrainer", "trl.experimental.sdft.SDFTTrainer"
ONLINE_DPO = "trl.experimental.online_dpo.OnlineDPOTrainer"
