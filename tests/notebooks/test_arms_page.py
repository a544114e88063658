"""The page on the zoo's arms: what it concludes from what is stored, and what it calls not run."""

import re
from copy import deepcopy

import arms_finding
import numpy as np
import pytest
from arms_finding import Arm, finding, inheritance, read_arms, verdict_table
from arms_page import gate_table, growth_plot, number_table, recipe_table, share_plot
from cells import assert_whole, plain

from zoo import resembles

ARMS = read_arms()
MEASURED = next(arm.found for arm in ARMS if arm.measured)
STEPS = ((100, 5), (200, 4))
"""Of training, and the cliff after them."""
GATE = {
    "passed": {"right": True, "parked": False, "cliff": True, "all": False},
    "scores": {"pope": {"mean": 0.95, "low": 0.9, "high": 0.98, "n": 60}},
    "cliffs": {"pope": 7},
    "parked": {"share": 0.25, "by_layer": [1] * 12},
    "shares": {"first": [0.0, 0.41]},
    "norms": {"first": [8.0, 900.0], "others": [8.0, 12.4]},
}


def arm(kind, pattern=(), passed=True):
    """A measured arm that shows some properties, behind a gate that it passed or did not."""
    found = deepcopy(MEASURED)
    for key in ("R1", "R2"):
        found[key]["holds"] = key in pattern
    gate = {**GATE, "passed": {"all": passed}}
    return Arm(kind, kind, "An arm.", found | ({"gate": gate} if kind == "text" else {}))


def stopped(name, **shares):
    """An arm of the text stage that ended at its gate; shares of attention by group and layer."""
    return Arm(
        name, "text", "Text.", {"recipe": {"command": "again"}, "gate": GATE | {"shares": shares}}
    )


@pytest.mark.parametrize(
    ("arms", "said"),
    [
        ([arm("baseline")], "Undecided: no arm has passed"),
        ([arm("text", passed=False), arm("control")], "Undecided: no arm has passed"),
        ([arm("text", ["R1"])], "Undecided: no control"),
        ([arm("text", ["R1", "R2"]), arm("control", ["R2"])], "Supported for R1:"),
        ([arm("text", ["R1"]), arm("text"), arm("control")], "Refuted here"),
        ([arm("text", ["R1"]), arm("control", ["R1"])], "Not needed"),
        ([arm("text"), arm("control", ["R1"])], "Refuted here"),
    ],
)
def test_what_is_inherited_is_what_text_brings_in_every_seed_and_no_control_has(arms, said):
    assert inheritance(arms).startswith(said)


def test_the_finding_names_the_arms_that_show_a_property():
    arms = [arm("text", ["R1"]), arm("control"), Arm("later", "depth", "Deep.", {})]
    said = plain(finding(arms))
    assert "2 of 3 arms were trained to the end" in said
    assert "R1, sink: text." in said.replace("**", "")
    assert "R2, early fall: no arm." in said.replace("**", "")


def test_an_arm_that_was_not_run_or_was_stopped_says_so():
    later = Arm("later", "text", "Text.", {})
    arms = [arm("baseline", ["R2"]), stopped("stopped", first=[0.0, 0.41]), later]
    lines = verdict_table(arms).data.T
    assert lines["stopped"].tolist() == ["stopped at its gate"] * 6
    assert lines["later"].tolist() == ["not run"] * 6
    assert lines["baseline"].tolist()[:2] == ["no", "yes"]
    gates = gate_table(arms).data.T
    assert gates["later"].tolist() == ["not run"] * 6
    assert gates["stopped"].tolist() == [
        *("no", "POPE 95.0 [90.0, 98.0]", "25", "41", "7"),
        "first token 8 to 900, others 8 to 12",
    ]
    assert recipe_table(arms).data["run again by"].tolist()[1:] == ["again", "not run"]


def test_an_arm_that_goes_on_from_a_stopped_one_was_not_begun():
    arms = [stopped("first"), Arm("second", "control", "None.", {}, after="first")]
    assert (
        verdict_table(arms).data.T["second"].tolist()
        == ["not begun: first stopped at its gate"] * 6
    )


@pytest.mark.parametrize(
    ("image", "system", "said"),
    [
        ([0.5, 0.5, 0.6, 0.6, 0.6], [0.2] * 5, ("0 of its 5 layers", "1.0 times", "is not in")),
        ([0.4, 0.4, 0.1, 0.1, 0.1], [0.5] * 5, ("5 of its 5 layers", "1.0 times", "is partly in")),
        ([0.6, 0.2, 0.1, 0.1, 0.1], [0.3] * 5, ("4 of its 5 layers", "0.5 times", "is partly in")),
    ],
)
def test_a_language_model_that_stopped_says_what_it_would_have_handed_on(image, system, said):
    alone = stopped("alone", image=image, system=system, user=[0.1] * 5)
    assert all(words in inheritance([alone]) for words in said)
    assert inheritance([arm("baseline")]).endswith("then seen images.")


def test_the_gate_and_the_verdicts_ask_at_one_depth():
    assert arms_finding.EARLY_DEPTH == resembles.EARLY_DEPTH


def test_numbers_stand_with_intervals_that_hold_them():
    data = number_table([arm("baseline")]).data
    assert data.index.is_unique
    shown = data.loc["baseline: R6: intact, %", "POPE"]
    score = MEASURED["tasks"]["pope"]["scores"]["intact"]
    mean, low, high = (f"{100 * score[key]:.1f}" for key in ("mean", "low", "high"))
    assert shown == f"{mean} [{low}, {high}]"
    for cell in data.iloc[:2].to_numpy().ravel():
        value, low, high = map(float, re.findall(r"[\d.]+", cell))
        assert low <= value <= high


def test_shares_are_drawn_of_every_measured_arm():
    plot = share_plot([arm("baseline"), arm("text"), Arm("later", "text", "Text.", {})], "image")
    assert_whole(plot)
    assert plot.table.loc[("pope", 3), ("text", "mean")] == pytest.approx(
        100 * MEASURED["tasks"]["pope"]["shares"]["image"]["mean"][2]
    )


def test_an_arm_of_fewer_layers_keeps_its_name_in_the_plot():
    shallow, deep = arm("baseline"), arm("depth")
    for task in deep.found["tasks"].values():
        shares = task["shares"]["image"]
        shares |= {name: 2 * shares[name] for name in ("mean", "low", "high")}
    for axes in share_plot([shallow, deep], "image").figure.axes:
        assert {text.get_text() for text in axes.texts} >= {"baseline", "depth"}
        assert all(np.isfinite(text.xy).all() for text in axes.texts)


def test_a_cliff_in_training_is_drawn_where_it_was_watched():
    assert "not run" in plain(growth_plot([arm("text")], "pope"))
    task = {"shares": {"image": [0.5, 0.1], "system": [0.2, 0.6]}, "cliff": 3, "score": 0.9}
    entries = [{"step": n, "tasks": {"pope": task | {"cliff": cut}}} for n, cut in STEPS]
    watched = Arm("text", "text", "Text.", {"growth": entries})
    plot = growth_plot([watched], "pope")
    assert_whole(plot)
    assert plot.table.loc[("text", 200), "cliff (cut)"] == 4
    assert plot.table.loc[("text", 100), "image share, mean of layers (%)"] == pytest.approx(30)
