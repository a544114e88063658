"""Claims decided from printed numbers and from prompt arithmetic, without any model."""

from collections.abc import Mapping
from typing import Any

from infoflow.claims.arithmetic import (
    counts_printed_as,
    errors_apart,
    feasible_f1,
    lowest_mean_f1,
    most_changes,
    most_positives,
    released_rows,
    share_that_fits,
    span_error,
    span_words,
    standard_error,
)
from infoflow.claims.findings import (
    FAILS,
    HOLDS,
    PARTLY,
    UNDECIDED,
    UNDEFINED,
    Finding,
    Recomputed,
    combined,
)
from infoflow.stats.paired import mcnemar_of_counts

N_SPLITS = 3
ROUNDING = 0.00005
"""Half a unit of a percentage's second decimal, as a share."""
APART = 3.0
"""Standard errors beyond which two numbers cannot be of one quantity."""

Paper = Mapping[str, Any]


def table1_pairs(paper: Paper, task: str, metric: str) -> dict[str, Mapping[str, float]]:
    """The printed pairs of a score by model, baseline and cliff, in percent."""
    scores = {row["printed"]: row["scores"].get(task, {}) for row in paper["table1"]}
    return {model: score[metric] for model, score in scores.items() if metric in score}


def _pope(paper: Paper) -> Finding:
    accuracies = table1_pairs(paper, "pope", "accuracy")
    f1s = table1_pairs(paper, "pope", "f1")
    pairs = {
        f"{model} {when}": (accuracies[model][when] / 100, f1s[model][when] / 100)
        for model in accuracies
        for when in ("baseline", "cliff")
    }
    impossible = {name: pair for name, pair in pairs.items() if _outside(*pair)}
    told = [f"{len(pairs) - len(impossible)} of {len(pairs)} pairs are possible"]
    for name, (accuracy, f1) in impossible.items():
        low, high = (100 * bound for bound in feasible_f1(accuracy))
        heaped = 100 * lowest_mean_f1(accuracy, N_SPLITS)
        told.append(
            f"{name}: accuracy {100 * accuracy:.2f} on balanced answers allows F1 of {low:.2f} to "
            f"{high:.2f}, and no less than {heaped:.2f} with all errors in one of {N_SPLITS} "
            f"splits; printed is {100 * f1:.2f}, which needs at most "
            f"{100 * most_positives(accuracy, f1):.0f} % of the right answers to be yes"
        )
    return Finding(". ".join(told), PARTLY if impossible else HOLDS)


def _outside(accuracy: float, f1: float) -> bool:
    """Whether no balanced data give both, even if rounding and uneven splits are allowed for."""
    low = lowest_mean_f1(accuracy - ROUNDING, N_SPLITS)
    high = feasible_f1(accuracy + ROUNDING)[1]
    return not low - ROUNDING <= f1 <= high + ROUNDING


def scienceqa_fits(paper: Paper) -> list[dict[str, Any]]:
    """Tell for each printed ScienceQA percentage which counts of right items it can be."""
    return [
        {
            "model": model,
            "state": when,
            "printed": value,
            "of those with an image": counts_printed_as(value, paper["n_items"]["scienceqa"]),
            "of all": counts_printed_as(value, paper["n_items"]["scienceqa_all"]),
        }
        for model, pair in table1_pairs(paper, "scienceqa", "accuracy").items()
        for when, value in pair.items()
    ]


def _scienceqa(paper: Paper) -> Finding:
    fits, n_items = scienceqa_fits(paper), paper["n_items"]["scienceqa"]
    shares = [
        f"{row['model']} {row['printed']:.2f}" for row in fits if row["of those with an image"]
    ]
    told = (
        f"{len(shares)} of {len(fits)} printed percentages are k / {n_items} for a whole k "
        f"({', '.join(shares)}); by chance {share_that_fits(n_items) * len(fits):.1f} would be"
    )
    return Finding(told, HOLDS if len(shares) == len(fits) else PARTLY if shares else FAILS)


