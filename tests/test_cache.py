"""Shelf: what was worked out once is found again whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.core import cache
from app.core.workspace import local_workspace
from tests.support import small_disk

DATA = {"a": [1, None, 2.5], "ü": "x" * 1_000}


def test_what_was_put_is_got(home: Path) -> None:
    cache.put(local_workspace(), "room", "one", {"a": 1})
    cache.put(local_workspace(), "room", "one", DATA)
    assert cache.get(local_workspace(), "room", "one") == DATA
    assert os.listdir(home / "cache" / "room") == ["one"]
    assert cache.keys(local_workspace(), "room") == ["one"]


def test_what_was_dropped_is_gone(home: Path) -> None:
    cache.put(local_workspace(), "room", "one", DATA)
    for _ in range(2):
        cache.delete(local_workspace(), "room", "one")
        assert cache.get(local_workspace(), "room", "one") is None


@pytest.mark.parametrize("place", [0, 20, 60, 80, 200, -1])
def test_what_is_damaged_is_as_if_it_were_not_there(home: Path, place: int) -> None:
    cache.put(local_workspace(), "room", "one", DATA)
    path = home / "cache" / "room" / "one"
    whole = bytearray(path.read_bytes())
    path.write_bytes(whole[:place])
    assert cache.get(local_workspace(), "room", "one") is None
    whole[place] ^= 1
    path.write_bytes(whole)
    assert cache.get(local_workspace(), "room", "one") is None


def test_what_other_code_made_is_not_trusted(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.put(local_workspace(), "room", "one", DATA)
    monkeypatch.setattr(cache, "CODE_HASH", "another")
    assert cache.get(local_workspace(), "room", "one") is None
    cache.put(local_workspace(), "room", "one", 1)
    assert cache.get(local_workspace(), "room", "one") == 1


def test_a_disk_that_takes_nothing_stops_nobody(home: Path) -> None:
    home.mkdir()
    (home / "cache").write_text("a file stands where the folder should")
    cache.put(local_workspace(), "room", "one", DATA)
    cache.delete(local_workspace(), "room", "one")
    assert (cache.get(local_workspace(), "room", "one"), cache.keys(local_workspace(), "room")) == (None, [])


def test_a_full_disk_keeps_what_was_there_and_no_half_of_anything(home: Path) -> None:
    with small_disk(home / "cache" / "room", "1m") as room:
        cache.put(local_workspace(), "room", "one", DATA)
        cache.put(local_workspace(), "room", "one", "x" * 2_000_000)
        assert os.listdir(room) == ["one"]
        assert cache.get(local_workspace(), "room", "one") == DATA


def test_what_json_cannot_say_is_not_kept(home: Path) -> None:
    cache.put(local_workspace(), "room", "one", {"a": "\ud800"})
    assert cache.get(local_workspace(), "room", "one") is None
    assert os.listdir(home / "cache" / "room") == []


@pytest.mark.parametrize("size", [0, 1, cache.SAMPLE_BYTES, 1_000_000])
def test_a_file_is_known_again_by_its_head_its_tail_and_places_between(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    data = os.urandom(size)
    path.write_bytes(data)
    with path.open("rb") as file:
        known = cache.sampled_hash(file, size)
    path.write_bytes(data + b"more")
    with path.open("rb") as file:
        assert cache.sampled_hash(file, size) == known
    for place in {0, size - 1} if size else ():
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with path.open("rb") as file:
            assert cache.sampled_hash(file, size) != known
