"""Audit of all rows of a setup: one file for each check; a check exists because its file exists.

A file in checks/ has a class `Check(AuditCheck)` (app/engine/audit/base.py): `check_row` gets each training row as the
method takes it, `check_evaluated_row` each held-out row and each of an evaluation set, `check_tokens` each chunk of the table that the trainer itself
prepared, and `findings` reports. No other file is edited to add one.

`WorkerClient.audit(spec)` streams it. It takes no place in the device queue, lets other requests run between, and ends when the
stream is closed:
    {"progress": {"what": a sentence, "done": rows, "total": rows or None, "seconds_left": or None}} …, and last {"done": report}.
The report, at once where the same rows and settings were audited before: `AuditReport` in app/engine/audit/report.py.
"""
