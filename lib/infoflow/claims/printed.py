"""The rules of the claims that printed numbers and released code decide, without any model."""

from collections.abc import Mapping
from typing import Any

from scipy.stats import binomtest

from infoflow.claims import arithmetic
from infoflow.claims.findings import FAILS, HOLDS, PARTLY, UNDECIDED, UNDEFINED, combined
from infoflow.claims.paper import table1_pairs
from infoflow.stats.paired import LEVEL, mcnemar_of_counts

N_SPLITS = 3
ROUNDING = 0.00005  # half a unit of a percentage's second decimal, as a share
APART = 3.0  # standard errors beyond which two numbers cannot be of one quantity

Paper = Mapping[str, Any]
Found = tuple[str, str]
"""Verdict, and what was found, in words."""


def pope_accuracy_f1(paper: Paper) -> Found:
    accuracies, f1s = (table1_pairs(paper, "pope", metric) for metric in ("accuracy", "f1"))
    pairs = {
        f"{model} {when}": (accuracy / 100, f1s[model][when] / 100)
        for model, pair in accuracies.items()
        for when, accuracy in pair.items()
    }
    impossible = {name: pair for name, pair in pairs.items() if _outside(*pair)}
    words = [f"{len(pairs) - len(impossible)} of {len(pairs)} pairs are possible"]
    for name, (accuracy, f1) in impossible.items():
        low, high = (100 * bound for bound in arithmetic.feasible_f1(accuracy))
        heaped = 100 * arithmetic.lowest_mean_f1(accuracy, N_SPLITS)
        words.append(
            f"{name}: accuracy {100 * accuracy:.2f} on balanced answers allows F1 of {low:.2f} to "
            f"{high:.2f}, and no less than {heaped:.2f} with all errors in one of {N_SPLITS} "
            f"splits; printed is {100 * f1:.2f}, which needs at most "
            f"{100 * arithmetic.most_positives(accuracy, f1):.0f} % of the right answers to be yes"
        )
    return PARTLY if impossible else HOLDS, ". ".join(words)


def _outside(accuracy: float, f1: float) -> bool:
    """Whether no balanced data give both, even if rounding and uneven splits are allowed for."""
    low = arithmetic.lowest_mean_f1(accuracy - ROUNDING, N_SPLITS)
    high = arithmetic.feasible_f1(accuracy + ROUNDING)[1]
    return not low - ROUNDING <= f1 <= high + ROUNDING


def scienceqa_counts(paper: Paper) -> Found:
    n_items = paper["n_items"]["scienceqa"]
    counts = [
        (f"{model} {value:.2f}", arithmetic.counts_printed_as(value, n_items))
        for model, pair in table1_pairs(paper, "scienceqa", "accuracy").items()
        for value in pair.values()
    ]
    fit = [printed for printed, possible in counts if possible]
    by_chance = min(1.0, n_items / 100**2)  # of all percentages of two decimals
    p_value = binomtest(len(fit), len(counts), by_chance, "greater").pvalue
    words = (
        f"{len(fit)} of {len(counts)} printed percentages are k / {n_items} for a whole k "
        f"({', '.join(fit)}); by chance {by_chance * len(counts):.1f} would be (p = {p_value:.2f})"
    )
    if len(fit) == len(counts):
        return HOLDS, words
    return PARTLY if p_value < LEVEL else FAILS, words


def chair_label(paper: Paper) -> Found:
    model, n_items = "llava-1.5-7b", paper["n_items"]["chair"]
    row = next(row for row in paper["table1"] if row["model"] == model)
    value = row["scores"]["chair"]["CHAIRs"]["baseline"]
    again = {e["metric"]: e["before"] for e in _reruns(paper, "chair") if e["model"] == model}
    apart = arithmetic.errors_apart(value / 100, again["CHAIRs"] / 100, n_items)
    words = (
        f"printed as CHAIRs {value:.2f}; an independent greedy run of the same model gives CHAIRs "
        f"{again['CHAIRs']:.2f}, {apart:.0f} standard errors away with {n_items} captions, and "
        f"CHAIRi {again['CHAIRi']:.2f}"
    )
    return FAILS if apart > APART else UNDECIDED, words


def _reruns(paper: Paper, task: str) -> list[Mapping[str, Any]]:
    """What others than the authors found EAH or EVAS to do."""
    return [e for e in paper["eah"]["effects"] if e["by"] == "others" and e["task"] == task]


