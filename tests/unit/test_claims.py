"""Every claim has one rule, tried on planted evidence, and one verdict, as tables show it."""

import inspect
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from claims_page import CLIFFS, N_LAYERS, planted

import infoflow
from infoflow import report
from infoflow.claims import (
    NOT_RUN,
    Evidence,
    all_claims,
    findings_beside,
    findings_of,
    measured,
    printed,
)
from infoflow.claims.findings import (
    FAILS,
    FEWEST,
    HOLDS,
    PARTLY,
    UNDECIDED,
    UNDEFINED,
    combined,
    decided,
)
from infoflow.claims.paper import paper_values
from infoflow.stats.intervals import Estimate

ROOT = Path(infoflow.__file__).parents[2]
ALWAYS_UNDEFINED = {"cam-last-layer"}


@pytest.fixture(scope="module")
def favourable():
    return planted(True)


@pytest.fixture(scope="module")
def opposite():
    return planted(False)


def by_claim(evidence, page=None):
    return {finding.claim.id: finding for finding in findings_of(page, evidence)}


def verdicts(evidence):
    return {name: finding.verdict for name, finding in by_claim(evidence).items()}


def test_every_claim_has_its_rule_and_every_rule_its_claim():
    for module in (measured, printed):
        of_its = [claim for claim in all_claims() if claim.printed == (module is printed)]
        own = [name for name, one in vars(module).items() if inspect.isfunction(one)]
        own = {name for name in own if getattr(module, name).__module__ == module.__name__}
        names = {claim.id.replace("-", "_") for claim in of_its}
        assert {name for name in own if not name.startswith("_")} == names
    assert all(claim.rule.endswith(".") for claim in all_claims())


def test_a_rule_needs_a_part_of_the_evidence():
    parts = {part.name for part in fields(Evidence)} - {"model", "n_layers"}
    assert {claim.needs for claim in all_claims()} <= {"", *parts}


def test_claims_say_where_they_stand_and_what_shows_them():
    notebooks = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    for claim in all_claims():
        assert claim.source in paper_values()["sources"]
        assert claim.pages
        assert set(claim.pages) <= notebooks


@pytest.mark.parametrize(
    ("words", "claims"),
    [
        (f"layer {measured.EARLY} has less than {measured.FAST:g}", ["flow-falls-early"]),
        (f"layer {measured.EARLY + 1} to the last but one", ["flow-flat-middle"]),
        (f"at most {measured.FLAT:g} of what", ["flow-flat-middle"]),
        (
            f"{measured.BOUND_PERCENT:g} %",
            ["flow-below-two-percent", "depth-shallow-read", "depth-deep-unread"],
        ),
        (f"rounding of {measured.WHOLE:.4f} aside", ["flow-sums-to-one"]),
        (
            f"{100 * measured.MARGIN:g} points",
            ["depth-shallow-needed", "depth-deep-unneeded", "cliff-no-harm", "eah-measured"],
        ),
        (f"below {100 * measured.SMALL_GAIN:g} point.", ["cliff-helps"]),
        (f"a loss of {measured.MARGIN:g} nats a token", ["states-interchangeable"]),
        (f"{printed.APART:g} standard errors", ["chair-label", "blind-values"]),
    ],
)
def test_rules_say_the_numbers_they_go_by(words, claims):
    assert all(words in claim.rule for claim in all_claims() if claim.id in claims)


def test_flow_in_a_model_of_one_layer_has_verdicts_too(favourable):
    flow = {task: rows[rows["layer"] == 1] for task, rows in favourable.flow.items()}
    found = verdicts(Evidence("of one layer", 1, flow=flow))
    about_flow = [claim.id for claim in all_claims() if claim.needs == "flow"]
    assert NOT_RUN not in {found[name] for name in about_flow}
    assert found["flow-rises-last"] == UNDEFINED


@pytest.mark.parametrize(("nats", "verdict"), [(1.0, HOLDS), (0.011, HOLDS), (4e-5, FAILS)])
def test_a_loss_of_next_to_nothing_is_none(nats, verdict, favourable):
    rows = {task: r.assign(nats=nats * r["nats"]) for task, r in favourable.knockout.items()}
    found = by_claim(replace(favourable, knockout=rows))
    assert found["road-deep-text"].verdict == verdict
    assert found["road-shallow-read"].verdict == verdict


