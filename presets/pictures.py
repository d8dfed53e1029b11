"""Pictures: one coloured shape each, small enough that a practice model learns to see them."""

import io
from random import Random

from PIL import Image, ImageDraw

PAINTS = {"red": "#d43c3c", "green": "#3a9a4b", "blue": "#3568c9", "yellow": "#e3b92c", "purple": "#8547b5"}
SHAPES = ["circle", "square", "triangle", "diamond"]

Place = tuple[str, str, int, int, int]  # shape, colour, size, left, top: of what a picture shows


def draw(shape: str, colour: str, size: int, left: int, top: int) -> bytes:
    """A PNG of 48 x 48 pixels with one coloured shape."""
    picture = Image.new("RGB", (48, 48), "white")
    pen, paint, right, bottom = ImageDraw.Draw(picture), PAINTS[colour], left + size, top + size
    middle, centre = left + size // 2, top + size // 2
    if shape == "circle":
        pen.ellipse((left, top, right, bottom), fill=paint)
    elif shape == "square":
        pen.rectangle((left, top, right, bottom), fill=paint)
    elif shape == "triangle":
        pen.polygon([(middle, top), (right, bottom), (left, bottom)], fill=paint)
    else:
        pen.polygon([(middle, top), (right, centre), (middle, bottom), (left, centre)], fill=paint)
    file = io.BytesIO()
    picture.quantize(8).save(file, "PNG", optimize=True)
    return file.getvalue()


def places(random: Random, count: int) -> list[Place]:
    """Different ones, in the order in which they were thrown."""
    found: dict[Place, None] = {}
    while len(found) < count:
        shape, colour, size = random.choice(SHAPES), random.choice(list(PAINTS)), random.randint(26, 40)
        found[shape, colour, size, random.randint(2, 46 - size), random.randint(2, 46 - size)] = None
    return list(found)
