"""The audit's rules on planted evidence, and its claims as data."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from infoflow.claims.verdicts import MEASURED, RECOMPUTED, measured_findings, recomputed_findings

from infoflow import report
from infoflow.claims import on_flow
from infoflow.claims.findings import (
    FAILS,
    FEWEST,
    HOLDS,
    NEEDS_RUN,
    PARTLY,
    UNDECIDED,
    UNDEFINED,
    VERDICTS,
    combined,
    decided,
)
from infoflow.claims.paper import paper_values
from infoflow.claims.planted import CLIFFS, planted
from infoflow.report import flow_claims

ALWAYS_UNDEFINED = {"cam-last-layer"}


@pytest.fixture(scope="module")
def paper():
    return paper_values()


@pytest.fixture(scope="module")
def favourable():
    return planted(True)


@pytest.fixture(scope="module")
def opposite():
    return planted(False)


def test_every_claim_has_its_rule_and_every_rule_its_claim(paper):
    by_kind = {"measured": MEASURED, "recomputed": RECOMPUTED}
    for kind, checks in by_kind.items():
        assert {c["id"] for c in paper["claims"] if c["kind"] == kind} == set(checks)
    assert all(check.rule.endswith(".") for check in (MEASURED | RECOMPUTED).values())


def test_claims_say_where_they_stand(paper):
    for claim in paper["claims"]:
        assert set(claim) == {"id", "kind", "source", "place", "claim", "evidence"}
        assert claim["source"] in paper["sources"]


def test_every_sentence_on_attention_is_audited(paper):
    audited = {claim["id"] for claim in paper["claims"]}
    assert {f"flow-{claim['id']}" for claim in paper["attention_claims"]} <= audited


def test_planted_claims_hold(favourable):
    verdicts = {name: f.verdict for name, f in measured_findings(favourable).items()}
    expected = {n: UNDEFINED if n in ALWAYS_UNDEFINED else HOLDS for n in MEASURED}
    assert verdicts == expected
    assert {task: c.cut for task, c in favourable.cliffs.items()} == CLIFFS


def test_no_claim_holds_where_its_opposite_is_planted(opposite):
    verdicts = {name: f.verdict for name, f in measured_findings(opposite).items()}
    undecidable = {"cam-sparse-deep", "cliff-best-of-all", "cliff-order"}  # without any cliff
    undefined = {"cliff-definition"}
    for name, verdict in verdicts.items():
        expected = UNDECIDED if name in undecidable else UNDEFINED if name in undefined else FAILS
        assert verdict == expected, name


def test_few_items_decide_nothing_by_their_interval(favourable):
    def first(rows):
        return {t: f[f["item"] <= "item-018"] for t, f in rows.items()}

    small = {name: first(getattr(favourable, name)) for name in ("cuts", "flow", "cam")}
    arms = {name: first(rows) for name, rows in favourable.arms.items()}
    cliffs = {t: replace(c, n_calibration=FEWEST - 1) for t, c in favourable.cliffs.items()}
    found = measured_findings(replace(favourable, **small, arms=arms, cliffs=cliffs))
    without_interval = {
        *("flow-sums-to-one", "flow-flat-middle", "flow-system-most"),
        *("cliff-definition", "cam-last-layer", "cam-site"),
    }
    for name, finding in found.items():
        if name not in without_interval:
            assert finding.verdict == UNDECIDED, name


def test_tasks_that_disagree_hold_in_part(favourable, opposite):
    flow = {"scienceqa": favourable.flow["scienceqa"], "pope": opposite.flow["pope"]}
    found = measured_findings(replace(favourable, flow=flow))["flow-falls-early"]
    assert found.verdict == PARTLY
    assert set(found.measured) == {"scienceqa", "pope"}


def test_nothing_measured_is_not_decided(favourable):
    found = measured_findings(replace(favourable, flow={}, cam={}, localisation={}, arms={}))
    for name in ("flow-falls-early", "cam-on-target", "cam-site", "simignore-alone"):
        assert found[name].verdict == UNDECIDED, name


def test_maps_without_any_target_are_not_scored(favourable):
    cam = {t: rows.assign(mass=np.nan) for t, rows in favourable.cam.items()}
    nowhere = dict.fromkeys(favourable.localisation, pd.DataFrame({"item": []}))
    found = measured_findings(replace(favourable, cam=cam, localisation=nowhere))
    assert found["cam-on-target"].verdict == UNDECIDED
    assert found["cam-site"].verdict == UNDECIDED


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([HOLDS, HOLDS], HOLDS),
        ([HOLDS, FAILS], PARTLY),
        ([HOLDS, UNDECIDED], PARTLY),
        ([FAILS, UNDECIDED], FAILS),
        ([UNDECIDED], UNDECIDED),
        ([UNDEFINED, HOLDS], UNDEFINED),
    ],
)
def test_verdicts_add_up(verdicts, expected):
    assert combined(verdicts) == expected
    assert combined(reversed(verdicts)) == expected


def test_an_interval_decides_only_on_one_side():
    assert decided((0.1, 0.2), 100, above=0.0) == HOLDS
    assert decided((-0.2, -0.1), 100, above=0.0) == FAILS
    assert decided((-0.1, 0.1), 100, above=0.0) == UNDECIDED
    assert decided((-0.1, 0.005), 100, above=0.0, below=0.01) == FAILS
    assert decided((0.1, 0.1), FEWEST - 1, above=0.0) == UNDECIDED


def test_flow_thresholds_are_those_of_the_page_on_flow():
    assert (on_flow.FAST, on_flow.FLAT) == (flow_claims.FAST, flow_claims.FLAT)


def test_what_reading_alone_finds(paper):
    found = recomputed_findings(paper)
    assert {name: finding.verdict for name, finding in found.items()} == {
        "pope-accuracy-f1": PARTLY,
        "scienceqa-counts": PARTLY,
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


def test_what_is_possible_is_not_faulted(paper):
    possible = [row for row in paper["table1"] if row["model"] != "internvl-7b"]
    found = recomputed_findings({**paper, "table1": possible})
    assert found["pope-accuracy-f1"].verdict == HOLDS


def test_tables_show_every_claim_with_its_verdicts(paper, favourable):
    found = {"some-model": measured_findings(favourable)}
    claims = [c for c in paper["claims"] if c["kind"] == "measured"]
    table = report.claim_table(claims, found, "a topic", paper["sources"]).data
    assert list(table.index) == [c["claim"] for c in claims]
    assert set(table["verdict, some-model"]) <= set(VERDICTS)
    assert set(table["verdict, the paper's models"]) == {NEEDS_RUN}
    rules = report.rule_table(paper["claims"], MEASURED | RECOMPUTED).data
    assert len(rules) == len(paper["claims"])


def test_the_grid_counts_its_verdicts(paper, favourable):
    found = {"some-model": measured_findings(favourable)}
    plot = report.verdict_grid(paper["claims"], found)
    held = sum(f.verdict == HOLDS for f in found["some-model"].values())
    assert f"some-model: {held} hold" in plot.caption
    assert plot.png[:4] == b"\x89PNG"
    assert plot.table.loc["cam-last-layer", "some-model"] == UNDEFINED
    assert plot.table.loc["pope-cliff", "the paper's models"] == ""


def test_the_impossible_pairs_are_drawn_outside(paper):
    plot = report.f1_plot(paper)
    table = plot.table
    outside = table[(table["f1"] < table["lowest"]) | (table["f1"] > table["highest"])]
    assert list(outside.index) == ["InternVL-7B, baseline", "InternVL-7B, cliff"]
    assert f"Of {len(table)} pairs 2 lie outside" in plot.caption


def test_count_table_names_counts_that_fit(paper):
    data = report.count_table(paper).data
    row = data[data["paper: printed"] == "66.48"]
    assert row["of 2017 with an image"].tolist() == ["1341"]
    assert row["of 4241 in all"].tolist() == ["no count"]