def _chair(paper: Paper) -> Finding:
    printed = next(r for r in paper["table1"] if r["model"] == "llava-1.5-7b")["scores"]["chair"]
    reruns = {e["metric"]: e["before"] for e in _effects(paper, "llava-1.5-7b", "chair")}
    value, n_items = printed["value"]["baseline"], paper["n_items"]["chair"]
    apart = {name: errors_apart(value / 100, reruns[name] / 100, n_items) for name in reruns}
    told = (
        f"printed as CHAIRs {value:.2f}; an independent greedy run of the same model gives CHAIRs "
        f"{reruns['CHAIRs']:.2f}, {apart['CHAIRs']:.0f} standard errors away with {n_items} "
        f"captions, and CHAIRi {reruns['CHAIRi']:.2f}"
    )
    return Finding(told, FAILS if apart["CHAIRs"] > APART else UNDECIDED)


def _effects(paper: Paper, model: str | None, task: str) -> list[Mapping[str, Any]]:
    """What others than the authors found EAH or EVAS to do."""
    of_others = (e for e in paper["eah"]["effects"] if e["by"] == "others" and e["task"] == task)
    return [e for e in of_others if model in (None, e["model"])]


def _gains(paper: Paper) -> Finding:
    pairs = table1_pairs(paper, "scienceqa", "accuracy")
    n_items = paper["n_items"]["scienceqa"]
    told, large = [], 0
    for model, pair in pairs.items():
        gain = pair["cliff"] - pair["baseline"]
        error = 100 * 2**0.5 * standard_error(pair["baseline"] / 100, n_items)
        large += gain > 2 * error
        changes = most_changes(round(gain / 100 * n_items), n_items)
        told.append(
            f"{model} {gain:+.2f} (two unpaired runs differ by {error:.2f} by chance; paired, it "
            f"is significant if at most {changes} of {n_items} answers changed)"
            if changes
            else f"{model} {gain:+.2f}"
        )
    return Finding("; ".join(told), HOLDS if large == len(pairs) else UNDECIDED)


def _pope_cliffs(paper: Paper) -> Finding:
    layers = {c["place"]: c["layer"] for c in paper["cliffs"] if c["task"] == "pope"}
    told = ", ".join(f"layer {layer} in {place}" for place, layer in layers.items())
    return Finding(told, HOLDS if len(set(layers.values())) == 1 else FAILS)


def _span(paper: Paper) -> Finding:
    spans = paper["released_code"]["image_spans"]
    used = tuple(spans["truncation"])
    told = []
    for name, true in spans["of_the_image"].items():
        error = span_error(tuple(true), used)
        told.append(
            f"{name}: image tokens that stay visible {error.image_left}, tokens of the text that "
            f"are hidden {error.text_hidden}"
        )
    wrong = any(span_error(tuple(true), used).image_left for true in spans["of_the_image"].values())
    return Finding("; ".join(told), FAILS if wrong else HOLDS)


def _rows(paper: Paper) -> Finding:
    layout = paper["released_code"]["prompt"]
    rows = released_rows(**layout)
    longest = layout["image"] - 1 - layout["answer"]
    told = (
        f"with {layout['before']} tokens before the image, {layout['image']} of it, "
        f"{layout['after']} after it and {layout['answer']} of answer, what is read is row "
        f"{span_words(rows.read)}, inside the image: {rows.inside_image}; what predicts the answer "
        f"is row {span_words(rows.right)}. Inside the image it is for every question of up to "
        f"{longest} tokens"
    )
    return Finding(told, HOLDS if rows.read == rows.right else FAILS)


def _simignore(paper: Paper) -> Finding:
    told, shown = [], []
    for stored in paper["simignore"]["stored"]:
        test = mcnemar_of_counts(stored["lost"], stored["gained"], stored["n_items"])
        right = stored["right"]
        told.append(
            f"{stored['model']}: {right['baseline']} to {right['simignore']} of "
            f"{stored['n_items']}, {test.lost} lost and {test.gained} gained, "
            f"p = {test.p_value:.2g}"
        )
        shown.append(test.p_value < 0.05 and test.gained > test.lost)
    return Finding("; ".join(told), HOLDS if all(shown) else UNDECIDED)


