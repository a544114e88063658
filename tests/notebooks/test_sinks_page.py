"""The page on the blob: in how many images a place is looked at, and what hiding it costs."""

import pandas as pd
import pytest
import sinks_page
import torch
from cells import assert_whole
from PIL import Image
from sinks_page import Blob, Looked, blob_picture, blob_rows, blob_words, find_blob, share_plot

from infoflow import load_lvlm, load_task
from infoflow.data.controls import GREY

BLOB = Blob(layer=1, token=37, dimensions=[9, 41])


@pytest.fixture(scope="module")
def lvlm():
    return load_lvlm("tiny-llava-1.5")


@pytest.fixture(scope="module")
def item(lvlm):
    (found,) = sinks_page.items_of(lvlm, [load_task("pope", limit=1)])
    return found


def rows(loss, other_loss, attention):
    """Rows of as many images as the lists are long."""
    same = dict.fromkeys(("first", "sinks", "sink_attention"), 0.0)
    given = {"attention": attention, "values": attention, "loss": loss, "other_loss": other_loss}
    return pd.DataFrame(given | same)


def test_a_mean_that_comes_from_one_image_says_so():
    made = rows([0.0] * 4, [0.0] * 4, [40.0, 0.5, 0.25, 0.25])
    plot = share_plot(made, BLOB, "toy")
    assert_whole(plot)
    assert "In 1 of 4 test images the place draws more than an even share" in plot.caption
    assert "10.25 even shares of attention" in plot.caption
    assert "from 40.0 to 0.2 times an even share" in plot.alt
    assert "10.2 times as much as an even share on average" in blob_words(made, BLOB, "toy")
    assert "in 1 of 4 images" in blob_words(made, BLOB, "toy")


def test_a_loss_is_held_against_that_of_another_token():
    attention, some = [2.0] * 8, [0.1, 0.2] * 4
    more = blob_words(rows([each + 1 for each in some], some, attention), BLOB, "toy")
    assert "costs the answer 1.150 nats a token, hiding another one 0.150 (more than" in more
    assert "no difference that chance" in blob_words(rows(some, some, attention), BLOB, "toy")


def test_the_place_is_the_one_looked_at_most_on_average(monkeypatch):
    once, often = torch.full((2, 4), 0.1), torch.full((2, 4), 0.1)
    once[0, 0], often[1, 2] = 0.6, 0.5
    sizes = torch.tensor([[0.0, 3.0, 1.0], [0.0, 5.0, 1.0]])
    looks = iter([Looked(sizes, sizes[:, None], each, each) for each in (once, often, often)])
    monkeypatch.setattr(sinks_page, "look", lambda *item: next(looks))
    assert find_blob(None, [(None, None, None)] * 3) == Blob(2, 2, [1, 2])


def test_hidden_is_the_token_of_a_grey_image(lvlm, item):
    row = blob_rows(lvlm, [item], BLOB, seed=0).iloc[0]
    _, prompt, answer = item
    assert len(answer) == 1
    hidden = prompt.inputs_embeds.clone()
    grey = lvlm.prompt(Image.new("RGB", prompt.image.size, GREY), prompt.question)
    at = prompt.spans.image.start + BLOB.token
    hidden[:, at] = grey.inputs_embeds[:, at]
    whole, lost = (
        lvlm.logits(embeds)[0, -1].log_softmax(-1)[answer[0]].item()
        for embeds in (prompt.inputs_embeds, hidden)
    )
    assert row["loss"] == pytest.approx(whole - lost, abs=1e-5)


def test_the_picture_says_what_the_place_draws(lvlm, item):
    plot = blob_picture(lvlm, item, BLOB, "toy")
    assert_whole(plot)
    shares = plot.table.sum()
    assert shares.to_list() == pytest.approx([1, 1], rel=1e-5)
    drawn = 100 * plot.table.loc[BLOB.token, "attention"]
    assert f"attention {drawn:.1f} %" in plot.caption
