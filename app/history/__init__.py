"""Histories of runs: events read as they grow, metric series, snapshots for the page, the list of runs, verdicts."""
