"""Audit: each problem is reported for the rows that have it and for no clean row; cached prepared data trains the same."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from app.core import cache
from app.core.problems import Problem
from app.core.workspace import local_workspace
from app.setup.set_value import set_value
from app.setup.spec import Spec
from app.worker.client import WorkerClient
from tests.in_process import POCKET
from tests.support import (
    build_spec,
    conversation_rows,
    drain_generator,
    preference_rows,
    prompt_completion_rows,
    stepwise_rows,
    unpaired_preference_rows,
    use_home,
    write_rows,
)

AWS_KEY = "AKIA" + "Q7ZT4KXW2P9LMN3B"
HF_TOKEN = "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789"[::-1]


def chat_row(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


CLEAN_ROWS = [chat_row(f"Which day comes after day number {i} of the long summer holidays?", f"After day {i} comes the day after it, of course.") for i in range(40)]  # fmt: skip
CONSECUTIVE_USER_TURNS = [{"role": "user", "content": "One?"}, {"role": "user", "content": " "}, {"role": "assistant", "content": "Two, as you asked me twice."}]  # fmt: skip
# {finding: a row that has it}. The distinct rows follow the clean rows in this order.
ROW_BY_FINDING: dict[str, dict[str, Any]] = {
    "duplicates": CLEAN_ROWS[3],
    "garbled": chat_row("What is a cafÃ©, as you see it here?", "It is a house where coffee is sold."),
    "lost_letters": chat_row("What was here: \ufffd, before it was lost?", "Nobody can say what it was any more."),
    "unseen_letters": chat_row("What is it that rings \x07 in this question?", "A bell that nobody can see, only hear."),
    "secret": chat_row(f"Does {AWS_KEY} open this door for all of us?", "It does, and so nobody should know it."),
    "mail": chat_row("Whom do I write to, please tell me?", "Write to petra.huber@posteo.de, she answers."),
    "leaks": chat_row("Repeat after me: the early bird catches the worm.", "The early bird  catches the worm."),
    "alternation": {"messages": CONSECUTIVE_USER_TURNS},
    "empty_turn": {"messages": CONSECUTIVE_USER_TURNS},
    "unanswered": {"messages": [*CLEAN_ROWS[1]["messages"], {"role": "user", "content": "And what after that one, please?"}]},
    "cut": chat_row("Say it very often, as often as you can.", "well " * 300),
    "lost_end": chat_row("Say it very often, as often as you can.", "well " * 300),
    "very_long": chat_row("Say it very often, as often as you can.", "well " * 300),
    "languages": chat_row("Welcher Tag kommt in den Ferien nach dem ersten Tag?", "Nach dem ersten Tag kommt natürlich der zweite, dann der dritte."),
}  # fmt: skip


def audit_rows(rows: list[dict[str, Any]], folder: Path, method: str = "sft", knobs: dict[str, Any] | None = None, **spec_fields: Any) -> dict[str, Any]:  # fmt: skip
    source = write_rows(folder / f"{len(list(folder.iterdir()))}.jsonl", rows)
    return audit_spec(build_spec(method, source, knobs, **spec_fields))


def audit_spec(spec: Spec) -> dict[str, Any]:
    """Runs the audit in this process. The audit through the worker has one test below."""
    from app.engine.audit import runner
    from app.engine.libraries import prepare_libraries

    prepare_libraries()
    progress_messages, report = drain_generator(runner.run_audit(spec))
    assert all({"what", "done", "total", "seconds_left"} == {*message["progress"]} for message in progress_messages)
    return report


def findings_by_id(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {finding["id"]: finding for finding in report["findings"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("audit")


@pytest.fixture(scope="module")
def clean_report(folder: Path) -> dict[str, Any]:
    with use_home(folder / "home"):
        return audit_rows(CLEAN_ROWS, folder, knobs={"max_length": 128})


@pytest.fixture(scope="module")
def faulty_report(folder: Path) -> dict[str, Any]:
    rows = [row for index, row in enumerate(ROW_BY_FINDING.values()) if row not in [*ROW_BY_FINDING.values()][:index]]
    german_rows = [ROW_BY_FINDING["languages"] | chat_row(f"Welcher Tag kommt in den Ferien nach Tag {i}?", f"Nach dem Tag {i} kommt natürlich der nächste Tag.") for i in range(3)]  # fmt: skip
    with use_home(folder / "home"):
        return audit_rows(
            CLEAN_ROWS + rows + german_rows + [chat_row("Nobody answers this?", "")], folder, knobs={"max_length": 128}
        )


def test_clean_rows_have_no_warnings(clean_report: dict[str, Any]) -> None:
    assert {finding["id"]: finding["severity"] for finding in clean_report["findings"]} == {
        "share": "good",
        "languages": "good",
    }
    assert clean_report["counts"] == dict.fromkeys(clean_report["counts"], 0)
    assert (clean_report["rows"], clean_report["dropped"], clean_report["again"]) == (40, [], False)


@pytest.mark.parametrize("name", ROW_BY_FINDING)
def test_each_finding_reports_the_row_with_the_problem(name: str, faulty_report: dict[str, Any]) -> None:
    finding, distinct_rows = (
        findings_by_id(faulty_report)[name],
        [*dict.fromkeys(json.dumps(row) for row in ROW_BY_FINDING.values())],
    )
    row_number = len(CLEAN_ROWS) + 1 + distinct_rows.index(json.dumps(ROW_BY_FINDING[name]))
    assert row_number in finding["rows"]
    assert finding["count"] >= len(finding["rows"]) >= 1
    assert finding["severity"] in ("careful", "wrong")
    assert faulty_report["examples"][str(finding["rows"][0])]


def test_every_finding_is_json_with_the_same_fields(faulty_report: dict[str, Any]) -> None:
    assert json.loads(json.dumps(faulty_report)) == faulty_report
    for finding in faulty_report["findings"]:
        assert {*finding} == {"id", "severity", "text", "count", "rows", "remedy"}
        assert finding["remedy"] is None or (
            {*finding["remedy"]} == {"title", "changes"} and finding["remedy"]["changes"]
        )
    assert [finding["severity"] for finding in faulty_report["findings"]] == sorted((finding["severity"] for finding in faulty_report["findings"]), key=["wrong", "careful", "good"].index)  # fmt: skip


def test_secrets_and_addresses_are_redacted_in_the_report(faulty_report: dict[str, Any]) -> None:
    assert AWS_KEY not in json.dumps(faulty_report)
    assert "petra.huber" not in json.dumps(faulty_report)
    assert "AKIAQ7… of 20 characters" in findings_by_id(faulty_report)["secret"]["text"]


def test_dropped_rows_are_listed_with_their_row_number_in_the_file(faulty_report: dict[str, Any]) -> None:
    [dropped] = faulty_report["dropped"]
    assert dropped["count"] == 1
    assert dropped["rows"] == [faulty_report["rows"] + 1]
    assert findings_by_id(faulty_report)["left_out"]["rows"] == dropped["rows"]


def test_truncated_rows_at_any_limit_can_be_counted_from_the_lengths(faulty_report: dict[str, Any]) -> None:
    lengths = faulty_report["lengths"]
    assert sum(row_count for _, row_count in lengths["counts"]) == faulty_report["rows"]
    assert (
        sum(length * row_count for length, row_count in lengths["counts"])
        == lengths["total"]
        == faulty_report["tokens"]["all"]
    )
    assert sum(row_count for length, row_count in lengths["counts"] if length > lengths["limit"]) == findings_by_id(faulty_report)["cut"]["count"] == 1  # fmt: skip
    assert sum(row_count for length, row_count in lengths["needed"] if length > 1) == faulty_report["rows"], (
        "a prompt has no trained tokens"
    )


def test_the_remedy_for_truncation_raises_max_length_enough(faulty_report: dict[str, Any], folder: Path) -> None:
    from app.setup import spec as specs

    rows = [*CLEAN_ROWS, ROW_BY_FINDING["cut"]]
    source = write_rows(folder / "remedy.jsonl", rows)
    spec = build_spec("sft", source, {"max_length": 128})
    [(setting_path, new_limit)] = findings_by_id(faulty_report)["cut"]["remedy"]["changes"].items()
    assert (
        findings_by_id(audit_spec(specs.parse_spec(set_value(spec.to_dict(), setting_path, new_limit)))).keys()
        & {"cut", "lost_end"}
        == set()
    )


# -- token checks -------------------------------------------------------------------------------------------------


def token_batch(token_ids: list[list[int]], trained: list[list[int]]) -> Any:
    import numpy

    from app.engine.datasets.token_columns import TokenBatch

    starts = numpy.cumsum([0, *map(len, token_ids)])
    return TokenBatch("", numpy.concatenate(token_ids), numpy.concatenate(trained).astype(bool), starts, numpy.zeros(len(token_ids), int), 0)  # fmt: skip


def test_untrained_and_missing_end_tokens_are_distinguished() -> None:
    """9 is the end token. Rows: trained; untrained; missing; trained, with a line break after it; truncated, so not judged."""
    from app.engine.datasets.token_columns import missing_end_tokens

    batch = token_batch([[1, 2, 9], [1, 2, 9], [1, 2, 3], [1, 9, 5], [1, 2, 3, 4]], [[0, 1, 1], [0, 1, 0], [0, 1, 1], [0, 1, 1], [0, 1, 1, 1]])  # fmt: skip
    untrained, missing = missing_end_tokens(batch, [9], limit=3)
    assert untrained.tolist() == [False, True, False, False, False]
    assert missing.tolist() == [False, False, True, False, False]


def test_a_double_bos_token_is_detected_only_at_the_start() -> None:
    from app.engine.audit.checks.end_tokens import has_double_bos

    batch = token_batch([[1, 1, 2], [1, 2, 2], [1], [2, 1, 1]], [[0, 1, 1], [0, 1, 1], [0], [0, 1, 1]])
    assert has_double_bos(batch.token_ids, batch.starts, 1).tolist() == [True, False, False, False]


def test_tokens_until_the_first_trained_token_are_counted() -> None:
    from app.engine.audit.checks.lengths import raised_limit, tokens_until_trained

    assert tokens_until_trained(token_batch([[5, 6, 7], [5, 6], [5]], [[0, 0, 1], [1, 1], [0]])).tolist() == [3, 1, 2]
    import numpy

    assert raised_limit(numpy.array([10] * 99 + [500]), 5) == 64
    assert raised_limit(numpy.array([10] * 99 + [500]), 64) == 512, (
        "99 of 100 rows fit already, so the longest row decides"
    )


@pytest.mark.slow
def test_rows_without_trained_tokens_are_reported_and_can_be_dropped(folder: Path) -> None:
    """The prompt alone fills max_length: TRL would drop the row silently."""
    rows = [*prompt_completion_rows(6), {"prompt": "word " * 80, "completion": "late"}]
    source = write_rows(folder / "untrained.jsonl", rows)
    findings = findings_by_id(audit_spec(build_spec("sft", source, {"max_length": 48})))
    assert findings["untrained"]["rows"] == [7]
    report_after_dropping = audit_spec(build_spec("sft", source, {"max_length": 48}, drop=["untrained"]))
    assert report_after_dropping["dropped"] == [{"reason": "nothing of it would be learned", "count": 1, "rows": []}]


# -- other chat templates ------------------------------------------------------------------------------------------

TEMPLATE_WITHOUT_END_TOKENS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"  # fmt: skip


@pytest.fixture(scope="module")
def model_without_end_tokens(folder: Path) -> Path:
    """A model whose own chat template writes no end token after answers."""
    from transformers import AutoTokenizer

    shutil.copytree(POCKET, folder / "endless")
    tokenizer = AutoTokenizer.from_pretrained(POCKET)
    tokenizer.chat_template = TEMPLATE_WITHOUT_END_TOKENS
    tokenizer.save_pretrained(folder / "endless")
    return folder / "endless"


def apply_remedy(spec: Spec, remedy: dict[str, Any]) -> Spec:
    from app.setup import spec as specs

    spec_dict = spec.to_dict()
    for setting_path, new_setting in remedy["changes"].items():
        spec_dict = set_value(spec_dict, setting_path, new_setting)
    return specs.parse_spec(spec_dict)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "rows"), [("sft", CLEAN_ROWS), ("dpo", preference_rows(12))])
def test_the_remedy_for_a_custom_template_without_end_tokens_is_the_models_template(method: str, rows: list[dict[str, Any]], folder: Path) -> None:  # fmt: skip
    spec = build_spec(method, write_rows(folder / "ends.jsonl", rows), model={"template": TEMPLATE_WITHOUT_END_TOKENS})
    finding = findings_by_id(audit_spec(spec))["no_end"]
    assert finding["count"] == len(rows)
    assert finding["remedy"] == {"title": "Take the model’s own chat format", "changes": {"model.template": None}}
    assert not {"no_end", "end_untrained"} & {*findings_by_id(audit_spec(apply_remedy(spec, finding["remedy"])))}


@pytest.mark.slow
@pytest.mark.parametrize(("method", "rows"), [("sft", CLEAN_ROWS), ("dpo", preference_rows(12))])
def test_the_remedy_for_a_model_template_without_end_tokens_is_a_trl_template(method: str, rows: list[dict[str, Any]], folder: Path, model_without_end_tokens: Path) -> None:  # fmt: skip
    spec = build_spec(method, write_rows(folder / "ends.jsonl", rows), model={"id": str(model_without_end_tokens)})
    remedy = findings_by_id(audit_spec(spec))["no_end"]["remedy"]
    [(setting_path, template)] = remedy["changes"].items()
    assert setting_path == "model.template"
    assert template.startswith("trl:")
    assert remedy["title"] == f"Take TRL’s chat format “{template.removeprefix('trl:')}”"
    assert not {"no_end", "end_untrained", "double_begin"} & {*findings_by_id(audit_spec(apply_remedy(spec, remedy)))}


def test_a_template_is_suggested_only_where_it_fixes_the_rows(folder: Path, model_without_end_tokens: Path) -> None:
    from app.engine.preview.preview_job import preview_job
    from app.engine.tokens.template_alternatives import similar_templates, template_fixes_rows

    segmented_rows = [{"segments": [{"label": False, "text": f"What is {i}? "}, {"label": True, "text": "A number."}]} for i in range(9)]  # fmt: skip
    findings = findings_by_id(audit_rows(segmented_rows, folder, model={"template": TEMPLATE_WITHOUT_END_TOKENS}))
    assert (findings["no_end"]["count"], findings["no_end"]["remedy"]) == (9, None), (
        "a chat template cannot fix segmented rows"
    )
    spec = build_spec("sft", write_rows(folder / "ends.jsonl", CLEAN_ROWS), model={"id": str(model_without_end_tokens)})
    job = preview_job(spec, None)
    assert {name: template_fixes_rows(job, name, [1, 2, 3]) for name in ("trl:qwen3", "trl:gemma", "", "trl:nothing")} == {
        "trl:qwen3": True, "trl:gemma": False, "": False, "trl:nothing": False}  # fmt: skip
    assert "trl:gemma" not in similar_templates(job), "this vocabulary lacks its special tokens"


# -- other methods ------------------------------------------------------------------------------------------------


def test_preference_pairs_with_equal_answers_are_reported(folder: Path) -> None:
    rows = [*preference_rows(12), {"prompt": "Yes or no?", "chosen": "Yes, of course.", "rejected": "yes,  of COURSE."}]
    report = audit_rows(rows, folder, "dpo")
    assert findings_by_id(report)["same"]["rows"] == [13]
    assert report["tokens"]["trained"] > 0
    assert "same" not in findings_by_id(audit_rows(preference_rows(12), folder, "dpo"))


def test_unbalanced_labels_are_reported(folder: Path) -> None:
    assert findings_by_id(audit_rows(unpaired_preference_rows(30), folder, "kto"))["labels"]["severity"] == "good"
    one_label_finding = findings_by_id(
        audit_rows([row | {"label": True} for row in unpaired_preference_rows(12)], folder, "kto")
    )["labels"]
    assert one_label_finding["severity"] == "wrong"
    rare_label_findings = findings_by_id(audit_rows([row | {"labels": [True, i > 0]} for i, row in enumerate(stepwise_rows(12))], folder, "process_reward"))  # fmt: skip
    assert (rare_label_findings["labels"]["severity"], rare_label_findings["labels"]["rows"]) == ("careful", [1])


def test_steps_that_are_only_read_count_neither_as_right_nor_as_wrong(folder: Path) -> None:
    rows = [row | {"labels": [1, -1] if i % 2 else [0, 1]} for i, row in enumerate(stepwise_rows(12))]
    data = [{"source": write_rows(folder / "s.jsonl", rows), "labels": {"1": "good", "0": "left_out", "-1": "bad"}}]
    finding = findings_by_id(audit_spec(build_spec("process_reward", "", data=data)))["labels"]
    assert finding["text"].startswith("12 steps are right and 6 wrong.")


def test_columns_that_are_not_used_are_named(folder: Path) -> None:
    rows = [
        {"question": f"How do I reset router {i}?", "answer": f"Hold the button for {i} seconds.", "helpfulness": i % 5}
        for i in range(20)
    ]
    finding = findings_by_id(audit_rows(rows, folder))["unread_verdict"]
    assert (finding["severity"], finding["remedy"]) == ("careful", None)
    assert "`helpfulness` looks like a verdict" in finding["text"]
    without_verdict = [{name: row[name] for name in ("question", "answer")} for row in rows]
    assert "unread_verdict" not in findings_by_id(audit_rows(without_verdict, folder))


def test_a_method_that_generates_its_completions_is_audited_by_text_alone(folder: Path) -> None:
    rows = [{"prompt": f"What is {i} + {i}?", "answer": str(2 * i)} for i in range(8)]
    report = audit_rows([*rows, rows[2], {"prompt": f"Is {HF_TOKEN} right?", "answer": "no"}], folder, "grpo", rewards=[{"name": "exact_match"}])  # fmt: skip
    assert findings_by_id(report)["duplicates"]["rows"] == [9]
    assert findings_by_id(report)["secret"]["rows"] == [10]
    assert (report["tokens"], report["lengths"]) == (None, None)


# -- dropping -----------------------------------------------------------------------------------------------------


def test_audit_estimate_and_preview_drop_the_same_rows(folder: Path) -> None:
    from app.engine.preview import row_preview, run_estimate

    holdout_source = write_rows(folder / "aside.jsonl", prompt_completion_rows(3))
    rows = [*prompt_completion_rows(6), prompt_completion_rows(6)[5], {"prompt": "Say: the early bird catches", "completion": "the early bird catches"}, {"prompt": "Long?", "completion": "word " * 90}]  # fmt: skip
    source = write_rows(folder / "drop.jsonl", rows)
    setup = {"holdout": {"source": {"source": holdout_source}}, "knobs": {"max_length": 48}}
    findings_before = findings_by_id(audit_spec(build_spec("sft", source, setup["knobs"], holdout=setup["holdout"])))
    assert {name: findings_before[name]["rows"] for name in ("duplicates", "held_out", "leaks", "cut")} == {"duplicates": [7], "held_out": [1, 2, 3], "leaks": [8], "cut": [9]}  # fmt: skip
    spec = build_spec("sft", source, setup["knobs"], holdout=setup["holdout"], drop=["duplicates", "held_out", "leaks", "cut"])  # fmt: skip
    report_after, (_, estimate) = audit_spec(spec), drain_generator(run_estimate.estimate_run(spec))
    drop_counts = {"the same stands there already": 1, "it is also kept aside to test on": 3, "its answer stands in the question": 1, "it is longer than the maximum length": 1}  # fmt: skip
    assert (
        {dropped["reason"]: dropped["count"] for dropped in report_after["dropped"]}
        == estimate["left_out"]
        == drop_counts
    )
    assert not {"duplicates", "held_out", "leaks", "cut"} & {*findings_by_id(report_after)}
    assert report_after["cost"]["steps"] == estimate["steps"] == 1 * 3, "three rows in one batch, three epochs"
    preview = row_preview.preview_rows(spec, 50)["rows"]
    assert [row.get("left_out", "") for row in preview] == ["", "", "", "it is longer than the maximum length"]


def test_no_row_is_dropped_without_a_drop_setting() -> None:
    from app.engine.datasets.row_filter import RowFilter

    spec = build_spec("sft", "sample:tickets")
    rows = [{"prompt": "a", "completion": "b"}] * 3
    assert [*RowFilter(spec, Counter(), lambda: rows)(rows)] == rows


# -- cache of prepared data ---------------------------------------------------------------------------------------


def first_training_batches(spec: Spec, folder: Path) -> list[dict[str, Any]]:
    from app.engine.job import Job
    from app.engine.model.device import Device
    from app.engine.preview.trainer_capture import first_batches

    return first_batches(Job(spec, folder, Device("cpu")), 3)


@pytest.mark.slow
@pytest.mark.first_cases(4)
@pytest.mark.parametrize(("method", "make_rows", "knobs"), [
    ("sft", conversation_rows, {"max_length": 48}), ("sft", conversation_rows, {"packing": True, "max_length": 96}), ("dpo", preference_rows, {}), ("kto", unpaired_preference_rows, {}),
])  # fmt: skip
def test_cached_prepared_data_gives_identical_batches(
    method: str, make_rows: Any, knobs: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.engine.datasets import cached_preparation, prepared_cache
    from app.engine.libraries import prepare_libraries
    from tests.bench.equality import batch_differences

    prepare_libraries()
    spec = build_spec(method, write_rows(tmp_path / "a.jsonl", make_rows(1100)), knobs | {"batch_size": 4})
    monkeypatch.setattr(prepared_cache, "MIN_SECONDS", 1e9)
    uncached_batches = first_training_batches(spec, tmp_path)
    assert list((prepared_cache.cache_folder() or tmp_path).iterdir()) == [], (
        "data that is prepared quickly must not be cached"
    )
    monkeypatch.setattr(prepared_cache, "MIN_SECONDS", 0.0)
    monkeypatch.setattr(cached_preparation, "MIN_ROWS_ON_DISK", 1_000)  # use the disk, as for a large data set
    stored_batches = first_training_batches(spec, tmp_path)
    [cache_entry] = (prepared_cache.cache_folder() or tmp_path).iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(cached_preparation, "on_disk", None)  # preparing rows again would raise an error
        assert batch_differences(uncached_batches, first_training_batches(spec, tmp_path)) == []
    monkeypatch.setattr(prepared_cache, "MIN_SECONDS", 1e9)
    assert batch_differences(uncached_batches, stored_batches) == []
    for file in cache_entry.rglob("*.arrow"):
        file.write_bytes(file.read_bytes()[:-40])
    assert batch_differences(uncached_batches, first_training_batches(spec, tmp_path)) == []
    assert not cache_entry.exists(), "a damaged cache entry must be deleted"


def test_the_cache_key_changes_with_rows_tokens_and_preparation_settings(tmp_path: Path) -> None:
    from app.engine.datasets import prepared_cache
    from app.engine.job import Job
    from app.engine.model.device import Device

    def cache_key_for(rows: list[dict[str, Any]], knobs: dict[str, Any], **spec_fields: Any) -> str:
        job = Job(
            build_spec("sft", write_rows(tmp_path / "a.jsonl", rows), knobs, **spec_fields), tmp_path, Device("cpu")
        )
        return prepared_cache.cache_key(job, job.data.train)

    base_key = cache_key_for(prompt_completion_rows(9), {"max_length": 64})
    assert (
        cache_key_for(prompt_completion_rows(9), {"max_length": 64, "learning_rate": 0.05, "batch_size": 2}) == base_key
    )
    changed_keys = [cache_key_for(prompt_completion_rows(8), {"max_length": 64}), cache_key_for(prompt_completion_rows(9), {"max_length": 65}),
              cache_key_for(prompt_completion_rows(9), {"max_length": 64}, model={"new_tokens": ["<x>"]}), cache_key_for(prompt_completion_rows(9), {"max_length": 64}, drop=["cut"])]  # fmt: skip
    assert len({base_key, *changed_keys}) == 5


def test_the_least_recently_used_cache_entry_is_evicted_first(tmp_path: Path) -> None:
    import os

    from app.engine.datasets import prepared_cache

    for age, name in enumerate(("new", "older", "oldest")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"x" * 100)
        os.utime(tmp_path / name, (time.time() - 60 * age,) * 2)
    prepared_cache.evict_entries(tmp_path, needed_bytes=50, max_bytes=260)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "older"]


def test_a_draft_that_a_process_holds_is_not_evicted_however_old_the_clock_makes_it(tmp_path: Path) -> None:
    import os

    from app.engine.datasets import prepared_cache

    (abandoned_draft := tmp_path / ".abandoned").mkdir()
    with prepared_cache.draft_folder(tmp_path) as draft:
        for folder in (abandoned_draft, draft):
            os.utime(folder, (time.time() - 7 * 86_400,) * 2)
        prepared_cache.evict_entries(tmp_path, needed_bytes=0)
        assert [*tmp_path.iterdir()] == [draft]
    assert [*tmp_path.iterdir()] == []


def test_only_rank_0_writes_and_deletes_cache_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets import Dataset

    from app.engine.audit import runner
    from app.engine.datasets import prepared_cache

    prepared = prepared_cache.PreparedData(Dataset.from_list([{"input_ids": [1, 2]}]))
    spec = build_spec("sft", write_rows(tmp_path / "a.jsonl", CLEAN_ROWS))
    entry = (prepared_cache.cache_folder() or tmp_path) / "entry"
    monkeypatch.setenv("RANK", "1")
    assert prepared_cache.store_prepared("entry", prepared) is None
    assert not entry.exists()
    audit_spec(spec)
    assert runner.find_cached_audit(spec) is None
    monkeypatch.setenv("RANK", "0")
    assert prepared_cache.store_prepared("entry", prepared)
    (entry / "told.json").write_text("{}")
    monkeypatch.setenv("RANK", "1")
    assert prepared_cache.find_prepared("entry") is None
    assert entry.exists(), "only the main process deletes a damaged entry"
    monkeypatch.setenv("RANK", "0")
    assert prepared_cache.find_prepared("entry") is None
    assert not entry.exists()


def test_an_audit_is_cached_until_a_row_changes(tmp_path: Path) -> None:
    from app.engine.audit import runner

    source = write_rows(tmp_path / "a.jsonl", CLEAN_ROWS)
    spec = build_spec("sft", source)
    assert runner.find_cached_audit(spec) is None
    report = audit_spec(spec)
    assert runner.find_cached_audit(spec) == report | {"again": True}
    assert runner.find_cached_audit(build_spec("sft", source, {"learning_rate": 0.05}, title="Other")) is not None
    write_rows(tmp_path / "a.jsonl", CLEAN_ROWS[:-1])
    assert runner.find_cached_audit(spec) is None
    write_rows(tmp_path / "a.jsonl", CLEAN_ROWS)
    [cache_key] = cache.keys(local_workspace(), runner.CACHE_NAME)
    (local_workspace().cache(runner.CACHE_NAME) / cache_key).write_bytes(b"damaged")
    assert runner.find_cached_audit(spec) is None


# -- cooperative work ---------------------------------------------------------------------------------------------


def test_cooperative_work_yields_progress_and_stops_when_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    from app.engine import cooperative

    monkeypatch.setattr(cooperative, "YIELD_INTERVAL", 0.0)
    executed: list[int] = []

    def count_to_five() -> str:
        for index in range(5):
            executed.append(index)
            cooperative.yield_point("Counting", index, 5)
        return "all"

    progress_messages = cooperative.run_cooperatively(count_to_five)
    assert next(progress_messages) == {"what": "Counting", "done": 0, "of": 5}
    assert executed == [0], "it must pause until the next message is requested"
    progress_messages.close()
    time.sleep(0.05)
    assert executed == [0]
    assert drain_generator(cooperative.run_cooperatively(count_to_five))[1] == "all"

    def raise_problem() -> None:
        raise Problem("No.")

    with pytest.raises(Problem, match="No"):
        [*cooperative.run_cooperatively(raise_problem)]


@pytest.mark.slow
def test_the_worker_previews_rows_during_an_audit(worker: WorkerClient, tmp_path: Path) -> None:
    spec = build_spec("sft", write_rows(tmp_path / "a.jsonl", conversation_rows(3_000)))
    messages = worker.audit(spec)
    assert "progress" in next(messages)
    assert len(worker.preview_rows(spec, 3)["rows"]) == 3
    *progress_messages, final_message = messages
    assert progress_messages, "the audit was already finished when the rows were previewed"
    done_counts = [message["progress"]["done"] for message in progress_messages if message["progress"]["total"]]
    assert done_counts == sorted(done_counts)
    assert final_message["done"]["rows"] == 3_000
    assert next(worker.audit(spec))["done"]["again"], "the second audit must come from the cache"
