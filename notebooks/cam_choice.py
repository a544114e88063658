"""What pages on heat maps share: their names, and the best place, chosen on calibration samples."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from infoflow import LVLM, Store, load_task
from infoflow.errors import InfoflowError
from infoflow.methods.cam import WEIGHTS
from infoflow.methods.heatmaps import ATTENTION, CAMS, CENTRE, PAPER, RANDOM, Place, Source
from infoflow.report import TASK_TITLES
from infoflow.stats.intervals import Estimate, Interval, mean_estimate

Floats = npt.NDArray[np.float64]

SITE_NAMES = {
    "input_layernorm": "first norm",
    "self_attn.v_proj": "values",
    "post_attention_layernorm": "second norm",
    "output": "output",
    "projector": "projector",
    "vision_tower": "image encoder",
    "attention": "attention",
    "random": "random map",
    "centre": "centre map",
    "target": "the region itself",
}
"""What pages call the places that maps are read at; the second norm is the paper's site."""
ALL_TASKS = "all tasks"
GROUPS = {
    "CAM, any site": CAMS,
    "CAM, paper's site": (PAPER,),
    "attention": (ATTENTION,),
    "centre map": (CENTRE,),
    "random map": (RANDOM,),
}
"""Among which maps the best is chosen, each group for itself."""


@dataclass(frozen=True)
class HeldOutChoice:
    """The best candidate of one split, scored on another: one index for each axis of candidates.

    Mean scores are those on the items it was chosen by, and on the others, with a 95 % interval.
    """

    index: tuple[int, ...]
    calibration: float
    test: float
    interval: Interval


def choose_held_out(calibration: npt.ArrayLike, test: npt.ArrayLike) -> HeldOutChoice:
    """Choose the best candidate (a layer, a site, a variant) on one split, score it on another.

    Scores are those of N and of M other items, shapes (N, ...) and (M, ...): candidates last. One
    that is undefined for some item of either split is not chosen.
    """
    known, new = np.asarray(calibration, dtype=float), np.asarray(test, dtype=float)
    if known.shape[1:] != new.shape[1:] or known.ndim < 2 or not (len(known) and len(new)):
        raise InfoflowError(
            f"scores of shapes {known.shape} and {new.shape} are not those of the same candidates "
            "on two splits; valid: (N, *candidates) and (M, *candidates)."
        )
    means = np.where(np.isnan(new).any(0), np.nan, known.mean(0))
    if np.isnan(means).all():
        raise InfoflowError("no candidate is defined for every item.")
    best = int(np.nanargmax(means))
    index = tuple(int(i) for i in np.unravel_index(best, means.shape))
    score = mean_estimate(new.reshape(len(new), -1)[:, best])
    return HeldOutChoice(index, float(means[index]), score.value, score.interval)


def source_name(source: Source) -> str:
    """Name a source in a page's words."""
    name = SITE_NAMES.get(source.site, source.site.replace("_", " "))
    return f"{name} ({source.weights})" if source.weights in WEIGHTS else name


def place_name(place: Place) -> str:
    """Name a place in a page's words."""
    return source_name(place.source) + (f", layer {place.layer}" if place.layer else "")


