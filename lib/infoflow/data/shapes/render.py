"""Draw a scene: anti-aliased shapes and letters on a noisy, shaded board, and their masks."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from infoflow.data.shapes.world import CELL, SIZE, Box, Scene, Sign

_RGB = {
    "red": (214, 40, 40),
    "green": (40, 160, 60),
    "blue": (40, 80, 220),
    "yellow": (240, 210, 30),
    "purple": (140, 50, 170),
    "orange": (245, 130, 20),
}
_SIGN_GREY = {"white": (250, 20), "black": (25, 245)}  # board, letters and border
_OVERSAMPLE = 8

# what is drawn in turn, white or black, by its corners in parts of the side
_WHOLE = ("ellipse", 255, (0, 0, 1, 1))
_SHAPES: dict[str, list[tuple[str, int, tuple[float, ...]]]] = {
    "circle": [_WHOLE],
    "square": [("rectangle", 255, (0.06, 0.06, 0.94, 0.94))],
    "triangle": [("polygon", 255, (0.5, 0, 1, 0.93, 0, 0.93))],
    "heart": [
        ("ellipse", 255, (0, 0.05, 0.52, 0.55)),
        ("ellipse", 255, (0.48, 0.05, 1, 0.55)),
        ("polygon", 255, (0.03, 0.38, 0.97, 0.38, 0.5, 1)),
    ],
    "moon": [_WHOLE, ("ellipse", 0, (0.32, -0.05, 1.2, 0.83))],
    "cross": [("rectangle", 255, (0.34, 0, 0.66, 1)), ("rectangle", 255, (0, 0.34, 1, 0.66))],
    "ring": [_WHOLE, ("ellipse", 0, (0.26, 0.26, 0.74, 0.74))],
}


def _draw_shape(draw: ImageDraw.ImageDraw, shape: str, n: int) -> None:
    """Draw ``shape`` white on black into a square of ``n`` pixels."""
    for outline, fill, parts in _SHAPES.get(shape, ()):
        getattr(draw, outline)([n - 1 if part == 1 else part * n for part in parts], fill=fill)
    if shape == "star":
        angle = -np.pi / 2 + np.arange(10) * np.pi / 5
        radius = np.where(np.arange(10) % 2 == 0, 0.5, 0.21) * n
        points = np.stack([n / 2 + radius * np.cos(angle), n / 2 + radius * np.sin(angle)], 1)
        draw.polygon(points.ravel().tolist(), fill=255)


@cache
def _sprite(shape: str, size: int) -> np.ndarray:
    """Coverage of ``shape`` in [0, 1], (size, size, 1): drawn large and averaged down."""
    n = size * _OVERSAMPLE
    canvas = Image.new("L", (n, n), 0)
    _draw_shape(ImageDraw.Draw(canvas), shape, n)
    small = canvas.resize((size, size), Image.Resampling.BOX)
    return np.asarray(small, np.float32)[..., None] / 255


@cache
def _glyph(letter: str, side: int) -> np.ndarray:
    """Coverage of a letter in [0, 1], (side, side, 1)."""
    # matplotlib ships this font, so it is the same on every machine
    path = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSansMono-Bold.ttf"
    font = ImageFont.truetype(str(path), side * 5 // 4)
    canvas, edge = Image.new("L", (side, side), 0), side // CELL
    ImageDraw.Draw(canvas).text((edge, side - edge), letter, font=font, fill=255, anchor="ls")
    return np.asarray(canvas, np.float32)[..., None] / 255


def _blend(pixels: np.ndarray, coverage: np.ndarray, colour: np.ndarray | float) -> None:
    pixels[:] = pixels * (1 - coverage) + np.asarray(colour, np.float32) * coverage


def _draw_sign(canvas: np.ndarray, sign: Sign, jitter: int) -> None:
    board, ink = _SIGN_GREY[sign.colour]
    left, top, right, bottom = sign.box
    canvas[top:bottom, left:right] = ink
    canvas[top + 1 : bottom - 1, left + 1 : right - 1] = board
    for index, letter in enumerate(sign.text):
        x0, y0, x1, y1 = sign.letter_box(index)
        _blend(canvas[y0 + jitter : y1 + jitter, x0:x1], _glyph(letter, sign.letter), ink)


def render(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Draw a scene as uint8, (96, 96, 3): on a random ground, with random tints and noise."""
    canvas = np.empty((SIZE, SIZE, 3), np.float32)
    canvas[:] = rng.uniform(150, 235) + rng.uniform(-18, 18, 3)
    canvas += np.linspace(-1, 1, SIZE, dtype=np.float32)[:, None, None] * rng.uniform(-15, 15)
    for thing in scene.objects:
        left, top, right, bottom = thing.box
        tint = np.clip(np.array(_RGB[thing.colour]) + rng.uniform(-14, 14, 3), 0, 255)
        _blend(canvas[top:bottom, left:right], _sprite(thing.shape, thing.size), tint)
    for sign in scene.signs:
        _draw_sign(canvas, sign, jitter=int(rng.integers(-1, 2)))
    canvas += rng.standard_normal((SIZE, SIZE, 1), dtype=np.float32) * 4
    return np.clip(canvas, 0, 255).astype(np.uint8)


def box_mask(box: Box, cover: np.ndarray | bool = True) -> np.ndarray:
    """The pixels of a box, or those it covers of it, bool array of shape (96, 96)."""
    mask = np.zeros((SIZE, SIZE), bool)
    left, top, right, bottom = box
    mask[top:bottom, left:right] = cover
    return mask


def instance_masks(scene: Scene) -> Mapping[str, np.ndarray]:
    """Pixels covered by more than half, by name; letters are ``"white sign letter 0"``."""
    masks = {
        thing.name: box_mask(thing.box, _sprite(thing.shape, thing.size)[..., 0] > 0.5)
        for thing in scene.objects
    }
    for sign in scene.signs:
        masks[sign.name] = box_mask(sign.box)
        for index in range(len(sign.text)):
            masks[f"{sign.name} letter {index}"] = box_mask(sign.letter_box(index))
    return masks
