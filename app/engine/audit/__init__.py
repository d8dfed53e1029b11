"""Audit of all rows of a setup: one file for each check; a check exists because its file exists.

A file in checks/ has a class `Check(AuditCheck)` (app/engine/audit/base.py): `check_row` gets each training row as the
method takes it, `check_held_out_row` each held-out row, `check_tokens` each chunk of the table that the trainer itself
prepared, and `findings` reports. No other file is edited to add one.

`WorkerClient.audit(spec)` streams it. It takes no place in the device queue, lets other requests run between, and ends when the
stream is closed:
    {"progress": {"what": a sentence, "done": rows, "total": rows or None, "seconds_left": or None}} …, and last {"done": report}.
The report, at once where the same rows and settings were audited before ("again": true):
    rows, held_out: counts of rows. dropped: [{"reason", "count", "rows": numbers in their file}] of rows left out of training.
    tokens: {"all", "trained"} of one epoch before truncation, or None where a method makes its tokens during training.
    counts: {"cut", "lost_end", "end_untrained", "no_end", "double_begin", "empty_turn", "alternation", "duplicates", "held_out", "untrained"}.
    lengths: {"counts": [[tokens, rows], …], "needed": [[tokens, rows], …], "width", "limit", "maximum", "longest", "median", "p99",
        "total"}, or None. At any limit C, the truncated rows are the sum of rows with tokens > C in "counts", and the rows without
        a trained token the same sum in "needed". With width above 1, each bin stands for its largest length. limit is None where
        nothing is truncated.
    cost: {"steps", "effective_batch", "padding": a share of positions, "step_tokens", "packed_rows", "packed_steps"}, None where unknown.
    findings: [{"id", "severity": wrong | careful | good, "text", "count", "rows": [numbers, 20 at most], "remedy": {"title",
        "changes": {path in the Spec: value}} or None}], the gravest first. Row numbers count from 1 among the training rows; those
        of left_out and unreadable_rows count in their file.
    examples: {"number": beginning of that row's text} for the first rows of each finding, secrets redacted. seconds: the duration.
"""
