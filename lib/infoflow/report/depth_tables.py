"""Tables of shallow, middle and deep layers: shares, losses, their control, and the paper's words.

Attention tells what a layer reads; truncation tells what is lost without it. Each sentence of the
paper is held against both, because they need not agree.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from infoflow.report.display import NOT_RUN, Table, Words
from infoflow.report.style import TASK_TITLES, listed, percent

Depths = Mapping[str, pd.DataFrame]
Line = Mapping[str, Any]

_SPANS = ("system", "image", "user")


def _line(table: pd.DataFrame, name: str) -> Line:
    return {str(column): values[name] for column, values in table.items()}


def _difference(loss: Line) -> str:
    low, high = 100 * loss["low"], 100 * loss["high"]
    return f"{100 * loss['difference']:+.1f} [{low:+.1f}, {high:+.1f}]"


def _harm(loss: Line) -> str:
    """Harm shown, harm of the margin's size ruled out, or neither; a small sure loss is none."""
    if loss["unharmed"]:
        return "no"
    return "yes" if loss["high"] < 0 else "undecided"


def depth_paper_table(
    shares: Depths,
    losses: Depths,
    claims: Sequence[Mapping[str, Any]],
    paper_model: str,
    model: str,
) -> Table:
    """What the paper's Figure 1 draws beside what was measured, by two kinds of evidence.

    Args:
        shares: By task, of :func:`infoflow.evaluate.depths.shares_by_depth`.
        losses: By task, of :func:`infoflow.evaluate.depths.loss_by_depth`.
        claims: ``depth_claims`` of the paper's values.
        paper_model: The model they are about.
        model: Name of the model.
    """
    lines = []
    for claim in claims:
        for evidence, check in _CHECKS[claim["id"]].items():
            line = {
                "paper": claim["place"],
                f"paper, {paper_model}": claim["claim"],
                "evidence": evidence,
                f"ours, {paper_model} on the benchmarks": NOT_RUN,
            }
            for task, table in shares.items():
                found = check(table, losses[task], claim)
                line[f"ours, {model}: {TASK_TITLES[task]}"] = f"{found.verdict}: {found.measured}"
            lines.append(line)
    data = pd.DataFrame(lines).set_index("paper")
    return Table(data, "What the paper's Figure 1 draws beside ours", comparison=True)


def depth_words(shares: Depths, losses: Depths, claims: Sequence[Mapping[str, Any]]) -> Words:
    """Say where the two kinds of evidence bear the paper's picture out, and where they part.

    Args:
        shares: By task, of :func:`infoflow.evaluate.depths.shares_by_depth`.
        losses: By task, of :func:`infoflow.evaluate.depths.loss_by_depth`.
        claims: ``depth_claims`` of the paper's values.
    """
    told = []
    for claim in claims:
        verdicts = {
            evidence: {task: check(shares[task], losses[task], claim).verdict for task in shares}
            for evidence, check in _CHECKS[claim["id"]].items()
        }
        by_way = "; ".join(f"{evidence}: {_told(found)}" for evidence, found in verdicts.items())
        told.append(f"- “{claim['claim']}” {by_way[0].upper()}{by_way[1:]}.")
    idle = [
        TASK_TITLES[task]
        for task in shares
        if losses[task]["unharmed"].iloc[-1] and shares[task]["image"].iloc[-1] >= _bound(claims)
    ]
    told.append(
        "- Read but not needed: in the deep layers the answer still attends to the image, and "
        f"taking the image away there is shown to do no harm, on {listed(idle) or 'no task'}."
    )
    return Words("\n".join(told))


def _told(verdicts: Mapping[str, str]) -> str:
    parts = []
    for verdict in ("yes", "no", "undecided"):
        if tasks := [TASK_TITLES[task] for task, found in verdicts.items() if found == verdict]:
            parts.append(f"{verdict} on {listed(tasks)}")
    return ", ".join(parts)


class _Found(NamedTuple):
    verdict: str
    measured: str


_Check = Callable[[pd.DataFrame, pd.DataFrame, Mapping[str, Any]], _Found]


def _bound(claims: Sequence[Mapping[str, Any]]) -> float:
    return float(min(claim["bound_percent"] for claim in claims)) / 100


def _all_read(shares: pd.DataFrame, losses: pd.DataFrame, claim: Mapping[str, Any]) -> _Found:
    share = shares.iloc[0]
    read = all(100 * share[span] >= claim["bound_percent"] for span in _SPANS)
    told = ", ".join(f"{span} {percent(share[span])}" for span in _SPANS)
    return _Found("yes" if read else "no", told)


def _needed(shares: pd.DataFrame, losses: pd.DataFrame, claim: Mapping[str, Any]) -> _Found:
    return _Found(
        _harm(_line(losses, losses.index[0])),
        f"{_difference(_line(losses, losses.index[0]))} points",
    )


def _unread(shares: pd.DataFrame, losses: pd.DataFrame, claim: Mapping[str, Any]) -> _Found:
    share = float(shares["image"].iloc[-1])
    gone = 100 * share < claim["bound_percent"]
    return _Found("yes" if gone else "no", f"image {percent(share)}")


def _unneeded(shares: pd.DataFrame, losses: pd.DataFrame, claim: Mapping[str, Any]) -> _Found:
    opposite = {"yes": "no", "no": "yes", "undecided": "undecided"}
    harm = _harm(_line(losses, losses.index[-1]))
    return _Found(opposite[harm], f"{_difference(_line(losses, losses.index[-1]))} points")


_CHECKS: Mapping[str, Mapping[str, _Check]] = {
    "shallow-all": {"by attention": _all_read, "by truncation (the image is needed)": _needed},
    "deep-no-image": {
        "by attention": _unread,
        "by truncation (the image is not needed)": _unneeded,
    },
}
