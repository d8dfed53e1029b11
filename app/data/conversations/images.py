"""Images of a row in one form: a list of paths or bytes, with image parts at their positions in the messages.

Nothing is fetched from the network. A row whose images cannot be used is dropped with a reason.
"""

from __future__ import annotations

import base64
import binascii
import io
import os
import re
from pathlib import Path
from typing import TypeAlias

from PIL import Image, UnidentifiedImageError

from app.data.conversations.messages import MESSAGE_COLUMNS, is_dict_list
from app.data.conversations.train_flags import TRAIN_FLAG_KEYS
from app.data.fields import Cell, Row

_IMAGE_COLUMNS = ("images", "image")
_IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")  # only formats whose decoders are widely used on untrusted files
_MAX_PIXELS = 50_000_000  # larger images are decompression bombs, or would be scaled down anyway
_DATA_URL = re.compile(r"data:image/[\w.+-]+;base64,")
OUTSIDE_FOLDER = "a picture lies outside the folder of the file"


# What names an image: a file name, a data URL, bytes, an object with one of these, or an image of Pillow.
_Reference: TypeAlias = "Cell | Image.Image"


class _ImageRefused(Exception):
    """The reason why a row is dropped."""


def resolve_images(row: Row, folder: Path | None) -> Row | str:
    """The row with its images as `images`: [{"path", "bytes"}], one of the two set, in the order of the image parts;
    or the reason why the row is dropped. In a row without images, text parts are joined to plain text.

    folder: the folder of the row's file. Image files must lie in it.
    """
    if _is_text_only(row):
        return row
    try:
        references, row = _collect_image_references(row)
        row = _unify_content(row, references)
        if not references:
            return row
        other_columns = {name: value for name, value in row.items() if name not in _IMAGE_COLUMNS}
        return other_columns | {
            "images": [
                {"path": None, "bytes": None} | _verify_image(_resolve_reference(reference, folder))
                for reference in references
            ]
        }
    except _ImageRefused as error:
        return str(error)


def _is_text_only(row: Row) -> bool:
    """Whether the row has no image column and no content parts, as most rows."""
    if any(row.get(name) is not None for name in _IMAGE_COLUMNS):
        return False
    conversations = (row[name] for name in MESSAGE_COLUMNS if isinstance(row.get(name), list))
    return not any(
        isinstance(message, dict) and isinstance(message.get("content"), list)
        for messages in conversations
        for message in messages
    )


def _collect_image_references(row: Row) -> tuple[list[_Reference], Row]:
    """(image references of the columns, or else of the content parts; the row with bare image parts)."""
    column_references = _references_in_columns(row)
    message_references: list[_Reference] = []
    normalized_columns = {
        name: [_replace_image_parts(message, message_references) for message in row[name]]
        for name in MESSAGE_COLUMNS
        if is_dict_list(row.get(name))
    }
    if column_references and message_references:
        raise _ImageRefused("pictures are named both in a column and in the turns")
    return column_references or message_references, row | normalized_columns


def _references_in_columns(row: Row) -> list[_Reference]:
    """What the column `images`, or else `image`, holds, as a list."""
    images = row.get("images")
    if images is None:
        return [row["image"]] if row.get("image") is not None else []
    return [*images] if isinstance(images, list | tuple) else [images]


def _replace_image_parts(message: Row, references: list[_Reference]) -> Row:
    """The message with normalized content parts; what its image parts refer to is appended to `references`."""
    content = message.get("content")
    if not isinstance(content, list):
        return message
    return message | {"content": [_replace_image_part(content_part, references) for content_part in content]}


def _replace_image_part(content_part: Cell, references: list[_Reference]) -> Row:
    """A part as text, reasoning or bare image part; what an image part refers to is appended to `references`."""
    if isinstance(content_part, str):
        return {"type": "text", "text": content_part}
    fields: Row = content_part if isinstance(content_part, dict) else {}
    part_type = fields.get("type")
    if part_type in ("text", "reasoning"):
        train_flags = {name: fields[name] for name in TRAIN_FLAG_KEYS if name in fields}
        return {"type": part_type, "text": str(fields.get("text", fields.get("content", "")))} | train_flags
    if part_type not in ("image", "image_url"):
        raise _ImageRefused(f"a part of a turn is neither text nor a picture ({str(part_type)[:20]})")
    reference = next(
        (fields[name] for name in ("image", "image_url", "url", "path", "content") if fields.get(name) is not None),
        None,
    )
    if reference is not None:
        references.append(reference.get("url") if isinstance(reference, dict) and "url" in reference else reference)
    return {"type": "image"}


