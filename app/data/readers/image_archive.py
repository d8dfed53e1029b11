"""Reader of zip archives with images: the rows of their table, or else one row for each image."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from app.data.fields import Row
from app.data.reading import archives, files
from app.data.reading.text_lines import FileNote, UnreadableRow
from app.setup.spec import Source

SUFFIXES = (".zip",)


def read(path: Path, source: Source) -> Iterator[Row | UnreadableRow | FileNote]:
    """The rows of an archive, with image paths relative to `folder_of`. Raises Problem."""
    folder = archives.unpack_archive(path)
    table = archives.find_table(folder, path)
    if table is None:
        yield from (_image_row(image, folder) for image in archives.find_images(folder))
        return
    for row in files.reader_for(table).read(table, source):
        yield _with_image_column(row) if isinstance(row, dict) else row


def _with_image_column(row: Row) -> Row:
    """The row with `file_name` as its image, as in image folders of `datasets`."""
    file_name = row.get("file_name")
    if not isinstance(file_name, str) or "image" in row or "images" in row:
        return row
    if not file_name.lower().endswith(archives.IMAGE_SUFFIXES):
        return row
    return {"image" if name == "file_name" else name: value for name, value in row.items()}


def _image_row(image: Path, folder: Path) -> dict[str, str]:
    """{"image": its path, "text": its name without numbers, "folder": the folder in the archive that holds it, if any}.

    The text of a_red_circle-07.png is “a red circle”.
    """
    relative_path = image.relative_to(folder)
    name_without_number = re.sub(r"[\s_-]*\(?\d*\)?$", "", relative_path.stem)
    text = re.sub(r"[\s_-]+", " ", name_without_number).strip() or relative_path.stem
    folder_column = {"folder": relative_path.parent.name} if relative_path.parent.name else {}
    return {"image": relative_path.as_posix(), "text": text} | folder_column


def folder_of(path: Path) -> Path:
    """The folder to which the image paths in the rows are relative."""
    folder = archives.unpack_archive(path)
    table = archives.find_table(folder, path)
    return table.parent if table else folder
