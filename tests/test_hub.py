"""Hub: a result published to a Hub of this machine loads anywhere; what cannot be published is refused in a sentence."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.core import paths
from app.core.problems import Problem
from app.core.workspace import local_workspace
from app.hub import api, connection
from app.planning import presets
from app.runs import store
from app.runs.store import Run
from app.setup.spec import Launch, parse_spec
from tests.hub import LocalHub, opened
from tests.support import cli, losses, spec_of, train, until

TOKEN = "hf_" + "secret" * 6
PROMPTS = ["What colour is the sky?", "Hello, this is Nora. I forgot my password. It can wait."]


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """A Hub for this process and its children; constants that the client read from the environment before follow."""
    from huggingface_hub import constants

    # A question of an earlier test that nobody waits for tries again for a while, and each try closes the shared client.
    until(lambda: not any(thread.name == "hub" for thread in threading.enumerate()), 90)
    with opened(tmp_path / "hub") as opened_hub:
        for name, value in opened_hub.environment(tmp_path / "cache").items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield opened_hub


def finished(**changes: Any) -> Run:
    """A run with a small result; nothing was trained."""
    run = store.create_run(
        local_workspace(), parse_spec(presets.preset_spec("first_tune").to_dict() | changes), Launch()
    )
    run.adapter.mkdir()
    config = {"base_model_name_or_path": "/somewhere/presets/pocket", "peft_type": "LORA", "revision": None}
    (run.adapter / "adapter_config.json").write_text(json.dumps(config))
    (run.adapter / "adapter_model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    run.events.write_text('{"seq": 1, "attempt": 1, "time": 1.0, "kind": "done", "why": "finished"}\n')
    return run


def problem(deed: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        deed()
    return caught.value


# -- what is published loads anywhere ------------------------------------------------------------------------------------

LOAD = """
import json, sys
from transformers import AutoModelForCausalLM, AutoTokenizer
from peft import AutoPeftModelForCausalLM
name, adapter, prompts = json.loads(sys.argv[1])
model = (AutoPeftModelForCausalLM if adapter else AutoModelForCausalLM).from_pretrained(name, dtype="float32")
tokenizer = AutoTokenizer.from_pretrained(name)
def answer(prompt):
    asked = tokenizer.apply_chat_template([{"role": "user", "content": prompt}], add_generation_prompt=True, return_tensors="pt", return_dict=True)
    told = model.generate(**asked, max_new_tokens=40, do_sample=False)
    return tokenizer.decode(told[0][asked["input_ids"].shape[1]:], skip_special_tokens=True)
print(json.dumps([answer(prompt) for prompt in prompts]))
"""


def answers_from(local: LocalHub, name: str, adapter: bool, place: Path) -> list[str]:
    """A stranger's own program, in a folder without this repository, with an empty cache."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "TUNESMITH_HOME")}
    done = subprocess.run([sys.executable, "-c", LOAD, json.dumps([name, adapter, PROMPTS])], cwd=place, capture_output=True, text=True,
                          timeout=240, env=environment | local.environment(place / "stranger"))  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lora", "none"])
def test_a_published_result_answers_elsewhere_as_here(local: LocalHub, tmp_path: Path, kind: str) -> None:
    knobs = {"steps": 12, "learning_rate": 0.004 if kind == "lora" else 0.0005}
    model = {"id": "pocket", "new_tokens": ["<auth>"] if kind == "lora" else []}
    run = train(spec_of("sft", "sample:tickets", knobs, model=model, adapter={"kind": kind}, prompts=PROMPTS, title="First tune"))  # fmt: skip
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    said = json.loads(cli("push", run.id, "alice/first-tune", "--json").stdout)
    assert said["url"] == f"{local.address}/alice/first-tune"
    asked = json.loads(cli("chat", run.id, *(part for prompt in PROMPTS for part in ("--prompt", prompt)), "--json").stdout)  # fmt: skip
    assert answers_from(local, "alice/first-tune", kind == "lora", tmp_path) == asked["tuned"]
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before
    sent = local.files("alice/first-tune")
    assert {"README.md", "curve.png"} <= sent.keys()
    for name, content in sent.items():
        assert not re.search(f"{paths.ROOT}|{tmp_path}".encode(), content), f"{name} names a folder of this machine"
        assert b"hf_alice" not in content
    if kind == "lora":
        onward = train(
            spec_of("sft", "sample:tickets", {"steps": 1}, model={"id": "pocket", "start_from": "alice/first-tune"})
        )
        assert losses(onward)[0] < losses(run)[0] - 0.5, "a run goes on from an adapter on the Hub by its name"
        assert "<auth>" in (onward.adapter / "tokenizer.json").read_text()


