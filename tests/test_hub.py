"""Publishing: a result on the local Hub loads in an unmodified client; what cannot be published is refused with an error message."""

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
from tests.hub import LocalHub, run_local_hub
from tests.support import build_spec, run_command_line, run_losses, train, wait_until

TOKEN = "hf_" + "secret" * 6
PROMPTS = ["What colour is the sky?", "Hello, this is Nora. I forgot my password. It can wait."]


@pytest.fixture
def local_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """A local Hub for this process and its children; also sets the constants that huggingface_hub read from the environment on import."""
    from huggingface_hub import constants

    # A request of an earlier test that timed out is still retried in a thread, and each retry closes the shared HTTP client.
    wait_until(lambda: not any(thread.name == "hub" for thread in threading.enumerate()), 90)
    with run_local_hub(tmp_path / "hub") as hub:
        for name, value in hub.environment(tmp_path / "cache").items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield hub


def create_finished_run(**spec_changes: Any) -> Run:
    """A finished run with a small adapter folder, without any training."""
    run = store.create_run(
        local_workspace(), parse_spec(presets.preset_spec("first_tune").to_dict() | spec_changes), Launch()
    )
    run.adapter.mkdir()
    config = {"base_model_name_or_path": "/somewhere/presets/pocket", "peft_type": "LORA", "revision": None}
    (run.adapter / "adapter_config.json").write_text(json.dumps(config))
    (run.adapter / "adapter_model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    run.events.write_text('{"seq": 1, "attempt": 1, "time": 1.0, "kind": "done", "why": "finished"}\n')
    return run


def problem_raised_by(action: Any) -> Problem:
    with pytest.raises(Problem) as error:
        action()
    return error.value


# -- published results load in other programs ----------------------------------------------------------------------------

GENERATE_PROGRAM = """
import json, sys
from transformers import AutoModelForCausalLM, AutoTokenizer
from peft import AutoPeftModelForCausalLM
name, adapter, prompts = json.loads(sys.argv[1])
model = (AutoPeftModelForCausalLM if adapter else AutoModelForCausalLM).from_pretrained(name, dtype="float32")
tokenizer = AutoTokenizer.from_pretrained(name)
def answer(prompt):
    inputs = tokenizer.apply_chat_template([{"role": "user", "content": prompt}], add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output_ids = model.generate(**inputs, max_new_tokens=40, do_sample=False)
    return tokenizer.decode(output_ids[0][inputs["input_ids"].shape[1]:], skip_special_tokens=True)
print(json.dumps([answer(prompt) for prompt in prompts]))
"""


def generate_from_hub(local_hub: LocalHub, name: str, is_adapter: bool, folder: Path) -> list[str]:
    """The output of GENERATE_PROGRAM in a process without this repository and with an empty cache."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "TUNESMITH_HOME")}
    process = subprocess.run([sys.executable, "-c", GENERATE_PROGRAM, json.dumps([name, is_adapter, PROMPTS])], cwd=folder, capture_output=True, text=True,
                          timeout=240, env=environment | local_hub.environment(folder / "stranger"))  # fmt: skip
    assert process.returncode == 0, process.stderr[-3000:]
    return json.loads(process.stdout.splitlines()[-1])


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lora", "none"])
def test_a_published_result_gives_the_same_completions_in_another_program(
    local_hub: LocalHub, tmp_path: Path, kind: str
) -> None:
    knobs = {"steps": 12, "learning_rate": 0.004 if kind == "lora" else 0.0005}
    model = {"id": "pocket", "new_tokens": ["<auth>"] if kind == "lora" else []}
    run = train(build_spec("sft", "sample:tickets", knobs, model=model, adapter={"kind": kind}, prompts=PROMPTS, title="First tune"))  # fmt: skip
    files_before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    push_output = json.loads(run_command_line("push", run.id, "alice/first-tune", "--json").stdout)
    assert push_output["url"] == f"{local_hub.address}/alice/first-tune"
    chat_output = json.loads(run_command_line("chat", run.id, *(argument for prompt in PROMPTS for argument in ("--prompt", prompt)), "--json").stdout)  # fmt: skip
    assert generate_from_hub(local_hub, "alice/first-tune", kind == "lora", tmp_path) == chat_output["tuned"]
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == files_before
    published_files = local_hub.files("alice/first-tune")
    assert {"README.md", "curve.png"} <= published_files.keys()
    for name, content in published_files.items():
        assert not re.search(f"{paths.ROOT}|{tmp_path}".encode(), content), f"{name} contains a path of this machine"
        assert b"hf_alice" not in content
    if kind == "lora":
        continued_run = train(
            build_spec("sft", "sample:tickets", {"steps": 1}, model={"id": "pocket", "start_from": "alice/first-tune"})
        )
        assert run_losses(continued_run)[0] < run_losses(run)[0] - 0.5, "a run must start from the adapter on the Hub"
        assert "<auth>" in (continued_run.adapter / "tokenizer.json").read_text()


def test_the_base_model_is_published_once_with_the_visibility_of_the_result(local_hub: LocalHub) -> None:
    run = create_finished_run()
    api.publish_run(run, "alice/one")
    base_repo = local_hub.server.hub.store.repo("models", "alice/tunesmith-practice-model")
    first_commit = base_repo.commit_at("main")["sha"]
    api.publish_run(run, "alice/two")
    config = json.loads(local_hub.files("alice/two")["adapter_config.json"])
    assert config["base_model_name_or_path"] == "alice/tunesmith-practice-model"
    assert config["revision"] == base_repo.commit_at("main")["sha"] == first_commit
    assert base_repo.metadata["private"] is True
    weights = (paths.ROOT / "presets" / "pocket" / "model.safetensors").read_bytes()
    assert local_hub.files("alice/tunesmith-practice-model")["model.safetensors"] == weights
    api.publish_run(run, "alice/open", private=False)
    assert base_repo.metadata["private"] is False, "a public adapter needs a public base model"


def test_publishing_again_uploads_only_changes_and_deletes_old_files(local_hub: LocalHub) -> None:
    run = create_finished_run()
    api.publish_run(run, "alice/one")
    repo = local_hub.server.hub.store.repo("models", "alice/one")
    first_commit = repo.commit_at("main")["sha"]
    local_hub.server.hub.requests.clear()
    api.publish_run(run, "alice/one")
    assert repo.commit_at("main")["sha"] == first_commit
    assert not [path for method, path, _ in local_hub.server.hub.requests if method == "PUT" or "/commit/" in path]
    (run.adapter / "adapter_model.safetensors").rename(run.adapter / "model.safetensors")
    api.publish_run(run, "alice/one")
    assert {"model.safetensors"} == {name for name in local_hub.files("alice/one") if name.endswith("safetensors")}


def test_the_result_of_another_run_is_published_as_the_base_model(local_hub: LocalHub) -> None:
    base_run, adapter_run = create_finished_run(adapter={"kind": "none"}), create_finished_run()
    (base_run.adapter / "adapter_config.json").unlink()
    (base_run.adapter / "config.json").write_text("{}")
    config = {"base_model_name_or_path": str(base_run.adapter), "peft_type": "LORA"}
    (adapter_run.adapter / "adapter_config.json").write_text(json.dumps(config))
    api.publish_run(adapter_run, "alice/one")
    published_config = json.loads(local_hub.files("alice/one")["adapter_config.json"])
    assert published_config["base_model_name_or_path"] == "alice/one-base"
    assert local_hub.files("alice/one-base")["config.json"] == b"{}"


def test_an_adapter_of_a_local_base_model_is_refused(local_hub: LocalHub, tmp_path: Path) -> None:
    run = create_finished_run(model={"id": str(tmp_path / "theirs")})
    (run.adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(tmp_path / "theirs")}))
    refusal = problem_raised_by(lambda: api.publish_run(run, "alice/one"))
    assert "only this machine has" in refusal.text
    assert not local_hub.server.hub.store.repo("models", "alice/one").exists


def test_upload_progress_increases_to_all_bytes(local_hub: LocalHub) -> None:
    progress_calls: list[tuple[str, int, int]] = []
    api.publish_run(create_finished_run(), "alice/one", progress=lambda *arguments: progress_calls.append(arguments))
    assert progress_calls[0] == ("Checking your rights", 0, 1)
    upload_calls = [call for call in progress_calls if call[0].endswith("alice/one")]
    assert [uploaded_bytes for _, uploaded_bytes, _ in upload_calls] == sorted(
        uploaded_bytes for _, uploaded_bytes, _ in upload_calls
    )
    assert upload_calls[-1][1] == upload_calls[-1][2] > 0


# -- permissions -------------------------------------------------------------------------------------------------------


def test_the_signed_in_user_has_a_name_and_writable_namespaces(local_hub: LocalHub) -> None:
    assert api.signed_in_user("hf_alice") == api.HubUser("alice", "Alice", ("alice", "workshop"), True)
    assert api.signed_in_user("hf_bob").namespaces == ("bob",), "bob has no write access to the workshop"
    assert api.signed_in_user("hf_alice_reads").can_write is False
    assert api.writable_namespaces("hf_alice_reads") == []
    assert problem_raised_by(lambda: api.signed_in_user("hf_nobodys")).reason == "not_signed_in"


def test_without_a_token_no_user_is_signed_in(local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    assert api.signed_in_user() is None
    assert api.writable_namespaces() == []
    refusal = problem_raised_by(lambda: api.require_write_access("alice/one"))
    assert (refusal.reason, "hf auth login" in refusal.advice) == ("not_signed_in", True)


def test_a_space_ignores_the_token_in_its_environment(local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYSTEM", "spaces")
    assert os.environ["HF_TOKEN"] == "hf_alice"
    assert api.signed_in_user() is None
    assert problem_raised_by(lambda: api.publish_run(create_finished_run(), "alice/one")).reason == "not_signed_in"
    assert api.signed_in_user("hf_bob").name == "bob"


@pytest.mark.parametrize(
    ("target", "token", "reason", "message"),
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
def test_missing_write_access_and_occupied_names_are_refused_before_uploading(
    local_hub: LocalHub, target: str, token: str, reason: str, message: str
) -> None:
    connection.hub_client("hf_bob").create_repo("bob/there")
    connection.hub_client("hf_alice").create_repo("alice/other")
    connection.hub_client("hf_alice").upload_file(
        repo_id="alice/other", path_or_fileobj=b"{}", path_in_repo="config.json"
    )
    refusal = problem_raised_by(lambda: api.require_write_access(target, token))
    assert refusal.reason == reason
    assert message in str(refusal)


@pytest.mark.parametrize("target", ["alice/one", "workshop/one", "alice", "workshop", "alice/empty", "alice/ours"])
def test_write_access_is_granted_to_own_namespaces_and_own_repos(local_hub: LocalHub, target: str) -> None:
    connection.hub_client("hf_alice").create_repo("alice/empty")
    if target == "alice/ours":
        api.publish_run(create_finished_run(), target)
    api.require_write_access(target, "hf_alice")


def test_publishing_publicly_to_a_private_repo_is_refused(local_hub: LocalHub) -> None:
    api.publish_run(create_finished_run(), "alice/one")
    refusal = problem_raised_by(lambda: api.publish_run(create_finished_run(), "alice/one", private=False))
    assert "before would be open to everybody" in refusal.text
    assert local_hub.server.hub.store.repo("models", "alice/one").metadata["private"] is True


def test_publishing_privately_to_a_public_repo_is_refused(local_hub: LocalHub) -> None:
    connection.hub_client("hf_alice").create_repo("alice/open", private=False)
    assert "is public" in problem_raised_by(lambda: api.publish_run(create_finished_run(), "alice/open")).text
    assert ".gitattributes" in local_hub.files("alice/open")
    assert "adapter_config.json" not in local_hub.files("alice/open")


@pytest.mark.slow
@pytest.mark.first_cases(2)
@pytest.mark.parametrize(
    ("repo", "message"),
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
def test_an_invalid_repo_name_is_refused_with_a_suggestion(repo: str, message: str) -> None:
    stderr = run_command_line("push", create_finished_run().id, repo, expected_exit_code=2).stderr
    assert f"“{repo}” is not a name on the Hub." in stderr
    assert message in stderr


@pytest.mark.parametrize(
    ("title", "repo_name"), [("Ticket triage", "ticket-triage"), ("…", "tuned-model"), ("a" * 200, "a" * 90)]
)
def test_any_title_becomes_a_valid_repo_name(title: str, repo_name: str) -> None:
    assert api.make_repo_name(title) == repo_name
    assert api.split_repo_id(f"alice/{repo_name}") == ("alice", repo_name)


# -- a Hub that cannot be reached --------------------------------------------------------------------------------------


@pytest.fixture
def unresponsive_hub(local_hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Hub endpoint that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server_socket:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server_socket.getsockname()[1]}")
        yield


def test_a_search_ends_after_its_timeout(unresponsive_hub: None) -> None:
    start = time.monotonic()
    refusal = problem_raised_by(lambda: api.search_models("small", timeout=0.5))
    assert time.monotonic() - start < 3
    assert refusal.reason == "hub_out_of_reach"


@pytest.mark.slow
def test_an_unreachable_hub_gives_a_message_without_traceback_or_token(tmp_path: Path) -> None:
    """No server listens on this port."""
    run = create_finished_run()
    process = run_command_line("push", run.id, "me/mine", expected_exit_code=1, HF_HOME=str(tmp_path / "hf"), HF_TOKEN=TOKEN,
               HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_OFFLINE="0")  # fmt: skip
    assert "The Hub could not be reached" in process.stderr
    assert "Traceback" not in process.stderr
    assert TOKEN not in process.stderr + process.stdout
    assert not any(TOKEN.encode() in path.read_bytes() for path in run.path.rglob("*") if path.is_file())


def test_publishing_a_run_without_a_result_is_refused(local_hub: LocalHub) -> None:
    run = store.create_run(local_workspace(), presets.preset_spec("first_tune"), Launch())
    assert "no result yet" in problem_raised_by(lambda: api.publish_run(run, "alice/one")).text


# -- finding models ----------------------------------------------------------------------------------------------------


def test_a_search_returns_generative_models_with_their_parameter_count(local_hub: LocalHub) -> None:
    api.publish_run(create_finished_run(), "alice/one")
    (model,) = api.search_models("practice", "hf_alice")
    assert model["id"] == "alice/tunesmith-practice-model"
    assert 3_000_000 < model["parameters"] < 4_000_000
    assert (model["private"], model["gated"]) == (True, False)
    assert api.search_models("practice", "hf_bob") == [], "a private model must not be found by other users"
    assert api.search_models("nothing of that name", "hf_alice") == []
