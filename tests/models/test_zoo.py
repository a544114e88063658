"""The shipped model: what it is made of, and that it answers as its card says.

The card measures all 500 items a task; here the first ones tell whether the weights still belong
to the world, the tokenizer and the prompt. Counting is its weak side, and the card says so.
"""

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from infoflow.lvlm import load_lvlm
from infoflow.shapes.architectures import find_architecture
from infoflow.shapes.batches import PackedBatches
from infoflow.shapes.model import normalise
from infoflow.shapes.tokenizer import IMAGE
from infoflow.tasks import load_task
from infoflow.truncation import truncation_sweep

N_ITEMS = 60


@pytest.fixture(scope="module")
def lvlm():
    return load_lvlm("tiny-llava-1.5", device="cpu")


@pytest.fixture(scope="module")
def summaries(lvlm):
    """By task: the benchmark's metrics without an image and intact."""
    found = {}
    for name in ("scienceqa", "pope", "textvqa", "chair"):
        task = load_task(name, limit=N_ITEMS)
        rows = []
        for sample in task:
            sweep = truncation_sweep(
                lvlm,
                lvlm.prompt(sample.image, sample.question),
                cuts=[0, lvlm.n_layers],
                max_new_tokens=task.max_new_tokens,
            )
            rows += [
                {"cut": cut, **task.details(sample, lvlm.decode(tokens))}
                for cut, tokens in zip(("blind", "intact"), sweep.tokens, strict=True)
            ]
        frame = pd.DataFrame(rows)
        found[name] = {cut: task.summary(of_cut) for cut, of_cut in frame.groupby("cut")}
    return found


def test_weights_are_small_and_in_half_precision(lvlm):
    path = lvlm.folder / "model.safetensors"
    assert path.stat().st_size <= 8_000_000
    assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float16}
    assert lvlm.n_layers == 12


def test_pictures_and_prompts_are_those_of_the_training(lvlm):
    sample = load_task("pope")[0]
    prompt = lvlm.prompt(sample.image, sample.question)
    trained = normalise(torch.from_numpy(np.array(sample.image))[None])
    torch.testing.assert_close(prompt.pixel_values, trained, rtol=0, atol=1e-6)
    ids = PackedBatches(find_architecture("tiny-llava-1.5"), 0, 1)[0].input_ids[0]
    start = prompt.spans.image.stop
    assert torch.equal(prompt.input_ids[:start], ids[:start])
    assert (prompt.input_ids == IMAGE).sum() == 64


def test_it_answers_as_its_card_says(summaries):
    intact = {task: of_cut["intact"] for task, of_cut in summaries.items()}
    assert intact["pope"]["accuracy"] >= 0.97
    assert intact["textvqa"]["accuracy"] >= 0.95
    assert intact["chair"]["CHAIRi"] <= 0.05
    assert intact["chair"]["recall"] >= 0.9
    assert intact["scienceqa"]["accuracy/colour"] >= 0.9
    assert intact["scienceqa"]["accuracy/relation"] >= 0.9
    assert intact["scienceqa"]["accuracy/count"] >= 0.6
    assert intact["scienceqa"]["accuracy"] >= 0.85


def test_without_the_picture_it_guesses(summaries):
    blind = {task: of_cut["blind"] for task, of_cut in summaries.items()}
    assert blind["pope"]["accuracy"] == pytest.approx(0.5, abs=0.05)
    assert blind["scienceqa"]["accuracy"] < 0.4
    assert blind["textvqa"]["accuracy"] < 0.03
    assert blind["chair"]["recall"] < 0.25
