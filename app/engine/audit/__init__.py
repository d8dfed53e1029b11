"""Audit: one file for each check that looks at all rows; a check is found because its file exists.

A file has a class `Check(Look)` (app/engine/audit/base.py): `row` sees each row as the method takes it, `aside` each row held
out, `tokens` each piece of the table that the trainer itself prepared, and `findings` tells. Nobody else is edited to add one.

Asked of the worker as `Worker.audit(spec)`, a stream; it takes no turn, gives way to other questions, and closing it ends it:
    {"progress": {"what": a sentence, "done": rows, "total": rows or None, "seconds_left": or None}} …, and last {"done": result}.
The result, at once where the same rows and settings were looked at before ("again": true):
    rows, held_out: how many. dropped: [{"reason", "count", "rows": numbers in their file}] of rows that are not learned from.
    tokens: {"all", "trained"} of one epoch before anything is cut off, or None where a method makes them on the way.
    counts: {"cut", "lost_end", "end_untrained", "no_end", "double_begin", "empty_turn", "alternation", "duplicates", "held_out", "untrained"}.
    lengths: {"counts": [[tokens, rows], …], "needed": [[tokens, rows], …], "width", "limit", "maximum", "longest", "median", "p99",
        "total"}, or None. At any cut C: rows cut off are the sum of rows with tokens > C in "counts", rows with nothing to learn
        that in "needed"; with width above 1 several lengths stand as the largest of them. limit is None where nothing is cut off.
    cost: {"steps", "effective_batch", "padding": a share of positions, "step_tokens", "packed_rows", "packed_steps"}, None where unknown.
    findings: [{"id", "severity": wrong | careful | good, "text", "count", "rows": [numbers, 20 at most], "remedy": {"title",
        "changes": {path in the setup: value}} or None}], the gravest first. Rows count from 1 among those learned from; those of
        left_out and unreadable_rows in their file.
    examples: {"number": how that row begins} for the first rows of each finding, secrets hidden. seconds: how long it took.
"""