def _unify_content(row: Row, references: list[_Reference]) -> Row:
    """The row with messages of one form: plain text without images, lists of parts with them (if any message has
    parts)."""
    messages = [message for name in MESSAGE_COLUMNS if is_dict_list(row.get(name)) for message in row[name]]
    if not any(isinstance(message.get("content"), list) for message in messages):
        return row
    num_image_parts = sum(
        content_part["type"] == "image"
        for message in messages
        if isinstance(message.get("content"), list)
        for content_part in message["content"]
    )
    if num_image_parts != len(references):
        raise _ImageRefused("the turns have another number of places for pictures than there are pictures")
    convert_content = _content_as_parts if references else _content_as_text
    return row | {
        name: [convert_content(message) for message in row[name]]
        for name in MESSAGE_COLUMNS
        if is_dict_list(row.get(name))
    }


def _content_as_parts(message: Row) -> Row:
    """The message with its text as a list of one text part."""
    content = message.get("content")
    return message | {"content": [{"type": "text", "text": content}]} if isinstance(content, str) else message


def _content_as_text(message: Row) -> Row:
    """The message with its parts joined to text; reasoning goes to `reasoning_content`, where chat templates look
    for it.

    Parts with train flags stay parts.
    """
    content = message.get("content")
    if not isinstance(content, list) or any(
        name in content_part for content_part in content for name in TRAIN_FLAG_KEYS
    ):
        return message
    text, reasoning = (
        "".join(content_part["text"] for content_part in content if content_part["type"] == part_type)
        for part_type in ("text", "reasoning")
    )
    return message | {"content": text} | ({"reasoning_content": reasoning} if reasoning else {})


# -- one image ---------------------------------------------------------------------------------------------------------


def _resolve_reference(reference: _Reference, folder: Path | None) -> Row:
    """{"path"} or {"bytes"} of an image reference: a file name, a data URL, bytes, or a Pillow image."""
    if isinstance(reference, dict):
        image_bytes = reference.get("bytes")
        return {"bytes": image_bytes} if image_bytes else _resolve_reference(reference.get("path"), folder)
    if isinstance(reference, bytes):
        return {"bytes": reference}
    if isinstance(reference, Image.Image):  # datasets from the Hub decode images to Pillow's
        reference.convert("RGB").save(file := io.BytesIO(), "PNG")
        return {"bytes": file.getvalue()}
    if not isinstance(reference, str) or not reference:
        raise _ImageRefused("a picture is not named by a file")
    if data_url := _DATA_URL.match(reference):
        return {"bytes": _decode_base64(reference[data_url.end() :])}
    if re.match(r"[a-z][a-z0-9+.-]+:", reference, re.IGNORECASE):
        raise _ImageRefused("a picture is named by an address: pictures must lie beside the file")
    return {"path": _path_inside_folder(reference, folder)}


def _decode_base64(encoded: str) -> bytes:
    """The bytes of a data URL. Raises ImageRefused."""
    try:
        return base64.b64decode(encoded, validate=True)
    except binascii.Error as error:  # boundary: a person's file
        raise _ImageRefused("a picture cannot be read") from error


def _path_inside_folder(file_name: str, folder: Path | None) -> str:
    """The absolute path of a file in the folder, links resolved. Raises ImageRefused for a path that leads outside."""
    if folder is None or "\0" in file_name:
        raise _ImageRefused(OUTSIDE_FOLDER)
    root = os.path.realpath(folder)
    path = os.path.realpath(os.path.join(root, file_name))
    if os.path.commonpath([root, path]) != root:
        raise _ImageRefused(OUTSIDE_FOLDER)
    if not os.path.isfile(path):
        raise _ImageRefused("a picture is not there")
    return path


def _verify_image(image: Row) -> Row:
    """The image as it is, once its header is valid and its size allowed; pixels are not decoded.

    Raises ImageRefused.
    """
    try:
        with Image.open(image.get("path") or io.BytesIO(image["bytes"]), formats=_IMAGE_FORMATS) as opened_image:
            if opened_image.width * opened_image.height > _MAX_PIXELS:
                raise _ImageRefused(f"a picture has more than {_MAX_PIXELS // 1_000_000} million pixels")
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        # boundary: a person's file
        raise _ImageRefused("a picture cannot be read") from error
    return image
