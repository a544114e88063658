"""What pages say of other seeds comes of the rows beside the weights, planted here."""

from dataclasses import replace

import pandas as pd
import pyarrow.parquet as pq
import pytest
from card_page import about_seeds, seed_table
from claims_page import CLIFFS, N_ITEMS, planted
from seed_pages import (
    FILE,
    agreement_words,
    change_table,
    cliff_table,
    other_seeds,
    seed_words,
    share_plot,
    spread,
    verdicts_by_seed,
    with_seeds,
)
from truncation_pages import score_plot

from infoflow import report
from infoflow.claims import findings_of
from infoflow.claims.gather import cliffs_of
from infoflow.errors import InfoflowError
from infoflow.evaluate.truncation import scores_by_cut
from infoflow.report import NOT_RUN
from zoo.seeds import as_table


def rows_of(evidence):
    """Rows as they are shipped."""
    parts = [("calibration", "cut", evidence.calibration), ("test", "cut", evidence.cuts)]
    return pd.concat(
        frame.melt(["item", place], values, "quantity")
        .rename(columns={place: "at"})
        .assign(task=task, split=split)
        for split, place, of_split in [*parts, ("test", "layer", evidence.flow)]
        for values in (["score"] if place == "cut" else ["system", "image", "user"],)
        for task, frame in of_split.items()
    )


def whole(favourable):
    """A model whose calibration items have the names of its test items, but other scores."""
    made, turned = planted(favourable), {f"item-{i:03}": f"item-{199 - i:03}" for i in range(200)}
    others = {t: rows.assign(item=rows["item"].map(turned)) for t, rows in made.cuts.items()}
    cliffs = cliffs_of(others, made.cuts, seed=0)
    return replace(made, model="tiny-llava-1.5", calibration=others, cliffs=cliffs)


OWN, OPPOSITE = whole(True), whole(False)


@pytest.fixture(scope="module")
def ship(tmp_path_factory):
    """Put rows of seeds into a new folder."""

    def write(**evidence):
        folder = tmp_path_factory.mktemp("model")
        rows = {name.removeprefix("seed"): rows_of(one) for name, one in evidence.items()}
        about = {seed: {"digest": f"d{seed}", "recipe": {"device": "cpu"}} for seed in rows}
        pq.write_table(as_table(rows, {"items": "", "seeds": about}), folder / FILE)
        (folder / "recipe.json").write_text('{"seed": 0}')
        return folder

    return write


@pytest.fixture(scope="module")
def alike(ship):
    return other_seeds(OWN, ship(seed1=OWN, seed2=OWN))


@pytest.fixture(scope="module")
def apart(ship):
    return other_seeds(OWN, ship(seed1=OWN, seed2=OPPOSITE))


def test_the_same_rows_give_the_same_cliffs_and_shares(alike):
    assert list(alike) == ["seed 1", "seed 2"]
    for one in alike.values():
        assert one.cliffs == OWN.cliffs
        found, own = (e.flow["pope"].set_index(["item", "layer"]) for e in (one, OWN))
        for name in ("system", "image", "user", "uniform_image"):
            assert (found[name] - own[name]).abs().max() < 1e-5


def test_cliffs_are_chosen_by_the_margin_of_the_page(ship):
    wide = {task: replace(cliff, margin=0.9) for task, cliff in OWN.cliffs.items()}
    (one,) = other_seeds(replace(OWN, cliffs=wide), ship(seed1=OWN)).values()
    assert {cliff.cut for cliff in one.cliffs.values()} == {0}


def test_a_page_of_fewer_items_takes_the_same_ones(ship):
    def fewer(rows):
        return {task: frame[frame["item"] < "item-050"] for task, frame in rows.items()}

    few = replace(OWN, **{part: fewer(getattr(OWN, part)) for part in ("cuts", "calibration")})
    (one,) = other_seeds(few, ship(seed1=OWN)).values()
    assert {cliff.n_calibration for cliff in one.cliffs.values()} == {50}
    assert {cliff.n_test for cliff in one.cliffs.values()} == {50}


def test_other_items_are_refused(ship):
    named = {task: rows.assign(item="x" + rows["item"]) for task, rows in OWN.cuts.items()}
    with pytest.raises(InfoflowError, match="no score of xitem-000; `make seeds` measures all"):
        other_seeds(replace(OWN, cuts=named), ship(seed1=OWN))


