"""Audit: each finding is told of a row that has it and of no clean one; what was prepared once is learned from just the same."""

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
from app.setup.spec import Spec
from app.worker.client import WorkerClient
from tests.in_process import POCKET
from tests.support import chats, in_home, pairs, preferences, run_to_end, solutions, spec_of, thumbs, write_rows

KEY = "AKIA" + "Q7ZT4KXW2P9LMN3B"
TOKEN = "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789"[::-1]


def talk(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


CLEAN = [talk(f"Which day comes after day number {i} of the long summer holidays?", f"After day {i} comes the day after it, of course.") for i in range(40)]  # fmt: skip
TURNS = [{"role": "user", "content": "One?"}, {"role": "user", "content": " "}, {"role": "assistant", "content": "Two, as you asked me twice."}]  # fmt: skip
# What each row shows, by its place after the clean ones.
BAD: dict[str, dict[str, Any]] = {
    "duplicates": CLEAN[3],
    "garbled": talk("What is a cafÃ©, as you see it here?", "It is a house where coffee is sold."),
    "lost_letters": talk("What was here: \ufffd, before it was lost?", "Nobody can say what it was any more."),
    "unseen_letters": talk("What is it that rings \x07 in this question?", "A bell that nobody can see, only hear."),
    "secret": talk(f"Does {KEY} open this door for all of us?", "It does, and so nobody should know it."),
    "mail": talk("Whom do I write to, please tell me?", "Write to petra.huber@posteo.de, she answers."),
    "leaks": talk("Repeat after me: the early bird catches the worm.", "The early bird  catches the worm."),
    "alternation": {"messages": TURNS},
    "empty_turn": {"messages": TURNS},
    "unanswered": {"messages": [*CLEAN[1]["messages"], {"role": "user", "content": "And what after that one, please?"}]},
    "cut": talk("Say it very often, as often as you can.", "well " * 300),
    "lost_end": talk("Say it very often, as often as you can.", "well " * 300),
    "very_long": talk("Say it very often, as often as you can.", "well " * 300),
    "languages": talk("Welcher Tag kommt in den Ferien nach dem ersten Tag?", "Nach dem ersten Tag kommt natürlich der zweite, dann der dritte."),
}  # fmt: skip


def found_in(rows: list[dict[str, Any]], folder: Path, method: str = "sft", knobs: dict[str, Any] | None = None, **other: Any) -> dict[str, Any]:  # fmt: skip
    source = write_rows(folder / f"{len(list(folder.iterdir()))}.jsonl", rows)
    return audited(spec_of(method, source, knobs, **other))


def audited(spec: Spec) -> dict[str, Any]:
    """All of it in this process: the worker's own way is tried once below."""
    from app.engine.audit import runner
    from app.engine.libraries import prepare_libraries

    prepare_libraries()
    told, report = run_to_end(runner.run_audit(spec))
    assert all({"what", "done", "total", "seconds_left"} == {*part["progress"]} for part in told)
    return report


def by_id(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["id"]: one for one in result["findings"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("audit")


@pytest.fixture(scope="module")
def clean(folder: Path) -> dict[str, Any]:
    with in_home(folder / "home"):
        return found_in(CLEAN, folder, knobs={"max_length": 128})


@pytest.fixture(scope="module")
def bad(folder: Path) -> dict[str, Any]:
    rows = [row for place, row in enumerate(BAD.values()) if row not in [*BAD.values()][:place]]
    german = [BAD["languages"] | talk(f"Welcher Tag kommt in den Ferien nach Tag {i}?", f"Nach dem Tag {i} kommt natürlich der nächste Tag.") for i in range(3)]  # fmt: skip
    with in_home(folder / "home"):
        return found_in(CLEAN + rows + german + [talk("Nobody answers this?", "")], folder, knobs={"max_length": 128})


def test_clean_rows_have_nothing_wrong(clean: dict[str, Any]) -> None:
    assert {one["id"]: one["severity"] for one in clean["findings"]} == {"share": "good", "languages": "good"}
    assert clean["counts"] == dict.fromkeys(clean["counts"], 0)
    assert (clean["rows"], clean["dropped"], clean["again"]) == (40, [], False)


@pytest.mark.parametrize("name", BAD)
def test_a_row_that_has_it_is_found(name: str, bad: dict[str, Any]) -> None:
    told, places = by_id(bad)[name], [*dict.fromkeys(json.dumps(row) for row in BAD.values())]
    number = len(CLEAN) + 1 + places.index(json.dumps(BAD[name]))
    assert number in told["rows"]
    assert told["count"] >= len(told["rows"]) >= 1
    assert told["severity"] in ("careful", "wrong")
    assert bad["examples"][str(told["rows"][0])]


def test_findings_are_plain_data_in_one_shape(bad: dict[str, Any]) -> None:
    assert json.loads(json.dumps(bad)) == bad
    for one in bad["findings"]:
        assert {*one} == {"id", "severity", "text", "count", "rows", "remedy"}
        assert one["remedy"] is None or ({*one["remedy"]} == {"title", "changes"} and one["remedy"]["changes"])
    assert [one["severity"] for one in bad["findings"]] == sorted((one["severity"] for one in bad["findings"]), key=["wrong", "careful", "good"].index)  # fmt: skip


def test_a_secret_is_never_told_whole(bad: dict[str, Any]) -> None:
    assert KEY not in json.dumps(bad)
    assert "petra.huber" not in json.dumps(bad)
    assert "AKIAQ7… of 20 characters" in by_id(bad)["secret"]["text"]


def test_rows_left_out_say_where_they_stand_in_their_file(bad: dict[str, Any]) -> None:
    [dropped] = bad["dropped"]
    assert dropped["count"] == 1
    assert dropped["rows"] == [bad["rows"] + 1]
    assert by_id(bad)["left_out"]["rows"] == dropped["rows"]


def test_any_cut_can_be_counted_from_the_lengths(bad: dict[str, Any]) -> None:
    lengths = bad["lengths"]
    assert sum(rows for _, rows in lengths["counts"]) == bad["rows"]
    assert sum(tokens * rows for tokens, rows in lengths["counts"]) == lengths["total"] == bad["tokens"]["all"]
    assert sum(rows for tokens, rows in lengths["counts"] if tokens > lengths["limit"]) == by_id(bad)["cut"]["count"] == 1  # fmt: skip
    assert sum(rows for tokens, rows in lengths["needed"] if tokens > 1) == bad["rows"], "a question is only read"


def test_the_remedy_for_a_cut_raises_the_limit_far_enough(bad: dict[str, Any], folder: Path) -> None:
    from app.setup import spec as specs

    rows = [*CLEAN, BAD["cut"]]
    source = write_rows(folder / "remedy.jsonl", rows)
    spec = spec_of("sft", source, {"max_length": 128})
    [(path, value)] = by_id(bad)["cut"]["remedy"]["changes"].items()
    assert (
        by_id(audited(specs.parse_spec(specs.set_value(spec.to_dict(), path, value)))).keys() & {"cut", "lost_end"}
        == set()
    )


# -- what tokens tell ---------------------------------------------------------------------------------------------


def texts(ids: list[list[int]], learned: list[list[int]]) -> Any:
    import numpy

    from app.engine.datasets.token_columns import TokenBatch

    starts = numpy.cumsum([0, *map(len, ids)])
    return TokenBatch("", numpy.concatenate(ids), numpy.concatenate(learned).astype(bool), starts, numpy.zeros(len(ids), int), 0)  # fmt: skip


def test_ends_that_are_not_learned_or_not_there_are_told_apart() -> None:
    """9 ends an answer. In turn: learned; only read; not there; learned, with a line break after it; cut off, so not judged."""
    from app.engine.datasets.token_columns import missing_end_tokens

    told = texts([[1, 2, 9], [1, 2, 9], [1, 2, 3], [1, 9, 5], [1, 2, 3, 4]], [[0, 1, 1], [0, 1, 0], [0, 1, 1], [0, 1, 1], [0, 1, 1, 1]])  # fmt: skip
    unlearned, missing = missing_end_tokens(told, [9], limit=3)
    assert unlearned.tolist() == [False, True, False, False, False]
    assert missing.tolist() == [False, False, True, False, False]


def test_two_begin_tokens_are_seen_at_the_beginning_alone() -> None:
    from app.engine.audit.checks.end_tokens import has_double_bos

    told = texts([[1, 1, 2], [1, 2, 2], [1], [2, 1, 1]], [[0, 1, 1], [0, 1, 1], [0], [0, 1, 1]])
    assert has_double_bos(told.token_ids, told.starts, 1).tolist() == [True, False, False, False]


def test_tokens_until_something_is_learned_are_counted_by_hand() -> None:
    from app.engine.audit.checks.lengths import raised_limit, tokens_until_trained

    assert tokens_until_trained(texts([[5, 6, 7], [5, 6], [5]], [[0, 0, 1], [1, 1], [0]])).tolist() == [3, 1, 2]
    import numpy

    assert raised_limit(numpy.array([10] * 99 + [500]), 5) == 64
    assert raised_limit(numpy.array([10] * 99 + [500]), 64) == 512, "99 in 100 fit already, so the longest counts"


def test_rows_with_nothing_to_learn_are_found_and_dropped(folder: Path) -> None:
    """The question alone fills the limit: TRL would leave the row out without a word."""
    rows = [*pairs(6), {"prompt": "word " * 80, "completion": "late"}]
    source = write_rows(folder / "untrained.jsonl", rows)
    told = by_id(audited(spec_of("sft", source, {"max_length": 48})))
    assert told["untrained"]["rows"] == [7]
    mended = audited(spec_of("sft", source, {"max_length": 48}, drop=["untrained"]))
    assert mended["dropped"] == [{"reason": "nothing of it would be learned", "count": 1, "rows": []}]


# -- another chat format -------------------------------------------------------------------------------------------

ENDLESS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"  # fmt: skip


@pytest.fixture(scope="module")
def endless(folder: Path) -> Path:
    """A model whose own chat format ends answers with nothing."""
    from transformers import AutoTokenizer

    shutil.copytree(POCKET, folder / "endless")
    tokenizer = AutoTokenizer.from_pretrained(POCKET)
    tokenizer.chat_template = ENDLESS
    tokenizer.save_pretrained(folder / "endless")
    return folder / "endless"


def mended(spec: Spec, remedy: dict[str, Any]) -> Spec:
    from app.setup import spec as specs

    data = spec.to_dict()
    for path, value in remedy["changes"].items():
        data = specs.set_value(data, path, value)
    return specs.parse_spec(data)


@pytest.mark.parametrize(("method", "rows"), [("sft", CLEAN), ("dpo", preferences(12))])
def test_a_format_of_ones_own_without_an_end_is_mended_by_the_models_own(method: str, rows: list[dict[str, Any]], folder: Path) -> None:  # fmt: skip
    spec = spec_of(method, write_rows(folder / "ends.jsonl", rows), model={"template": ENDLESS})
    told = by_id(audited(spec))["no_end"]
    assert told["count"] == len(rows)
    assert told["remedy"] == {"title": "Take the model’s own chat format", "changes": {"model.template": None}}
    assert not {"no_end", "end_untrained"} & {*by_id(audited(mended(spec, told["remedy"])))}


@pytest.mark.parametrize(("method", "rows"), [("sft", CLEAN), ("dpo", preferences(12))])
def test_a_model_whose_own_format_has_no_end_takes_one_of_trls(method: str, rows: list[dict[str, Any]], folder: Path, endless: Path) -> None:  # fmt: skip
    spec = spec_of(method, write_rows(folder / "ends.jsonl", rows), model={"id": str(endless)})
    remedy = by_id(audited(spec))["no_end"]["remedy"]
    [(path, template)] = remedy["changes"].items()
    assert path == "model.template"
    assert template.startswith("trl:")
    assert remedy["title"] == f"Take TRL’s chat format “{template.removeprefix('trl:')}”"
    assert not {"no_end", "end_untrained", "double_begin"} & {*by_id(audited(mended(spec, remedy)))}


def test_a_format_is_offered_only_where_it_mends_these_rows(folder: Path, endless: Path) -> None:
    from app.engine.preview.preview_job import preview_job
    from app.engine.tokens.template_alternatives import similar_templates, template_fixes_rows

    pieces = [{"segments": [{"label": False, "text": f"What is {i}? "}, {"label": True, "text": "A number."}]} for i in range(9)]  # fmt: skip
    told = by_id(found_in(pieces, folder, model={"template": ENDLESS}))
    assert (told["no_end"]["count"], told["no_end"]["remedy"]) == (9, None), "no chat format writes these"
    spec = spec_of("sft", write_rows(folder / "ends.jsonl", CLEAN), model={"id": str(endless)})
    job = preview_job(spec, None)
    assert {name: template_fixes_rows(job, name, [1, 2, 3]) for name in ("trl:qwen3", "trl:gemma", "", "trl:nothing")} == {
        "trl:qwen3": True, "trl:gemma": False, "": False, "trl:nothing": False}  # fmt: skip
    assert "trl:gemma" not in similar_templates(job), "this vocabulary lacks its marks"


# -- other methods ------------------------------------------------------------------------------------------------


def test_pairs_that_say_the_same_are_found(folder: Path) -> None:
    rows = [*preferences(12), {"prompt": "Yes or no?", "chosen": "Yes, of course.", "rejected": "yes,  of COURSE."}]
    result = found_in(rows, folder, "dpo")
    assert by_id(result)["same"]["rows"] == [13]
    assert result["tokens"]["trained"] > 0
    assert "same" not in by_id(found_in(preferences(12), folder, "dpo"))


def test_labels_are_weighed(folder: Path) -> None:
    assert by_id(found_in(thumbs(30), folder, "kto"))["labels"]["severity"] == "good"
    alone = by_id(found_in([row | {"label": True} for row in thumbs(12)], folder, "kto"))["labels"]
    assert alone["severity"] == "wrong"
    rare = by_id(found_in([row | {"labels": [True, i > 0]} for i, row in enumerate(solutions(12))], folder, "process_reward"))  # fmt: skip
    assert (rare["labels"]["severity"], rare["labels"]["rows"]) == ("careful", [1])


def test_a_method_that_writes_its_own_answers_is_looked_at_by_its_words(folder: Path) -> None:
    rows = [{"prompt": f"What is {i} + {i}?", "answer": str(2 * i)} for i in range(8)]
    result = found_in([*rows, rows[2], {"prompt": f"Is {TOKEN} right?", "answer": "no"}], folder, "grpo", rewards=[{"name": "exact_match"}])  # fmt: skip
    assert by_id(result)["duplicates"]["rows"] == [9]
    assert by_id(result)["secret"]["rows"] == [10]
    assert (result["tokens"], result["lengths"]) == (None, None)


# -- dropping -----------------------------------------------------------------------------------------------------


def test_rows_are_dropped_alike_wherever_they_are_read(folder: Path) -> None:
    from app.engine.preview import row_preview, run_estimate

    held_out = write_rows(folder / "aside.jsonl", pairs(3))
    rows = [*pairs(6), pairs(6)[5], {"prompt": "Say: the early bird catches", "completion": "the early bird catches"}, {"prompt": "Long?", "completion": "word " * 90}]  # fmt: skip
    source = write_rows(folder / "drop.jsonl", rows)
    setup = {"holdout": {"source": {"source": held_out}}, "knobs": {"max_length": 48}}
    before = by_id(audited(spec_of("sft", source, setup["knobs"], holdout=setup["holdout"])))
    assert {name: before[name]["rows"] for name in ("duplicates", "held_out", "leaks", "cut")} == {"duplicates": [7], "held_out": [1, 2, 3], "leaks": [8], "cut": [9]}  # fmt: skip
    spec = spec_of("sft", source, setup["knobs"], holdout=setup["holdout"], drop=["duplicates", "held_out", "leaks", "cut"])  # fmt: skip
    after, (_, counted) = audited(spec), run_to_end(run_estimate.estimate_run(spec))
    why = {"the same stands there already": 1, "it is also kept aside to test on": 3, "its answer stands in the question": 1, "it is longer than the maximum length": 1}  # fmt: skip
    assert {one["reason"]: one["count"] for one in after["dropped"]} == counted["left_out"] == why
    assert not {"duplicates", "held_out", "leaks", "cut"} & {*by_id(after)}
    assert after["cost"]["steps"] == counted["steps"] == 1 * 3, "three rows in one batch, three passes"
    shown = row_preview.preview_rows(spec, 50)["rows"]
    assert [row.get("left_out", "") for row in shown] == ["", "", "", "it is longer than the maximum length"]


def test_nothing_is_dropped_unasked() -> None:
    from app.engine.datasets.row_filter import RowFilter

    spec = spec_of("sft", "sample:tickets")
    rows = [{"prompt": "a", "completion": "b"}] * 3
    assert [*RowFilter(spec, Counter(), lambda: rows)(rows)] == rows


# -- prepared once ------------------------------------------------------------------------------------------------


def batches_of(spec: Spec, folder: Path) -> list[dict[str, Any]]:
    from app.engine.job import Job
    from app.engine.model.device import Device
    from app.engine.preview.trainer_capture import first_batches

    return first_batches(Job(spec, folder, Device("cpu")), 3)


@pytest.mark.parametrize(("method", "rows", "knobs"), [
    ("sft", chats, {"max_length": 48}), ("sft", chats, {"packing": True, "max_length": 96}), ("dpo", preferences, {}), ("kto", thumbs, {}),
])  # fmt: skip
def test_what_was_kept_gives_the_very_same_batches(
    method: str, rows: Any, knobs: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.engine.datasets import cached_preparation, prepared_cache
    from app.engine.libraries import prepare_libraries
    from tests.bench.equality import differences

    prepare_libraries()
    spec = spec_of(method, write_rows(tmp_path / "a.jsonl", rows(1100)), knobs | {"batch_size": 4})
    monkeypatch.setattr(prepared_cache, "MIN_SECONDS", 1e9)
    plain = batches_of(spec, tmp_path)
    assert list((prepared_cache.cache_folder() or tmp_path).iterdir()) == [], "what is prepared in a moment is not kept"
    monkeypatch.setattr(prepared_cache, "MIN_SECONDS", 0.0)
    monkeypatch.setattr(cached_preparation, "MIN_ROWS_ON_DISK", 1_000)  # through the disk, as with very many
    first = batches_of(spec, tmp_path)
    [folder] = (prepared_cache.cache_folder() or tmp_path).iterdir()
    with monkeypatch.context() as nothing:
        nothing.setattr(cached_preparation, "on_disk", None)  # nothing may be prepared any more
        assert differences(plain, batches_of(spec, tmp_path)) == []
    monkeypatch.setattr(prepared_cache, "MIN_SECONDS", 1e9)
    assert differences(plain, first) == []
    for file in folder.rglob("*.arrow"):
        file.write_bytes(file.read_bytes()[:-40])
    assert differences(plain, batches_of(spec, tmp_path)) == []
    assert not folder.exists(), "what is damaged is thrown away"


def test_other_rows_words_or_settings_are_prepared_anew(tmp_path: Path) -> None:
    from app.engine.datasets import prepared_cache
    from app.engine.job import Job
    from app.engine.model.device import Device

    def key(rows: list[dict[str, Any]], knobs: dict[str, Any], **other: Any) -> str:
        job = Job(spec_of("sft", write_rows(tmp_path / "a.jsonl", rows), knobs, **other), tmp_path, Device("cpu"))
        return prepared_cache.cache_key(job, job.data.train)

    same = key(pairs(9), {"max_length": 64})
    assert key(pairs(9), {"max_length": 64, "learning_rate": 0.05, "batch_size": 2}) == same
    others = [key(pairs(8), {"max_length": 64}), key(pairs(9), {"max_length": 65}),
              key(pairs(9), {"max_length": 64}, model={"new_tokens": ["<x>"]}), key(pairs(9), {"max_length": 64}, drop=["cut"])]  # fmt: skip
    assert len({same, *others}) == 5


def test_what_is_longest_unused_goes_first(tmp_path: Path) -> None:
    import os

    from app.engine.datasets import prepared_cache

    for age, name in enumerate(("new", "older", "oldest")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"x" * 100)
        os.utime(tmp_path / name, (time.time() - 60 * age,) * 2)
    prepared_cache.evict_entries(tmp_path, needed_bytes=50, max_bytes=260)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "older"]


def test_of_several_processes_only_the_main_one_writes_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets import Dataset

    from app.engine.audit import runner
    from app.engine.datasets import prepared_cache

    prepared = prepared_cache.PreparedData(Dataset.from_list([{"input_ids": [1, 2]}]))
    spec = spec_of("sft", write_rows(tmp_path / "a.jsonl", CLEAN))
    entry = (prepared_cache.cache_folder() or tmp_path) / "entry"
    monkeypatch.setenv("RANK", "1")
    assert prepared_cache.store_prepared("entry", prepared) is None
    assert not entry.exists()
    audited(spec)
    assert runner.find_cached_audit(spec) is None
    monkeypatch.setenv("RANK", "0")
    assert prepared_cache.store_prepared("entry", prepared)
    (entry / "told.json").write_text("{}")
    monkeypatch.setenv("RANK", "1")
    assert prepared_cache.find_prepared("entry") is None
    assert entry.exists(), "what is damaged is left to the main process"
    monkeypatch.setenv("RANK", "0")
    assert prepared_cache.find_prepared("entry") is None
    assert not entry.exists()


def test_an_audit_is_told_again_at_once_until_a_row_changes(tmp_path: Path) -> None:
    from app.engine.audit import runner

    source = write_rows(tmp_path / "a.jsonl", CLEAN)
    spec = spec_of("sft", source)
    assert runner.find_cached_audit(spec) is None
    found = audited(spec)
    assert runner.find_cached_audit(spec) == found | {"again": True}
    assert runner.find_cached_audit(spec_of("sft", source, {"learning_rate": 0.05}, title="Other")) is not None
    write_rows(tmp_path / "a.jsonl", CLEAN[:-1])
    assert runner.find_cached_audit(spec) is None
    write_rows(tmp_path / "a.jsonl", CLEAN)
    [name] = cache.keys(local_workspace(), runner.CACHE_NAME)
    (local_workspace().cache(runner.CACHE_NAME) / name).write_bytes(b"damaged")
    assert runner.find_cached_audit(spec) is None


# -- long work ----------------------------------------------------------------------------------------------------


def test_long_work_gives_way_and_ends_when_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    from app.engine import cooperative

    monkeypatch.setattr(cooperative, "YIELD_INTERVAL", 0.0)
    done: list[int] = []

    def work() -> str:
        for number in range(5):
            done.append(number)
            cooperative.yield_point("Counting", number, 5)
        return "all"

    parts = cooperative.run_cooperatively(work)
    assert next(parts) == {"what": "Counting", "done": 0, "of": 5}
    assert done == [0], "it waits until it is asked to go on"
    parts.close()
    time.sleep(0.05)
    assert done == [0]
    assert run_to_end(cooperative.run_cooperatively(work))[1] == "all"

    def fails() -> None:
        raise Problem("No.")

    with pytest.raises(Problem, match="No"):
        [*cooperative.run_cooperatively(fails)]


@pytest.mark.slow
def test_the_worker_looks_at_rows_while_it_audits(worker: WorkerClient, tmp_path: Path) -> None:
    spec = spec_of("sft", write_rows(tmp_path / "a.jsonl", chats(3_000)))
    parts = worker.audit(spec)
    assert "progress" in next(parts)
    assert len(worker.preview_rows(spec, 3)["rows"]) == 3
    *told, last = parts
    assert told, "the rows were shown before it was at its end"
    shares = [part["progress"]["done"] for part in told if part["progress"]["total"]]
    assert shares == sorted(shares)
    assert last["done"]["rows"] == 3_000
    assert next(worker.audit(spec))["done"]["again"], "asked again, it is told at once"
