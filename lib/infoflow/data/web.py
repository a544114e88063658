"""Fetching a file of the web: no more of it than allowed, within a deadline, or one clear error."""

import time
from http.client import HTTPException
from urllib.request import Request, urlopen

from infoflow.errors import InfoflowError, one_line

MAX_BYTES = 20_000_000
"""How large a file is fetched at most."""

DEADLINE = 60.0
"""Within how many seconds a file is fetched."""


def fetch(address: str, max_bytes: int = MAX_BYTES) -> bytes:
    """Download an address, but no more than so many bytes of it, and only from the web."""
    if not address.startswith(("http://", "https://")) or "@" in address.split("/")[2]:
        shown = address.split("@")[-1]  # before it there may be a password
        raise InfoflowError(
            f"nothing is fetched from {shown!r}; valid: a path, or an address that begins with "
            "http:// or https:// and names no user."
        )
    named = {"User-Agent": "infoflow"}  # some servers refuse requests without a name
    end = time.monotonic() + DEADLINE
    content = bytearray()
    failed = f"{address!r} cannot be fetched (without a network, give the path of a file)"
    errors = (OSError, HTTPException, ValueError)
    with (
        one_line(failed, *errors),
        urlopen(Request(address, headers=named), timeout=DEADLINE) as answer,
    ):
        while chunk := answer.read1(1 << 16):
            content += chunk
            if len(content) > max_bytes:
                raise OSError(f"it is larger than {max_bytes / 1e6:.0f} MB")
            if time.monotonic() > end:
                raise TimeoutError(f"it takes longer than {DEADLINE:.0f} seconds")
    return bytes(content)
