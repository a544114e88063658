"""The one reader of images: an image, a file, a file's bytes or an address on the web."""

import stat
import time
import warnings
from contextlib import AbstractContextManager
from http.client import HTTPException
from io import BytesIO
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
from PIL import Image, UnidentifiedImageError

from infoflow.errors import InfoflowError, one_line

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
"""What is read. Pillow knows more formats, some of which run other programs."""
MAX_PIXELS = 120_000_000
"""How many pixels an image may have: photographs of 108 million are taken."""
MAX_SIDE = 32_768
"""How long an image's longer side may be: models that pad to a square see its square."""
MAX_BYTES = 20_000_000  # how large a file is fetched at most
DEADLINE = 60.0  # within how many seconds

_BITS, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # of TIFF 6.0
_ORIENTATION = 274
_TURNS = {  # by its value, how an image is turned (EXIF)
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(image: Image.Image | str | Path) -> Image.Image:
    """Return an image as a viewer shows it, in RGB and wholly read.

    It is turned as its orientation tag says (EXIF), and what is transparent lies on white. The
    upper 8 bits of 16-bit grey are kept, as Pillow does for 16-bit colour; 32-bit numbers are
    refused: no file says which of them is white. Of several pages it is the first. Colour profiles
    are not applied. What is damaged, in none of ``FORMATS`` or too large is refused.
    """
    if isinstance(image, Image.Image):
        with _reading("the image"):
            return _as_shown(image)
    if not isinstance(image, str | Path):
        kind = type(image).__name__
        raise InfoflowError(f"an image is a PIL image or a path, not {kind} (PIL: fromarray).")
    with _reading(f"the image {str(image)!r}"):
        # opening a pipe could wait forever
        if not stat.S_ISREG(Path(image).stat().st_mode):
            raise InfoflowError("it is a folder, a pipe or a device; valid: a file.")
        return _opened(image)


def decode_image(content: bytes, what: str) -> Image.Image:
    """Read an image from a file's bytes, as :func:`read_image`; errors begin with what it is."""
    with _reading(what):
        return _opened(BytesIO(content))


def open_picture(place: str | Path, max_bytes: int = MAX_BYTES) -> Image.Image:
    """Read an image as :func:`read_image`, from a path or an address that begins with ``http``."""
    if not isinstance(place, str) or "://" not in place:
        return read_image(place)
    return decode_image(fetch(place, max_bytes), f"the image at {place!r}")


def fetch(address: str, max_bytes: int) -> bytes:
    """Download an address, but no more than so many bytes of it, and only from the web."""
    if not address.startswith(("http://", "https://")) or "@" in address.split("/")[2]:
        shown = address.split("@")[-1]  # before it there may be a password
        valid = "a path, or an address that begins with http:// or https:// and names no user"
        raise InfoflowError(f"nothing is fetched from {shown!r}; valid: {valid}.")
    named = {"User-Agent": "infoflow"}  # some servers refuse requests without a name
    end = time.monotonic() + DEADLINE
    content = bytearray()
    failed = f"{address!r} cannot be fetched (without a network, give the path of a file)"
    with one_line(failed, OSError, HTTPException, ValueError):
        request = Request(address, headers=named)
        with urlopen(request, timeout=DEADLINE) as answer:
            while chunk := answer.read1(1 << 16):
                content += chunk
                if len(content) > max_bytes:
                    raise OSError(f"it is larger than {max_bytes / 1e6:.0f} MB")
                if time.monotonic() > end:
                    raise TimeoutError(f"it takes longer than {DEADLINE:.0f} seconds")
    return bytes(content)


def _reading(what: str) -> AbstractContextManager[None]:
    return one_line(f"{what} cannot be read", Exception)  # decoders raise nearly every kind


def _opened(source: str | Path | BytesIO) -> Image.Image:
    with warnings.catch_warnings():
        # of too many pixels, which are an error here, and of tags that nothing is read from
        warnings.simplefilter("ignore")
        try:
            opened = Image.open(source, formats=FORMATS)
        except UnidentifiedImageError as error:
            known = ", ".join(FORMATS)
            raise InfoflowError(f"it is damaged or in none of the formats {known}") from error
        with opened:
            return _as_shown(opened)


def _as_shown(image: Image.Image) -> Image.Image:
    if not 0 < image.width * image.height <= MAX_PIXELS or max(image.size) > MAX_SIDE:
        valid = f"from 1 to {MAX_PIXELS / 1e6:.0f} million, and {MAX_SIDE} along a side"
        raise InfoflowError(f"it has {image.width} x {image.height} pixels; valid: {valid}")
    image.load()  # Pillow then turns TIFF itself
    turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    turned = image.copy() if turn is None else image.transpose(turn)
    # without the tag, so that it is not turned again; a text beside the pixels is not needed either
    turned.info = {name: turned.info[name] for name in ("transparency",) if name in turned.info}
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        tags = getattr(image, "tag_v2", {})  # Pillow hands grey of TIFF on as it is stored
        if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO or set(tags.get(_BITS, (16,))) != {16}:
            raise InfoflowError("its grey is stored with white as 0 or with 12 bits; save it anew")
        turned = _upper_bits(turned)
    elif image.mode in ("I", "F"):
        why = "numbers of 32 bits, of which nothing says which is white"
        raise InfoflowError(f"its pixels are {why}; save it with 8 or 16 bits a channel")
    if not turned.has_transparency_data:
        return turned if turned.mode == "RGB" else turned.convert("RGB")
    shown = Image.new("RGBA", turned.size, "white")
    shown.alpha_composite(turned.convert("RGBA"))
    return shown.convert("RGB")


def _upper_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    grey = Image.fromarray((values >> 8).astype(np.uint8))
    if (transparent := image.info.get("transparency")) is not None:
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey
