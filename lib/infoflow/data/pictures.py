"""The one reader of pictures: a picture, a file, a file's bytes or an address on the web."""

import queue
import stat
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import numpy as np
from PIL import Image, UnidentifiedImageError

from infoflow.errors import InfoflowError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
"""What is read. Pillow knows more formats, some of which run other programs."""

MAX_PIXELS = 120_000_000
"""How many pixels a picture may have: photographs of 108 million are taken."""

MAX_SIDE = 32_768
"""How long a picture's longer side may be: models that pad to a square see its square."""

MAX_BYTES = 20_000_000
"""How large a file is fetched at most."""

DEADLINE = 60.0
"""Within how many seconds a file is fetched, redirects included."""

_SCHEMES = ("http", "https")
_CHUNK = 1 << 16
_LONGEST = 300  # how many characters of a name or a reason an error repeats
_BITS, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # of TIFF 6.0
_ORIENTATION = 274
_TURNS = {  # by its value, how a picture is turned (EXIF)
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(image: Image.Image | str | Path) -> Image.Image:
    """Return a picture as a viewer shows it, in RGB and wholly read.

    - It is turned as its orientation tag says (EXIF).
    - What is transparent lies on white.
    - Of 16-bit grey the upper 8 bits are kept, as Pillow does for 16-bit colour. 32-bit and real
      numbers are refused: no file says which of them is white.
    - Of an animation or a file of pages it is the first, of an opened picture the current one.
    - Colour profiles and gamma are not applied.

    Args:
        image: A picture, which is left as it is, or the path of a file in one of ``FORMATS``.

    Raises:
        InfoflowError: There is no such file, it is no picture, a damaged or a truncated one, or the
            picture has no pixels, more than ``MAX_PIXELS`` or a side longer than ``MAX_SIDE``.
    """
    if isinstance(image, Image.Image):
        with _one_line("the picture"):
            return _as_shown(image)
    if not isinstance(image, str | Path):
        raise InfoflowError(
            f"a picture must be a PIL image or a path, not {type(image).__name__}; "
            "of an array, PIL.Image.fromarray makes one."
        )
    with _one_line(f"the picture {_named(image)}"):
        # opening a pipe could wait forever
        if not stat.S_ISREG(Path(image).stat().st_mode):
            raise InfoflowError("it is a folder, a pipe or a device; valid: a file.")
        return _opened(image)


def decode_image(content: bytes, what: str) -> Image.Image:
    """Return the picture that a file's bytes hold, as :func:`read_image` does.

    Args:
        content: The bytes.
        what: What they are, to begin an error with.

    Raises:
        InfoflowError: As :func:`read_image`.
    """
    with _one_line(what):
        return _opened(BytesIO(content))


def open_picture(place: str | Path, max_bytes: int = MAX_BYTES) -> Image.Image:
    """Read a picture, in RGB, from a file or from the web; see :func:`read_image`.

    Args:
        place: A path, or an address that begins with ``http://`` or ``https://``.
        max_bytes: How large a file is fetched at most.

    Raises:
        InfoflowError: As :func:`read_image`, or the address cannot be reached within ``DEADLINE``,
            names a user, leads elsewhere than to the web, or the file is larger than allowed.
    """
    if not isinstance(place, str) or "://" not in place:
        return read_image(place)
    return decode_image(_fetched(place, max_bytes), f"the picture at {_named(place)}")


def _opened(source: str | Path | BytesIO) -> Image.Image:
    with warnings.catch_warnings():
        # of too many pixels, which are an error here, and of tags that nothing is read from
        warnings.simplefilter("ignore")
        with Image.open(source, formats=FORMATS) as opened:
            return _as_shown(opened)


def _as_shown(image: Image.Image) -> Image.Image:
    _require_size(*image.size)
    image.load()  # Pillow then turns TIFF itself
    turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    turned = image.copy() if turn is None else image.transpose(turn)
    # without the tag, so that it is not turned again; a text beside the pixels is not needed either
    turned.info = {name: turned.info[name] for name in ("transparency",) if name in turned.info}
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        _require_full_scale(image)
        turned = _upper_bits(turned)
    elif image.mode in ("I", "F"):
        kind = "whole" if image.mode == "I" else "real"
        raise InfoflowError(
            f"its pixels are {kind} numbers of 32 bits, of which nothing says which is white; "
            "save it with 8 or 16 bits a channel."
        )
    if not turned.has_transparency_data:
        return turned if turned.mode == "RGB" else turned.convert("RGB")
    shown = Image.new("RGBA", turned.size, "white")
    shown.alpha_composite(turned.convert("RGBA"))
    return shown.convert("RGB")


def _require_size(width: int, height: int) -> None:
    if not width * height:
        raise InfoflowError(f"it has no pixels ({width} x {height}).")
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise InfoflowError(
            f"it has {width} x {height} pixels; valid: at most {MAX_PIXELS / 1e6:.0f} million, and "
            f"{MAX_SIDE} along a side."
        )


def _require_full_scale(image: Image.Image) -> None:
    """Refuse TIFF files whose grey Pillow hands on as stored: 12 bits, or white as 0."""
    tags = getattr(image, "tag_v2", {})
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO or set(tags.get(_BITS, (16,))) != {16}:
        raise InfoflowError("its grey is stored with white as 0 or with 12 bits; save it anew.")


def _upper_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    grey = Image.fromarray((values >> 8).astype(np.uint8))
    if (transparent := image.info.get("transparency")) is not None:
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    """Make one error of ours, which says what it is about, of any that is raised."""
    try:
        yield
    except Exception as error:  # decoders raise nearly every kind, MemoryError among them
        raise InfoflowError(f"{what} cannot be read: {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"it is damaged or in none of the formats {', '.join(FORMATS)}"
    told = getattr(error, "strerror", None) or getattr(error, "reason", None) or error
    return _cut(" ".join(str(told).split())).rstrip(".") or type(error).__name__


def _named(place: str | Path) -> str:
    return _cut(repr(str(place)))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _fetched(address: str, max_bytes: int) -> bytes:
    """Download an address, but no more than so many bytes of it."""
    _require_web(address)
    answers: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()

    def fetch() -> None:
        try:
            answers.put(_download(address, max_bytes))
        except Exception as error:  # raised again by the caller
            answers.put(error)

    # a socket's own limit begins anew with every byte, which a server may drip
    threading.Thread(target=fetch, daemon=True).start()
    named = _named(address)
    try:
        answer = answers.get(timeout=DEADLINE)
        if isinstance(answer, bytes):
            return answer
        raise answer
    except InfoflowError:
        raise
    except queue.Empty:
        reason = f"it takes longer than {DEADLINE:.0f} seconds"
    except HTTPError as error:
        reason = f"the server answers {error.code} ({_reason(error)})"
    except Exception as error:  # of sockets, certificates, HTTP, addresses
        reason = _reason(error)
    raise InfoflowError(
        f"{named} cannot be fetched: {reason}. Without a network, give the path of a file."
    )


def _download(address: str, max_bytes: int) -> bytes:
    # some servers refuse requests that do not say who asks
    request = Request(address, headers={"User-Agent": "infoflow", "Accept": "image/*"})
    end = time.monotonic() + DEADLINE
    content = bytearray()
    with build_opener(_WebRedirects).open(request, timeout=DEADLINE) as answer:
        while chunk := answer.read1(_CHUNK):
            content += chunk
            if len(content) > max_bytes:
                raise InfoflowError(
                    f"the file at {_named(address)} is larger than {max_bytes / 1e6:.0f} MB; "
                    "give a smaller one, or the path of a file."
                )
            if time.monotonic() > end:  # nobody waits for it any more
                break
    return bytes(content)


class _WebRedirects(HTTPRedirectHandler):
    def redirect_request(self, *redirect: Any) -> Request | None:
        _require_web(redirect[-1])
        return super().redirect_request(*redirect)


def _require_web(address: str) -> None:
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise InfoflowError(f"{_named(address)} is no address: {error}.") from error
    if "@" in parts.netloc:  # not repeated, for it may hold a password
        raise InfoflowError(f"the address at {parts.hostname} names a user; leave that out.")
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise InfoflowError(
            f"pictures are not fetched from {_named(address)}; valid: a path, or an address that "
            "begins with http:// or https://."
        )
