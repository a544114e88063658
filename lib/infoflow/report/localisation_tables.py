"""Tables of heat maps held against the answer's region: what was chosen, and what it is worth."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from infoflow.evaluate.localisation import ChosenPlace, choose_place
from infoflow.methods.gradients import SITES
from infoflow.methods.heatmaps import ATTENTION, PAPER, Source
from infoflow.methods.maps import WEIGHTS
from infoflow.report.display import NOT_RUN, Table, Words
from infoflow.report.localisation import SITE_NAMES, mean_by_layer, place_name
from infoflow.report.style import TASK_TITLES, listed, percent
from infoflow.stats.cliff import cliff_layer
from infoflow.stats.intervals import difference_interval

Choices = Mapping[str, Mapping[str, ChosenPlace]]
Rows = Mapping[str, pd.DataFrame]

ALL_TASKS = "all tasks"
FREE = 0.05
"""Loss of the answer's log-probability, in nats a token, that counts as no loss."""

_RIVAL = "attention"


def choice_table(choices: Choices, seed: int) -> Table:
    """The best map of every group, chosen on calibration items and scored on test items.

    Args:
        choices: By task, or ``ALL_TASKS``, and by group, the choice
            (:func:`infoflow.evaluate.localisation.choices`).
        seed: Seed of the bootstrap of the differences.
    """
    lines = []
    for task, groups in choices.items():
        for group, chosen in groups.items():
            low, high = (100 * end for end in chosen.interval)
            lines.append(
                {
                    "task": TASK_TITLES.get(task, task),
                    "maps": group,
                    "chosen": place_name(chosen.place),
                    "calibration %": f"{100 * chosen.calibration:.1f}",
                    "test %": f"{100 * chosen.test:.1f} [{low:.1f}, {high:.1f}]",
                    "less attention, points": _difference(chosen, groups[_RIVAL], seed),
                    "best on the test items themselves": f"{place_name(chosen.best)}: "
                    f"{100 * chosen.best_score:.1f}",
                }
            )
    counts = listed(
        [f"{len(g[_RIVAL].scores)} of {TASK_TITLES.get(t, t)}" for t, g in choices.items()]
    )
    return Table(
        pd.DataFrame(lines).set_index("task"),
        f"Peak on the answer's region: the best map, chosen on calibration items (test items: "
        f"{counts}; 95 % intervals)",
    )


def _difference(chosen: ChosenPlace, rival: ChosenPlace, seed: int) -> str:
    if chosen is rival:
        return "the rival"
    differences = chosen.scores - rival.scores
    low, high = difference_interval(differences, seed)
    return f"{100 * differences.mean():+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def choice_words(choices: Choices, seed: int) -> Words:
    """Say, for all tasks together, how the paper's site and attention stand to the best CAM.

    Args:
        choices: As for :func:`choice_table`; ``ALL_TASKS`` among them.
        seed: Seed of the bootstrap of the differences.
    """
    groups = choices[ALL_TASKS]
    best, paper, rival = (groups[n] for n in ("CAM, any site", "CAM, paper's site", _RIVAL))
    compared = ", ".join(
        f"{_verdict(best, other, seed)} {name} ({percent(other.test)}, {place_name(other.place)})"
        for name, other in (("the paper's site", paper), ("the attention row", rival))
    )
    return Words(
        f"Over all tasks the CAM chosen on calibration items is {place_name(best.place)}: its peak "
        f"is on the region in {percent(best.test)} of the test items. That is {compared}. "
        f"A map drawn at random hits in {percent(groups['random map'].test)}, one of the "
        f"picture's centre in {percent(groups['centre map'].test)}."
    )


def _verdict(one: ChosenPlace, other: ChosenPlace, seed: int) -> str:
    low, high = difference_interval(one.scores - other.scores, seed)
    if low > 0:
        return "more than"
    return "less than" if high < 0 else "not shown to differ from"


def free_layer_table(flow: Rows, log_probs: Rows, hits: Rows, chosen: Source) -> Table:
    """Where attention looks in layers that need not see the image.

    Args:
        flow: By task, rows of :func:`infoflow.evaluate.flow.flow_by_layer`.
        log_probs: By task, per-token log-probabilities of the answer, item by cut, shape
            (N, L + 1) (:func:`infoflow.evaluate.truncation.log_probs_per_token`).
        hits: By task, rows of :func:`infoflow.evaluate.localisation.localisation_by_layer`.
        chosen: The source of the chosen CAM.
    """
    lines = {}
    for task, scores in log_probs.items():
        cut = cliff_layer(scores, margin=FREE, n_resamples=1).cut
        share = 100 * flow[task].groupby("layer")["image"].mean()
        lines[TASK_TITLES[task]] = {
            "layers that need not see the image": _span(cut, len(share)),
            "loss, nats a token": f"{np.mean(scores[:, -1] - scores[:, cut]):.3f}",
            "image's share of attention there %": _range(share.loc[cut + 1 :]),
            "in the layers before %": _range(share.loc[:cut]),
            "attention on target there %": _range(_after(hits[task], ATTENTION, cut)),
            "chosen CAM on target there %": _range(_after(hits[task], chosen, cut)),
        }
    data = pd.DataFrame.from_dict(lines, orient="index").rename_axis("task")
    return Table(
        data,
        f"Layers from which on hiding the image costs at most {FREE:g} nats a token, and where "
        "maps look there (means over test items, least to most of those layers)",
    )


def _span(cut: int, n_layers: int) -> str:
    return "none" if cut == n_layers else f"{cut + 1} to {n_layers}"


def _after(rows: pd.DataFrame, source: Source, cut: int) -> pd.Series:
    return mean_by_layer(rows, source).loc[cut + 1 :]


def _range(values: pd.Series) -> str:
    known = values.dropna()
    return f"{known.min():.1f} to {known.max():.1f}" if len(known) else "no such map"


def site_paper_table(
    calibration: Rows,
    test: Rows,
    claims: Sequence[Mapping[str, Any]],
    paper_model: str,
    model: str,
) -> Table:
    """The paper's word on the clearest site beside the hit rate of every site.

    Args:
        calibration: By task, rows of
            :func:`infoflow.evaluate.localisation.localisation_by_layer`, by which each site's
            layer and weighting is chosen.
        test: The same of other items, which are scored.
        claims: ``claims`` of the paper's values.
        paper_model: The model that the paper's claim is about.
        model: Name of the model.
    """
    claim = next(entry for entry in claims if entry["id"] == "cam-site")
    lines = {}
    for site in SITES:
        said = "clearest" if site == PAPER.site else "less clear"
        line = {f"paper, {paper_model}": said, f"ours, {paper_model} on the benchmarks": NOT_RUN}
        for task in test:
            best = choose_place(
                [calibration[task]], [test[task]], [Source(site, name) for name in WEIGHTS]
            )
            line[f"ours, {model}: {TASK_TITLES[task]}"] = f"{100 * best.test:.1f}"
        lines[SITE_NAMES[site]] = line
    data = pd.DataFrame.from_dict(lines, orient="index").rename_axis("site")
    return Table(
        data,
        f"{claim['place']}: {claim['evidence']}. Ours: peak on the answer's region (% of test "
        "items), layer and weighting of each site chosen on calibration items",
        comparison=True,
    )
