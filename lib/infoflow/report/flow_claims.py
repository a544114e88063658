"""The paper's sentences about its Figure 2, each held against measured attention flow."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from infoflow.report.display import NOT_RUN, Table, Words
from infoflow.report.style import TASK_TITLES, listed

Rows = Mapping[str, pd.DataFrame]
Claim = Mapping[str, Any]

FAST = 0.5
"""The image's share is said to fall fast if it ends at no more than this part of where it began.
The paper gives no threshold."""

FLAT = 0.25
"""The image's share is called flat over layers if it moves there by no more than this part of what
it moves over all layers. The paper gives no threshold."""

_GROUPS = ["system", "image", "user"]


class _Check(NamedTuple):
    """Whether a sentence holds for the mean over items of one task, and what was measured."""

    holds: bool
    measured: str


def flow_paper_table(rows: Rows, claims: Sequence[Claim], paper_model: str, model: str) -> Table:
    """What the paper says of its Figure 2 beside what these rows show.

    Layers near the paper's last one are counted from the end, so that its last layer stands for
    this model's last.

    Args:
        rows: By task, rows of :func:`infoflow.evaluate.flow.flow_by_layer`.
        claims: ``attention_claims`` of the paper's values.
        paper_model: The model they are about.
        model: Name of the model.
    """
    lines = []
    for claim, checks in zip(claims, _checked(rows, claims), strict=True):
        line = {
            "paper's layers": _span(claim["layers"]),
            f"paper, {paper_model}": claim["claim"],
            f"ours, {paper_model} on the benchmarks": NOT_RUN,
        }
        for task, check in checks.items():
            told = f"{'yes' if check.holds else 'no'}: {check.measured}"
            line[f"ours, {model}: {TASK_TITLES[task]}"] = told
        lines.append(line)
    data = pd.DataFrame(lines).set_index("paper's layers")
    return Table(data, "The paper's words on attention beside ours", comparison=True)


def flow_verdicts(rows: Rows, claims: Sequence[Claim], model: str) -> Words:
    """Say of each of the paper's sentences on how many tasks it holds, and where it does not.

    Args:
        rows: By task, rows of :func:`infoflow.evaluate.flow.flow_by_layer`.
        claims: ``attention_claims`` of the paper's values.
        model: Name of the model.
    """
    checked = _checked(rows, claims)
    lines = [
        f"- **Layers {_span(claim['layers'])}.** “{claim['claim']}” {_verdict(checks)}"
        for claim, checks in zip(claims, checked, strict=True)
    ]
    everywhere = sum(all(c.holds for c in checks.values()) for checks in checked)
    nowhere = sum(not any(c.holds for c in checks.values()) for checks in checked)
    return Words(
        f"Of the paper's {len(claims)} sentences, {everywhere} hold for {model} on every task "
        f"measured here and {nowhere} on none:\n\n" + "\n".join(lines)
    )


def reduction_table(averaged: Rows, strongest: Rows, claims: Sequence[Claim]) -> Table:
    """Whether the paper's sentences hold if heads are averaged, and if the strongest counts.

    Args:
        averaged: By task, rows of :func:`infoflow.evaluate.flow.flow_by_layer`.
        strongest: The same through :func:`infoflow.evaluate.flow.max_over_heads`.
        claims: ``attention_claims`` of the paper's values.
    """
    by_way = {"heads averaged": averaged, "maximum over heads": strongest}
    lines = {f"{_span(claim['layers'])}": {"paper": claim["claim"]} for claim in claims}
    for way, rows in by_way.items():
        for line, checks in zip(lines.values(), _checked(rows, claims), strict=True):
            line[f"{way}: holds on"] = _tasks(checks, holds=True) or "no task"
    data = pd.DataFrame.from_dict(lines, orient="index").rename_axis("paper's layers")
    return Table(data, "The paper's sentences under two ways to reduce heads", comparison=True)


def _checked(rows: Rows, claims: Sequence[Claim]) -> list[dict[str, _Check]]:
    """For each claim, its check by task."""
    paper_last = max(claim["layers"][1] for claim in claims)
    found: list[dict[str, _Check]] = [{} for _ in claims]
    for task, frame in rows.items():
        means = 100 * frame.groupby("layer")[[*_GROUPS, "uniform_image"]].mean()
        for claim, checks in zip(claims, found, strict=True):
            first, last = (_own_layer(x, paper_last, len(means)) for x in claim["layers"])
            checks[task] = _CHECKS[claim["id"]](means, first, max(first, last), claim)
    return found


def _own_layer(layer: int, paper_last: int, last: int) -> int:
    from_start = layer <= paper_last / 2
    return min(layer, last) if from_start else max(1, last - (paper_last - layer))


def _span(layers: Sequence[int]) -> str:
    return " to ".join(str(layer) for layer in sorted(set(layers)))


def _verdict(checks: Mapping[str, _Check]) -> str:
    told = "; ".join(f"{TASK_TITLES[task]} {check.measured}" for task, check in checks.items())
    fails = _tasks(checks, holds=False)
    if not fails:
        return f"**Holds** ({told})."
    holds = _tasks(checks, holds=True)
    return f"**Holds on {holds}, not on {fails}** ({told})." if holds else f"**Fails** ({told})."


def _tasks(checks: Mapping[str, _Check], *, holds: bool) -> str:
    return listed([TASK_TITLES[task] for task, check in checks.items() if check.holds is holds])


def _falls(means: pd.DataFrame, first: int, last: int, claim: Claim) -> _Check:
    start, end = means["image"][first], means["image"][last]
    return _Check(bool(end <= FAST * start), f"{start:.1f} to {end:.1f} %")


def _flat(means: pd.DataFrame, first: int, last: int, claim: Claim) -> _Check:
    image = means["image"]
    part = image.loc[first:last]
    holds = part.max() - part.min() <= FLAT * (image.max() - image.min())
    return _Check(bool(holds), f"between {part.min():.1f} and {part.max():.1f} %")


def _rises(means: pd.DataFrame, first: int, last: int, claim: Claim) -> _Check:
    before = max(last - 1, 1)
    image, user = (float(means[g][last] - means[g][before]) for g in ("image", "user"))
    return _Check(image > 0 and user > 0, f"image {image:+.1f}, user {user:+.1f} points")


def _below(means: pd.DataFrame, first: int, last: int, claim: Claim) -> _Check:
    most = means["image"].loc[first:last].max()
    return _Check(bool(most < claim["bound_percent"]), f"at most {most:.1f} %")


def _system_most(means: pd.DataFrame, first: int, last: int, claim: Claim) -> _Check:
    part = means.loc[first:last]
    groups = part[_GROUPS]
    holds = (groups.idxmax(axis=1) == "system") & (groups.idxmin(axis=1) == "image")
    tokens = part["uniform_image"].iloc[0]
    return _Check(
        bool(holds.all()),
        f"in {holds.sum()} of {len(part)} layers, with {tokens:.0f} % of the tokens the image's",
    )


_CHECKS = {
    "falls-early": _falls,
    "flat-middle": _flat,
    "rises-last": _rises,
    "below-two-percent": _below,
    "system-most": _system_most,
}