def test_the_practice_model_goes_along_once_and_as_private_as_the_result(local: LocalHub) -> None:
    run = finished()
    api.publish_run(run, "alice/one")
    practice = local.server.hub.store.repo("models", "alice/tunesmith-practice-model")
    first = practice.at("main")["sha"]
    api.publish_run(run, "alice/two")
    config = json.loads(local.files("alice/two")["adapter_config.json"])
    assert config["base_model_name_or_path"] == "alice/tunesmith-practice-model"
    assert config["revision"] == practice.at("main")["sha"] == first
    assert practice.facts["private"] is True
    weights = (paths.ROOT / "presets" / "pocket" / "model.safetensors").read_bytes()
    assert local.files("alice/tunesmith-practice-model")["model.safetensors"] == weights
    api.publish_run(run, "alice/open", private=False)
    assert practice.facts["private"] is False, "what everybody may load needs a base that everybody may load"


def test_publishing_again_sends_nothing_and_replaces_what_is_old(local: LocalHub) -> None:
    run = finished()
    api.publish_run(run, "alice/one")
    repo = local.server.hub.store.repo("models", "alice/one")
    first = repo.at("main")["sha"]
    local.server.hub.seen.clear()
    api.publish_run(run, "alice/one")
    assert repo.at("main")["sha"] == first
    assert not [path for method, path, _ in local.server.hub.seen if method == "PUT" or "/commit/" in path]
    (run.adapter / "adapter_model.safetensors").rename(run.adapter / "model.safetensors")
    api.publish_run(run, "alice/one")
    assert {"model.safetensors"} == {name for name in local.files("alice/one") if name.endswith("safetensors")}


def test_a_result_on_a_result_of_ones_own_brings_it_along(local: LocalHub) -> None:
    whole, adapter = finished(adapter={"kind": "none"}), finished()
    (whole.adapter / "adapter_config.json").unlink()
    (whole.adapter / "config.json").write_text("{}")
    config = {"base_model_name_or_path": str(whole.adapter), "peft_type": "LORA"}
    (adapter.adapter / "adapter_config.json").write_text(json.dumps(config))
    api.publish_run(adapter, "alice/one")
    told = json.loads(local.files("alice/one")["adapter_config.json"])
    assert told["base_model_name_or_path"] == "alice/one-base"
    assert local.files("alice/one-base")["config.json"] == b"{}"


def test_a_base_that_only_this_machine_has_is_refused(local: LocalHub, tmp_path: Path) -> None:
    run = finished(model={"id": str(tmp_path / "theirs")})
    (run.adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(tmp_path / "theirs")}))
    said = problem(lambda: api.publish_run(run, "alice/one"))
    assert "only this machine has" in said.text
    assert not local.server.hub.store.repo("models", "alice/one").exists


def test_progress_counts_up_to_all_bytes(local: LocalHub) -> None:
    told: list[tuple[str, int, int]] = []
    api.publish_run(finished(), "alice/one", progress=lambda *said: told.append(said))
    assert told[0] == ("Checking your rights", 0, 1)
    last = [one for one in told if one[0].endswith("alice/one")]
    assert [done for _, done, _ in last] == sorted(done for _, done, _ in last)
    assert last[-1][1] == last[-1][2] > 0


# -- who may -----------------------------------------------------------------------------------------------------------


def test_somebody_signed_in_is_named_with_the_places_they_may_publish_in(local: LocalHub) -> None:
    assert api.signed_in_user("hf_alice") == api.HubUser("alice", "Alice", ("alice", "workshop"), True)
    assert api.signed_in_user("hf_bob").namespaces == ("bob",), "bob only reads in the workshop"
    assert api.signed_in_user("hf_alice_reads").can_write is False
    assert api.writable_namespaces("hf_alice_reads") == []
    assert problem(lambda: api.signed_in_user("hf_nobodys")).reason == "not_signed_in"


