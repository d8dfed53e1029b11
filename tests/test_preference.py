"""Preferring: what the methods that compare answers are told, what they read, and what a preview shows of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.core.problems import Problem
from app.engine.methods import cpo, dpo, kto, orpo, simpo, tpo
from app.engine.trainers import preference
from app.engine.trainers.cpo_orpo import strip_after_eos
from app.planning import preflight
from app.setup.spec import parse_spec
from tests.support import preferences, ranks, spec_of, thumbs, write_rows

METHODS = {
    "dpo": preferences,
    "kto": thumbs,
    "orpo": preferences,
    "cpo": preferences,
    "simpo": preferences,
    "tpo": ranks,
}
WEIGHTS = {"kind": "none"}


def job_of(method: str, folder: Path, rows: list[dict[str, Any]] | None = None, knobs: dict[str, Any] | None = None, **more: Any) -> Any:  # fmt: skip
    """A job on the practice model in this process. first: only so many rows, as a preview asks."""
    from app.engine.job import Job
    from app.engine.libraries import prepare_libraries
    from app.engine.model.device import Device

    prepare_libraries()
    first = more.pop("first", None)
    source = write_rows(folder / f"{method}.jsonl", METHODS[method](24) if rows is None else rows)
    settings = {"steps": 6, "batch_size": 4, "learning_rate": 0.001}
    return Job(spec_of(method, source, settings | (knobs or {}), **more), folder, Device("cpu"), max_rows=first)


# -- settings -----------------------------------------------------------------------------------------------------


def test_a_mix_of_ones_own_is_read_as_it_is_written() -> None:
    assert dpo.parse_mix("sigmoid 0.8, bco_pair 0.2,sft 1") == {"sigmoid": 0.8, "bco_pair": 0.2, "sft": 1.0}
    assert dpo.loss_weights(dpo.Knobs(loss="own_mix", mix=" hinge 2 ")) == {"hinge": 2.0}
    assert dpo.loss_weights(dpo.Knobs(loss="mpo")) == {"sigmoid": 0.8, "bco_pair": 0.2, "sft": 1.0}
    assert dpo.loss_weights(dpo.Knobs(loss="aot")) == {"aot": 1.0}


@pytest.mark.parametrize("mix", ["", "simpo 1", "sigmoid", "sigmoid much", "sigmoid 1, sigmoid 2", "sigmoid 0", "sigmoid -1", "sigmoid nan", "sigmoid 1,"])  # fmt: skip
def test_a_mix_that_cannot_be_read_is_refused(mix: str) -> None:
    with pytest.raises(ValueError, match=r"own|loss|weight"):
        dpo.Knobs(loss="own_mix", mix=mix)


@pytest.mark.parametrize(("shape", "knobs", "said"), [
    (dpo.Knobs, {"mix": "sigmoid 1"}, "set both or neither"),
    (dpo.Knobs, {"loss": "exo_pair"}, "needs a label_smoothing"),
    (dpo.Knobs, {"label_smoothing": 0.1}, "means nothing to sigmoid"),
    (dpo.Knobs, {"loss": "mpo", "divergence": "forward_kl"}, "bco_pair knows no other divergence"),
    (dpo.Knobs, {"loss": "rpo", "weigh_pairs": True}, "cannot weigh the pairs of sft"),
    (dpo.Knobs, {"sync_every": 64, "precompute_reference": True}, "sync_every moves it"),
    (kto.Knobs, {"batch_size": 1}, "a batch_size of 2 is the least"),
    (kto.Knobs, {"liked_weight": 0.0, "disliked_weight": 0.0}, "nothing would be learned"),
    (cpo.Knobs, {"loss": "hinge", "label_smoothing": 0.1}, "means nothing to hinge"),
    (tpo.Knobs, {"loss": "ipo", "label_smoothing": 0.1}, "means nothing to ipo"),
])  # fmt: skip
def test_settings_that_mean_nothing_together_are_refused(shape: Any, knobs: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        shape(**knobs)


def test_settings_that_belong_together_are_taken() -> None:
    dpo.Knobs(loss="own_mix", mix="robust 1, sft 0.5", label_smoothing=0.1, divergence="alpha_divergence")
    dpo.Knobs(loss="mpo", beyond_shorter=0.5)
    kto.Knobs(loss="apo_zero_unpaired", batch_size=1)


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_a_start_beside_an_adapter_cannot_catch_up(method: str) -> None:
    spec = {"method": method, "data": [{"source": "sample:manners"}], "knobs": {"sync_every": 64}}
    with pytest.raises(Problem, match="cannot catch up"):
        preflight.check_spec(parse_spec(spec))
    preflight.check_spec(parse_spec(spec | {"adapter": WEIGHTS}))


def test_experimental_methods_say_so() -> None:
    marked = {module.__name__.rpartition(".")[2] for module in (dpo, kto, orpo, cpo, simpo, tpo) if module.METHOD.experimental}  # fmt: skip
    assert marked == {"orpo", "cpo", "simpo", "tpo"}


def test_the_rarer_thumb_counts_more_so_that_both_sides_weigh_the_same() -> None:
    few_liked, few_disliked = [True] + [False] * 3, [True] * 4 + [False]
    assert kto.side_weights(kto.Knobs(), few_liked) == {"desirable_weight": 3.0, "undesirable_weight": 1.0}
    assert kto.side_weights(kto.Knobs(), few_disliked) == {"desirable_weight": 1.0, "undesirable_weight": 4.0}
    assert kto.side_weights(kto.Knobs(balance=False), few_liked) == {"desirable_weight": 1.0, "undesirable_weight": 1.0}
    assert kto.side_weights(kto.Knobs(liked_weight=2.0), few_disliked) == {
        "desirable_weight": 2.0,
        "undesirable_weight": 4.0,
    }
    assert kto.side_weights(kto.Knobs(), [True, True]) == {"desirable_weight": 1.0, "undesirable_weight": 1.0}


# -- measures -----------------------------------------------------------------------------------------------------


def test_how_well_two_kinds_are_told_apart_by_hand() -> None:
    assert preference.roc_auc([3.0, 2.0], [1.0, 2.0]) == pytest.approx(3.5 / 4)
    assert preference.roc_auc([1.0], [1.0]) == 0.5
    assert preference.roc_auc([1.0], [2.0, 3.0]) == 0.0
    assert preference.roc_auc([], [1.0]) is None


def test_the_command_line_shows_each_answer_below_the_prompt() -> None:
    from app.cli.terminal import format_preview_row

    def tokens(*told: tuple[str, bool]) -> list[dict[str, Any]]:
        return [{"text": text, "trained": trained} for text, trained in told]

    sides = [{"name": "chosen", "tokens": tokens(("Hello", True), ("!", True))}, {"name": "rejected", "tokens": tokens(("What?", True))}]  # fmt: skip
    assert (
        format_preview_row({"tokens": tokens(("Hi\n", False)), "sides": sides})
        == "Hi\n\nchosen: [Hello][!]\nrejected: [What?]"
    )
    assert format_preview_row({"tokens": tokens(("Hi", False), (" there", True))}) == "Hi[ there]"


# -- rows ---------------------------------------------------------------------------------------------------------


def test_what_a_template_writes_after_the_end_token_goes() -> None:
    assert strip_after_eos("Yes.<end>\n", "<end>") == strip_after_eos("Yes.<end>", "<end>") == "Yes.<end>"
    assert strip_after_eos("Yes. \n", "<end>") == "Yes. \n"
    assert strip_after_eos("Yes.\n", None) == "Yes.\n"


def test_a_pair_is_one_liked_and_one_disliked_answer() -> None:
    pairs = {
        "prompt": ["a", "b"],
        "chosen": ["1", "3"],
        "rejected": ["2", "4"],
        "tools": [None, "x"],
        "margin": [1.0, 2.0],
    }
    assert kto.unpair(pairs) == {"prompt": ["a", "a", "b", "b"], "completion": ["1", "2", "3", "4"],
                                   "label": [True, False, True, False], "tools": [None, None, "x", "x"]}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "rows", [preferences(96), sorted(thumbs(96), key=lambda row: row["label"])], ids=["pairs", "sorted"]
)
def test_batches_of_thumbs_hold_both_kinds(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    """Also where a file holds all liked answers first: TRL reads in order, and learns little from batches of one kind."""
    from app.engine.preview.trainer_capture import first_batches

    found = first_batches(job_of("kto", tmp_path, rows, {"batch_size": 8}), 12)
    assert len(found) == 12
    assert all(0 < int(batch["label"].sum()) < len(batch["label"]) for batch in found)


@pytest.mark.slow
def test_the_first_rows_of_a_preview_keep_the_order_of_the_file(tmp_path: Path) -> None:
    from app.engine.preview import trainer_capture

    _, found = trainer_capture.prepare_examples(job_of("kto", tmp_path, preferences(8), first=3))
    assert [example.texts[0].name for example in found][:3] == ["liked", "disliked", "liked"]
    assert [example.raw_row["prompt"][0]["content"] for example in found][:3] == [
        "Count to 2.",
        "Count to 2.",
        "Count to 3.",
    ]


def looked_at(job: Any) -> list[dict[str, Any]]:
    from app.engine.preview import row_preview, trainer_capture

    trainer, found = trainer_capture.prepare_examples(job)
    return [row_preview.preview_example(job, trainer, example, max_tokens=10_000) for example in found]


def text_of(part: dict[str, Any], **only: Any) -> str:
    return "".join(
        token["text"] for token in part["tokens"] if all(bool(token.get(key)) == value for key, value in only.items())
    )


ANSWERS = {
    "dpo": [("chosen", "Gladly. 1 2!", "made likelier"), ("rejected", "No, not 0 times.", "made less likely")],
    "tpo": [("chosen", "Gladly. 1 2!", "made likelier"), ("rejected", "No, not 0 times.", "made less likely"),
            ("reference", "With pleasure, 0: Gladly. 1 2!", "learned: the best answer")],
    "kto": [("liked", "0", "made likelier")],
}  # fmt: skip
ANSWERS |= dict.fromkeys(("orpo", "cpo", "simpo"), ANSWERS["dpo"])


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_preview_shows_the_prompt_once_and_each_answer_with_its_end(method: str, tmp_path: Path) -> None:
    """One end token, learned, and none after it: TRL's older trainers would learn two."""
    row = looked_at(job_of(method, tmp_path, first=4))[0]
    asked = "Say 0." if method == "kto" else "Count to 2."
    assert text_of(row) == f"<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\n"
    assert text_of(row, trained=True) == (text_of(row)[len("<|im_start|>") :] if method == "orpo" else ""), "only ORPO imitates prompts"  # fmt: skip
    assert [side["name"] for side in row["sides"]] == [name for name, *_ in ANSWERS[method]]
    for side, (_, words, why) in zip(row["sides"], ANSWERS[method], strict=True):
        assert text_of(side).rstrip("\n") == f"{words}<|im_end|>"
        assert all(token["trained"] for token in side["tokens"])
        assert {segment["why"] for segment in side["segments"]} >= {f"the answer: {why}", f"the end token: {why}"}
        assert side["cut"] == 0
    if method in ("orpo", "cpo", "simpo"):
        assert all(not text_of(side).endswith("\n") for side in row["sides"])


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_preview_says_which_answers_lose_their_end(method: str, tmp_path: Path) -> None:
    from app.engine.preview import findings, row_preview, trainer_capture

    job = job_of(method, tmp_path, knobs={"max_length": 20}, first=4)
    trainer, found = trainer_capture.prepare_examples(job)
    rows = [row_preview.preview_example(job, trainer, example, max_tokens=10_000) for example in found]
    side = next(side for row in rows for side in row["sides"] if side["cut"])
    shown = next(row for row in rows if side in row["sides"])
    assert shown["length"] + side["length"] == 20
    assert text_of(side, cut=True).rstrip("\n").endswith("<|im_end|>")
    assert not any(token["trained"] for token in side["tokens"] if token.get("cut"))
    assert any(
        "lose" in one["text"] and "20 tokens" in one["text"] for one in findings.preview_findings(job, trainer, rows)
    )


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_row_whose_prompt_fills_the_maximum_length_is_left_out_and_counted(method: str, tmp_path: Path) -> None:
    """TRL's older trainers would learn from it as a loss that is no number."""
    from app.engine.preview import findings, row_preview, trainer_capture

    rows = METHODS[method](6)
    rows[2] = rows[2] | {"prompt": "word " * 60}
    job = job_of(method, tmp_path, rows, {"max_length": 48})
    trainer, found = trainer_capture.prepare_examples(job)
    shown = [row_preview.preview_example(job, trainer, example, max_tokens=10_000) for example in found]
    assert [one["count"] for one in findings.left_out_findings(job, trainer, shown)] == [1]
    assert len(found) == 5
    assert any("answer" in segment["why"] for segment in shown[2]["sides"][0]["segments"]), "the rows after it keep their words"  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_batches_are_shown_with_the_names_of_their_answers(method: str, tmp_path: Path) -> None:
    from app.engine.tokens import decode

    [batch] = decode.decode_batches(job_of(method, tmp_path, knobs={"max_length": 24}), 1)
    names = [row["name"] for row in batch["rows"]]
    if method == "kto":
        assert set(names) == {"liked", "disliked"}
    else:
        assert names == [name for name, *_ in ANSWERS[method] for _ in range(4)]
    for row in batch["rows"]:
        [document] = row["documents"]
        trained = text_of(document, trained=True)
        assert ("user" in trained) == (method == "orpo" and row["name"] == "chosen")
        assert trained
        assert len(document["tokens"]) <= 24


