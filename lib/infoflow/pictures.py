"""Pictures of the reader's own: from a file, or from an address on the web."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from io import BytesIO
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from PIL import Image

from infoflow.errors import InfoflowError
from infoflow.prompt import read_image

MAX_BYTES = 20_000_000
"""How large a file is fetched at most."""

TIMEOUT = 20.0
"""For how many seconds a server may be silent."""

_SCHEMES = ("http://", "https://")


def open_picture(place: str | Path, max_bytes: int = MAX_BYTES) -> Image.Image:
    """Read a picture from a file or fetch it from the web.

    Args:
        place: A path, or an address that begins with ``http://`` or ``https://``.
        max_bytes: How large a file is fetched at most.

    Returns:
        The picture, RGB, wholly read.

    Raises:
        InfoflowError: There is no such file or address, it cannot be reached, it is larger than
            allowed, or it is no picture or a damaged one.
    """
    with _refusing_bombs(place):
        if not _is_address(place):
            return read_image(place)
        content = BytesIO(_fetched(str(place), max_bytes))
        try:
            with Image.open(content) as opened:
                return opened.convert("RGB")
        except (OSError, SyntaxError, ValueError) as error:
            raise InfoflowError(f"what lies at {place} is no readable picture.") from error


def _is_address(place: str | Path) -> bool:
    if not isinstance(place, str) or "://" not in place:
        return False
    if place.lower().startswith(_SCHEMES):
        return True
    raise InfoflowError(
        f"pictures are not fetched from {place}; valid: a path, or an address that begins with "
        "http:// or https://."
    )


def _fetched(address: str, max_bytes: int) -> bytes:
    """Download an address, but no more than so many bytes of it."""
    try:
        # some servers refuse requests that do not say who asks
        request = Request(address, headers={"User-Agent": "infoflow", "Accept": "image/*"})
        with urlopen(request, timeout=TIMEOUT) as answer:
            content: bytes = answer.read(max_bytes + 1)
    except HTTPError as error:
        raise InfoflowError(f"{address} answers {error.code} ({error.reason}).") from error
    except (URLError, HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise InfoflowError(
            f"{address} cannot be fetched: {reason}. Without a network, give the path of a file."
        ) from error
    if len(content) > max_bytes:
        raise InfoflowError(
            f"the file at {address} is larger than {max_bytes / 1e6:.0f} MB; "
            "give a smaller one, or the path of a file."
        )
    return content


@contextmanager
def _refusing_bombs(place: str | Path) -> Iterator[None]:
    try:
        yield
    except Image.DecompressionBombError as error:
        raise InfoflowError(f"the picture {place} has too many pixels: {error}") from error