def test_blocked_edges_of_a_model_of_one_layer_have_a_verdict_too(favourable):
    knockout = {task: rows[rows["layer"] == 1] for task, rows in favourable.knockout.items()}
    found = verdicts(Evidence("of one layer", 1, knockout=knockout))
    assert found["road-shallow-read"] == UNDECIDED


def test_every_verdict_has_its_meaning():
    meanings = paper_values()["verdicts"]
    assert list(meanings) == [HOLDS, PARTLY, FAILS, UNDECIDED, UNDEFINED, NOT_RUN]
    assert f"fewer than {FEWEST} decide nothing" in meanings[UNDECIDED]


def test_a_page_gets_its_own_claims(favourable):
    assert set(by_claim(favourable, "fig1_flow_overview")) == {
        *("depth-shallow-read", "depth-shallow-needed", "depth-deep-unread", "depth-deep-unneeded"),
    }
    assert set(by_claim(favourable, "eah")) == {"eah-measured"}
    assert set(by_claim(None, "eah")) == {"eah-captions", "eah-pope", "eah-settings"}
    assert by_claim(favourable, "model_card") == {}


def test_what_nobody_measured_is_not_run(favourable):
    assert set(verdicts(Evidence("some-model", 32)).values()) == {NOT_RUN}
    only_flow = verdicts(Evidence("some-model", N_LAYERS, flow=favourable.flow))
    run = {name for name, verdict in only_flow.items() if verdict != NOT_RUN}
    assert run == {claim.id for claim in all_claims() if claim.needs == "flow"}


def test_planted_claims_hold(favourable):
    found = verdicts(favourable)
    # two papers exclude each other: TextVQA's words have several tokens, and its cliff is early
    expected = {name: UNDEFINED if name in ALWAYS_UNDEFINED else HOLDS for name in found}
    assert found == expected | {"tokens-several": PARTLY}
    assert {task: c.cut for task, c in favourable.cliffs.items()} == CLIFFS


def test_no_claim_holds_where_its_opposite_is_planted(opposite):
    # without any cliff
    undecidable = {"cam-sparse-deep", "cliff-best-of-all", "cliff-order", "tokens-several"}
    undefined = {"cliff-definition"}
    for name, verdict in verdicts(opposite).items():
        expected = UNDECIDED if name in undecidable else UNDEFINED if name in undefined else FAILS
        assert verdict == expected, name


def test_few_items_decide_nothing_by_their_interval(favourable):
    def first(rows):
        return {t: f[f["item"] <= "item-018"] for t, f in rows.items()}

    several = ("cuts", "flow", "knockout", "cam", "intact", "masked", "broadcast")
    several += ("similarity", "words", "frozen")
    small = {name: first(getattr(favourable, name)) for name in several}
    cliffs = {t: replace(c, n_calibration=FEWEST - 1) for t, c in favourable.cliffs.items()}
    found = by_claim(replace(favourable, **small, cliffs=cliffs))
    without_interval = {
        *("flow-sums-to-one", "flow-flat-middle", "flow-system-most"),
        *("cliff-definition", "cam-last-layer", "cam-site"),
    }
    for name, finding in found.items():
        if name not in without_interval:
            assert finding.verdict == UNDECIDED, name


def test_tasks_that_disagree_hold_in_part(favourable, opposite):
    flow = {"scienceqa": favourable.flow["scienceqa"], "pope": opposite.flow["pope"]}
    found = by_claim(replace(favourable, flow=flow))["flow-falls-early"]
    assert found.verdict == PARTLY
    assert found.by_task == {"scienceqa": HOLDS, "pope": FAILS}
    words = report.finding_words(found)
    assert words == ("ScienceQA holds: 29.0 to 1.0 %; POPE fails: 75.4 to 77.0 %")


def test_maps_without_any_target_are_not_scored(favourable):
    cam = {t: rows.assign(mass=np.nan) for t, rows in favourable.cam.items()}
    nowhere = dict.fromkeys(favourable.localisation, pd.DataFrame({"item": []}))
    found = by_claim(replace(favourable, cam=cam, localisation=nowhere))
    assert found["cam-on-target"].verdict == UNDECIDED
    assert found["cam-site"].verdict == UNDECIDED


