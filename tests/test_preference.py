"""Preference methods (DPO, KTO, ORPO, CPO, SimPO, TPO): settings, rows, batches and previews."""

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
from tests.support import build_spec, preference_rows, ranked_rows, unpaired_preference_rows, write_rows

ROW_BUILDERS = {
    "dpo": preference_rows,
    "kto": unpaired_preference_rows,
    "orpo": preference_rows,
    "cpo": preference_rows,
    "simpo": preference_rows,
    "tpo": ranked_rows,
}
FULL_FINETUNING = {"kind": "none"}


def build_job(method: str, folder: Path, rows: list[dict[str, Any]] | None = None, knobs: dict[str, Any] | None = None, **spec_fields: Any) -> Any:  # fmt: skip
    """A job on the practice model in this process. first: reads at most this many rows, like a preview."""
    from app.engine.job import Job
    from app.engine.libraries import prepare_libraries
    from app.engine.model.device import Device

    prepare_libraries()
    max_rows = spec_fields.pop("first", None)
    source = write_rows(folder / f"{method}.jsonl", ROW_BUILDERS[method](24) if rows is None else rows)
    default_knobs = {"steps": 6, "batch_size": 4, "learning_rate": 0.001}
    return Job(
        build_spec(method, source, default_knobs | (knobs or {}), **spec_fields),
        folder,
        Device("cpu"),
        max_rows=max_rows,
    )


# -- settings -----------------------------------------------------------------------------------------------------


def test_a_custom_loss_mix_is_parsed() -> None:
    assert dpo.parse_mix("sigmoid 0.8, bco_pair 0.2,sft 1") == {"sigmoid": 0.8, "bco_pair": 0.2, "sft": 1.0}
    assert dpo.loss_weights(dpo.Knobs(loss="own_mix", mix=" hinge 2 ")) == {"hinge": 2.0}
    assert dpo.loss_weights(dpo.Knobs(loss="mpo")) == {"sigmoid": 0.8, "bco_pair": 0.2, "sft": 1.0}
    assert dpo.loss_weights(dpo.Knobs(loss="aot")) == {"aot": 1.0}


@pytest.mark.parametrize("mix", ["", "simpo 1", "sigmoid", "sigmoid much", "sigmoid 1, sigmoid 2", "sigmoid 0", "sigmoid -1", "sigmoid nan", "sigmoid 1,"])  # fmt: skip
def test_an_invalid_loss_mix_is_refused(mix: str) -> None:
    with pytest.raises(ValueError, match=r"own|loss|weight"):
        dpo.Knobs(loss="own_mix", mix=mix)


