"""Pictures: one form for all ways to name them, and nothing outside the folder of the file, from the network or too large."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from app.data import images


def png(size: tuple[int, int] = (4, 4), colour: str = "red") -> bytes:
    Image.new("RGB", size, colour).save(file := io.BytesIO(), "PNG")
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rows" / "images").mkdir(parents=True)
    (tmp_path / "rows" / "images" / "a.png").write_bytes(png())
    (tmp_path / "outside.png").write_bytes(png())
    (tmp_path / "rows" / "link.png").symlink_to(tmp_path / "outside.png")
    return tmp_path / "rows"


ASK, SAY = {"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "Red."}


def asked(*parts: Any) -> dict[str, Any]:
    return {"messages": [ASK | {"content": [*parts]}, SAY]}


@pytest.mark.parametrize("row", [
    {"images": ["images/a.png"]}, {"image": "images/a.png"}, {"images": "images/a.png"}, {"images": [{"path": "images/a.png"}]},
    asked({"type": "image", "image": "images/a.png"}), asked({"type": "image_url", "image_url": {"url": "images/a.png"}}),
    asked({"type": "image", "path": "images/a.png"}), asked({"type": "image_url", "content": "images/a.png"}),
], ids=str)  # fmt: skip
def test_a_file_beside_the_row_is_named_in_many_ways(row: dict[str, Any], folder: Path) -> None:
    shown = images.resolve_images({"messages": [ASK, SAY]} | row, folder)
    assert shown["images"] == [{"path": str(folder / "images" / "a.png"), "bytes": None}]
    assert "image" not in shown


@pytest.mark.parametrize("named", [
    {"bytes": png(), "path": None}, png(), Image.new("RGB", (4, 4), "red"), "data:image/png;base64," + base64.b64encode(png()).decode(),
], ids=lambda one: type(one).__name__)  # fmt: skip
def test_a_picture_may_be_in_the_row_itself(named: Any) -> None:
    [found] = images.resolve_images({"image": named}, None)["images"]
    assert Image.open(io.BytesIO(found["bytes"])).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(("named", "reason"), [
    ("../outside.png", images.OUTSIDE_FOLDER), ("/etc/passwd", images.OUTSIDE_FOLDER), ("link.png", images.OUTSIDE_FOLDER), ("a\0.png", images.OUTSIDE_FOLDER),
    ("images/../../outside.png", images.OUTSIDE_FOLDER), ("images/b.png", "a picture is not there"), ("images", "a picture is not there"),
    ("https://example.org/a.png", "a picture is named by an address: pictures must lie beside the file"),
    ("file:///etc/passwd", "a picture is named by an address: pictures must lie beside the file"),
    ("data:image/png;base64,%%", "a picture cannot be read"), (b"no picture", "a picture cannot be read"),
    (7, "a picture is not named by a file"), ("", "a picture is not named by a file"), ({"path": None}, "a picture is not named by a file"),
])  # fmt: skip
def test_what_cannot_be_had_or_should_not_is_left_out_with_its_reason(named: Any, reason: str, folder: Path) -> None:
    assert images.resolve_images({"messages": [ASK, SAY], "images": [named]}, folder) == reason


def test_a_file_of_nobodys_folder_is_not_read(folder: Path) -> None:
    assert images.resolve_images({"image": str(folder / "images" / "a.png")}, None) == images.OUTSIDE_FOLDER


def test_a_picture_that_would_fill_the_memory_is_left_out() -> None:
    bomb = png((9_000, 6_000), "white")
    assert len(bomb) < 1_000_000
    assert images.resolve_images({"image": bomb}, None) == "a picture has more than 50 million pixels"


def test_other_files_are_no_pictures(folder: Path) -> None:
    (folder / "a.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (folder / "a.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    assert {images.resolve_images({"image": name}, folder) for name in ("a.svg", "a.eps")} == {
        "a picture cannot be read"
    }


def test_places_in_the_turns_must_be_as_many_as_pictures(folder: Path) -> None:
    places = asked({"type": "image"}, {"type": "text", "text": "?"}, {"type": "image"})
    said = "the turns have another number of places for pictures than there are pictures"
    assert images.resolve_images(places | {"images": ["images/a.png"]}, folder) == said
    shown = images.resolve_images(places | {"images": ["images/a.png"] * 2}, folder)
    assert shown["messages"][0]["content"] == [{"type": "image"}, {"type": "text", "text": "?"}, {"type": "image"}]
    assert shown["messages"][1]["content"] == [{"type": "text", "text": "Red."}], "all turns have one form"


def test_turns_of_texts_alone_become_text() -> None:
    shown = images.resolve_images(asked({"type": "text", "text": "What "}, "is it?"), None)
    assert shown == {"messages": [ASK, SAY]}
    assert images.resolve_images({"text": "no turns"}, None) == {"text": "no turns"}


def test_what_is_neither_text_nor_picture_is_left_out() -> None:
    assert (
        images.resolve_images(asked({"type": "audio", "audio": "a.wav"}), None)
        == "a part of a turn is neither text nor a picture (audio)"
    )
