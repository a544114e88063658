"""A page's items: of one source, worded for one model, and never chosen and reported on at once."""

from dataclasses import dataclass
from pathlib import Path

from infoflow.data.asking import worded
from infoflow.data.load import Task, load_task
from infoflow.data.sets.real import BENCHMARKS
from infoflow.errors import InfoflowError, UnknownNameError


@dataclass(frozen=True)
class Items:
    """The items of all benchmarks from one source, as a model is asked them.

    Of POPE's own data, and of the hub's for CHAIR, the test items are those of the held-out
    pictures alone: the other half is what choices are made on, on this page or another.

    Attributes:
        model: Name of the model (``lvlm.name``).
        source: ``"shapes"``; ``"hub"``; or a folder, with a subfolder for each benchmark or with
            the data of one.
    """

    model: str
    source: str | Path = "shapes"

    def test(self, name: str, limit: int | None = None) -> Task:
        """Load the items to report on; none of their pictures is among the calibration items.

        Args:
            name: The benchmark.
            limit: Use only the first so many items.

        Returns:
            The task, worded for the model.

        Raises:
            UnknownNameError: There is no such benchmark or source, or no wording for the model.
            InfoflowError: The source lacks the items, or they are incomplete or damaged.
        """
        split = "test" if self.source == "shapes" else reported_split(name)
        return self._load(name, split, limit)

    def calibration(self, name: str, limit: int | None = None) -> Task:
        """Load the items to choose on, such as a cliff; arguments and errors as of :meth:`test`."""
        return self._load(name, "calibration", limit)

    def _load(self, name: str, split: str, limit: int | None) -> Task:
        if self.source == "shapes":
            return load_task(name, "shapes", split, limit)
        try:
            task = load_task(name, self.source, split, limit)
        except UnknownNameError:
            raise
        except InfoflowError as error:
            without = f"A page runs without {name} if its parameters do not name it."
            raise InfoflowError(f"{error} {without}") from error
        return worded(task, self.model)


def reported_split(name: str) -> str:
    """Name the split of a benchmark's own data to report on what was chosen on ``"calibration"``.

    Args:
        name: The benchmark.

    Returns:
        ``"held-out"`` where calibration items can be a part of the test items, else ``"test"``.
    """
    benchmark = BENCHMARKS.get(name)
    return "held-out" if benchmark and "held-out" in benchmark.splits else "test"
