"""What pages say of other seeds comes of what these do; planted here."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from card_page import about_seeds, seed_table
from claims_page import CLIFFS, N_ITEMS, planted
from seed_pages import (
    agreement_words,
    change_table,
    cliff_table,
    seed_models,
    seed_words,
    share_plot,
    spread,
    verdicts_by_seed,
    with_seeds,
)
from truncation_pages import score_plot

from infoflow import load_lvlm, report
from infoflow.claims import findings_of
from infoflow.claims.gather import cliffs_of
from infoflow.evaluate.truncation import scores_by_cut
from infoflow.report import NOT_RUN
from infoflow.results.sources import ROOT


def whole(favourable):
    """A model whose calibration items have the names of its test items, but other scores."""
    made, turned = planted(favourable), {f"item-{i:03}": f"item-{199 - i:03}" for i in range(200)}
    others = {t: rows.assign(item=rows["item"].map(turned)) for t, rows in made.cuts.items()}
    cliffs = cliffs_of(others, made.cuts, seed=0)
    return replace(made, model="tiny-llava-1.5", calibration=others, cliffs=cliffs)


OWN, OPPOSITE = whole(True), whole(False)


ALIKE, APART = (
    {
        name: replace(one, cam={}, localisation={}, last_layer={})
        for name, one in (("seed 1", OWN), ("seed 2", second))
    }
    for second in (OWN, OPPOSITE)
)


def test_seeds_lie_beside_the_weights_of_their_model():
    lvlm = load_lvlm("tiny-llava-1.5")
    models = seed_models(lvlm)
    assert list(models) == ["seed 1", "seed 2"]
    assert len({lvlm.digest, *(one.digest for one in models.values())}) == 3
    assert not seed_models(lvlm, "hub")
    assert not seed_models(load_lvlm("tiny-shikra"))


def test_cliffs_are_chosen_by_the_margin_of_the_page():
    cliffs = cliffs_of(OWN.calibration, OWN.cuts, seed=0, margin=0.9)
    assert {cliff.cut for cliff in cliffs.values()} == {0}


def test_without_seeds_nothing_is_said_of_them():
    for words in (seed_words(OWN, {}), agreement_words(verdicts_by_seed(OWN, {}), {})):
        assert words.endswith(f": {NOT_RUN}.")
    table = report.finding_table({OWN.model: findings_of("fig5_truncation", OWN)}, "")
    assert with_seeds(table, verdicts_by_seed(OWN, {}), OWN.model) is table
    assert set(change_table(OWN, {}).data["spread over seeds"]) == {NOT_RUN}


def test_spread_is_that_of_the_seeds_alone():
    assert spread([8]) == NOT_RUN
    assert spread([8, 5, 5]) == "5 to 8, SD 1.7"
    assert spread([4, 4]) == "4, SD 0.0"
    assert spread([0.2, -1.0], "{:+.1f}") == "-1.0 to +0.2, SD 0.8"


def test_a_seed_with_other_rows_changes_what_is_said():
    assert seed_words(OWN, ALIKE).startswith("Over 3 seeds of the training")
    assert "POPE 6, SD 0.0" in seed_words(OWN, ALIKE)
    assert "POPE 6 to 12, SD 3.5" in seed_words(OWN, APART)
    agreed, differing = (verdicts_by_seed(OWN, runs) for runs in (ALIKE, APART))
    assert len(agreed) == len(differing) >= 17
    assert f"agree on {len(agreed)} and differ on none" in agreement_words(agreed, ALIKE)
    assert "cliff-moves" in agreement_words(differing, APART)
    table = report.finding_table({OWN.model: findings_of(None, OWN)}, "")
    before, after = (with_seeds(table, v, OWN.model).data for v in (agreed, differing))
    sentence = "Where the cliff lies depends on the task."
    assert before["seeds, tiny-llava-1.5"][sentence] == "3 of 3 agree"
    assert after["seeds, tiny-llava-1.5"][sentence] == "own holds; seed 1 holds; seed 2 fails"
    # nobody measured maps for the seeds
    maps = next(claim for claim in before.index if "gradient map" in claim)
    assert before["seeds, tiny-llava-1.5"][maps] == NOT_RUN


def test_a_change_is_that_of_each_seed_at_its_own_cliff():
    line = change_table(OWN, APART).data.loc["POPE"]
    assert line["own: points [95 %]"] == line["seed 1: points [95 %]"]
    assert line["seed 2: points [95 %]"].startswith("+0.0 ")
    assert line["spread over 3 seeds"].startswith("+0.0 to +20.0, SD ")


def test_the_zoo_stands_in_one_table():
    other = replace(OPPOSITE, model="tiny-shikra")
    data = cliff_table({OWN.model: OWN, other.model: other}, APART).data
    assert list(data.index[:5]) == [
        "tiny-llava-1.5",
        "tiny-llava-1.5, seed 1",
        "tiny-llava-1.5, seed 2",
        "tiny-llava-1.5, spread over 3 seeds",
        "tiny-shikra",
    ]
    pope = CLIFFS["pope"]
    assert data.loc["tiny-llava-1.5", "POPE"] == f"cut {pope} [{pope}, {pope}]"
    assert data.loc["tiny-shikra", "POPE"] == "no cliff [12, 12]"
    assert data.loc["tiny-llava-1.5", "items"] == str(N_ITEMS)
    assert set(data.loc["tiny-qwen-vl"]) == {NOT_RUN}


def test_figures_show_every_seed():
    plot = share_plot(OWN, APART)
    assert list(plot.table.columns) == ["own", "seed 1", "seed 2"]
    assert plot.table.loc[("pope", 1), "seed 2"] == pytest.approx(
        100 * OPPOSITE.flow["pope"].groupby("layer")["image"].mean()[1], abs=1e-3
    )
    assert len(plot.alt) <= 400
    scores = {"pope": scores_by_cut(OWN.cuts["pope"])}
    cliffs, guess = {"pope": OWN.cliffs["pope"]}, {"pope": 0.5}
    without, beside = (score_plot(scores, cliffs, guess, "a model", r) for r in ({}, APART))
    assert "seed 2" in beside.caption
    assert "seed" not in without.caption
    n_lines = [len(plot.figure.axes[0].lines) for plot in (without, beside)]
    assert n_lines[1] == n_lines[0] + 2 * len(APART)


def test_the_card_lists_seeds_and_their_spread():
    folder = ROOT / "zoo" / OWN.model
    models = {"seed 1": SimpleNamespace(folder=folder / "seed1", digest="d1")}
    assert about_seeds(models).data.loc["seed 1"].tolist() == [f"{OWN.model}/seed1", "d1"]
    rows = seed_table(OWN, APART, folder).data.loc["POPE"].set_index("seed")
    assert list(rows.index) == ["seed 0", "seed 1", "seed 2", "spread over 3 seeds"]
    assert rows.loc["spread over 3 seeds", "cliff [95 %]"] == "6 to 12, SD 3.5"
    rows = seed_table(OWN, {}, folder).data.loc["POPE"].set_index("seed")
    assert list(rows.index) == ["seed 0", "spread over seeds"]
    assert set(rows.loc["spread over seeds"]) == {NOT_RUN}
