"""Fetching a file of the web: no more of it than allowed, within a deadline, or one clear error."""

import threading
import time
from concurrent.futures import Future
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from infoflow.errors import InfoflowError

MAX_BYTES = 20_000_000
"""How large a file is fetched at most."""

DEADLINE = 60.0
"""Within how many seconds a file is fetched, redirects included."""

_CHUNK = 1 << 16


def fetch(address: str, max_bytes: int = MAX_BYTES) -> bytes:
    """Download an address, but no more than so many bytes of it, and only from the web."""
    _require_web(address)
    answer: Future[bytes] = Future()

    def attempt() -> None:
        try:
            answer.set_result(_download(address, max_bytes))
        except Exception as error:  # raised again below
            answer.set_exception(error)

    # a socket's own limit begins anew with every byte, which a server may drip
    threading.Thread(target=attempt, daemon=True).start()
    try:
        return answer.result(timeout=DEADLINE)
    except InfoflowError:
        raise
    except Exception as error:
        late = isinstance(error, TimeoutError)
        why = f"it takes longer than {DEADLINE:.0f} seconds" if late else reason(error)
        raise InfoflowError(
            f"{address!r} cannot be fetched: {why}. Without a network, give the path of a file."
        ) from error


def reason(error: Exception) -> str:
    """Say what an error of a library is about, in few words."""
    words = getattr(error, "strerror", None) or getattr(error, "reason", None) or error
    text = " ".join(str(words).split()).rstrip(".") or type(error).__name__
    return f"the server answers {error.code} ({text})" if isinstance(error, HTTPError) else text


def _download(address: str, max_bytes: int) -> bytes:
    # some servers refuse requests without a name
    request = Request(address, headers={"User-Agent": "infoflow"})
    end = time.monotonic() + DEADLINE
    content = bytearray()
    with build_opener(_WebRedirects).open(request, timeout=DEADLINE) as answer:
        while chunk := answer.read1(_CHUNK):
            content += chunk
            if len(content) > max_bytes:
                raise InfoflowError(
                    f"the file at {address!r} is larger than {max_bytes / 1e6:.0f} MB; "
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
        raise InfoflowError(f"{address!r} is no address: {error}.") from error
    if "@" in parts.netloc:  # not repeated, for it may hold a password
        raise InfoflowError(f"the address at {parts.hostname} names a user; leave that out.")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InfoflowError(
            f"nothing is fetched from {address!r}; valid: a path, or an address that begins "
            "with http:// or https://."
        )
