"""Panels that show one picture again and again, and the answer's regions outlined on them."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from infoflow.data.sample import Sample
from infoflow.report.style import WIDTH


def picture_panels(n_panels: int, room: float) -> tuple[Figure, list[Axes]]:
    """Make a figure of pictures without axes, four in a row.

    Args:
        n_panels: How many pictures.
        room: Height left for what is written above and below all of them, in inches.
    """
    columns = min(n_panels, 4)
    rows = -(-n_panels // columns)
    figure = Figure(figsize=(WIDTH, WIDTH / columns * rows * 1.12 + room))
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels:
        axes.axis("off")
    return figure, panels[:n_panels]


def outline_targets(axes: Axes, sample: Sample) -> None:
    """Outline the regions the answer can be read from, white on black."""
    for name in sample.targets:
        axes.contour(sample.regions[name], levels=[0.5], colors="black", linewidths=2.2)
        axes.contour(sample.regions[name], levels=[0.5], colors="white", linewidths=1.2)
