"""What the page on the zoo's arms concludes: which arm shows what, and what is inherited."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from infoflow import report
from infoflow.files import read_json, read_yaml
from infoflow.report import NOT_RUN, TASK_TITLES, Words

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
        f"**Found.** {len(measured)} of {len(arms)} arms were trained to the end and measured; "
        f"{len(stopped)} were stopped at the gate behind their text. The measured ones show",
        "\n".join(lines),
        f"**Inherited?** {inheritance(arms)}",
        f"**Whatever the projector?** {NOT_RUN}: no arm differs in it alone. The zoo's models "
        "differ in it and in more; which of them shows what stands on the page {page}`model_card`.",
    ]
    return Words("\n\n".join(paragraphs))


def inheritance(arms: list[Arm]) -> str:
    """Put the hypothesis that the pattern is inherited from the language model to the arms."""
    texts = [arm for arm in arms if arm.kind == "text" and arm.measured]
    passed = [arm for arm in texts if arm.found["gate"]["passed"]["all"]]
    controls = [arm for arm in arms if arm.kind == "control" and arm.measured]
    if not passed:
        undecided = "Undecided: no arm has passed its gate as a language model, then seen images."
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


def sink_layers(system: Any, image: Any, user: Any) -> int:
    """In how many layers the system text holds the largest of the shares, each by layer."""
    return int((np.array(system) > np.maximum(image, user)).sum())


def remaining(share: float, first: Any) -> float:
    """What is left of a share of attention: of its mean over the first two layers."""
    return float(share / np.mean(first[:2]))


def as_language_model(arm: Arm) -> str:
    """Say whether an arm that stopped after a long text stage shows the pattern on text alone."""
    if arm.kind != "text" or arm.measured or not arm.found:
        return ""
    gate = arm.found["gate"]
    shares, image = gate["shares"], gate["shares"]["image"]
    n_layers = len(image)
    sink = sink_layers(shares["system"], image, shares["user"])
    early = remaining(image[round(EARLY_DEPTH * n_layers) - 1], image)
    scores = ", ".join(
        f"{TASK_TITLES[name]} {100 * score['mean']:.0f} %" for name, score in gate["scores"].items()
    )
    there = 2 * sink >= n_layers or early <= 0.5
    return (
        f"But *{arm.name}* says what it would have handed on. From text alone it scores {scores}. "
        f"System text draws most attention in {sink} of its {n_layers} layers; at two fifths of "
        "the depth the description that stands for the image has "
        f"{early:.1f} times its share of the first two layers; "
        f"{100 * gate['parked']['share']:.0f} % of the heads are parked on the first token. So the "
        f"pattern is {'partly' if there else 'not'} in this language model itself."
    )


def verdict_table(
    arms: list[Arm], caption: str = "Which arm shows what", index: str = "arm"
) -> report.Table:
    """One row an arm, one column a property."""
    lines = {}
    for arm in arms:
        line = dict.fromkeys(PROPERTIES, _state(arm, arms))
        if arm.measured:
            line = {key: "yes" if arm.found[key]["holds"] else "no" for key in PROPERTIES}
        lines[arm.name] = {f"{key}, {PROPERTIES[key]}": value for key, value in line.items()}
    return report.table(lines, caption, index=index)


def _state(arm: Arm, arms: list[Arm]) -> str:
    """Why an arm has no verdicts."""
    if arm.found:
        return "stopped at its gate"
    before = [other for other in arms if other.name == arm.after and other.found]
    if any(not other.measured for other in before):
        return f"not begun: {arm.after} stopped at its gate"
    return NOT_RUN
