"""What the page on the zoo's arms shows beside its verdicts: numbers, the gate, a cliff's birth."""

from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from arms_finding import Arm, remaining, sink_layers

from infoflow import report
from infoflow.report import NOT_RUN, TASK_TITLES, Line, Plot, Words


def number_table(arms: list[Arm]) -> report.Table:
    """What the verdicts rest on, with 95 % intervals: one row an arm and quantity."""
    lines = {}
    for arm in arms:
        if arm.measured:
            lines |= {(arm.name, what): values for what, values in _numbers(arm.found)}
    data = pd.DataFrame.from_dict(lines, orient="index").fillna("")
    data.index = pd.Index([f"{arm}: {what}" for arm, what in lines], name="arm and quantity")
    n_items = {t["scores"]["intact"]["n"] for arm in arms if arm.measured for t in _tasks(arm)}
    counts = " and ".join(map(str, sorted(n_items)))
    return report.Table(
        data.rename(columns=TASK_TITLES),
        f"What the verdicts rest on, with 95 % intervals over {counts} test items a task. Those of "
        "R1 and R2 are the widest that the intervals of the shares allow.",
    )


def _tasks(arm: Arm) -> list[dict[str, Any]]:
    return list(arm.found["tasks"].values())


def _numbers(found: dict[str, Any]) -> list[tuple[str, dict[str, str]]]:
    tasks = found["tasks"]
    n_layers = len(tasks["pope"]["shares"]["image"]["mean"])
    early = found["R2"]["layer"]
    shown = {
        f"R1: layers of {n_layers} with the sink": {n: _sink(t) for n, t in tasks.items()},
        f"R2: image share at layer {early} / at the first two": {
            n: _remaining(t, early) for n, t in tasks.items()
        },
        "R3: cost of hiding a quarter, points": {
            n: _points(t["costs"]["hidden"]) for n, t in tasks.items()
        },
        "R3: cost of FastV, points": {n: _points(t["costs"]["fastv"]) for n, t in tasks.items()},
        f"R4: cliff, of {n_layers} layers": {
            n: f"{t['cliff']['cut']} [{t['cliff']['interval'][0]}, {t['cliff']['interval'][1]}]"
            for n, t in tasks.items()
        },
        "R5: blind, %": {n: _points(t["scores"]["blind"]) for n, t in tasks.items()},
        "R5: best constant guess, %": {
            n: f"{100 * t['best_constant']:.1f}" for n, t in tasks.items()
        },
        "R6: intact, %": {n: _points(t["scores"]["intact"]) for n, t in tasks.items()},
        "R6: CHAIRi, %": {"chair": _points(tasks["chair"]["CHAIRi"])},
        "R6: recall, %": {"chair": _points(tasks["chair"]["recall"])},
    }
    return list(shown.items())


def _points(number: dict[str, float]) -> str:
    mean, low, high = (100 * number[key] for key in ("mean", "low", "high"))
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]"


def _sink(task: dict[str, Any]) -> str:
    """In how many layers the system text holds the largest share, and at the intervals' ends."""

    def layers(own: str, others: str) -> int:
        image, user = (task["shares"][name][others] for name in ("image", "user"))
        return sink_layers(task["shares"]["system"][own], image, user)

    return f"{layers('mean', 'mean')} [{layers('low', 'high')}, {layers('high', 'low')}]"


def _remaining(task: dict[str, Any], layer: int) -> str:
    def ratio(own: str, others: str) -> float:
        image = task["shares"]["image"]
        return remaining(image[own][layer - 1], image[others])

    return f"{ratio('mean', 'mean'):.2f} [{ratio('low', 'high'):.2f}, {ratio('high', 'low'):.2f}]"


