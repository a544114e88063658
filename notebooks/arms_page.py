"""What the page on the zoo's arms shows: properties by arm, the gate, a cliff's birth."""

from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from infoflow import report
from infoflow.files import read_json, read_yaml
from infoflow.report import NOT_RUN, TASK_TITLES, Line, Plot, Words

FOLDER = Path(__file__).parents[1] / "book" / "arms"
PROPERTIES = {
    "R1": "sink",
    "R2": "early fall",
    "R3": "redundancy",
    "R4": "cliff inside",
    "R5": "language prior",
    "R6": "it still sees",
}
EARLY_DEPTH = 0.4
PATTERN = ("R1", "R2")
"""What the paper takes for inherited."""


class Arm(NamedTuple):
    """An arm of the plan, and what is stored of it: empty if it was not run.

    One that goes on from another, named by ``after``, is not begun where that one was stopped.
    """

    name: str
    kind: str
    was: str
    found: dict[str, Any]
    after: str = ""

    @property
    def measured(self) -> bool:
        """Whether it came to images: others stopped at their gate."""
        return "tasks" in self.found


def read_arms(folder: Path = FOLDER) -> list[Arm]:
    """Read all arms of the plan, in its order."""
    arms = []
    for entry in read_yaml(folder / "plan.yml"):
        file = folder / f"{entry['file']}.json"
        found = read_json(file) if file.is_file() else {}
        arms.append(Arm(entry["name"], entry["kind"], entry["was"], found, entry.get("after", "")))
    return arms


def finding(arms: list[Arm]) -> Words:
    """Say which arms show which property, and what that means for the paper's two hypotheses."""
    measured = [arm for arm in arms if arm.measured]
    lines = []
    for key, title in PROPERTIES.items():
        holding = [arm.name for arm in measured if arm.found[key]["holds"]]
        lines.append(f"- **{key}, {title}**: {report.listed(holding) if holding else 'no arm'}.")
    stopped = [arm for arm in arms if arm.found and not arm.measured]
    paragraphs = [
        f"{len(measured)} of {len(arms)} arms were trained to the end and measured; "
        f"{len(stopped)} were stopped at the gate behind their text. The measured ones show",
        "\n".join(lines),
        f"**Inherited?** {inheritance(arms)}",
        f"**Whatever the projector?** {NOT_RUN}: no arm differs in it.",
    ]
    return Words("\n\n".join(paragraphs))


def inheritance(arms: list[Arm]) -> str:
    """Put the hypothesis that the pattern is inherited from the language model to the arms."""
    texts = [arm for arm in arms if arm.kind == "text" and arm.measured]
    passed = [arm for arm in texts if arm.found["gate"]["passed"]["all"]]
    controls = [arm for arm in arms if arm.kind == "control" and arm.measured]
    if not passed:
        undecided = "Undecided: no arm has passed its gate as a language model and then seen images."
        return " ".join([undecided, *map(as_language_model, arms)]).strip()
    if not controls:
        return "Undecided: no control without text was run."

    def shown(of: list[Arm]) -> set[str]:
        return {key for key in PATTERN if all(arm.found[key]["holds"] for arm in of)}

    gained = shown(passed) - {key for key in PATTERN for arm in controls if arm.found[key]["holds"]}
    if gained:
        return f"Supported for {', '.join(sorted(gained))}: with text it is there, without it not."
    if shown(passed):
        return "Not needed: the pattern is there with and without a language model."
    return "Refuted here: a language model was given eyes, and the pattern did not come with it."


def as_language_model(arm: Arm) -> str:
    """Say whether an arm that stopped after a long text stage shows the pattern on text alone."""
    if arm.kind != "text" or arm.measured or not arm.found:
        return ""
    gate = arm.found["gate"]
    shares = {name: np.array(of) for name, of in gate["shares"].items()}
    n_layers = len(shares["image"])
    sink = int((shares["system"] > np.maximum(shares["image"], shares["user"])).sum())
    early = shares["image"][round(EARLY_DEPTH * n_layers) - 1] / shares["image"][:2].mean()
    scores = ", ".join(
        f"{TASK_TITLES[name]} {100 * score['mean']:.0f} %" for name, score in gate["scores"].items()
    )
    return (
        f"But *{arm.name}* says what it would have inherited. From text alone it answers {scores}; "
        f"system text draws most attention in {sink} of {n_layers} layers, the description that "
        f"stands for the image still has {early:.1f} times its first share at two fifths of the "
        f"depth, and {100 * gate['parked']['share']:.0f} % of the heads are parked: the pattern is "
        "not in this language model either."
    )


def verdict_table(arms: list[Arm]) -> report.Table:
    """One row an arm, one column a property."""
    lines = {}
    for arm in arms:
        line = dict.fromkeys(PROPERTIES, _state(arm, arms))
        if arm.measured:
            line = {key: "yes" if arm.found[key]["holds"] else "no" for key in PROPERTIES}
        lines[arm.name] = {f"{key}, {PROPERTIES[key]}": value for key, value in line.items()}
    return report.table(lines, "Which arm shows what", index="arm")


def _state(arm: Arm, arms: list[Arm]) -> str:
    """Why an arm has no verdicts."""
    if arm.found:
        return "stopped at its gate"
    before = [other for other in arms if other.name == arm.after and other.found]
    if any(not other.measured for other in before):
        return f"not begun: {arm.after} stopped at its gate"
    return NOT_RUN


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
        of = {name: np.array(task["shares"][name][others]) for name in ("image", "user")}
        system = np.array(task["shares"]["system"][own])
        return int((system > np.maximum(of["image"], of["user"])).sum())

    return f"{layers('mean', 'mean')} [{layers('low', 'high')}, {layers('high', 'low')}]"


def _remaining(task: dict[str, Any], layer: int) -> str:
    def ratio(own: str, others: str) -> float:
        image = task["shares"]["image"]
        return float(image[own][layer - 1] / np.mean(image[others][:2]))

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
