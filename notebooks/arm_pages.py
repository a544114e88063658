"""What the pages on interventions share: the change under each arm, and what each arm hides."""

import numpy as np
import pandas as pd

from infoflow import report
from infoflow.methods.localisation import target_mask


def changes(arms, intact, seed, names):
    """How much the score changes under each arm, with its 90 % interval, in points.

    Args:
        arms: By arm, rows of answers to the items of ``intact``.
        intact: The intact model's rows.
        seed: Seed of the bootstrap, for scores that are not 0 or 1.
        names: What the arms are told apart by: names of the table's index.
    """
    lines = {}
    for arm, rows in arms.items():
        found = 100 * report.compare_arms(intact, rows, margin=1.0, seed=seed).equivalence
        lines[arm] = {"change": found.value, "low": found.low, "high": found.high}
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis(names).sort_index()


def hidden_maps(hidden, prompt, sample, model):
    """Show which parts of an image are hidden from the last layer, arm by arm.

    Args:
        hidden: By arm, whether each image token is hidden: boolean of shape (N,).
        prompt: The image and question.
        sample: The sample; the regions its answer can be read from are outlined.
        model: Name of the model, for the caption.

    Returns:
        The plot; its table holds, by arm, tokens ``hidden``, the same in percent and, if the
        sample has target regions, ``target hidden %``: the share of their area.
    """
    tokens = {name: np.asarray(one, dtype=float) for name, one in hidden.items()}
    masks = {name: _darkened(one, prompt) for name, one in tokens.items()}
    lines = {n: {"hidden": int(t.sum()), "hidden %": 100 * t.mean()} for n, t in tokens.items()}
    table = pd.DataFrame.from_dict(lines, orient="index").rename_axis("arm")
    covered = "The item has no such region."
    if sample.targets:
        target = target_mask(sample)
        table["target hidden %"] = [100 * mask[target].mean() for mask in masks.values()]
        covered = f"Of that region's area are hidden: {_listed(table['target hidden %'])}."
    titles = [f"{name}\n{share:.0f} % hidden" for name, share in table["hidden %"].items()]
    figure, panels = report.image_panels(titles, sample, room=0.5)
    image = np.asarray(prompt.image) / 255
    for axes, mask in zip(panels, masks.values(), strict=True):
        axes.imshow(np.where(mask[..., None], 0.12 * image + 0.1, image))
    question = sample.question.partition("\n")[0]
    return report.Plot(
        figure,
        "The picture, with the hidden image tokens darkened. Hidden: "
        f"{_listed(table['hidden %'])}."[:400],
        f"What the last layer of {model} is not shown of {sample.id} (“{question}”): dark. "
        f"White outline: the region that holds the answer, where there is one. {covered}",
        table,
    )


def _listed(shares):
    return ", ".join(f"{name} {share:.0f} %" for name, share in shares.items())


def _darkened(tokens, prompt):
    """Which pixels lie in a cell of which more than half is hidden: shape (height, width).

    A cell may mix several tokens, as much of each as the grid says.
    """
    grid = prompt.grid
    hidden, whole = (grid.cells(part).ravel() for part in (tokens, np.ones_like(tokens)))
    # a grid interpolates between cells' centres, so a cell's edges lie half way between them
    places = np.indices((grid.rows, grid.cols))
    row, column = (np.rint(grid.to_picture(place, prompt.image.size)) for place in places)
    return (hidden > whole / 2)[(row * grid.cols + column).astype(int)]