def test_nobody_is_signed_in_without_a_token(local: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    assert api.signed_in_user() is None
    assert api.writable_namespaces() == []
    said = problem(lambda: api.require_write_access("alice/one"))
    assert (said.reason, "hf auth login" in said.advice) == ("not_signed_in", True)


def test_a_space_never_uses_its_own_token(local: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYSTEM", "spaces")
    assert os.environ["HF_TOKEN"] == "hf_alice"
    assert api.signed_in_user() is None
    assert problem(lambda: api.publish_run(finished(), "alice/one")).reason == "not_signed_in"
    assert api.signed_in_user("hf_bob").name == "bob"


@pytest.mark.parametrize(
    ("where", "token", "reason", "words"),
    [
        ("bob/one", "hf_alice", "no_rights", "Publish as one of: alice, workshop."),
        ("bob", "hf_alice", "no_rights", "may not publish as “bob”"),
        ("alice/one", "hf_bob", "no_rights", "signed in as bob"),
        ("workshop/one", "hf_bob", "no_rights", "signed in as bob"),
        ("alice/one", "hf_alice_reads", "no_rights", "may only read"),
        ("bob/there", "hf_alice", "taken", "such as alice/there-2"),
        ("alice/other", "hf_alice", "taken", "already holds something else"),
    ],
)
def test_what_would_be_refused_is_refused_before(
    local: LocalHub, where: str, token: str, reason: str, words: str
) -> None:
    connection.hub_client("hf_bob").create_repo("bob/there")
    connection.hub_client("hf_alice").create_repo("alice/other")
    connection.hub_client("hf_alice").upload_file(
        repo_id="alice/other", path_or_fileobj=b"{}", path_in_repo="config.json"
    )
    said = problem(lambda: api.require_write_access(where, token))
    assert said.reason == reason
    assert words in str(said)


@pytest.mark.parametrize("where", ["alice/one", "workshop/one", "alice", "workshop", "alice/empty", "alice/ours"])
def test_what_may_be_done_is_not_refused(local: LocalHub, where: str) -> None:
    connection.hub_client("hf_alice").create_repo("alice/empty")
    if where == "alice/ours":
        api.publish_run(finished(), where)
    api.require_write_access(where, "hf_alice")


def test_what_was_published_privately_is_not_opened_by_a_later_result(local: LocalHub) -> None:
    api.publish_run(finished(), "alice/one")
    said = problem(lambda: api.publish_run(finished(), "alice/one", private=False))
    assert "before would be open to everybody" in said.text
    assert local.server.hub.store.repo("models", "alice/one").facts["private"] is True


def test_a_private_result_never_goes_where_everybody_reads(local: LocalHub) -> None:
    connection.hub_client("hf_alice").create_repo("alice/open", private=False)
    assert "is public" in problem(lambda: api.publish_run(finished(), "alice/open")).text
    assert ".gitattributes" in local.files("alice/open")
    assert "adapter_config.json" not in local.files("alice/open")


@pytest.mark.parametrize(
    ("repo", "words"),
    [
        ("mine", "Write it as owner/name."),
        ("me/mine/too", "Write it as owner/name."),
        ("me/", "Write it as owner/name."),
        ("https://huggingface.co/me/mine", "Write it as owner/name."),
        ("me/mi ne", "me/mi-ne would do"),
        ("me/Größe №1", "me/grosse-no1 would do"),
        ("me/../x", "Write it as owner/name."),
        ("me/a--b", "me/a-b would do"),
        ("me/x.git", "me/x-git would do"),
    ],
)
def test_a_name_that_is_none_on_the_hub_is_refused_with_one_that_is(repo: str, words: str) -> None:
    said = cli("push", finished().id, repo, code=2).stderr
    assert f"“{repo}” is not a name on the Hub." in said
    assert words in said


@pytest.mark.parametrize(
    ("text", "name"), [("Ticket triage", "ticket-triage"), ("…", "tuned-model"), ("a" * 200, "a" * 90)]
)
def test_any_text_becomes_a_name(text: str, name: str) -> None:
    assert api.make_repo_name(text) == name
    assert api.split_repo_id(f"alice/{name}") == ("alice", name)


# -- a Hub that is not there -------------------------------------------------------------------------------------------


@pytest.fixture
def silent(local: LocalHub, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Something that takes every connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{door.getsockname()[1]}")
        yield


def test_a_search_never_waits_longer_than_asked(silent: None) -> None:
    start = time.monotonic()
    said = problem(lambda: api.search_models("small", timeout=0.5))
    assert time.monotonic() - start < 3
    assert said.reason == "hub_out_of_reach"


def test_a_hub_out_of_reach_is_said_in_a_sentence_and_nothing_is_lost(tmp_path: Path) -> None:
    """Nothing of this machine listens there."""
    run = finished()
    done = cli("push", run.id, "me/mine", code=1, HF_HOME=str(tmp_path / "hf"), HF_TOKEN=TOKEN,
               HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_OFFLINE="0")  # fmt: skip
    assert "The Hub could not be reached" in done.stderr
    assert "Traceback" not in done.stderr
    assert TOKEN not in done.stderr + done.stdout
    assert not any(TOKEN.encode() in path.read_bytes() for path in run.path.rglob("*") if path.is_file())


def test_a_run_without_a_result_is_not_published(local: LocalHub) -> None:
    run = store.create_run(local_workspace(), presets.preset_spec("first_tune"), Launch())
    assert "no result yet" in problem(lambda: api.publish_run(run, "alice/one")).text


# -- finding models ----------------------------------------------------------------------------------------------------


def test_a_search_finds_models_that_write_with_their_size(local: LocalHub) -> None:
    api.publish_run(finished(), "alice/one")
    (found,) = api.search_models("practice", "hf_alice")
    assert found["id"] == "alice/tunesmith-practice-model"
    assert 3_000_000 < found["parameters"] < 4_000_000
    assert (found["private"], found["gated"]) == (True, False)
    assert api.search_models("practice", "hf_bob") == [], "what is private is not found by others"
    assert api.search_models("nothing of that name", "hf_alice") == []
