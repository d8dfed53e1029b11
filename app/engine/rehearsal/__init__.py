"""Rehearsal: a few real steps on the chosen device before a run, in a process of its own that memory may end."""
