import pytest
import torch
from matrix_page import drift_by_layer, group_blocks, renormalised
from tiny_models import QUESTION, picture

from benchmarks import baselines
from infoflow.errors import InfoflowError
from infoflow.interventions import Truncate, intervene
from infoflow.methods.flow import attention_flow, attention_matrix

TOLERANCE = 2e-6
CUT = 3


def hidden_image(prompt):
    hidden = torch.zeros(len(prompt), dtype=torch.bool)
    hidden[prompt.spans.image] = True
    return hidden


@pytest.mark.parametrize("layer", [0, 3, 5])
def test_the_matrix_is_that_of_eager_attention(lvlm, prompt, layer):
    matrix = attention_matrix(lvlm, prompt, layer)
    eager = baselines.eager_attentions(lvlm, prompt.inputs_embeds)[layer][0]
    torch.testing.assert_close(matrix, eager, rtol=0, atol=TOLERANCE)
    assert not matrix.is_inference()


def test_its_last_row_is_the_flows(lvlm, prompt):
    rows = attention_flow(lvlm, prompt).rows
    for layer in range(lvlm.n_layers):
        last = attention_matrix(lvlm, prompt, layer)[:, -1]
        torch.testing.assert_close(last, rows[layer], rtol=0, atol=TOLERANCE)


def test_under_truncation_nothing_else_sees_the_image_from_the_cut_on(lvlm, prompt):
    others = ~torch.eye(len(prompt), dtype=torch.bool)
    for layer in range(lvlm.n_layers):
        whole = attention_matrix(lvlm, prompt, layer)
        with intervene(lvlm, Truncate(cut=CUT)):
            cut = attention_matrix(lvlm, prompt, layer)
        torch.testing.assert_close(cut.sum(-1), torch.ones(cut.shape[:2]))
        if layer < CUT:
            assert torch.equal(cut, whole)
        else:
            image = (cut * others)[:, :, prompt.spans.image]
            assert (image == 0).all()
            assert (whole * others)[:, :, prompt.spans.image].sum() > 1


def test_in_the_first_truncated_layer_truncation_is_renormalisation(lvlm, prompt):
    hidden = hidden_image(prompt)
    differences = []
    for layer in range(CUT, lvlm.n_layers):
        by_hand = renormalised(attention_matrix(lvlm, prompt, layer), hidden)
        with intervene(lvlm, Truncate(cut=CUT)):
            cut = attention_matrix(lvlm, prompt, layer)
        differences.append(float((cut - by_hand).abs().max()))
    assert differences[0] < TOLERANCE
    assert min(differences[1:]) > 100 * TOLERANCE  # above, what enters the layer has changed


def test_renormalising_by_hand():
    matrix = torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0], [0.2, 0.6, 0.2]])
    left = renormalised(matrix, torch.tensor([False, True, False]))
    expected = torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5]])
    torch.testing.assert_close(left, expected)
    assert torch.equal(renormalised(matrix, torch.zeros(3, dtype=torch.bool)), matrix)


def test_blocks_are_mean_shares(lvlm, prompt):
    matrix = attention_matrix(lvlm, prompt, 2).mean(0)
    blocks = group_blocks(matrix, prompt.spans)
    if prompt.spans.system.stop:
        assert (blocks[0, 1:] == 0).all()  # causal: the system text sees nothing after it
    else:
        assert blocks[0].isnan().all()  # no text before the image, so nothing attends there
    assert blocks[1, 2] == 0
    torch.testing.assert_close(blocks[1:].sum(-1), torch.ones(2))
    user, image = prompt.spans.user, prompt.spans.image
    shares = [float(row[image].sum()) for row in matrix[user]]
    assert float(blocks[2, 1]) == pytest.approx(sum(shares) / len(shares), abs=1e-6)


def test_the_matrix_is_of_this_picture(lvlm, prompt):
    other = lvlm.prompt(picture(1), QUESTION)
    one, two = (attention_matrix(lvlm, p, 0) for p in (prompt, other))
    assert (one - two).abs().max() > 100 * TOLERANCE


@pytest.mark.parametrize("layer", [-1, 6])
def test_a_layer_that_is_not_there_is_one_clear_error(lvlm, prompt, layer):
    with pytest.raises(InfoflowError, match=rf"layer is {layer}; .* 0 to 5"):
        attention_matrix(lvlm, prompt, layer)


def test_drift_is_zero_in_the_first_truncated_layer_and_not_above(lvlm, prompt):
    drift = drift_by_layer(lvlm, prompt, CUT)
    assert drift.shape == (lvlm.n_layers - CUT,)
    assert float(drift[0]) < TOLERANCE
    assert float(drift[1:].min()) > 100 * TOLERANCE
    with intervene(lvlm, Truncate(cut=CUT)):
        truncated = attention_matrix(lvlm, prompt, 5)
    by_hand = renormalised(attention_matrix(lvlm, prompt, 5), hidden_image(prompt))
    rows = [
        0.5 * float((truncated[head, row] - by_hand[head, row]).abs().sum())
        for head in range(lvlm.n_heads)
        for row in range(prompt.spans.user.start, prompt.spans.user.stop)
    ]
    assert float(drift[-1]) == pytest.approx(sum(rows) / len(rows), abs=1e-6)
    assert drift_by_layer(lvlm, prompt, lvlm.n_layers).shape == (0,)
