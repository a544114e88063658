"""What the pages on interventions draw and say: right numbers, words and edge cases."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from arm_pages import changes, fewest_kept, hidden_maps, same_depth
from cells import assert_whole, run_cell

from infoflow import report
from infoflow.claims.paper import paper_values
from infoflow.data.shapes import sample as draw
from infoflow.interventions import EAH, Simignore
from infoflow.models.grid import Grid, Raster, stack
from infoflow.models.prompt import Prompt, Spans
from infoflow.stats.layers import depths
from infoflow.stats.paired import mcnemar

MODEL, N, L = "some-model", 40, 6
PAPER = paper_values()
LVLM = SimpleNamespace(n_layers=L)


@pytest.mark.parametrize("n_layers", [1, 6, 12, 32, 64])
def test_the_same_depth_is_where_middles_are_nearest(n_layers):
    for layer in range(32):
        found = same_depth(layer, 32, n_layers)
        off = [abs((other + 0.5) / n_layers - (layer + 0.5) / 32) for other in range(n_layers)]
        assert off[found] == pytest.approx(min(off))
    assert [same_depth(layer, 32, 32) for layer in range(32)] == list(range(32))


def rows(scores):
    scores = np.asarray(scores, dtype=float)
    items = [f"item-{i}" for i in range(len(scores))]
    return pd.DataFrame({"item": items, "kind": "one", "score": scores})


def right(n_right, n_items=N):
    return rows(np.arange(n_items) < n_right)


def prompt_of(sample, n_rows=8, n_columns=8):
    n_image = n_rows * n_columns
    spans = Spans(slice(0, 10), slice(10, 10 + n_image), slice(10 + n_image, 26 + n_image))
    size = 26 + n_image
    tensors = torch.zeros(size, dtype=torch.long), torch.zeros(1, size, 4)
    grid = Grid(n_rows, n_columns)
    return Prompt(*tensors, torch.zeros(1, 3, 96, 96), spans, grid, sample.image, sample.question)


# What is hidden


def test_hidden_tokens_cover_their_part_of_the_image():
    sample = draw("textvqa", "test", 0)
    target = np.logical_or.reduce([sample.regions[name] for name in sample.targets])
    inside = target.reshape(8, 12, 8, 12).any(axis=(1, 3)).ravel()
    hidden = {"none": np.zeros(64), "target": inside, "rest": ~inside}
    plot = hidden_maps(hidden, prompt_of(sample), sample, MODEL)
    assert_whole(plot)
    assert plot.png == hidden_maps(hidden, prompt_of(sample), sample, MODEL).png
    assert list(plot.table["hidden"]) == [0, inside.sum(), 64 - inside.sum()]
    assert list(plot.table["target hidden %"]) == [0, 100, 0]


def test_a_cell_is_hidden_with_most_of_the_tokens_it_mixes():
    sample = draw("textvqa", "test", 0)
    fine, coarse = Raster(Grid(4, 4), np.arange(16)), Raster(Grid(2, 2), np.arange(16, 20))
    prompt = replace(prompt_of(sample), grid=stack([fine, coarse], 20))
    target = np.zeros(sample.image.size[::-1], dtype=bool)
    target[:24, :24] = True  # the first of the 4 x 4 cells
    sample = replace(sample, regions={"corner": target}, targets=("corner",))
    corner, both = np.zeros((2, 20))
    corner[0] = both[[0, 16]] = 1
    table = hidden_maps({"fine one alone": corner, "both": both}, prompt, sample, MODEL).table
    assert list(table["target hidden %"]) == [0, 100]


def test_samples_without_regions_have_maps_too():
    sample = replace(draw("pope", "test", 0), regions={}, targets=())
    plot = hidden_maps({"none": np.zeros(64)}, prompt_of(sample), sample, MODEL)
    assert "no such region" in plot.caption


def test_changes_are_in_points_with_their_interval():
    table = changes({("a", 2): right(20), ("a", 1): right(30)}, right(30), 0, ["arm", "n"])
    assert list(table["change"]) == [0, -25]
    assert table.loc[("a", 2), "low"] < -25 < table.loc[("a", 2), "high"]


# Appendix A.2


CUTS = [1, 2, 3]


def grid(lines):
    """Rows: K to scores at the cuts."""
    table = pd.DataFrame.from_dict(lines, orient="index", columns=pd.Index(CUTS, name="cut"))
    return table.rename_axis("keep")


NEEDS_ALL = grid({0: [0.2, 0.3, 0.9], 4: [0.5, 0.9, 0.9], 64: [0.9] * 3})
NEEDS_NONE = grid({0: [0.9] * 3, 4: [0.9] * 3, 64: [0.9] * 3})


def kept_rows(by_cut, keep=4):
    lines = [
        {"item": f"item-{item}", "keep": keep, "cut": cut, "score": score}
        for item in range(20)
        for cut, score in zip(CUTS, by_cut, strict=True)
    ]
    return pd.DataFrame(lines).assign(text=f"kept {keep}", n_image=64)


def cut_rows(high):
    score = {cut: high if cut >= 3 else 0.0 for cut in range(L + 1)}
    lines = [
        {"item": f"item-{i}", "cut": c, "score": s} for i in range(20) for c, s in score.items()
    ]
    return pd.DataFrame(lines)


def on_a2(cell, grids, by_way=None, **scope):
    ways = by_way or {way: kept_rows([0.5] * 3) for way in ("attention", "random", "cam")}
    known = {"tasks": list(grids), "shallow": CUTS, "tried": [4], "rival": 4, "grids": grids}
    known |= {"rows": dict.fromkeys(grids, ways["attention"]), "lvlm": LVLM, "model": MODEL}
    known |= {"truncated": dict.fromkeys(grids, cut_rows(0.9)), "score_grid": None, "store": None}
    known |= {"fewest": {name: fewest_kept(grid, 0.05) for name, grid in grids.items()}}
    known |= {"n_all": dict.fromkeys(grids, 64), "test": dict.fromkeys(grids)}
    known |= {"rivals": {(name, way): rows for name in grids for way, rows in ways.items()}}
    known |= {"ways": {"attention": "by attention", "random": "at random", "cam": "by CAM"}}
    known |= {
        "topk_by_cut": lambda lvlm, task, store, keeps, cuts, by="attention", seed=0: ways[by]
    }
    return run_cell("a2_topk", cell, **known | scope)


def test_the_heat_map_tells_the_fewest_tokens():
    grids = {"pope": NEEDS_ALL, "chair": NEEDS_NONE}
    measure = {"truncation_by_cut": lambda *given: None, "score_grid": lambda kept, cut: NEEDS_ALL}
    data = SimpleNamespace(test=lambda name, limit: name)
    plot = on_a2("a2-09", grids, data=data, **measure)
    assert_whole(plot)
    assert plot.table.loc[("pope", 4), 1] == 50
    assert "at cut 1: POPE 64 of 64" in plot.caption
    axes = plot.figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "3"]
    above = [label.get_text() for label in axes.child_axes[0].get_xticklabels()]
    assert above == ["2", "3", "4"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0", "4", "64"]
    assert sum(line.get_marker() == "." for line in axes.lines) == 6  # no harm at these places
    table = on_a2("a2-11", grids).data
    assert list(table["POPE"]) == ["all", "4 of 64", "0 of 64"]
    assert list(table["CHAIR"]) == ["0 of 64"] * 3
    assert list(table["paper's layer"]) == [2, 3, 4]


def test_rivals_are_means_by_cut_and_paired_with_chance():
    ways = {"attention": [0.8, 0.9, 0.9], "random": [0.4, 0.5, 0.9], "cam": [0.9] * 3}
    better = {way: kept_rows(scores) for way, scores in ways.items()}
    grids = {"pope": NEEDS_ALL, "chair": NEEDS_ALL}
    made = {
        "data": SimpleNamespace(test=lambda name, limit: name),
        "truncation_by_cut": lambda *given: cut_rows(0.9),
        "score_grid": lambda kept, cut: NEEDS_ALL,
    }
    plot = on_a2("found+figure", grids, better, **made)
    assert_whole(plot)
    assert plot.table.loc[("pope", 1), "attention"] == pytest.approx(80)
    assert plot.table.loc[("pope", 1), "none"] == 0
    assert (plot.table["intact"] == 90).all()
    table = on_a2("found+figure+a2-14", grids, better, **made)
    assert table.data.loc["POPE", "at random %"] == "60.0"
    assert table.data.loc["POPE", "by attention - random, points"].startswith("+26.7 [")
    assert "in POPE and CHAIR (interval" in table.caption
    worse = better | {"attention": kept_rows([0.1] * 3)}
    assert (
        "better than chance in no task" in on_a2("found+figure+a2-14", grids, worse, **made).caption
    )


def test_the_appendix_stands_as_printed():
    data = on_a2("a2-17", {"scienceqa": NEEDS_ALL}).data
    blind = f"0.0 ({(cut_rows(0.9)['cut'] == 0).sum()} items)"
    assert list(data["paper, llava-1.5-7b"]) == ["0", "47.5", "not printed"]
    assert list(data[f"ours, {MODEL} on Shapes"]) == ["0, 4 and 64", blind, "see the heat maps"]
    assert set(data["ours, llava-1.5-7b on the benchmarks"]) == {report.NOT_RUN}


# Simignore


def on_simignore(cell, n_right=lambda order, hidden: 30 - hidden // 8, **scope):
    counts, walk = [8, 14, 32, 64], Simignore(50)
    orders = {"least": "most", "intermediate": "ends", "random": "random", "most": "least"}
    known = {"first": "scienceqa", "title": "ScienceQA", "intact": right(30), "n_image": 64}
    known |= {"published": PAPER["simignore"], "which": PAPER["simignore"]["which"]}
    known |= {"kept_for": orders, "n_published": 576, "share": 1 / 9, "released_walk": walk}
    known |= {"contrast_counts": [14], "store": None, "lvlm": None, "model": MODEL}
    known |= {"ignored": [9 * n for n in counts], "contrasts": [9 * 14], "reading": lambda s: s}
    known |= {"answered": {"scienceqa": {"none": right(30)}}, "test": {"scienceqa": None}}
    known |= {"measured": {("least", n): right(n_right("most", n)) for n in counts}}
    known["measured"] |= {(what, 14): right(20) for what in orders if what != "least"}

    def answers_under(lvlm, task, store, walk):
        return right(n_right(walk.order, 64 - walk.keep) if walk.order == "most" else 20)

    return run_cell("simignore", cell, **known | {"answers_under": answers_under} | scope)


def test_the_curve_holds_changes_in_points_ours_and_published():
    plot = on_simignore("found+figure")
    assert_whole(plot)
    ours = plot.table.xs((MODEL, "least"))["change"]
    assert list(ours.index) == [100 * n / 64 for n in (8, 14, 32, 64)]
    assert list(ours) == pytest.approx([-2.5, -2.5, -10, -20])
    assert plot.table.loc[(MODEL, "random", 100 * 14 / 64), "change"] == pytest.approx(-25)
    paper = plot.table.xs(("paper, llava-1.5-7b", "least"))["change"]
    assert paper[100 * 124 / 576] == pytest.approx(68.02 - 65.15)
    assert "some-model: best with 12 % hidden (-2.5 points), -20.0 with 100 %" in plot.caption
    assert "llava-1.5-7b: best with 22 % hidden (+2.9 points), -11.8 with 100 %" in plot.alt


def test_the_curve_needs_no_contrast():
    assert_whole(on_simignore("found+figure", contrasts=[]))


def test_which_tokens_are_ignored_is_set_beside_the_paper():
    table = on_simignore("cell-16")
    assert list(table.data.index) == ["least", "intermediate", "random", "most"]
    assert list(table.data.iloc[:, 0]) == ["68.02", "64.55", "65.12", "61.73"]
    assert set(table.data.iloc[:, 1]) == {report.NOT_RUN}
    assert list(table.data.iloc[:, 2]) == ["72.5", "50.0", "50.0", "50.0"]
    assert "6.29 in the paper, 22.5 at 21.9 %" in table.caption


def test_published_predictions_are_tested_item_by_item():
    data = on_simignore("cell-21").data
    seven = data.loc["llava-1.5-7b"]
    assert seven["paper: right before"] == "1314 of 2017"
    assert (seven["before %"], seven["after %"]) == ("65.15", "68.02")
    changed = [1] * 91 + [0] * 149
    test = mcnemar(changed, [1 - score for score in changed])
    assert seven["McNemar p"] == f"{test.p_value:.1g}" == "0.0002"
    assert seven["before - makers', points"] == "-1.65"
    assert data.loc["llava-1.5-13b", "McNemar p"] == "0.02"


def test_the_published_gain_stands_with_both_methods():
    arms = {"none": right(30), "mask": right(31), "FastV": right(29), "both": right(32)}
    data = on_simignore("cell-19", answered={"scienceqa": arms}).data
    assert list(data["paper, llava-1.5-7b"]) == ["65.15", "not printed", "not printed", "68.02"]
    assert list(data[f"ours, {MODEL}"]) == ["75.0", "77.5", "72.5", "80.0"]
    unknown = on_simignore("cell-19", answered={"scienceqa": arms}, paper_model="qwen-vl-7b").data
    assert set(unknown["paper, qwen-vl-7b"]) == {"not printed"}


def test_entries_hold_fewer_tokens_than_they_are():
    ignored = pd.DataFrame(
        {
            **{"item": ["a", "b"] * 2, "choice": [0, 0, 1, 1], "keep": 50, "n_image": 64},
            "n_ignored": [20, 24, 14, 14],
        }
    )
    in_sight, paired = on_simignore("cell-14", tokens_ignored=lambda *given: ignored)
    assert list(in_sight.data["mean"]) == [42.0, 50.0]
    assert list(in_sight.data["min"]) == [40, 50]
    assert list(paired.data.index) == ["none", "K best entries"]


# EAH


def sink_rows(first, last, n_layers=L, betas=(0.01, 0.02, 0.04)):
    densities = np.linspace(first, last, n_layers)
    return pd.DataFrame(
        [
            {
                **{"item": f"item-{item}", "kind": "one", "beta": beta, "layer": layer},
                **{"head": head, "density": density * (1 - 0.1 * head) * 0.01 / beta},
                "even": float(beta < 0.03),
            }
            for item in range(2)
            for beta in betas
            for layer, density in enumerate(densities, start=1)
            for head in range(3)
        ]
    )


def on_eah(cell, sinks=None, **scope):
    sinks = sink_rows(0.8, 0.2) if sinks is None else sinks
    n_layers = sinks["layer"].max()
    settings = {
        f"{name}, {how}": EAH(layers=(layer,), beta=beta)
        for name, layer, beta in (("README", 1, 0.02), ("shipped", 0, 0.01))
        for how in ("as printed", "scaled")
    }
    known = {"settings": settings, "main": settings["README, scaled"], "rows": sinks}
    known |= {"published": PAPER["eah"], "even": torch.full((4,), 0.001), "title": "2 items"}
    known |= {"sink_density_by_head": lambda *given: sinks, "first": "pope", "store": None}
    known |= {"test": {"pope": range(2)}, "lvlm": SimpleNamespace(n_layers=n_layers)}
    known |= {"data": SimpleNamespace(test=lambda name, limit: range(2)), "model": MODEL}
    known |= {"thirds": depths(n_layers), "betas": [0.01, 0.02, 0.04], "limit": 2}
    known |= {"arms": {"pope": {"intact": right(30)}}}
    return run_cell("eah", cell, **known | scope)


def test_the_heat_map_says_where_sinks_are_dense():
    same = {"answers_under": lambda *given: right(30)}
    plot = on_eah("found+figure", sink_rows(1.6, 0.4), **same)
    assert_whole(plot)
    assert plot.table.loc[1, 0] == pytest.approx(80)
    assert plot.table.loc[6, 2] == pytest.approx(20 * 0.8)
    assert (
        "Most sinks has head 0 of layer 1: 80.0 % of the image tokens. Shallow layers have more"
        in plot.caption
    )
    deep = on_eah("found+figure", sink_rows(0.4, 1.6), **same).caption
    assert (
        "Most sinks has head 0 of layer 6: 80.0 % of the image tokens. Shallow layers have not more"
        in deep
    )
    assert "spread evenly would make sinks of 100.0 %" in deep


@pytest.mark.parametrize("n_layers", [1, 2, 3, 7])
def test_thirds_hold_every_layer_of_any_model(n_layers):
    plot = on_eah("cell-10", sink_rows(0.6, 0.6, n_layers))
    assert_whole(plot)
    shares = plot.table.loc[0.01].drop("even")
    assert shares.tolist() == pytest.approx([54] * min(n_layers, 3))
    assert list(plot.table["even"]) == [100, 100, 0]


def test_sink_maps_show_the_head_with_the_most_sinks():
    sample = draw("pope", "test", 0)
    strengths = torch.zeros(4, 3, 64)
    strengths[2, 1, :16] = 1.0
    strengths[3, 2, :8] = 1.0
    known = {"sink_strengths": lambda lvlm, prompt: strengths, "sample": sample}
    lvlm = SimpleNamespace(n_layers=4)
    plot = on_eah("cell-07", prompt=prompt_of(sample), lvlm=lvlm, **known)
    assert_whole(plot)
    assert list(plot.table["head"].loc[[3, 4]]) == [1, 2]
    assert list(plot.table["sinks %"].loc[[3, 4]]) == [25, 12.5]
    assert plot.table.loc[3, "mean %"] == pytest.approx(25 / 3)
    assert "Most sinks: 25.0 % in layer 3." in plot.alt


def test_sweeps_tell_the_range_of_changes():
    def answers_under(lvlm, task, store, setting):
        return right(30 if setting.layers == (0,) else 20)

    plot = on_eah("cell-15", answers_under=answers_under)
    assert_whole(plot)
    assert "by beta from -25.0 to -25.0 points, 5 of 5 intervals without zero" in plot.caption
    assert "by layer from -25.0 to +0.0 points" in plot.alt


def test_settings_are_set_beside_even_attention():
    table = on_eah("cell-17", sink_rows(1.0, 0.2))
    assert table.data.loc["README, as printed", "even in its model"] == "0.0 %"
    assert table.data.loc["README, scaled", "densest head"] == "42.0 %"
    assert table.data.loc["README, scaled", "even here"] == "100.0 %"
    assert table.data.loc["README, scaled", "layer here"] == "1 of 6"
    assert table.caption.endswith("picked out: none.")
    full = sink_rows(1.0, 0.2).assign(density=1.0)
    assert "picked out: README, as printed, README, scaled" in on_eah("cell-17", full).caption


def test_every_account_of_the_effect_is_shown():
    arms = ["intact", "README, scaled"]
    metrics = {
        "chair": pd.DataFrame({"CHAIRs": [0.2, 0.1]}, index=arms),
        "pope": pd.DataFrame({"f1": [0.9, 0.95]}, index=arms),
    }
    chosen = {"chair": ["CHAIRs"], "pope": ["f1"]}
    data = on_eah("cell-20", metrics=metrics, chosen=chosen).data
    chair = data.loc["llava-1.5-7b: CHAIRs"]
    assert chair["paper's authors, EVAS"] == "51.00 to 36.40 (-14.60)"
    assert chair["re-run by others, EAH"] == "49.68 to 38.76 (-10.92) ± 2.47"
    assert chair[f"ours, {MODEL}"] == "20.0 to 10.0 (-10.0)"
    assert data.loc["llava-1.5-7b: POPE f1", f"ours, {MODEL}"] == "90.0 to 95.0 (+5.0)"
    assert data.loc["llava-1.5-7b: CHAIRi", f"ours, {MODEL}"] == report.NOT_RUN
    assert data.loc["llava-next: POPE f1", f"ours, {MODEL}"] == "-"
    assert set(data["ours, on the benchmark"]) == {report.NOT_RUN}
