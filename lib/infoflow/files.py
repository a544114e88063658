"""Where fetched and converted files are kept, and writing files that are whole or absent."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return where what was fetched or converted is kept: ``INFOFLOW_CACHE``, or a default.

    Returns:
        The folder, which need not exist yet; by default ``~/.cache/infoflow``.
    """
    base = os.environ.get("INFOFLOW_CACHE") or Path.home() / ".cache" / "infoflow"
    return Path(base)


def atomic_write(path: Path, content: bytes) -> None:
    """Write a file that is whole or absent, even if the process or the machine dies meanwhile.

    Args:
        path: Where it shall be; its folder exists.
        content: All of it.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name itself must reach the disk too
    finally:
        os.close(folder)
