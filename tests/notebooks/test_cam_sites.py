"""Figures and tables of heat maps: that they show what the rows say, and say what is undefined."""

import numpy as np
import pandas as pd
import pytest
from cam_choice import ALL_TASKS, choices, of_all_tasks
from cam_sites import choice_table, site_grid, site_paper_table
from which_map_page import (
    MAP_GROUPS,
    free_layer_table,
    map_plot,
    map_table,
    rival_curves,
    rival_table,
)

from infoflow.claims.paper import paper_values
from infoflow.errors import InfoflowError
from infoflow.methods.heatmaps import (
    ATTENTION,
    CENTRE,
    LAYER_CAMS,
    PAPER,
    RANDOM,
    RIVALS,
    SOURCES,
    Place,
    Source,
)

N_LAYERS, N_ITEMS = 4, 20
BEST = Source("self_attn.v_proj", "element-wise")
LEVELS = {PAPER: 0.3, ATTENTION: 0.6, BEST: 0.9, RANDOM: 0.1, CENTRE: 0.2}


def undefined(source, layer):
    behind = {"post_attention_layernorm", "output"}
    return source.site in behind and layer == N_LAYERS


def hit_rows(levels=None, n_items=N_ITEMS):
    """Each source hits a share of the items, in layer 2; half as many elsewhere."""
    levels = LEVELS if levels is None else levels
    places = [Place(*s, n) for s in (*LAYER_CAMS, ATTENTION) for n in range(1, N_LAYERS + 1)]
    places += [Place(*s, 0) for s in (RANDOM, CENTRE)]
    places += [Place("projector", w, 0) for w in ("mean", "relu-mean", "element-wise")]
    lines = []
    for place in places:
        share = levels.get(place.source, 0.1) * (1 if place.layer in (0, 2) else 0.5)
        for item in range(n_items):
            hit = np.nan if undefined(place.source, place.layer) else float(item < share * n_items)
            lines.append({"item": f"i{item:02}", "kind": "one", **place._asdict(), "hit": hit})
    return pd.DataFrame(lines).assign(mass=0.1, hit_chance=0.15, mass_chance=0.1)


@pytest.fixture(scope="module")
def rows():
    return {"pope": hit_rows(), "textvqa": hit_rows()}


@pytest.fixture(scope="module")
def chosen(rows):
    by_task = {name: choices([frame], [frame]) for name, frame in rows.items()}
    return by_task | {ALL_TASKS: choices(list(rows.values()), list(rows.values()))}


def changed_rows(areas):
    """Areas of deletion and insertion of each place, the same for two items."""
    return pd.DataFrame(
        [
            {"item": item, **place._asdict(), "deletion": deletion, "insertion": insertion}
            | {"correlation": 0.2 + 0.1 * (item == "b"), "random_hit": 0.0}
            for place, (deletion, insertion) in areas.items()
            for item in ("a", "b")
        ]
    )


def test_the_grid_holds_hit_rates_and_leaves_undefined_cells_empty(rows):
    plot = site_grid(rows, "toy")
    assert plot.table.loc[("pope", "mean", "post_attention_layernorm"), 2] == pytest.approx(30)
    assert plot.table.loc[("textvqa", "element-wise", "self_attn.v_proj"), 2] == pytest.approx(90)
    empty = plot.table.isna()
    assert empty.to_numpy().sum() == 2 * 3 * 2
    assert empty[N_LAYERS].sum() == 2 * 3 * 2
    assert "Hatched: undefined, 6 of 48 cells a task" in plot.caption
    for task in ("POPE", "TextVQA"):
        assert f"{task} at most 90.0 % (values, element-wise, layer 2)" in plot.alt
    panels = plot.figure.axes[:6]
    assert all(axes.patch.get_hatch() for axes in panels)  # seen where a cell is empty
    assert sum(axes.collections[0].get_array().mask.sum() for axes in panels) == 12


def test_an_undefined_map_leaves_a_gap_in_its_line(rows):
    plot = rival_curves(rows, BEST, "toy")
    assert (
        plot.table.loc[("pope", N_LAYERS), "paper's CAM"]
        != plot.table.loc[("pope", N_LAYERS), "paper's CAM"]
    )
    assert plot.table.loc[("pope", 2)].to_dict() == pytest.approx(
        {
            "attention": 60,
            "paper's CAM": 30,
            "chosen CAM": 90,
            "random token": 15,
            "centre": 20,
        }
    )
    assert "in 2 of 2 tasks" in plot.caption
    assert (
        "in 0 of 2 tasks"
        in rival_curves({t: hit_rows({PAPER: 0.9}) for t in rows}, BEST, "toy").caption
    )


