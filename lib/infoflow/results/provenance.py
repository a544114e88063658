"""Where a number comes from: everything one needs to know to trust it or to make it again."""

import os
import platform
import resource
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any

import torch

from infoflow.models.threads import n_threads
from infoflow.results.sources import ROOT

if TYPE_CHECKING:
    from infoflow.data.load import Task
    from infoflow.models.lvlm import LVLM

PACKAGES = ("infoflow", "torch", "transformers", "tokenizers", "numpy", "pandas", "pillow")
_version = cache(metadata.version)  # which reads a file


def provenance(
    lvlm: "LVLM", task: "Task | None", parameters: Mapping[str, Any], code: str
) -> dict[str, Any]:
    """Record the circumstances of a measurement; no task for an image of the reader's own."""
    data: dict[str, Any] | None = None
    if task is not None:
        data = {"task": task.name, "source": task.source, "split": task.split}
        data |= {"count": len(task), "of": task.n_whole}
    device = lvlm.device
    named = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "model": {
            "name": lvlm.name,
            "revision": lvlm.revision,
            "digest": lvlm.digest,
            "dtype": str(lvlm.dtype).removeprefix("torch."),
            "attention": lvlm.model.config.get_text_config()._attn_implementation,
        },
        "data": data,
        "parameters": dict(parameters),
        "machine": {
            "device": device.type,
            "device_name": named,
            "cores": os.cpu_count(),
            "threads": n_threads(lvlm.model),
            "system": platform.system(),
            "python": platform.python_version(),
        },
        "packages": {name: _version(name) for name in PACKAGES},
        "code": {"digest": code, "commit": _commit()},
    }


@cache
def _commit() -> str | None:
    """Name the library's commit, with ``+changes`` if its files differ; None if git has it not."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]  # names of files may be no UTF-8
        return subprocess.check_output(command, stderr=subprocess.DEVNULL, errors="replace").strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # not so of an installed wheel
        commit, changed = git("rev-parse", "HEAD"), git("status", "--porcelain", "--", ".")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}+changes" if changed else commit


def peak_memory() -> dict[str, float]:
    """Read how much memory this process has needed at most so far, in units of 10^6 bytes."""
    unit = 1 if platform.system() == "Darwin" else 1024  # ru_maxrss: bytes on macOS, else KiB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    memory = {"peak_rss_mb": round(peak / 1e6, 1)}
    if torch.cuda.is_available() and (used := torch.cuda.max_memory_allocated()):
        memory["peak_gpu_mb"] = round(used / 1e6, 1)
    return memory
