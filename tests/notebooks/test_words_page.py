"""What the pages on words and on frozen tokens draw and say: right numbers, edge cases."""

import numpy as np
import pandas as pd
import pytest
from cells import assert_whole
from frozen_page import cost_table, frozen_lead, frozen_plot, largest_gap, similarity_plot
from words_page import (
    caption_plot,
    kind_of,
    mentions,
    shuffled_gap,
    sink_plot,
    word_lead,
    word_plot,
    word_table,
)

L, SAID_AT = 6, 2
CAPTION = [("red", "", False), ("star", "red star", True), (",", "", False)]
CAPTION += [("blue", "", False), ("ring", "blue ring", False)]


def word_rows(n_items=4, slope=1.0, sunk=(0.2, 0.7), caption=CAPTION):
    """Words that gain from every layer, false objects that lose; sinks by whether it is true."""
    lines = []
    for item in range(n_items):
        for token, (text, name, true) in enumerate(caption):
            for cut in range(L + 1):
                gain = -slope * cut if name and not true else slope * cut
                line = {"item": f"i-{item}", "token": token, "text": text, "object": name}
                line |= {"true": true, "cut": cut, "log_prob": gain - 8.0}
                layer = {"dense": 0.1 * cut, "sunk": sunk[true] + 0.002 * item}
                lines.append(line | (layer if cut < L else dict.fromkeys(layer, np.nan)))
    return pd.DataFrame(lines)


def test_words_have_their_kind_and_objects_their_colour():
    rows = word_rows(n_items=1)
    kinds = kind_of(rows).groupby(rows["token"]).first()
    assert list(kinds) == ["colour", "object", "others", "colour", "object"]
    named = mentions(rows).query("cut == 1").set_index("object")["log_prob"]
    assert named.to_dict() == {"red star": -14.0, "blue ring": -16.0}
    alone = mentions(word_rows(1, caption=[("star", "star", True)]))
    assert list(alone.query("cut == 1")["log_prob"]) == [-7.0]


def test_the_table_of_words_says_what_the_image_is_worth_and_until_where():
    rows = word_rows()
    rows["log_prob"] = np.minimum(rows["cut"], 3) - 5.0
    lines = word_table(rows, L)
    assert lines["colour"]["words"] == 8
    assert lines["colour"]["the image is worth, nats"].startswith("+3.00")
    assert lines["colour"]["cut from which no image is needed"] == 3


def test_figures_say_what_true_and_false_words_do():
    plot = word_plot(word_rows(), word_rows(), SAID_AT, "some-model")
    assert_whole(plot)
    assert "colour +6.00" in plot.caption
    assert "false objects -16.00 nats at cut 2, -16.00 intact" in plot.caption
    sinks = sink_plot(word_rows(), SAID_AT, "some-model")
    assert_whole(sinks)
    assert "false 20.3 %, true 70.3 %" in sinks.caption
    assert "layer 6 (50.0 %)" in sinks.caption
    painted = caption_plot({"intact": word_rows()}, "i-0", "some-model")
    assert_whole(painted)
    assert "red star , blue ring (false)" in painted.caption


def test_captions_without_objects_or_words_are_said_to_be_so():
    nothing = word_rows(caption=[("perhaps", "", False)])
    assert "no caption names an object" in word_plot(nothing, nothing, SAID_AT, "m").caption
    assert "none named" in sink_plot(nothing, SAID_AT, "m").caption
    assert word_lead(nothing, nothing, SAID_AT) == ""
    assert shuffled_gap(nothing, SAID_AT, 0) is None
    assert "empty" in caption_plot({"a": nothing, "b": nothing}, "other", "m").text


def test_shuffled_labels_take_a_gap_away():
    rows = word_rows(n_items=60, sunk=(0.9, 0.1))
    gap = shuffled_gap(rows, SAID_AT, seed=0)
    assert gap.low < 0 < gap.high
    assert gap.n_items == 60


def test_the_finding_comes_first():
    lead = word_lead(word_rows(), word_rows(), SAID_AT)
    assert "worth 2.5 nats" not in lead
    assert "of false ones by +0.0 nats, of true ones by +8.0" in lead
    assert lead.startswith("The image is worth")


def answer_rows(lost, n_items=3):
    cuts = [
        {"cut": cut, "log_prob": -1.0 - lost * (cut < L), "n_tokens": 2} for cut in range(L + 1)
    ]
    return pd.DataFrame([{"item": f"i-{n}", **line} for n in range(n_items) for line in cuts])


def test_freezing_is_set_beside_hiding():
    frozen, hidden = {"pope": answer_rows(0.2)}, {"pope": answer_rows(6.0)}
    plot = frozen_plot(frozen, hidden, "some-model", L)
    assert_whole(plot)
    assert "POPE frozen 0.10, hidden 3.00" in plot.caption
    table = cost_table(frozen, hidden, "some-model", L)
    assert table.data.loc["POPE", "frozen at cut 2"].startswith("0.100")
    assert "0.10 to 0.10 nats" in frozen_lead(frozen, hidden, L)
    assert largest_gap(frozen, hidden) == pytest.approx(0)
    hidden["pope"]["log_prob"] -= 1.0
    assert largest_gap(frozen, hidden) == pytest.approx(0.5)


def test_similarity_is_drawn_where_it_is_defined():
    lines = [
        {
            "item": f"i-{n}",
            "layer": layer,
            "attention": 0.5,
            "gradient": -0.25 if layer < L else np.nan,
        }
        for n in range(3)
        for layer in range(1, L + 1)
    ]
    plot = similarity_plot({"pope": pd.DataFrame(lines)}, "some-model")
    assert_whole(plot)
    assert "POPE attention +0.50, gradient -0.25" in plot.caption