def test_the_choice_table_tells_choice_and_score(chosen):
    table = choice_table(chosen)
    lines = table.data[table.data["maps"] == "CAM, any site"]
    assert list(lines.index) == ["POPE", "TextVQA", ALL_TASKS]
    assert set(lines["chosen"]) == {"values (element-wise), layer 2"}
    assert lines.loc[ALL_TASKS, "test %"].startswith("90.0 [")
    assert "all tasks together: CAM, any site 90.0 %; CAM, paper's site 30.0 %" in table.caption
    assert "40 of all tasks" in table.caption


def test_the_rivals_are_compared_with_attention(chosen):
    table = rival_table(chosen, "llava-1.5-7b", "toy", seed=0)
    lines = table.data[table.data["maps"] == "CAM, any site"]
    assert lines.loc[ALL_TASKS, "less attention, points"].startswith("+30.0 [+")
    rival = table.data[table.data["maps"] == "attention"]
    assert set(rival["less attention, points"]) == {"the rival"}
    assert "best CAM points at the answer's region on 90.0 % of 40 test items" in table.caption
    assert "paper's site on 30.0 %, attention on 60.0 %" in table.caption


def test_free_layers_are_those_whose_removal_costs_nothing(rows):
    flow = pd.DataFrame({"layer": [1, 2, 3, 4] * 2, "image": [0.1, 0.2, 0.8, 0.7] * 2})
    log_probs = np.array([[-3.0, -1.0, -0.51, -0.5, -0.5]] * 3)
    table = free_layer_table({"pope": flow}, {"pope": log_probs}, rows, BEST).data.loc["POPE"]
    assert table["layers that need not see the image"] == "3 to 4"
    assert table["loss, nats a token"] == "0.010"
    assert table["image's share of attention there %"] == "70.0 to 80.0"
    assert table["in the layers before %"] == "10.0 to 20.0"
    assert table["attention on target there %"] == "30.0 to 30.0"
    needed = free_layer_table({"pope": flow}, {"pope": log_probs * [1, 1, 1, 1, 0]}, rows, PAPER)
    assert needed.data.loc["POPE", "layers that need not see the image"] == "none"
    assert needed.data.loc["POPE", "attention on target there %"] == "no such map"


def test_every_map_has_its_line_and_seconds_are_not_compared(rows, chosen):
    groups = dict(list(chosen[ALL_TASKS].items())[:3])
    places = [one.place for one in groups.values()]
    areas = {place: (0.5 - 0.1 * n, 0.6) for n, place in enumerate(places)}
    areas[places[0]] = (0.5, 0.9)
    areas[Place("target", "none", 0)] = (0.1, 1.0)
    seconds = {place.source: 0.25 for place in places}
    table = map_table(groups, rows, {"pope": changed_rows(areas)}, seconds, "toy", seed=0)
    lines = table.data
    assert list(lines.index) == [*groups, "the region itself"]
    assert lines.loc["CAM, any site", "hit %"].startswith("90.0 [")
    assert lines.loc["CAM, any site", "mass inside %"] == "10.0 [10.0, 10.0]"
    assert lines.loc["attention", "deletion"] == "0.30 [0.30, 0.30]"
    assert lines.loc["attention", "random weights: correlation"] == "+0.25 [+0.20, +0.30]"
    assert lines.loc["the region itself", "deletion"] == "0.10 [0.10, 0.10]"
    assert lines.loc["the region itself", "hit %"] == "-"
    assert "Smallest area of deletion: attention, layer 2" in table.caption
    assert "largest of insertion: values (element-wise), layer 2" in table.caption
    shown = table._repr_mimebundle_()
    assert "0.25</td>" in shown["text/html"]
    assert "seconds" not in shown["text/plain"]


def test_maps_stand_best_first(chosen):
    plot = map_plot(chosen[ALL_TASKS], "toy")
    assert list(plot.table.index)[:2] == ["CAM, any site", "attention"]
    assert plot.table.loc["CAM, any site", ("test", "mean")] == pytest.approx(90)
    assert "Of all maps CAM, any site (values (element-wise), layer 2)" in plot.caption


def test_a_file_in_the_folder_of_maps_is_a_group_of_its_own():
    assert {"rollout", "relevancy", "value weighted", "token activation"} <= set(MAP_GROUPS)
    listed = [source for group in MAP_GROUPS.values() for source in group]
    assert {*RIVALS, *SOURCES} == set(listed)
    with pytest.raises(InfoflowError, match="no item names a region"):
        of_all_tasks({"pope": pd.DataFrame({"item": []})})


def test_the_papers_site_stands_beside_every_site(rows):
    table = site_paper_table(rows, rows, paper_values()["claims"], "llava-1.5-7b", "toy")
    column = table.data["paper, llava-1.5-7b"]
    assert column[column == "clearest"].index.tolist() == ["second norm"]
    assert set(table.data["ours, llava-1.5-7b on the benchmarks"]) == {"not run"}
    assert table.data.loc["values", "ours, toy: POPE"] == "90.0"
    assert table.data.loc["second norm", "ours, toy: POPE"] == "30.0"
    assert "Figure 7" in table.caption
