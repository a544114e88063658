"""What a run should take, against numbers worked by hand for LLaVA-1.5-7B."""

from pathlib import Path

import pytest
from transformers import LlavaConfig

from infoflow.errors import InfoflowError
from infoflow.evaluate.costs.expected import (
    PUBLISHED,
    expected_cost,
    model_shape,
    read_shape,
)
from infoflow.evaluate.running import MEASURES, expectation, load_items, read_settings
from infoflow.models.families import list_models
from infoflow.results.shards import Shard

SEVEN = PUBLISHED["llava-1.5-7b"]
CALL = 0.8e-3


def cost(measure, n_items=1, length=1, options=()):
    settings = read_settings(measure, options)
    return expected_cost(measure, SEVEN, n_items, 25, length, settings)


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("llava-1.5-7b", 7.063),
        ("llava-1.6-7b", 7.063),
        ("instructblip-7b", 7.913),
        ("internvl-7b", 12.672),
        ("shikra-7b", 7.045),  # 13.49 GB of the decoder and projector, and CLIP-L
        ("qwen-vl-7b", 7.721 + 1.843 + 0.093),
    ],
)
def test_weights_are_those_of_the_published_checkpoints(name, billions):
    assert PUBLISHED[name].parameters / 1e9 == pytest.approx(billions, rel=2e-3)


def test_every_model_of_the_hub_has_its_shape():
    assert set(PUBLISHED) == {name for name in list_models() if not name.startswith("tiny-")}


def test_a_shape_is_read_from_a_configuration():
    # its defaults are those of LLaVA-1.5-7B, but for the ids that were added to the vocabulary
    shape = read_shape(LlavaConfig(text_config={"model_type": "llama", "vocab_size": 32064}))
    assert shape == SEVEN


def test_grouped_keys_are_narrower():
    text = {"model_type": "llama", "num_attention_heads": 32, "num_key_value_heads": 8}
    shape = read_shape(LlavaConfig(text_config=text))
    assert shape.kv_width == 1024
    assert SEVEN.layer.parameters - shape.layer.parameters == 2 * 4096 * 3072


def test_a_folder_goes_before_the_name(tmp_path: Path):
    LlavaConfig(text_config={"model_type": "llama", "num_hidden_layers": 40}).save_pretrained(
        tmp_path
    )
    assert model_shape("llava-1.5-7b", tmp_path).layers == 40
    # a configuration of the published code, which transformers does not know
    (tmp_path / "config.json").write_text('{"model_type": "qwen", "num_hidden_layers": 40}')
    assert model_shape("qwen-vl-7b", tmp_path) == PUBLISHED["qwen-vl-7b"]
    with pytest.raises(InfoflowError, match="is not known"):
        model_shape("tiny-llava-1.5", tmp_path)


def test_times_by_hand():
    # on an A100 at half of its peak a pass is bound by its arithmetic; the tower has 24 layers of
    # 12.58 M weights and 577 tokens
    a_pass, tower = 8.34e12 / 156e12, 2 * 24 * 12 * 1024**2 * 577 / 156e12
    flow = cost("flow_by_layer").seconds["A100"]
    assert flow == pytest.approx(a_pass + tower, rel=2e-3)
    assert cost("flow_by_layer", 3000).seconds["A100"] == pytest.approx(3000 * flow)
    # branches of 25 tokens: 13.7 - 8.34 TFLOP, the first of them quicker than a call can be
    sweep = cost("truncation_by_cut").seconds["A100"] - flow
    assert (13.7e12 - 8.34e12) / 156e12 < sweep < (13.7e12 - 8.34e12) / 156e12 + 16 * CALL
    # eight pictures forward and backward, each through the tower; beside the answer itself
    answer = cost("answers").seconds["A100"]
    cam = cost("cam_by_layer").seconds["A100"] - answer
    assert cam == pytest.approx(8 * (2 * a_pass + tower), rel=2e-3)
    two = cost("cam_by_layer", options=["n_samples=2"]).seconds["A100"] - answer
    assert two == pytest.approx(cam / 4)


def test_calls_take_their_time_however_little_they_compute():
    # on an H100 the arithmetic of a pass takes 17 ms, its 32 calls 26; a decoding step, too
    flow = cost("flow_by_layer").seconds["H100"]
    assert flow == pytest.approx(32 * CALL + 0.7e-3, rel=1e-3)
    steps = cost("answers", length=16).seconds["H100"] - cost("answers").seconds["H100"]
    assert steps == pytest.approx(15 * 32 * CALL)
    # 33 branches are decoded in the calls of one
    decoded = cost("truncation_by_cut", length=16).seconds["H100"]
    assert decoded - cost("truncation_by_cut").seconds["H100"] == pytest.approx(steps)


def test_memory_by_hand():
    weights = 2 * SEVEN.parameters
    assert weights == pytest.approx(14.13e9, rel=1e-3)
    # four pictures, 636 tokens, 32 layers, 6 D + 3 I = 57,600 numbers of two bytes
    assert cost("cam_by_layer").bytes - weights == 4 * 636 * 32 * 57_600 * 2
    # the prompt, and 33 branches of 25 + 15 tokens: keys and values of 32 layers, 0.5 MB a token;
    # and 825 branch tokens at a layer's widest place, 2 D + 3 I numbers
    keys = (636 + 33 * 40) * 2 * 4096 * 32 * 2
    assert cost("truncation_by_cut", length=16).bytes - weights == keys + 825 * 41_216 * 2
    assert cost("truncation_by_cut").bytes - weights == 825 * 41_216 * 2
    kept = cost("topk_by_cut", options=["keeps=[1, 64]", "cuts=[1]"]).bytes
    assert kept - weights == 32 * (25 + 64) * 41_216 * 2


def test_every_measure_has_its_cost():
    for name in MEASURES:
        options = {"topk_by_cut": ["keeps=[4]", "cuts=[1]"], "sink_density_by_head": ["betas=[1]"]}
        assert cost(name, length=4, options=options.get(name, [])).seconds["A100"] > 0


def test_what_is_said_names_the_part_of_the_set_and_the_assumptions():
    task = load_items("pope", "shapes", "test", 9, None, [])
    said = expectation("llava-1.5-7b", None, task, "answers", {}, Shard(2, 1))
    assert "5 in this shard of only the first 9 of 500 items of pope test (shapes)" in said
    assert "989 TFLOP/s, 3.35 TB/s (H100)" in said
    assert "50% of the peaks" in said
    assert "14.5 GB" in said
    assert expectation("llava-1.5-7b@v1", None, task, "answers", {}, Shard(2, 1)) == said
    whole = load_items("pope", "shapes", "test", None, None, ["max_new_tokens=7"])
    said = expectation("tiny-llava-1.5", None, whole, "answers", {})
    assert "answers, 500 items of pope test (shapes): on one card" in said
    assert "7 tokens" in said