@pytest.mark.parametrize(("knobs_class", "knobs", "message"), [
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
def test_contradictory_settings_are_refused(knobs_class: Any, knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        knobs_class(**knobs)


def test_compatible_settings_are_accepted() -> None:
    dpo.Knobs(loss="own_mix", mix="robust 1, sft 0.5", label_smoothing=0.1, divergence="alpha_divergence")
    dpo.Knobs(loss="mpo", beyond_shorter=0.5)
    kto.Knobs(loss="apo_zero_unpaired", batch_size=1)


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_sync_every_is_refused_where_the_reference_is_the_model_without_its_adapter(method: str) -> None:
    spec = {"method": method, "data": [{"source": "sample:manners"}], "knobs": {"sync_every": 64}}
    with pytest.raises(Problem, match="cannot catch up"):
        preflight.check_spec(parse_spec(spec))
    preflight.check_spec(parse_spec(spec | {"adapter": FULL_FINETUNING}))


def test_experimental_methods_are_marked() -> None:
    experimental_methods = {module.__name__.rpartition(".")[2] for module in (dpo, kto, orpo, cpo, simpo, tpo) if module.METHOD.experimental}  # fmt: skip
    assert experimental_methods == {"orpo", "cpo", "simpo", "tpo"}


def test_the_rarer_label_gets_a_larger_weight_so_that_both_labels_count_the_same() -> None:
    few_liked, few_disliked = [True] + [False] * 3, [True] * 4 + [False]
    assert kto.side_weights(kto.Knobs(), few_liked) == {"desirable_weight": 3.0, "undesirable_weight": 1.0}
    assert kto.side_weights(kto.Knobs(), few_disliked) == {"desirable_weight": 1.0, "undesirable_weight": 4.0}
    assert kto.side_weights(kto.Knobs(balance=False), few_liked) == {"desirable_weight": 1.0, "undesirable_weight": 1.0}
    assert kto.side_weights(kto.Knobs(liked_weight=2.0), few_disliked) == {
        "desirable_weight": 2.0,
        "undesirable_weight": 4.0,
    }
    assert kto.side_weights(kto.Knobs(), [True, True]) == {"desirable_weight": 1.0, "undesirable_weight": 1.0}


# -- metrics ------------------------------------------------------------------------------------------------------


def test_roc_auc_matches_values_worked_by_hand() -> None:
    assert preference.roc_auc([3.0, 2.0], [1.0, 2.0]) == pytest.approx(3.5 / 4)
    assert preference.roc_auc([1.0], [1.0]) == 0.5
    assert preference.roc_auc([1.0], [2.0, 3.0]) == 0.0
    assert preference.roc_auc([], [1.0]) is None


def test_the_command_line_shows_each_answer_below_the_prompt() -> None:
    from app.cli.terminal import format_preview_row

    def preview_tokens(*text_and_trained: tuple[str, bool]) -> list[dict[str, Any]]:
        return [{"text": text, "trained": trained} for text, trained in text_and_trained]

    sides = [{"name": "chosen", "tokens": preview_tokens(("Hello", True), ("!", True))}, {"name": "rejected", "tokens": preview_tokens(("What?", True))}]  # fmt: skip
    assert (
        format_preview_row({"tokens": preview_tokens(("Hi\n", False)), "sides": sides})
        == "Hi\n\nchosen: [Hello][!]\nrejected: [What?]"
    )
    assert format_preview_row({"tokens": preview_tokens(("Hi", False), (" there", True))}) == "Hi[ there]"


# -- rows ---------------------------------------------------------------------------------------------------------


def test_text_after_the_end_token_is_removed() -> None:
    assert strip_after_eos("Yes.<end>\n", "<end>") == strip_after_eos("Yes.<end>", "<end>") == "Yes.<end>"
    assert strip_after_eos("Yes. \n", "<end>") == "Yes. \n"
    assert strip_after_eos("Yes.\n", None) == "Yes.\n"


def test_a_pair_is_split_into_a_liked_and_a_disliked_row() -> None:
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
    "rows",
    [preference_rows(96), sorted(unpaired_preference_rows(96), key=lambda row: row["label"])],
    ids=["pairs", "sorted"],
)
def test_every_kto_batch_holds_both_labels(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    """Also when a file is sorted by label: TRL reads in order, and batches with a single label teach little."""
    from app.engine.preview.trainer_capture import first_batches

    batches = first_batches(build_job("kto", tmp_path, rows, {"batch_size": 8}), 12)
    assert len(batches) == 12
    assert all(0 < int(batch["label"].sum()) < len(batch["label"]) for batch in batches)


@pytest.mark.slow
def test_the_first_rows_of_a_preview_keep_the_order_of_the_file(tmp_path: Path) -> None:
    from app.engine.preview import trainer_capture

    _, examples = trainer_capture.prepare_examples(build_job("kto", tmp_path, preference_rows(8), first=3))
    assert [example.texts[0].name for example in examples][:3] == ["liked", "disliked", "liked"]
    assert [example.raw_row["prompt"][0]["content"] for example in examples][:3] == [
        "Count to 2.",
        "Count to 2.",
        "Count to 3.",
    ]


def preview_all_rows(job: Any) -> list[dict[str, Any]]:
    from app.engine.preview import row_preview, trainer_capture

    trainer, examples = trainer_capture.prepare_examples(job)
    return [row_preview.preview_example(job, trainer, example, max_tokens=10_000) for example in examples]


def joined_text(row: dict[str, Any], **flags: Any) -> str:
    return "".join(
        token["text"] for token in row["tokens"] if all(bool(token.get(key)) == value for key, value in flags.items())
    )


EXPECTED_SIDES = {
    "dpo": [("chosen", "Gladly. 1 2!", "made likelier"), ("rejected", "No, not 0 times.", "made less likely")],
    "tpo": [("chosen", "Gladly. 1 2!", "made likelier"), ("rejected", "No, not 0 times.", "made less likely"),
            ("reference", "With pleasure, 0: Gladly. 1 2!", "learned: the best answer")],
    "kto": [("liked", "0", "made likelier")],
}  # fmt: skip
EXPECTED_SIDES |= dict.fromkeys(("orpo", "cpo", "simpo"), EXPECTED_SIDES["dpo"])


@pytest.mark.slow
@pytest.mark.parametrize("method", ROW_BUILDERS)
def test_a_preview_shows_the_prompt_once_and_each_answer_with_its_end(method: str, tmp_path: Path) -> None:
    """Exactly one end token is trained and nothing follows it; TRL's older trainers would train two."""
    row = preview_all_rows(build_job(method, tmp_path, first=4))[0]
    question = "Say 0." if method == "kto" else "Count to 2."
    assert joined_text(row) == f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    assert joined_text(row, trained=True) == (joined_text(row)[len("<|im_start|>") :] if method == "orpo" else ""), "only ORPO trains on the prompt"  # fmt: skip
    assert [side["name"] for side in row["sides"]] == [name for name, *_ in EXPECTED_SIDES[method]]
    for side, (_, expected_text, why) in zip(row["sides"], EXPECTED_SIDES[method], strict=True):
        assert joined_text(side).rstrip("\n") == f"{expected_text}<|im_end|>"
        assert all(token["trained"] for token in side["tokens"])
        assert {segment["why"] for segment in side["segments"]} >= {f"the answer: {why}", f"the end token: {why}"}
        assert side["cut"] == 0
    if method in ("orpo", "cpo", "simpo"):
        assert all(not joined_text(side).endswith("\n") for side in row["sides"])


@pytest.mark.slow
@pytest.mark.parametrize("method", ROW_BUILDERS)
def test_a_preview_reports_answers_that_lose_their_end(method: str, tmp_path: Path) -> None:
    from app.engine.preview import findings, row_preview, trainer_capture

    job = build_job(method, tmp_path, knobs={"max_length": 20}, first=4)
    trainer, examples = trainer_capture.prepare_examples(job)
    rows = [row_preview.preview_example(job, trainer, example, max_tokens=10_000) for example in examples]
    side = next(side for row in rows for side in row["sides"] if side["cut"])
    truncated_row = next(row for row in rows if side in row["sides"])
    assert truncated_row["length"] + side["length"] == 20
    assert joined_text(side, cut=True).rstrip("\n").endswith("<|im_end|>")
    assert not any(token["trained"] for token in side["tokens"] if token.get("cut"))
    assert any(
        "lose" in finding["text"] and "20 tokens" in finding["text"]
        for finding in findings.preview_findings(job, trainer, rows)
    )


@pytest.mark.slow
@pytest.mark.parametrize("method", ROW_BUILDERS)
def test_a_row_whose_prompt_fills_the_maximum_length_is_left_out_and_counted(method: str, tmp_path: Path) -> None:
    """In TRL's older trainers such a row would make the loss NaN."""
    from app.engine.preview import findings, row_preview, trainer_capture

    rows = ROW_BUILDERS[method](6)
    rows[2] = rows[2] | {"prompt": "word " * 60}
    job = build_job(method, tmp_path, rows, {"max_length": 48})
    trainer, examples = trainer_capture.prepare_examples(job)
    previewed_rows = [row_preview.preview_example(job, trainer, example, max_tokens=10_000) for example in examples]
    assert [finding["count"] for finding in findings.left_out_findings(job, trainer, previewed_rows)] == [1]
    assert len(examples) == 5
    assert any("answer" in segment["why"] for segment in previewed_rows[2]["sides"][0]["segments"]), "the rows after it still match their reasons"  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("method", ROW_BUILDERS)
def test_rows_of_a_batch_preview_are_named_after_their_answers(method: str, tmp_path: Path) -> None:
    from app.engine.tokens import decode

    [batch] = decode.decode_batches(build_job(method, tmp_path, knobs={"max_length": 24}), 1)
    names = [row["name"] for row in batch["rows"]]
    if method == "kto":
        assert set(names) == {"liked", "disliked"}
    else:
        assert names == [name for name, *_ in EXPECTED_SIDES[method] for _ in range(4)]
    for row in batch["rows"]:
        [document] = row["documents"]
        trained_text = joined_text(document, trained=True)
        assert ("user" in trained_text) == (method == "orpo" and row["name"] == "chosen")
        assert trained_text
        assert len(document["tokens"]) <= 24


@pytest.mark.slow
def test_messages_and_tools_with_different_keys_reach_the_trainer_without_nulls(tmp_path: Path) -> None:
    from app.engine.preview import trainer_capture

    tools = [
        {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {name: {}}}}}
        for name in ("f", "g")
    ]
    rows = [{"chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}],
             "rejected": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "What?", "name": "bot"}]},
            {"chosen": [{"role": "user", "content": "Ho", "name": "ann"}, {"role": "assistant", "content": "Oh!"}],
             "rejected": [{"role": "user", "content": "Ho", "name": "ann"}, {"role": "assistant", "content": "No."}],
             "tools": tools, "chat_template_kwargs": {"enable_thinking": False}}]  # fmt: skip
    for method in ("dpo", "kto", "orpo"):
        job = build_job(method, tmp_path, rows, first=2)
        answers = [row["chosen"] + row["rejected"] if "chosen" in row else row["completion"] for row in job.data.train]
        messages = [
            message for row, answer in zip(job.data.train, answers, strict=True) for message in row["prompt"] + answer
        ]
        assert all(None not in message.values() for message in messages)
        assert {"name" in message for message in messages} == {True, False}
        assert [row["tools"] for row in job.data.train] in ([None, tools], [None, None, tools, tools])
        assert job.data.train[-1]["chat_template_kwargs"] == {"enable_thinking": False}
        assert len(trainer_capture.prepare_examples(job)[1]) == 2
