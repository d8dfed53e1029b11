"""Audit checks: one file each; a check exists because its file exists."""
