"""Sphinx extension: pictures that stand inside a page become files beside it.

A page is then a tenth as heavy, the search reads text alone, and a picture that several pages show
is there once.
"""

import hashlib
import re
from base64 import b64decode
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

FOLDER = "_images"
_INLINE = re.compile(r'(?<=src=")data:image/(png|jpeg|svg\+xml);base64,([A-Za-z0-9+/=\s]+)(?=")')


def to_files(html: str, folder: Path, prefix: str) -> str:
    """Write the pictures of a page to files.

    Args:
        html: The page.
        folder: Where the files go.
        prefix: What leads there from the page.

    Returns:
        The page with links in their place.
    """

    def link(found: re.Match[str]) -> str:
        content = b64decode(found[2])
        kind = "svg" if found[1].startswith("svg") else found[1]
        name = f"{hashlib.sha256(content).hexdigest()[:20]}.{kind}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        return f"{prefix}{name}"

    return _INLINE.sub(link, html)


def _take_out(
    app: Sphinx, pagename: str, _template: str, context: dict[str, Any], _doctree: Any
) -> None:
    if "body" in context:
        prefix = "../" * pagename.count("/") + f"{FOLDER}/"
        context["body"] = to_files(context["body"], Path(app.outdir) / FOLDER, prefix)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension with Sphinx."""
    app.connect("html-page-context", _take_out)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
