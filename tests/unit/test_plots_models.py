"""Several models' truncation on one page."""

from dataclasses import replace

import pytest

from infoflow import report
from infoflow.claims.planted import CLIFFS, INTACT, N_LAYERS, TRUNCATED, planted


def test_models_of_any_depth_share_the_axis_and_keep_their_own_cliffs():
    shallow = replace(planted(True), model="shallow")
    deep = replace(planted(False), model="deep", n_layers=2 * N_LAYERS)
    plot = report.curves_by_model({"shallow": shallow, "deep": deep})
    at_cliff = plot.table.loc[("pope", "shallow", CLIFFS["pope"])]
    assert at_cliff["depth"] == pytest.approx(CLIFFS["pope"] / N_LAYERS)
    assert at_cliff["score"] == pytest.approx(100 * TRUNCATED)
    last = plot.table.loc[("pope", "deep", N_LAYERS)]
    assert (last["depth"], last["score"]) == pytest.approx((0.5, 100 * INTACT))
    assert f"POPE: shallow {CLIFFS['pope']} of 12, deep 12 of 24" in plot.alt
    assert f"POPE 0.50 to {CLIFFS['pope'] / N_LAYERS:.2f}" in plot.caption
    assert plot.png.startswith(b"\x89PNG")