def table1_gains(paper: Paper) -> Found:
    n_items, words, large = paper["n_items"]["scienceqa"], [], []
    for model, pair in table1_pairs(paper, "scienceqa", "accuracy").items():
        gain = pair["cliff"] - pair["baseline"]
        error = 100 * 2**0.5 * arithmetic.standard_error(pair["baseline"] / 100, n_items)
        large.append(gain > 2 * error)
        changes = arithmetic.most_changes(round(gain / 100 * n_items), n_items)
        paired = (
            f" (two unpaired runs differ by {error:.2f} by chance; paired, it is significant if at "
            f"most {changes} of {n_items} answers changed)"
        )
        words.append(f"{model} {gain:+.2f}{paired if changes else ''}")
    return HOLDS if all(large) else UNDECIDED, "; ".join(words)


def pope_cliff(paper: Paper) -> Found:
    layers = {c["place"]: c["layer"] for c in paper["cliffs"] if c["task"] == "pope"}
    words = ", ".join(f"layer {layer} in {place}" for place, layer in layers.items())
    return HOLDS if len(set(layers.values())) == 1 else FAILS, words


def released_span(paper: Paper) -> Found:
    spans, words, holds = paper["released_code"]["image_spans"], [], True
    used = set(range(*spans["truncation"]))
    for template, span in spans["of_the_image"].items():
        true = set(range(*span))
        holds &= true == used
        words.append(
            f"{template}: image tokens that stay visible {len(true - used)}, tokens of the text "
            f"that are hidden {len(used - true)}"
        )
    return HOLDS if holds else FAILS, "; ".join(words)


def released_rows(paper: Paper) -> Found:
    layout = paper["released_code"]["prompt"]
    rows = arithmetic.released_rows(**layout)
    read, right = map(arithmetic.span_words, (rows.read, rows.right))
    words = (
        f"with {layout['before']} tokens before the image, {layout['image']} of it, "
        f"{layout['after']} after it and {layout['answer']} of answer, what is read is row {read}, "
        f"inside the image: {rows.inside_image}; what predicts the answer is row {right}. Inside "
        "the image it is for every question of up to "
        f"{layout['image'] - 1 - layout['answer']} tokens"
    )
    return HOLDS if rows.read == rows.right else FAILS, words


def simignore_gain(paper: Paper) -> Found:
    words, shown = [], []
    for stored in paper["simignore"]["stored"]:
        test = mcnemar_of_counts(stored["lost"], stored["gained"], stored["n_items"])
        shown.append(test.p_value < LEVEL and test.gained > test.lost)
        words.append(
            f"{stored['model']}: {stored['right']['baseline']} to {stored['right']['simignore']} "
            f"of {test.n_items}, {test.lost} lost and {test.gained} gained, p = {test.p_value:.2g}"
        )
    return HOLDS if all(shown) else UNDECIDED, "; ".join(words)


def blind_values(paper: Paper) -> Found:
    first, hidden = paper["no_image"][0]["accuracy"], paper["simignore"]["ignored"][-1]
    n_items = paper["n_items"]["scienceqa"]
    apart = arithmetic.errors_apart(first / 100, hidden["accuracy"] / 100, n_items)
    words = (
        f"{first:.2f} % with no image, but {hidden['accuracy']:.2f} % in the sister paper with all "
        f"{hidden['ignored']} image tokens hidden: {apart:.1f} standard errors apart"
    )
    return UNDECIDED if apart > APART else HOLDS, words


def eah_settings(paper: Paper) -> Found:
    settings = paper["eah"]["settings"]
    words = "; ".join(
        f"{s['place']}: layer {s['layer']} counted from 0, beta {s['beta']:g}" for s in settings
    )
    same = len({(s["layer"], s["beta"]) for s in settings}) == 1
    return HOLDS if same else UNDEFINED, words


def eah_captions(paper: Paper) -> Found:
    return _others_find(paper, "chair", "CHAIRs", sign=-1)


def eah_pope(paper: Paper) -> Found:
    return _others_find(paper, "pope", "f1", sign=1)


def _others_find(paper: Paper, task: str, metric: str, sign: int) -> Found:
    """Whether re-runs by others move a score the claimed way."""
    words, verdicts = [], []
    for effect in (e for e in _reruns(paper, task) if e["metric"] == metric):
        before, after = effect["before"], effect["after"]
        shown = arithmetic.errors_apart(before / 100, after / 100, paper["n_items"][task]) > 2
        better = sign * (after - before) > 0
        verdicts.append((HOLDS if better else FAILS) if shown else UNDECIDED)
        words.append(
            f"{effect['model']} ({effect['method']}) {before:.2f} to {after:.2f}: {verdicts[-1]}"
        )
    return combined(verdicts), f"{metric}: {'; '.join(words)}"
