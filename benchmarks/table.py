"""The table that the benchmarks print, and the file they write."""

import json
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.model import Size
from infoflow.files import atomic_write
from infoflow.models.prompt import Spans

_ROW = "{:45}{:>11}{:>11}{:>8}{:>11}{:>8}{:>9}"
_H200_ROW = "{:>14}{:>14}"
_PACKAGES = ("torch", "transformers")


@dataclass(frozen=True)
class Line:
    """One comparison of the naive way with ours.

    Attributes:
        name: What is compared with what.
        unit: ``"s"`` or ``"MB"``.
        usual: What the naive way takes.
        ours: What ours takes.
        predicted: The ratio of the two that the count of tokens predicts; None for no prediction.
        wanted: The ratio that must at least be reached; None if nothing is asked.
        remark: How far the two results are apart, and what was not measured in full.
        h200: Seconds on an H200 by arithmetic, of the naive way and of ours; None for no such.
    """

    name: str
    unit: str
    usual: float
    ours: float
    predicted: float | None = None
    wanted: float | None = None
    remark: str = ""
    h200: tuple[float, float] | None = None

    @property
    def ratio(self) -> float:
        """How many times more the naive way takes."""
        return self.usual / self.ours

    @property
    def reached(self) -> bool | None:
        """Whether the ratio is what is wanted; None if nothing is."""
        return None if self.wanted is None else self.ratio >= self.wanted


def print_heading(on_gpu: bool) -> None:
    """Print the names of the columns; on a GPU the arithmetic's, too."""
    names = "", "naive way", "infoflow", "ratio", "predicted", "wanted", "reached"
    print(_ROW.format(*names) + (_H200_ROW.format("H200: usual", "infoflow") if on_gpu else ""))


def print_line(line: Line, on_gpu: bool) -> None:
    """Print one comparison, and its remark under it."""
    reached = {None: "", True: "yes", False: "NO"}[line.reached]
    digits = ".3f" if on_gpu and line.unit == "s" else ".2f" if line.unit == "s" else ".0f"
    values = [f"{value:{digits}} {line.unit}" for value in (line.usual, line.ours)]
    ratios = [number(value) for value in (line.ratio, line.predicted, line.wanted)]
    text = _ROW.format(line.name, *values, *ratios, reached)
    if on_gpu and line.h200:
        text += _H200_ROW.format(*(f"{value:.3f} s" for value in line.h200))
    print(text, flush=True)
    if line.remark:
        print(f"  {line.remark}", flush=True)


def number(ratio: float | None) -> str:
    """Write a ratio with two digits or so; none is blank."""
    if ratio is None:
        return ""
    return f"{ratio:.1f}" if ratio >= 2 else f"{ratio:.2f}"


def describe(name: str, size: Size, spans: Spans) -> str:
    """Say in one line what is measured and how."""
    n_image = spans.image.stop - spans.image.start
    way = "one thread, CPU seconds" if size.device == "cpu" else "seconds by the clock"
    return (
        f"{name}: {size.layers} layers of width {size.width}, {size.heads} heads, a prompt of "
        f"{spans.user.stop} tokens, {n_image} of them the image's and "
        f"{spans.user.stop - spans.user.start} after it; random weights, "
        f"{str(size.dtype).removeprefix('torch.')}, {way}"
    )


def machine(device: torch.device) -> dict[str, str]:
    """Name the hardware and the versions."""
    return {
        "device": device.type,
        "hardware": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def write_results(path: Path, what: str, where: dict[str, str], lines: Iterable[Line]) -> None:
    """Write all that was measured to a file that the book reads.

    Args:
        path: A JSON file; ``benchmarks/results/cpu.json`` and ``cuda.json`` are shown.
        what: Of ``describe``.
        where: Of ``machine``.
        lines: The comparisons.
    """
    entries: list[dict[str, Any]] = [
        asdict(line) | {"ratio": line.ratio, "reached": line.reached} for line in lines
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"what": what, "machine": where, "lines": entries}
    atomic_write(path, (json.dumps(content, indent=2) + "\n").encode())
