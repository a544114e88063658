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

    Attributes:
        model: Name of the model (``lvlm.name``).
        source: ``"shapes"``; ``"hub"``; or a folder, with a subfolder for each benchmark or with
            the data of one.
    """

    model: str
    source: str | Path = "shapes"

    def test(self, name: str, limit: int | None = None) -> Task:
        """Load the samples to report on; none of their images is among the calibration samples.

        Args:
            name: The benchmark.
            limit: Use only the first so many samples.

        Returns:
            The task, worded for the model.

        Raises:
            UnknownNameError: There is no such benchmark or source, or no wording for the model.
            InfoflowError: The source lacks the samples, or they are incomplete or damaged.
        """
        split = "test" if self.source == "shapes" else reported_split(name)
        return worded(load_task(name, self.source, split, limit), self.model)

    def calibration(self, name: str, limit: int | None = None) -> Task:
        """Load the samples to choose on, such as a cliff; see :meth:`test`."""
        return worded(load_task(name, self.source, "calibration", limit), self.model)


def reported_split(name: str) -> str:
    """``"held-out"`` where calibration samples may be some of the test samples, else ``"test"``."""
    benchmark = BENCHMARKS.get(name)
    return "held-out" if benchmark and "held-out" in benchmark.data.splits else "test"