def _blind(paper: Paper) -> Finding:
    first = paper["no_image"][0]["accuracy"]
    hidden = paper["simignore"]["ignored"][-1]
    n_items = paper["n_items"]["scienceqa"]
    apart = errors_apart(first / 100, hidden["accuracy"] / 100, n_items)
    told = (
        f"{first:.2f} % with no image, but {hidden['accuracy']:.2f} % in the sister paper with all "
        f"{hidden['ignored']} image tokens hidden: {apart:.1f} standard errors apart"
    )
    return Finding(told, UNDECIDED if apart > APART else HOLDS)


def _eah_settings(paper: Paper) -> Finding:
    settings = paper["eah"]["settings"]
    told = "; ".join(
        f"{s['place']}: layer {s['layer']} counted from 0, beta {s['beta']:g}" for s in settings
    )
    same = len({(s["layer"], s["beta"]) for s in settings}) == 1
    return Finding(told, HOLDS if same else UNDEFINED)


def _eah_captions(paper: Paper) -> Finding:
    return _others_find(_effects(paper, None, "chair"), "CHAIRs", paper["n_items"]["chair"], -1)


def _eah_pope(paper: Paper) -> Finding:
    return _others_find(_effects(paper, None, "pope"), "f1", paper["n_items"]["pope"], 1)


def _others_find(effects: list[Mapping[str, Any]], metric: str, n_items: int, sign: int) -> Finding:
    """Whether re-runs by others move a score the claimed way by more than two unpaired errors."""
    told, verdicts = [], []
    for effect in (e for e in effects if e["metric"] == metric):
        before, after = effect["before"], effect["after"]
        shown = errors_apart(before / 100, after / 100, n_items) > 2
        better = sign * (after - before) > 0
        verdicts.append((HOLDS if better else FAILS) if shown else UNDECIDED)
        told.append(
            f"{effect['model']} ({effect['method']}) {before:.2f} to {after:.2f}: {verdicts[-1]}"
        )
    return Finding(f"{metric}: {'; '.join(told)}", combined(verdicts))


CHECKS = {
    "pope-accuracy-f1": Recomputed(
        "Holds if each printed accuracy allows the F1 printed beside it on balanced answers, "
        "rounding and uneven splits allowed for; in part if some do not.",
        _pope,
    ),
    "scienceqa-counts": Recomputed(
        "Holds if every printed percentage is, to its two decimals, a whole number of right "
        "answers out of the stated items; in part if some are.",
        _scienceqa,
    ),
    "chair-label": Recomputed(
        f"Fails if the printed value lies more than {APART:g} standard errors from an independent "
        "run's score of that name.",
        _chair,
    ),
    "table1-gains": Recomputed(
        "Holds if every gain is larger than two standard errors of the difference of two unpaired "
        "runs; otherwise undecided, for paired answers, which were not published, might show it.",
        _gains,
    ),
    "pope-cliff": Recomputed("Holds if one layer is named, fails if two are.", _pope_cliffs),
    "released-span": Recomputed(
        "Holds if the span fixed in the released truncation code is that of the image tokens.",
        _span,
    ),
    "released-rows": Recomputed(
        "Holds if the rows that the released CAM code reads are those that predict the answer.",
        _rows,
    ),
    "blind-values": Recomputed(
        f"Holds if two published accuracies without the image lie within {APART:g} standard errors "
        "of each other; undecided if not, for then one protocol is unlike the other.",
        _blind,
    ),
    "simignore-gain": Recomputed(
        "Holds if McNemar's exact test on the published answers gives p < 0.05 for more gained "
        "than lost, on every model whose answers were published.",
        _simignore,
    ),
    "eah-captions": Recomputed(
        "Per re-run by others: holds if CHAIRs falls by more than two unpaired standard errors, "
        "fails if it rises by as much.",
        _eah_captions,
    ),
    "eah-pope": Recomputed(
        "Per re-run by others: holds if F1 rises by more than two unpaired standard errors, fails "
        "if it falls by as much.",
        _eah_pope,
    ),
    "eah-settings": Recomputed(
        "Undefined if text and released code act in different layers or with other thresholds.",
        _eah_settings,
    ),
}