@pytest.mark.slow
def test_turns_and_tools_with_different_keys_reach_the_trainer_without_nulls(tmp_path: Path) -> None:
    from app.engine.preview import trainer_capture

    tools = [{"name": "f", "parameters": {"a": 1}}, {"name": "g", "parameters": {"b": 1}}]
    rows = [{"chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}],
             "rejected": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "What?", "name": "bot"}]},
            {"chosen": [{"role": "user", "content": "Ho", "name": "ann"}, {"role": "assistant", "content": "Oh!"}],
             "rejected": [{"role": "user", "content": "Ho", "name": "ann"}, {"role": "assistant", "content": "No."}],
             "tools": tools, "chat_template_kwargs": {"enable_thinking": False}}]  # fmt: skip
    for method in ("dpo", "kto", "orpo"):
        job = job_of(method, tmp_path, rows, first=2)
        answers = [row["chosen"] + row["rejected"] if "chosen" in row else row["completion"] for row in job.data.train]
        turns = [turn for row, said in zip(job.data.train, answers, strict=True) for turn in row["prompt"] + said]
        assert all(None not in turn.values() for turn in turns)
        assert {"name" in turn for turn in turns} == {True, False}
        assert [row["tools"] for row in job.data.train] in ([None, tools], [None, None, tools, tools])
        assert job.data.train[-1]["chat_template_kwargs"] == {"enable_thinking": False}
        assert len(trainer_capture.prepare_examples(job)[1]) == 2