def test_without_rows_nothing_is_said_of_seeds(tmp_path, ship):
    runs = other_seeds(OWN, tmp_path)
    assert runs == other_seeds(OWN, ship(seed1=OWN), source="hub") == {}
    for words in (seed_words(OWN, runs), agreement_words(verdicts_by_seed(OWN, runs), runs)):
        assert words.endswith(f": {NOT_RUN}.")
    table = report.finding_table({OWN.model: findings_of("fig5_truncation", OWN)}, "")
    assert with_seeds(table, verdicts_by_seed(OWN, runs), OWN.model) is table
    assert set(change_table(OWN, runs).data["spread over seeds"]) == {NOT_RUN}


def test_spread_is_that_of_the_seeds_alone():
    assert spread([8]) == NOT_RUN
    assert spread([8, 5, 5]) == "5 to 8, SD 1.7"
    assert spread([4, 4]) == "4, SD 0.0"
    assert spread([0.2, -1.0], "{:+.1f}") == "-1.0 to +0.2, SD 0.8"


def test_a_seed_with_other_rows_changes_what_is_said(alike, apart):
    assert seed_words(OWN, alike).startswith("Over 3 seeds of the training")
    assert "POPE 6, SD 0.0" in seed_words(OWN, alike)
    assert "POPE 6 to 12, SD 3.5" in seed_words(OWN, apart)
    agreed, differing = (verdicts_by_seed(OWN, runs) for runs in (alike, apart))
    assert len(agreed) == len(differing) >= 17
    assert f"agree on {len(agreed)} and differ on none" in agreement_words(agreed, alike)
    assert "cliff-moves" in agreement_words(differing, apart)
    table = report.finding_table({OWN.model: findings_of(None, OWN)}, "")
    before, after = (with_seeds(table, v, OWN.model).data for v in (agreed, differing))
    sentence = "Where the cliff lies depends on the task."
    assert before["seeds, tiny-llava-1.5"][sentence] == "3 of 3 agree"
    assert after["seeds, tiny-llava-1.5"][sentence] == "own holds; seed 1 holds; seed 2 fails"
    # nobody measured maps for the seeds
    maps = next(claim for claim in before.index if "gradient map" in claim)
    assert before["seeds, tiny-llava-1.5"][maps] == NOT_RUN


def test_a_change_is_that_of_each_seed_at_its_own_cliff(apart):
    line = change_table(OWN, apart).data.loc["POPE"]
    assert line["own: points [95 %]"] == line["seed 1: points [95 %]"]
    assert line["seed 2: points [95 %]"].startswith("+0.0 ")
    assert line["spread over 3 seeds"].startswith("+0.0 to +20.0, SD ")


def test_the_zoo_stands_in_one_table(apart):
    other = replace(OPPOSITE, model="tiny-shikra")
    data = cliff_table({OWN.model: OWN, other.model: other}, apart).data
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


def test_figures_show_every_seed(apart):
    plot = share_plot(OWN, apart)
    assert list(plot.table.columns) == ["own", "seed 1", "seed 2"]
    assert plot.table.loc[("pope", 1), "seed 2"] == pytest.approx(
        100 * OPPOSITE.flow["pope"].groupby("layer")["image"].mean()[1], abs=1e-3
    )
    assert len(plot.alt) <= 400
    scores = {"pope": scores_by_cut(OWN.cuts["pope"])}
    cliffs, guess = {"pope": OWN.cliffs["pope"]}, {"pope": 0.5}
    without, beside = (score_plot(scores, cliffs, guess, "a model", r) for r in ({}, apart))
    assert "seed 2" in beside.caption
    assert "seed" not in without.caption
    n_lines = [len(plot.figure.axes[0].lines) for plot in (without, beside)]
    assert n_lines[1] == n_lines[0] + 2 * len(apart)


def test_the_card_lists_seeds_and_their_spread(apart, ship):
    folder = ship(seed1=OWN)
    assert about_seeds(folder).data.loc["seed 1"].tolist() == ["cpu", "d1"]
    rows = seed_table(OWN, apart, folder).data.loc["POPE"].set_index("seed")
    assert list(rows.index) == ["seed 0", "seed 1", "seed 2", "spread over 3 seeds"]
    assert rows.loc["spread over 3 seeds", "cliff [95 %]"] == "6 to 12, SD 3.5"
    rows = seed_table(OWN, {}, folder).data.loc["POPE"].set_index("seed")
    assert list(rows.index) == ["seed 0", "spread over seeds"]
    assert set(rows.loc["spread over seeds"]) == {NOT_RUN}
