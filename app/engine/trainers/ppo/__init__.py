"""PPO: the trainer of it, small, in its parts."""