def share_plot(arms: list[Arm], group: str) -> Plot:
    """Draw one group's share of the answer's attention by layer, a line an arm, a panel a task."""
    measured = [arm for arm in arms if arm.measured]
    shares = {
        (arm.name, statistic, task, layer): 100 * share
        for arm in measured
        for task, of in arm.found["tasks"].items()
        for statistic in ("mean", "low", "high")
        for layer, share in enumerate(of["shares"][group][statistic], 1)
    }
    names = ["arm", "statistic", "task", "layer"]
    table = pd.Series(shares).rename_axis(names).unstack(["arm", "statistic"], sort=False)
    colours = list(dict.fromkeys(report.COLOURS.values()))[1:]
    styles = zip(("-o", "--s", "-.^", ":v", "-D"), colours, strict=False)
    lines = {arm.name: Line(*style) for arm, style in zip(measured, cycle(styles), strict=False)}
    figure, _ = report.layer_curves(table, lines, f"attention to {group} (%)")
    last = table.groupby("task").last().xs("mean", axis=1, level="statistic")
    words = "; ".join(
        f"{name} {of.min():.0f} to {of.max():.0f} % in the last layer" for name, of in last.items()
    )
    return Plot(
        figure,
        f"Share of the answer's attention on the {group} tokens, by layer: {words}."[:400],
        f"Share of the answer row's attention on the {group} tokens by layer, heads averaged; the "
        "bands are 95 % intervals over items. An arm is a line.",
        table,
    )


def gate_table(arms: list[Arm]) -> report.Table:
    """What text alone had taught each arm before it saw an image."""
    lines = {}
    for arm in arms:
        if arm.kind not in ("optimiser", "text"):
            continue
        gate = arm.found.get("gate")
        lines[arm.name] = _gate_line(gate) if gate else dict.fromkeys(_GATE, NOT_RUN)
    return report.table(
        lines,
        "The gate: calibration items answered from a description in place of the image. Bars: "
        "95 % right in every task, a third of the heads parked on the first token, a cliff inside.",
        index="arm",
    )


_GATE = ("passed", "right, %", "parked heads, %", "first token, most, %", "cliffs", "norms")


def _gate_line(gate: dict[str, Any]) -> dict[str, str]:
    scores, norms = gate["scores"], gate["norms"]
    ends = {name: f"{of[0]:.0f} to {of[-1]:.0f}" for name, of in norms.items()}
    values = (
        "yes" if gate["passed"]["all"] else "no",
        "; ".join(f"{TASK_TITLES[n]} {_points(score)}" for n, score in scores.items()),
        f"{100 * gate['parked']['share']:.0f}",
        f"{100 * max(gate['shares']['first']):.0f}",
        ", ".join(map(str, gate["cliffs"].values())),
        f"first token {ends['first']}, others {ends['others']}",
    )
    return dict(zip(_GATE, values, strict=True))


def recipe_table(arms: list[Arm]) -> report.Table:
    """What each arm was, and the command that runs it again."""
    lines = {
        arm.name: {
            "what it was": arm.was,
            "run again by": arm.found["recipe"].get("command", NOT_RUN) if arm.found else NOT_RUN,
        }
        for arm in arms
    }
    return report.table(lines, "The arms", index="arm")


def growth_plot(arms: list[Arm], task: str) -> Plot | Words:
    """Draw the image's share, the cliff and the score of the arms that were watched in training."""
    watched = {arm.name: arm.found["growth"] for arm in arms if "growth" in arm.found}
    if not watched:
        return Words(f"Growth of a cliff: {NOT_RUN}; no arm was watched in training.")
    rows = pd.DataFrame(
        [
            {
                "arm": name,
                "step": entry["step"],
                "image share, mean of layers (%)": 100 * np.mean(of["shares"]["image"]),
                "system share, mean of layers (%)": 100 * np.mean(of["shares"]["system"]),
                "cliff (cut)": of["cliff"],
                "score (%)": 100 * of["score"],
            }
            for name, entries in watched.items()
            for entry in entries
            for of in (entry["tasks"][task],)
        ]
    ).set_index(["arm", "step"])
    figure, panels = report.panels(rows.columns, sharey=False)
    for measure, axes in panels.items():
        for name, line in rows[measure].groupby("arm"):
            axes.plot(line.index.get_level_values("step"), line, "-o", label=name)
        axes.set_xlabel("training steps on images")
    axes.legend()
    ends = rows.groupby("arm")["cliff (cut)"].last()
    words = "; ".join(f"{name}: cliff at cut {cut:.0f}" for name, cut in ends.items())
    title = TASK_TITLES[task]
    return Plot(
        figure,
        f"Shares, cliff and score of {title} over training steps. At the end {words}."[:400],
        f"{title} in training, on a few calibration items at every mark.",
        rows,
    )
