"""The list of synonyms that CHAIR was published with: fetched once, verified, and kept."""

import hashlib
from http.client import HTTPException
from pathlib import Path
from urllib.request import Request, urlopen

from infoflow.data.captions import Table, parse_synonyms, read_synonyms
from infoflow.errors import InfoflowError
from infoflow.files import atomic_write, cache_folder

COMMIT = "6e4d33c4bedf6dfcd24c61bf527f40714717be47"
ADDRESS = f"https://raw.githubusercontent.com/LisaAnne/Hallucination/{COMMIT}/data/synonyms.txt"
"""Where the authors of CHAIR (Rohrbach et al., 2018) keep the list."""

CHECKSUM = "7dfc27d79057ee0dcdb37144c501c0f1e83e818fef39d730dc859a376a5431a4"
"""What :func:`synonyms_digest` gives for the list: 80 classes with 416 entries, as four public
copies of it have them. Two of the entries begin with a stray space, which ``"original"`` heeds."""

_MAX_BYTES = 1_000_000  # the list has four thousand
_TIMEOUT = 20.0  # seconds for which the server may be silent


def synonyms_digest(table: Table) -> str:
    """Digest a table of synonyms, whatever the lines of its file end with.

    Args:
        table: The entries of each class (:func:`infoflow.data.captions.read_synonyms`).

    Returns:
        Its SHA-256, in 64 hexadecimal digits.
    """
    lines = "\n".join(", ".join(line) for line in table)
    return hashlib.sha256(lines.encode()).hexdigest()


def own_synonyms(path: str | Path) -> Table:
    """Read a list of one's own, and check that it says of each entry what class it is of.

    Args:
        path: The file; see :func:`infoflow.data.captions.read_synonyms`.

    Returns:
        The entries of each class.

    Raises:
        InfoflowError: It cannot be read or is empty, or an entry is blank, holds a comma or stands
            in two classes.
    """
    table = read_synonyms(path)
    where = f"the file of synonyms {str(path)!r}"
    class_of: dict[str, int] = {}
    for number, line in enumerate(table):
        for entry in line:
            if not entry.strip() or "," in entry or "\N{REPLACEMENT CHARACTER}" in entry:
                raise InfoflowError(
                    f"{where} has the entry {entry!r}; valid: words, parted by a comma and a space."
                )
            if class_of.setdefault(entry.strip(), number) != number:
                raise InfoflowError(f"{where} has the entry {entry.strip()!r} in two classes.")
    return table


def kept_synonyms() -> Path:
    """Return where the published list is kept once it was fetched; it may also be put there."""
    return cache_folder() / f"chair-synonyms-{COMMIT[:12]}.txt"


def published_synonyms() -> Table:
    """Return the published list, which is fetched unless it is kept already.

    Only the very list that ``CHECKSUM`` tells of is returned or kept. A kept file that holds
    something else is replaced.

    Returns:
        The entries of each class.

    Raises:
        InfoflowError: The list is out of reach, something else lies at ``ADDRESS``, or the list
            cannot be kept.
    """
    path = kept_synonyms()
    if path.is_file():
        table = _parsed(path.read_bytes())
        if synonyms_digest(table) == CHECKSUM:
            return table
    content = _fetched()
    table = _parsed(content)
    if (found := synonyms_digest(table)) != CHECKSUM:
        raise InfoflowError(
            f"what {ADDRESS} holds is not the list of synonyms that CHAIR was published with: its "
            f"entries have the SHA-256 {found}, not {CHECKSUM}. {_way_out()}"
        )
    _keep(path, content)
    return table


def _parsed(content: bytes) -> Table:
    return parse_synonyms(content.decode("utf-8-sig", errors="replace"))


def _fetched() -> bytes:
    # some servers refuse requests that do not say who asks
    request = Request(ADDRESS, headers={"User-Agent": "infoflow"})
    try:
        with urlopen(request, timeout=_TIMEOUT) as answer:
            content: bytes = answer.read(_MAX_BYTES)
    except (HTTPException, OSError) as error:
        raise InfoflowError(
            "the list of synonyms that CHAIR was published with could not be fetched from "
            f"{ADDRESS}: {str(error) or type(error).__name__}. {_way_out()}"
        ) from error
    return content


def _keep(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, content)
    except OSError as error:
        raise InfoflowError(
            f"the list of synonyms cannot be kept as {path} ({type(error).__name__}). "
            "INFOFLOW_CACHE names another folder to keep it in."
        ) from error


def _way_out() -> str:
    return (
        "With data/synonyms.txt of the GitHub repository LisaAnne/Hallucination at hand, save it "
        f"as {kept_synonyms()}, where it is verified. A list of your own is given by "
        "load_task('chair', ..., synonyms=path), or as synonyms.txt in the folder of the data."
    )
