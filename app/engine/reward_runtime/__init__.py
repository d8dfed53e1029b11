"""Rewarding: how answers are scored, by code of ours or a stranger's, without either stopping a run."""
