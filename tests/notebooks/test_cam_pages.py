"""Figures, tables and sliders of LLaVA-CAM: numbers, words, and what must not be drawn."""

import math
import re
from base64 import b64decode
from dataclasses import replace
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
import torch
from cam_maps import cam_numbers, cam_slider, map_rows, place_of_peak
from cam_pages import (
    control_plot,
    control_table,
    layer_table,
    profile,
    profiles,
)
from PIL import Image

from infoflow.data.shapes import sample as draw
from infoflow.methods.cam import CAM
from infoflow.models.grid import Grid
from infoflow.models.prompt import Prompt, Spans
from infoflow.report.slider import paint_heat, painted_size, to_png
from infoflow.stats.cliff import cliff_layer

L, MODEL, NAN = 6, "some-model", math.nan


@pytest.fixture(scope="module")
def sample():
    return draw("textvqa", "test", 0)


@pytest.fixture(scope="module")
def prompt(sample):
    return Prompt(
        torch.zeros(90, dtype=torch.long),
        torch.zeros(1, 90, 4),
        torch.zeros(1, 3, 96, 96),
        Spans(slice(0, 10), slice(10, 74), slice(74, 90)),
        Grid(8, 8),
        sample.image,
        sample.question,
    )


@pytest.fixture(scope="module")
def cam():
    """An even map, one cell, a slope, a map of zeros, an even one, an undefined one."""
    maps = torch.zeros(L, 8, 8)
    maps[0] = 0.5
    maps[1, 0, 0] = 2.0
    maps[2] = torch.arange(64.0).view(8, 8)
    maps[4] = 1e-3
    maps[5] = torch.nan
    return CAM(maps, maps.flatten(1), torch.tensor([1]))


@pytest.fixture(scope="module")
def slider(cam, prompt, sample):
    return cam_slider(cam, prompt, sample, "ABC", MODEL)


def cam_rows(entropies, peaks=None, masses=None, chance=0.1, n_items=20, seed=0):
    """Rows whose layers have the given values, with a little noise between items."""
    rng = np.random.default_rng(seed)
    n = len(entropies)
    peaks = [1.0 + 0 * entropy for entropy in entropies] if peaks is None else peaks
    masses = [chance] * n if masses is None else masses
    return pd.DataFrame(
        [
            {
                **{"item": f"item-{i}", "kind": "one", "layer": j + 1},
                **{"peak": peaks[j] * math.exp(e), "entropy": entropies[j] + e},
                **{"lit": (entropies[j] + e) / 10},
                **{"mass": masses[j] + e / 10, "hit": 0.0},
                **{"mass_chance": chance, "hit_chance": 0.2},
            }
            for i in range(n_items)
            for j, e in enumerate(rng.normal(0, 0.1, n))
        ]
    )


def a_cliff(cut):
    return cliff_layer(np.tile(np.arange(L + 1) >= cut, (20, 1)).astype(float))


def control_rows(own):
    parts = [
        own.assign(picture=name, correlation=r) for name, r in (("another", -0.1), ("grey", 0.5))
    ]
    return pd.concat(parts, ignore_index=True)


ROWS = cam_rows([5, 5, 5, 3, 3, NAN], [4, 2, 1, 0.5, 0.04, NAN], [0.3, 0.3, 0.3, 0.1, 0.1, NAN])


def test_numbers_are_those_of_the_maps(cam, prompt, sample):
    numbers = cam_numbers(cam, prompt, sample)
    assert list(numbers.index) == list(range(1, L + 1))
    np.testing.assert_allclose(numbers["peak"], [0.5, 2, 63, 0, 1e-3, NAN])
    np.testing.assert_allclose(numbers["entropy"].iloc[[0, 1, 4]], [6, 0, 6], atol=1e-5)
    assert numbers["entropy"].iloc[[3, 5]].isna().all()
    np.testing.assert_allclose(numbers["lit %"].iloc[:3], [100, 100 / 64, 50], atol=1e-4)
    assert numbers["on target %"].iloc[0] == pytest.approx(numbers["target area %"].iloc[0])
    assert "on target %" not in cam_numbers(cam, prompt, replace(sample, targets=()))


