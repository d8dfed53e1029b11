"""Images: one format for all ways to name them; nothing outside the folder of the file, from the network or too large is read."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from app.data.conversations import images


def png_bytes(size: tuple[int, int] = (4, 4), color: str = "red") -> bytes:
    Image.new("RGB", size, color).save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rows" / "images").mkdir(parents=True)
    (tmp_path / "rows" / "images" / "a.png").write_bytes(png_bytes())
    (tmp_path / "outside.png").write_bytes(png_bytes())
    (tmp_path / "rows" / "link.png").symlink_to(tmp_path / "outside.png")
    return tmp_path / "rows"


USER_MESSAGE, ASSISTANT_MESSAGE = {"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "Red."}


def row_with_content(*content_parts: Any) -> dict[str, Any]:
    return {"messages": [USER_MESSAGE | {"content": [*content_parts]}, ASSISTANT_MESSAGE]}


@pytest.mark.parametrize("row", [
    {"images": ["images/a.png"]}, {"image": "images/a.png"}, {"images": "images/a.png"}, {"images": [{"path": "images/a.png"}]},
    row_with_content({"type": "image", "image": "images/a.png"}), row_with_content({"type": "image_url", "image_url": {"url": "images/a.png"}}),
    row_with_content({"type": "image", "path": "images/a.png"}), row_with_content({"type": "image_url", "content": "images/a.png"}),
], ids=str)  # fmt: skip
def test_an_image_path_is_accepted_in_every_format(row: dict[str, Any], folder: Path) -> None:
    resolved = images.resolve_images({"messages": [USER_MESSAGE, ASSISTANT_MESSAGE]} | row, folder)
    assert resolved["images"] == [{"path": str(folder / "images" / "a.png"), "bytes": None}]
    assert "image" not in resolved


@pytest.mark.parametrize("image", [
    {"bytes": png_bytes(), "path": None}, png_bytes(), Image.new("RGB", (4, 4), "red"), "data:image/png;base64," + base64.b64encode(png_bytes()).decode(),
], ids=lambda image: type(image).__name__)  # fmt: skip
def test_an_image_may_be_embedded_in_the_row(image: Any) -> None:
    [resolved_image] = images.resolve_images({"image": image}, None)["images"]
    assert Image.open(io.BytesIO(resolved_image["bytes"])).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(("image", "reason"), [
    ("../outside.png", images.OUTSIDE_FOLDER), ("/etc/passwd", images.OUTSIDE_FOLDER), ("link.png", images.OUTSIDE_FOLDER), ("a\0.png", images.OUTSIDE_FOLDER),
    ("images/../../outside.png", images.OUTSIDE_FOLDER), ("images/b.png", "a picture is not there"), ("images", "a picture is not there"),
    ("https://example.org/a.png", "a picture is named by an address: pictures must lie beside the file"),
    ("file:///etc/passwd", "a picture is named by an address: pictures must lie beside the file"),
    ("data:image/png;base64,%%", "a picture cannot be read"), (b"no picture", "a picture cannot be read"),
    (7, "a picture is not named by a file"), ("", "a picture is not named by a file"), ({"path": None}, "a picture is not named by a file"),
])  # fmt: skip
def test_an_unreadable_or_forbidden_image_is_rejected_with_its_reason(image: Any, reason: str, folder: Path) -> None:
    assert images.resolve_images({"messages": [USER_MESSAGE, ASSISTANT_MESSAGE], "images": [image]}, folder) == reason


def test_an_image_path_without_a_folder_is_not_read(folder: Path) -> None:
    assert images.resolve_images({"image": str(folder / "images" / "a.png")}, None) == images.OUTSIDE_FOLDER


@pytest.mark.slow
def test_an_image_with_too_many_pixels_is_rejected() -> None:
    large_image = png_bytes((9_000, 6_000), "white")
    assert len(large_image) < 1_000_000
    assert images.resolve_images({"image": large_image}, None) == "a picture has more than 50 million pixels"


def test_svg_and_eps_files_are_rejected(folder: Path) -> None:
    (folder / "a.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (folder / "a.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    assert {images.resolve_images({"image": name}, folder) for name in ("a.svg", "a.eps")} == {
        "a picture cannot be read"
    }


def test_the_number_of_image_placeholders_must_equal_the_number_of_images(folder: Path) -> None:
    row = row_with_content({"type": "image"}, {"type": "text", "text": "?"}, {"type": "image"})
    expected_reason = "the turns have another number of places for pictures than there are pictures"
    assert images.resolve_images(row | {"images": ["images/a.png"]}, folder) == expected_reason
    resolved = images.resolve_images(row | {"images": ["images/a.png"] * 2}, folder)
    assert resolved["messages"][0]["content"] == [{"type": "image"}, {"type": "text", "text": "?"}, {"type": "image"}]
    assert resolved["messages"][1]["content"] == [{"type": "text", "text": "Red."}], (
        "all messages get the same content format"
    )


def test_messages_with_only_text_parts_become_plain_strings() -> None:
    resolved = images.resolve_images(row_with_content({"type": "text", "text": "What "}, "is it?"), None)
    assert resolved == {"messages": [USER_MESSAGE, ASSISTANT_MESSAGE]}
    assert images.resolve_images({"text": "no turns"}, None) == {"text": "no turns"}


def test_a_content_part_that_is_neither_text_nor_image_is_rejected() -> None:
    assert (
        images.resolve_images(row_with_content({"type": "audio", "audio": "a.wav"}), None)
        == "a part of a turn is neither text nor a picture (audio)"
    )
