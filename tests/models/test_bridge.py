"""Queries learn to look before they are asked: what that changes, and what it leaves alone."""

import pytest
import torch

from zoo import bridge, fit
from zoo.architectures import ARCHITECTURES, find_architecture
from zoo.batches import PatchBatches
from zoo.bridge import TokenReader, _unfolded, train_bridge
from zoo.model import PATCHES_A_SIDE, WIDTH
from zoo.tower import start_connector

READ_BY_QUERIES = [name for name, one in ARCHITECTURES.items() if one.n_queries]


@pytest.fixture(params=READ_BY_QUERIES)
def architecture(request):
    return find_architecture(request.param)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(bridge, "BATCH", 4)


@pytest.fixture
def model(architecture):
    model = architecture.new_model(0)
    start_connector(architecture, model, 0)
    return model


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_the_families_with_queries_have_this_stage():
    assert READ_BY_QUERIES == ["tiny-instructblip", "tiny-qwen-vl"]


def test_a_token_stands_for_a_square_of_patches():
    side = PATCHES_A_SIDE // 2
    tokens = torch.arange(4.0 * side**2).view(1, side**2, 4, 1).expand(-1, -1, -1, WIDTH)
    raster = _unfolded(tokens.flatten(2))[0, :, 0].view(PATCHES_A_SIDE, PATCHES_A_SIDE)
    assert raster[:2, :2].tolist() == [[0, 1], [2, 3]]  # the first token's four
    assert raster[:2, 2:4].tolist() == [[4, 5], [6, 7]]
    assert raster[2:4, :2].tolist() == [[4 * side, 4 * side + 1], [4 * side + 2, 4 * side + 3]]


def test_it_trains_what_lies_between_tower_and_decoder_and_nothing_else(
    architecture, model, tmp_path
):
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    before = weights(model)
    train_bridge(architecture, model, fit.Stage(0, 2, tmp_path / "bridge.pt"))
    changed = {name for name, value in weights(model).items() if not value.equal(before[name])}
    tower = {id(p) for p in architecture.tower(model).parameters()}
    family = architecture.adapter(model)
    rest = {id(p) for part in (family.decoder, family.lm_head) for p in part.parameters()}
    between = {n for n, p in model.named_parameters() if id(p) not in tower | rest}
    assert changed
    assert changed <= between
    assert {name for name, p in model.named_parameters() if p.requires_grad} == trainable


def test_it_lowers_the_loss_and_goes_on_where_it_stopped(
    architecture, model, tmp_path, monkeypatch
):
    monkeypatch.setattr(fit, "_WARM_UP", 2)
    batch = PatchBatches(1, 4)[0]

    def loss(of):
        torch.manual_seed(0)  # of the read-outs
        reader = TokenReader(architecture, of)
        state = torch.load(tmp_path / "bridge.pt", weights_only=True)
        reader.load_state_dict(state["module"])
        with torch.no_grad():
            return float(reader.loss(batch)[0])

    train_bridge(architecture, model, fit.Stage(0, 1, tmp_path / "bridge.pt"))
    first = loss(model)
    train_bridge(architecture, model, fit.Stage(0, 5, tmp_path / "bridge.pt"))
    assert loss(model) < 0.9 * first
    finished = weights(model)
    train_bridge(
        architecture, model, fit.Stage(0, 5, tmp_path / "bridge.pt")
    )  # nothing is left to do
    assert all(value.equal(finished[name]) for name, value in weights(model).items())