def test_undefined_maps_are_named_and_never_drawn(slider):
    names = [frame.name for frame in slider.frames]
    assert names == ["picture", *(f"layer {layer}" for layer in range(1, L + 1))]
    drawn = [frame.png is not None for frame in slider.frames]
    assert drawn == [True, True, True, True, False, True, False]
    assert slider.frames[4].absent == "all zero"
    assert slider.frames[6].absent == "undefined"
    assert "undefined" in slider.frames[6].words
    assert "Undefined in layer 6." in slider.caption
    assert slider.table.loc[6, "peak"] == "undefined"


def test_each_frame_tells_its_layer_and_what_is_seen(slider):
    for layer, frame in enumerate(slider.frames[1:], start=1):
        assert frame.words.startswith(f"Layer {layer} (cut {layer - 1}):")
    assert "highest at the upper left; peak 2," in slider.frames[2].words
    assert "highest at the lower right; peak 63," in slider.frames[3].words
    assert "50 % of cells lit" in slider.frames[3].words


def test_the_caption_tells_the_extremes(slider):
    assert "Most spread out in layer 1 (6.0 bits), least in layer 2 (0.0)" in slider.caption
    assert "from 63 in layer 3 to 0 in layer 4" in slider.caption


def test_the_sheet_holds_every_frame_once_in_words_and_pictures(slider):
    bundle = slider._repr_mimebundle_()
    html = bundle["text/html"]
    assert html.count('<figure class="frame"') == L + 1
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    assert [b64decode(text) for text in pictures] == [f.png for f in slider.frames if f.png]
    assert all(len(alt) >= 20 for alt in re.findall(r'alt="([^"]*)"', html))
    assert html.count("<figcaption>") == L + 2
    assert html.count(">undefined</td>") == 6  # the table, for all readers
    assert "<script" not in html  # what moves it is the book's; the page holds no code
    assert "http" not in html
    assert "undefined" in bundle["text/plain"]
    assert "63" in bundle["text/plain"]


def test_words_are_escaped(cam, prompt, sample):
    html = cam_slider(cam, prompt, sample, '<b>"x"</b>', MODEL)._repr_mimebundle_()["text/html"]
    assert "<b>" not in html
    assert "&lt;b&gt;" in html


def test_frames_have_the_same_few_bytes_when_made_again(slider, cam, prompt, sample):
    again = cam_slider(cam, prompt, sample, "ABC", MODEL)
    assert again._repr_mimebundle_() == slider._repr_mimebundle_()
    sizes = [len(frame.png) for frame in slider.frames if frame.png]
    assert max(sizes) < 40_000


