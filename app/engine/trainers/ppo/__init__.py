"""PPO trainer with a separate value model."""
