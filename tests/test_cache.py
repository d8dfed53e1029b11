"""Disk cache: an entry is returned complete or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.core import cache
from app.core.workspace import local_workspace
from tests.support import small_disk

PAYLOAD = {"a": [1, None, 2.5], "ü": "x" * 1_000}


def test_get_returns_the_last_stored_payload(home: Path) -> None:
    cache.put(local_workspace(), "room", "one", {"a": 1})
    cache.put(local_workspace(), "room", "one", PAYLOAD)
    assert cache.get(local_workspace(), "room", "one") == PAYLOAD
    assert os.listdir(home / "cache" / "room") == ["one"]
    assert cache.keys(local_workspace(), "room") == ["one"]


def test_a_deleted_entry_is_missing(home: Path) -> None:
    cache.put(local_workspace(), "room", "one", PAYLOAD)
    for _ in range(2):
        cache.delete(local_workspace(), "room", "one")
        assert cache.get(local_workspace(), "room", "one") is None


@pytest.mark.parametrize("offset", [0, 20, 60, 80, 200, -1])
def test_a_truncated_or_corrupted_entry_counts_as_missing(home: Path, offset: int) -> None:
    cache.put(local_workspace(), "room", "one", PAYLOAD)
    path = home / "cache" / "room" / "one"
    file_bytes = bytearray(path.read_bytes())
    path.write_bytes(file_bytes[:offset])
    assert cache.get(local_workspace(), "room", "one") is None
    file_bytes[offset] ^= 1
    path.write_bytes(file_bytes)
    assert cache.get(local_workspace(), "room", "one") is None


def test_an_entry_written_by_other_code_counts_as_missing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.put(local_workspace(), "room", "one", PAYLOAD)
    monkeypatch.setattr(cache, "CODE_HASH", "another")
    assert cache.get(local_workspace(), "room", "one") is None
    cache.put(local_workspace(), "room", "one", 1)
    assert cache.get(local_workspace(), "room", "one") == 1


def test_an_unusable_cache_folder_raises_no_error(home: Path) -> None:
    home.mkdir()
    (home / "cache").write_text("a file stands where the folder should")
    cache.put(local_workspace(), "room", "one", PAYLOAD)
    cache.delete(local_workspace(), "room", "one")
    assert (cache.get(local_workspace(), "room", "one"), cache.keys(local_workspace(), "room")) == (None, [])


def test_a_full_disk_keeps_the_old_entry_and_leaves_no_partial_file(home: Path) -> None:
    with small_disk(home / "cache" / "room", "1m") as namespace_folder:
        cache.put(local_workspace(), "room", "one", PAYLOAD)
        cache.put(local_workspace(), "room", "one", "x" * 2_000_000)
        assert os.listdir(namespace_folder) == ["one"]
        assert cache.get(local_workspace(), "room", "one") == PAYLOAD


def test_a_payload_that_json_cannot_encode_is_not_stored(home: Path) -> None:
    cache.put(local_workspace(), "room", "one", {"a": "\ud800"})
    assert cache.get(local_workspace(), "room", "one") is None
    assert os.listdir(home / "cache" / "room") == []


@pytest.mark.parametrize("size", [0, 1, cache.SAMPLE_BYTES, 1_000_000])
def test_sampled_hash_changes_when_the_first_or_last_byte_changes(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    content = os.urandom(size)
    path.write_bytes(content)
    with path.open("rb") as file:
        original_hash = cache.sampled_hash(file, size)
    path.write_bytes(content + b"more")
    with path.open("rb") as file:
        assert cache.sampled_hash(file, size) == original_hash
    for offset in {0, size - 1} if size else ():
        path.write_bytes(content[:offset] + bytes([content[offset] ^ 1]) + content[offset + 1 :])
        with path.open("rb") as file:
            assert cache.sampled_hash(file, size) != original_hash
