"""Shelf: what was worked out once is found again whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app import shelf
from tests.support import small_disk

DATA = {"a": [1, None, 2.5], "ü": "x" * 1_000}


def test_what_was_put_is_got(home: Path) -> None:
    shelf.put("room", "one", {"a": 1})
    shelf.put("room", "one", DATA)
    assert shelf.get("room", "one") == DATA
    assert os.listdir(home / "cache" / "room") == ["one"]
    assert shelf.names("room") == ["one"]


def test_what_was_dropped_is_gone(home: Path) -> None:
    shelf.put("room", "one", DATA)
    for _ in range(2):
        shelf.drop("room", "one")
        assert shelf.get("room", "one") is None


@pytest.mark.parametrize("place", [0, 20, 60, 80, 200, -1])
def test_what_is_damaged_is_as_if_it_were_not_there(home: Path, place: int) -> None:
    shelf.put("room", "one", DATA)
    path = home / "cache" / "room" / "one"
    whole = bytearray(path.read_bytes())
    path.write_bytes(whole[:place])
    assert shelf.get("room", "one") is None
    whole[place] ^= 1
    path.write_bytes(whole)
    assert shelf.get("room", "one") is None


def test_what_other_code_made_is_not_trusted(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.put("room", "one", DATA)
    monkeypatch.setattr(shelf, "CODE", "another")
    assert shelf.get("room", "one") is None
    shelf.put("room", "one", 1)
    assert shelf.get("room", "one") == 1


def test_a_disk_that_takes_nothing_stops_nobody(home: Path) -> None:
    home.mkdir()
    (home / "cache").write_text("a file stands where the folder should")
    shelf.put("room", "one", DATA)
    shelf.drop("room", "one")
    assert (shelf.get("room", "one"), shelf.names("room")) == (None, [])


def test_a_full_disk_keeps_what_was_there_and_no_half_of_anything(home: Path) -> None:
    with small_disk(home / "cache" / "room", "1m") as room:
        shelf.put("room", "one", DATA)
        shelf.put("room", "one", "x" * 2_000_000)
        assert os.listdir(room) == ["one"]
        assert shelf.get("room", "one") == DATA


def test_what_json_cannot_say_is_not_kept(home: Path) -> None:
    shelf.put("room", "one", {"a": "\ud800"})
    assert shelf.get("room", "one") is None
    assert os.listdir(home / "cache" / "room") == []


@pytest.mark.parametrize("size", [0, 1, shelf.LOOK, 1_000_000])
def test_a_file_is_known_again_by_its_head_its_tail_and_places_between(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    data = os.urandom(size)
    path.write_bytes(data)
    with path.open("rb") as file:
        known = shelf.likeness(file, size)
    path.write_bytes(data + b"more")
    with path.open("rb") as file:
        assert shelf.likeness(file, size) == known
    for place in {0, size - 1} if size else ():
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with path.open("rb") as file:
            assert shelf.likeness(file, size) != known
