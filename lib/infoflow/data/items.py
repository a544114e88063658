"""A page's samples: of one source, worded for one model, never chosen and reported on at once."""

from dataclasses import dataclass
from pathlib import Path

from infoflow.data.load import BENCHMARKS, Task, load_task
from infoflow.data.templates import worded


@dataclass(frozen=True)
class Items:
    """The samples of all benchmarks from one source, worded for a model.

    Of POPE's own data, and of the hub's for CHAIR, the test samples are those of the held-out
    images alone: the other half is what choices are made on, on this page or another.
    """

    model: str  # ``lvlm.name``
    source: str | Path = "shapes"  # as for ``load_task``

    def test(self, name: str, limit: int | None = None) -> Task:
        """Load the first samples to report on; none of their images is among the others."""
        split = "test" if self.source == "shapes" else reported_split(name)
        return worded(load_task(name, self.source, split, limit), self.model)

    def calibration(self, name: str, limit: int | None = None) -> Task:
        """Load the first samples to choose on, such as a cliff."""
        return worded(load_task(name, self.source, "calibration", limit), self.model)


def reported_split(name: str) -> str:
    """``"held-out"`` where calibration samples may be some of the test samples, else ``"test"``."""
    benchmark = BENCHMARKS.get(name)
    return "held-out" if benchmark and "held-out" in benchmark.data.splits else "test"
