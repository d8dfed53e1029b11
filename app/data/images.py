"""Pictures: what a row shows beside its text, brought into one form, or why the row is left out. Nothing is fetched from anywhere."""

from __future__ import annotations

import base64
import binascii
import io
import os
import re
from pathlib import Path
from typing import Any

from app.data.files import Row

COLUMNS = ("images", "image")
TURNS = ("messages", "prompt", "completion", "chosen", "rejected", "reference")
KINDS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")  # read by code that meets strangers' files every day
MOST = 50_000_000  # pixels: larger ones are traps, or would be made smaller anyway
MARKS = ("train", "weight")  # whether a part is learned
EMBEDDED = re.compile(r"data:image/[\w.+-]+;base64,")
OUTSIDE = "a picture lies outside the folder of the file"

MARKS = ("train", "weight")  # by which a part says whether it is learned


class Refused(Exception):
    """Why a row is left out, in a few words."""


def shown(row: Row, folder: Path | None) -> Row | str:
    """The row with its pictures as `images`: [{"path"} or {"bytes"}], in the order of their places in the turns; a reason when
    one cannot be had. Rows without pictures stay, their turns as plain text. folder: where the file of the row lies; a
    picture must lie in it."""
    if is_plain(row):
        return row
    try:
        named, row = taken(row)
        row = parted(row, named)
        if not named:
            return row
        kept = {name: value for name, value in row.items() if name not in COLUMNS}
        return kept | {"images": [{"path": None, "bytes": None} | checked(placed(one, folder)) for one in named]}
    except Refused as refused:
        return str(refused)


def is_plain(row: Row) -> bool:
    """Most rows are: nothing names a picture, and no turn has parts."""
    if any(row.get(name) is not None for name in COLUMNS):
        return False
    turns = (row[name] for name in TURNS if isinstance(row.get(name), list))
    return not any(isinstance(one, dict) and isinstance(one.get("content"), list) for turn in turns for one in turn)


def taken(row: Row) -> tuple[list[Any], Row]:
    """(what the columns name, or else what the parts of turns name; the row without these names in its turns)."""
    found = (
        row.get("images") if row.get("images") is not None else [row["image"]] if row.get("image") is not None else []
    )
    found = [*found] if isinstance(found, list | tuple) else [found]
    inside: list[Any] = []
    turned = {name: [turn(one, inside) for one in row[name]] for name in TURNS if is_turns(row.get(name))}
    if found and inside:
        raise Refused("pictures are named both in a column and in the turns")
    return found or inside, row | turned


def turn(one: Row, inside: list[Any]) -> Row:
    """A turn whose content, where it is a list of parts, holds texts and bare places of pictures."""
    content = one.get("content")
    return one | {"content": [part(each, inside) for each in content]} if isinstance(content, list) else one


def part(one: Any, inside: list[Any]) -> Row:
    kind = one.get("type") if isinstance(one, dict) else None
    if isinstance(one, str):
        return {"type": "text", "text": one}
    if kind in ("text", "reasoning"):
        marks = {name: one[name] for name in MARKS if name in one}
        return {"type": kind, "text": str(one.get("text", one.get("content", "")))} | marks
    if kind not in ("image", "image_url"):
        raise Refused(f"a part of a turn is neither text nor a picture ({str(kind)[:20]})")
    named = next(
        (one[name] for name in ("image", "image_url", "url", "path", "content") if one.get(name) is not None), None
    )
    if named is not None:
        inside.append(named.get("url") if isinstance(named, dict) and "url" in named else named)
    return {"type": "image"}


def parted(row: Row, named: list[Any]) -> Row:
    """Turns of one form: plain text where there are no pictures, else lists of parts if any turn is one."""
    turns = [one for name in TURNS if is_turns(row.get(name)) for one in row[name]]
    if not any(isinstance(one.get("content"), list) for one in turns):
        return row
    places = sum(
        each["type"] == "image" for one in turns if isinstance(one.get("content"), list) for each in one["content"]
    )
    if places != len(named):
        raise Refused("the turns have another number of places for pictures than there are pictures")
    form = as_parts if named else as_text
    return row | {name: [form(one) for one in row[name]] for name in TURNS if is_turns(row.get(name))}


def as_parts(one: Row) -> Row:
    content = one.get("content")
    return one | {"content": [{"type": "text", "text": content}]} if isinstance(content, str) else one


def as_text(one: Row) -> Row:
    """Thoughts among the parts go where chat formats look for them. Parts that say whether they are learned stay parts."""
    content = one.get("content")
    if not isinstance(content, list) or any(name in each for each in content for name in MARKS):
        return one
    words, thoughts = (
        "".join(each["text"] for each in content if each["type"] == kind) for kind in ("text", "reasoning")
    )
    return one | {"content": words} | ({"reasoning_content": thoughts} if thoughts else {})


def is_turns(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


# -- one picture --------------------------------------------------------------------------------------------------


def placed(named: Any, folder: Path | None) -> Row:
    """{"path"} or {"bytes"} of what names a picture: a file beside the row's own, bytes, or a picture already read."""
    if isinstance(named, dict):
        return {"bytes": named["bytes"]} if named.get("bytes") else placed(named.get("path"), folder)
    if isinstance(named, bytes):
        return {"bytes": named}
    if hasattr(named, "save"):  # a Hub dataset gives it as pillow's
        named.convert("RGB").save(file := io.BytesIO(), "PNG")
        return {"bytes": file.getvalue()}
    if not isinstance(named, str) or not named:
        raise Refused("a picture is not named by a file")
    if found := EMBEDDED.match(named):
        return {"bytes": decoded(named[found.end() :])}
    if re.match(r"[a-z][a-z0-9+.-]+:", named, re.IGNORECASE):
        raise Refused("a picture is named by an address: pictures must lie beside the file")
    return {"path": inside(named, folder)}


def decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:  # a border: a person's file
        raise Refused("a picture cannot be read") from error


def inside(named: str, folder: Path | None) -> str:
    """The whole path of a file in the folder, also where links lead."""
    if folder is None or "\0" in named:
        raise Refused(OUTSIDE)
    root = os.path.realpath(folder)
    path = os.path.realpath(os.path.join(root, named))
    if os.path.commonpath([root, path]) != root:
        raise Refused(OUTSIDE)
    if not os.path.isfile(path):
        raise Refused("a picture is not there")
    return path


def checked(picture: Row) -> Row:
    """Looks only at the head of the file: is it a picture, and of a size one can work with?"""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(picture.get("path") or io.BytesIO(picture["bytes"]), formats=KINDS) as opened:
            if opened.width * opened.height > MOST:
                raise Refused(f"a picture has more than {MOST // 1_000_000} million pixels")
    except (
        UnidentifiedImageError,
        OSError,
        ValueError,
        Image.DecompressionBombError,
    ) as error:  # a border: a person's file
        raise Refused("a picture cannot be read") from error
    return picture