@pytest.mark.parametrize(
    ("several", "expected"),
    [
        ([HOLDS, HOLDS], HOLDS),
        ([HOLDS, FAILS], PARTLY),
        ([HOLDS, UNDECIDED], PARTLY),
        ([FAILS, UNDECIDED], FAILS),
        ([UNDECIDED], UNDECIDED),
        ([UNDEFINED, HOLDS], UNDEFINED),
    ],
)
def test_verdicts_add_up(several, expected):
    assert combined(several) == expected
    assert combined(reversed(several)) == expected


def test_an_interval_decides_only_on_one_side():
    def on(low, high, n_items=100, **bounds):
        return decided(Estimate((low + high) / 2, low, high, n_items), **bounds).verdict

    assert on(0.1, 0.2) == HOLDS
    assert on(-0.2, -0.1) == FAILS
    assert on(-0.1, 0.1) == UNDECIDED
    assert on(-0.1, 0.005, below=0.01) == FAILS
    assert on(0.1, 0.1, FEWEST - 1) == UNDECIDED


def test_what_reading_alone_finds():
    found = by_claim(None)
    assert {name: finding.verdict for name, finding in found.items()} == {
        "pope-accuracy-f1": PARTLY,
        "scienceqa-counts": FAILS,
        "chair-label": FAILS,
        "table1-gains": UNDECIDED,
        "pope-cliff": FAILS,
        "blind-values": UNDECIDED,
        "released-span": FAILS,
        "released-rows": FAILS,
        "simignore-gain": HOLDS,
        "eah-captions": PARTLY,
        "eah-pope": FAILS,
        "eah-settings": UNDEFINED,
    }
    assert "InternVL-7B baseline" in found["pope-accuracy-f1"].measured
    assert "LLaVA1.5-7B" not in found["pope-accuracy-f1"].measured
    assert "91 lost and 149 gained, p = 0.00022" in found["simignore-gain"].measured
    stock, glued = found["released-span"].measured.split("; ")
    assert stock.endswith("stay visible 1, tokens of the text that are hidden 1")
    assert glued.endswith("stay visible 2, tokens of the text that are hidden 2")


def test_what_is_possible_is_not_faulted():
    paper = paper_values()
    possible = [row for row in paper["table1"] if row["model"] != "internvl-7b"]
    assert printed.pope_accuracy_f1({**paper, "table1": possible})[0] == HOLDS


def test_percentages_that_chance_does_not_give_hold_in_part():
    paper = paper_values()
    only = [row for row in paper["table1"] if row["model"] in ("llava-1.5-7b", "internvl-7b")]
    verdict, words = printed.scienceqa_counts({**paper, "table1": only})
    assert "2 of 4" in words
    assert verdict == FAILS  # p = 0.18
    assert printed.scienceqa_counts({**paper, "table1": only[:1]})[0] == HOLDS


def test_the_papers_model_is_not_run_unless_the_page_runs_it(favourable):
    page, model = "fig2_attention_flow", favourable.model
    found = findings_beside(page, favourable, "llava-1.5-7b", "shapes")
    assert list(found) == [model, "llava-1.5-7b on the benchmarks"]
    assert found[model] == findings_of(page, favourable)
    assert {f.verdict for f in found["llava-1.5-7b on the benchmarks"]} == {NOT_RUN}
    assert list(findings_beside(page, favourable, model, "hub")) == [model]
    assert len(findings_beside(page, favourable, model, "shapes")) == 2


def test_a_table_shows_every_claim_with_its_verdicts(favourable):
    found = {"some-model": findings_of(None, favourable)}
    found["llava-1.5-7b"] = findings_of(None, Evidence("llava-1.5-7b", 32))
    table = report.finding_table(found, "All")
    assert list(table.data.index) == [f.claim.claim for f in found["some-model"]]
    assert set(table.data["verdict, some-model"]) <= set(paper_values()["verdicts"])
    assert set(table.data["verdict, llava-1.5-7b"]) == {NOT_RUN}
    assert "ours, llava-1.5-7b" not in table.data, "nothing to say of what was not run"
    held = sum(f.verdict == HOLDS for f in found["some-model"])
    assert table.caption == (
        f"All. some-model: {held} hold, 1 holds in part, 1 undefined; "
        f"llava-1.5-7b: {held + 2} not run"
    )