def test_heat_is_bright_where_the_map_is_high(prompt, sample):
    heat = np.zeros((8, 8))
    heat[1, 6] = 3.0
    painted = np.asarray(paint_heat(heat, prompt, replace(sample, targets=())), dtype=float)
    height, width = painted.shape[:2]
    assert (width, height) == painted_size(sample.image)
    brightness = painted.sum(-1)
    row, col = np.unravel_index(brightness.argmax(), brightness.shape)
    assert (row * 8 // height, col * 8 // width) == (1, 6)
    assert place_of_peak(heat, prompt) == "upper right"


def test_painting_does_not_depend_on_the_maps_scale(prompt, sample):
    heat = np.random.default_rng(0).random((8, 8))
    one, other = (to_png(paint_heat(scale * heat, prompt, sample)) for scale in (1, 1e-6))
    assert one == other


def test_long_pictures_keep_their_shape():
    assert painted_size(Image.new("RGB", (640, 320))) == (192, 96)
    assert painted_size(Image.new("RGB", (1000, 1))) == (192, 1)


def test_rows_of_maps_set_pictures_side_by_side(cam, prompt, sample):
    rows = {"own": (cam.maps, prompt, sample), "other": (cam.maps * 2, prompt, sample)}
    plot = map_rows(rows, [1, 2, L], MODEL)
    assert list(plot.table.columns) == ["own", "other"]
    np.testing.assert_allclose(plot.table["own"].iloc[:2], [6, 0], atol=1e-6)
    assert math.isnan(plot.table["own"].iloc[2])
    texts = [text.get_text() for axes in plot.figure.axes for text in axes.texts]
    assert texts == ["undefined"] * 2
    assert Image.open(BytesIO(plot.png)).width > 200


def test_profiles_are_means_with_intervals():
    shown = profile(ROWS, "entropy")
    third = ROWS[ROWS["layer"] == 3]["entropy"]
    assert shown["mean"][3] == pytest.approx(third.mean())
    assert shown["low"][3] < third.mean() < shown["high"][3]
    assert shown["n"].tolist() == [20] * 5 + [0]
    assert math.isnan(shown["mean"][L])
    assert profile(ROWS, "lit")["mean"][3] == pytest.approx(10 * third.mean())


def test_peaks_are_averaged_geometrically_and_without_zeros():
    rows = cam_rows([5.0], n_items=3).assign(peak=[1.0, 100.0, 0.0])
    shown = profile(rows, "peak")
    assert shown["mean"][1] == pytest.approx(10)
    assert shown["n"][1] == 2


def test_profile_plot_tells_what_normalising_hides():
    plot = profiles({"pope": ROWS}, {"pope": a_cliff(3)}, MODEL)
    peaks = profile(ROWS, "peak")["mean"]
    assert f"POPE {peaks.max() / peaks.min():.0f} (layers 1 and 5)" in plot.caption
    assert "POPE 3)" in plot.caption
    assert 20 <= len(plot.alt) <= 400
    for axes in plot.figure.axes:
        assert [text.get_text() for text in axes.texts] == ["undefined"]
        assert any([*line.get_xdata()] == [3] for line in axes.lines)  # the cliff
    shown = plot.table.xs("entropy", level="measure").droplevel("task")
    pd.testing.assert_frame_equal(shown, profile(ROWS, "entropy"))


def test_bands_are_left_out_where_they_would_cover_each_other():
    three, none = {"pope": ROWS, "chair": ROWS, "textvqa": ROWS}, a_cliff(L)  # no layer behind it
    for rows in ({"pope": ROWS}, three):
        plot = profiles(rows, dict.fromkeys(rows, none), MODEL)
        bands = [len(axes.collections) for axes in plot.figure.axes]
        assert any(bands) == (len(rows) == 1)


def test_items_without_regions_say_so():
    rows = ROWS.assign(mass=NAN, hit=NAN, mass_chance=NAN, hit_chance=NAN)
    plot = profiles({"pope": rows}, {"pope": a_cliff(3)}, MODEL)
    assert "no regions known" in [text.get_text() for text in plot.figure.axes[3].texts]
    data = layer_table(rows, "pope", a_cliff(3))
    assert set(data.data["on target (%)"]) == {"undefined"}
    assert "0 of 20 items have a known target" in data.caption
    control = {"pope": control_rows(rows)}
    assert control_plot({"pope": rows}, control, MODEL).png
    lines = control_table({"pope": rows}, control, 0).data.loc["POPE: on target (%)"]
    assert lines["own"] == lines["own - noise"] == "undefined"


def test_table_says_what_is_before_and_behind_the_cliff():
    rows = ROWS.copy()
    rows.loc[(rows["item"] == "item-0") & (rows["layer"] == 2), "peak"] = 0.0
    table = layer_table(rows, "pope", a_cliff(3))
    assert list(table.data["cliff"]) == ["before"] * 3 + ["behind"] * 3
    assert list(table.data["maps of zeros"]) == [0, 1, 0, 0, 0, 0]
    assert table.data["entropy (bits)"].iloc[-1] == "undefined"
    assert re.fullmatch(r"5\.0 \[\d\.\d, \d\.\d\]", table.data["entropy (bits)"].iloc[0])
    assert "cliff: paper's layer 4" in table.caption


def test_control_is_paired():
    own, others = {"pope": ROWS}, {"pope": control_rows(ROWS.assign(entropy=ROWS["entropy"] - 1))}
    data = control_table(own, others, 0).data
    assert data.loc["POPE: entropy (bits)", "own - another's"] == "+1.0 [+1.0, +1.0]"
    correlations = data.loc["POPE: rank correlation with the own map"]
    assert correlations["another's"] == "-0.10 [-0.10, -0.10]"
    assert correlations["noise"] == "+0.50 [+0.50, +0.50]"
    plot = control_plot(own, others, MODEL)
    means = plot.table.loc[("pope", "entropy")]
    np.testing.assert_allclose(means["own"] - means["noise"], [1] * 5 + [NAN])
    assert "bits own" in plot.caption