def hit_rates(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean hit rate in percent, a row a source and a column a layer; NaN where undefined."""
    index = ["site", "weights", "layer"]
    # a layer that is undefined for one item is for all; its mean must not be that of nothing
    means = rows.groupby(index, sort=False)["hit"].apply(lambda hits: hits.mean(skipna=False))
    return 100 * means.unstack("layer").sort_index(axis=1)


def localised(
    measures: Sequence[Callable[..., pd.DataFrame]],
    lvlm: LVLM,
    tasks: Sequence[str],
    limit: int,
    store: Store,
    **smoothing: float,
) -> list[dict[str, pd.DataFrame]]:
    """Score maps on the first samples of two splits: rows by task, to choose by and to report."""
    splits = (
        {name: load_task(name, split=split, limit=limit) for name in tasks}
        for split in ("calibration", "test")
    )
    return [
        {
            name: pd.concat([measure(lvlm, task, store, **smoothing) for measure in measures])
            for name, task in split.items()
        }
        for split in splits
    ]


def of_all_tasks(rows: Mapping[Any, pd.DataFrame]) -> pd.DataFrame:
    """Join the tasks' rows, an item's name being its own only within its task."""
    if all(frame.empty for frame in rows.values()):
        raise InfoflowError("no item names a region that its answer could be read from.")
    return pd.concat([f.assign(item=f"{task} " + f["item"]) for task, f in rows.items()])


class ChosenPlace(NamedTuple):
    """The best place of some sources: chosen on calibration samples, scored on test samples."""

    place: Place
    calibration: float  # mean score of its maps on the calibration samples
    test: float  # that on the test samples
    interval: tuple[float, float]  # 95 % interval of that
    scores: Floats  # the test samples' scores, shape (M,)
    best: Place  # with the best mean on the test samples themselves, which flatters it
    best_score: float

    @property
    def name(self) -> str:
        """The place in a page's words."""
        return place_name(self.place)

    @property
    def estimate(self) -> Estimate:
        """The mean score on the test samples in percent, with its interval."""
        return 100 * Estimate(self.test, *self.interval, len(self.scores))


def choose_place(
    calibration: Sequence[pd.DataFrame],
    test: Sequence[pd.DataFrame],
    sources: Sequence[Source],
    score: str = "hit",
) -> ChosenPlace:
    """Choose the best place among all layers of some sources.

    Args:
        calibration: Rows of ``localisation_by_layer``, one frame a task, to choose by.
        test: Those of other samples, to score on; every sample counts alike, whatever its task.
        sources: Whose maps may be chosen.
        score: ``"hit"`` or ``"mass"``.

    A sample on which all the sources' maps are undefined does not count.

    Raises:
        InfoflowError: No frame has rows, or the sources have no map that is defined for all.
    """
    places, known = _by_place(calibration, sources, score)
    _, scores = _by_place(test, sources, score)
    known, scores = (
        values if np.isnan(values).all() else values[~np.isnan(values).all(1)]
        for values in (known, scores)
    )
    chosen, best = choose_held_out(known, scores), choose_held_out(scores, scores)
    (at,), (at_best,) = chosen.index, best.index
    held_out = chosen.calibration, chosen.test, chosen.interval
    return ChosenPlace(places[at], *held_out, scores[:, at], places[at_best], best.test)


def choices(
    calibration: Sequence[pd.DataFrame],
    test: Sequence[pd.DataFrame],
    groups: Mapping[str, Sequence[Source]] = GROUPS,
) -> dict[str, ChosenPlace]:
    """Choose the best place of every group of maps; other args are ``choose_place``'s."""
    return {name: choose_place(calibration, test, sources) for name, sources in groups.items()}


def choices_by_task(
    calibration: Mapping[str, pd.DataFrame],
    test: Mapping[str, pd.DataFrame],
    groups: Mapping[str, Sequence[Source]] = GROUPS,
) -> dict[str, dict[str, ChosenPlace]]:
    """Choose for every task by itself, and for all of them together."""
    by_task = {name: choices([calibration[name]], [test[name]], groups) for name in test}
    return by_task | {ALL_TASKS: choices([*calibration.values()], [*test.values()], groups)}


def chosen_name(group: str, chosen: ChosenPlace) -> str:
    """Name a group and the map that was chosen of it, if it has several."""
    return group if chosen.name == group else f"{group} ({chosen.name})"


def tested(chosen: Mapping[str, ChosenPlace]) -> str:
    """How many samples the maps were tested on: one that is undefined on one has one less."""
    counts = sorted({len(one.scores) for one in chosen.values()})
    return f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])


def choice_lines(
    by_task: Mapping[str, Mapping[str, ChosenPlace]],
    groups: Sequence[str],
    line: Callable[[Mapping[str, ChosenPlace], str], Mapping[str, str]],
) -> list[dict[str, str]]:
    """Lines of a table of choices, by task and group; ``line`` is given a task's and the group."""
    return [
        {"task": TASK_TITLES.get(task, task), "maps": group, **line(chosen, group)}
        for task, chosen in by_task.items()
        for group in groups
    ]


def _by_place(
    frames: Sequence[pd.DataFrame], sources: Sequence[Source], score: str
) -> tuple[list[Place], Floats]:
    """Scores of the samples of all frames by place, (N, C), NaN where undefined."""
    keys, rows = ["site", "weights", "layer"], of_all_tasks(dict(enumerate(frames)))
    known = (Place(*key) for key in rows[keys].drop_duplicates().itertuples(index=False))
    places = [place for place in known if place.source in sources]
    table = rows.set_index(["item", *keys])[score].unstack(keys)
    return places, table[[tuple(place) for place in places]].to_numpy(dtype=np.float64)
