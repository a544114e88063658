import weakref
from collections import Counter

import checkpoints
import pytest
import torch
from tiny_models import QUESTION, load_random, picture
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlamaConfig

from benchmarks import baselines
from infoflow.errors import InfoflowError, UnknownNameError
from infoflow.methods.flow import attention_flow

TOLERANCE = 2e-6


def naive_flow(lvlm, prompt, ids):
    """Rows of the answer from all of eager attention: (L, H, S)."""
    said = lvlm.decoder.embed_tokens(ids[:-1])[None]
    embeds = torch.cat([prompt.inputs_embeds, said], dim=1)
    n = len(prompt)
    layers = []
    for weights in baselines.eager_attentions(lvlm, embeds):
        rows = []
        for t in range(len(ids)):
            row = weights[0, :, n - 1 + t].clone()
            row[:, n:] = 0
            rows.append((row / row.mean(0).sum())[:, :n])
        layers.append(torch.stack(rows).mean(0))
    return torch.stack(layers)


def test_rows_equal_eager_attention(lvlm, prompt):
    flow = attention_flow(lvlm, prompt)
    eager = baselines.eager_attentions(lvlm, prompt.inputs_embeds)
    expected = torch.stack([weights[0, :, -1] for weights in eager])
    assert flow.rows.shape == (lvlm.n_layers, lvlm.n_heads, len(prompt))
    torch.testing.assert_close(flow.rows, expected, rtol=0, atol=TOLERANCE)
    assert expected.amax(-1).mean() > 5 / len(prompt)  # far from uniform, or equality is cheap


@pytest.mark.parametrize("answer", ["yes", "two red circle", "no no no no no no no no"])
def test_rows_of_several_answer_tokens_equal_the_naive_twin(lvlm, prompt, answer):
    ids = lvlm.encode_answer(answer)
    assert len(ids) == len(answer.split())
    flow = attention_flow(lvlm, prompt, answer)
    torch.testing.assert_close(flow.rows, naive_flow(lvlm, prompt, ids), rtol=0, atol=TOLERANCE)
    assert torch.equal(flow.rows, attention_flow(lvlm, prompt, ids).rows)


def test_one_answer_token_is_the_default(lvlm, prompt):
    assert torch.equal(attention_flow(lvlm, prompt).rows, attention_flow(lvlm, prompt, "yes").rows)


@pytest.mark.parametrize("answer", [None, "two red circle"])
@pytest.mark.parametrize("head_reduce", ["mean", "max"])
def test_shares_are_group_sums_and_sum_to_one(lvlm, prompt, answer, head_reduce):
    flow = attention_flow(lvlm, prompt, answer, head_reduce)
    reduced = flow.rows.mean(1) if head_reduce == "mean" else flow.rows.amax(1)
    reduced = reduced / reduced.sum(-1, keepdim=True)
    groups = [reduced[:, span].sum(-1) for span in prompt.spans]
    torch.testing.assert_close(flow.shares, torch.stack(groups, dim=1))
    torch.testing.assert_close(flow.shares.sum(-1), torch.ones(lvlm.n_layers))
    present = torch.tensor([span.stop > span.start for span in prompt.spans])
    assert ((flow.shares > 0) == present).all()  # one family has nothing before its image


def test_no_gradient_and_plain_tensors_come_back(lvlm, prompt):
    flow = attention_flow(lvlm, prompt)
    assert not flow.rows.requires_grad
    assert not flow.rows.is_inference()
    assert not flow.shares.is_inference()


class LiveBytes(TorchDispatchMode):
    """Follows the memory of all tensors made inside; `peak` is the most at any time, in bytes."""

    def __init__(self):
        super().__init__()
        self.peak = 0
        self._tensors = Counter()
        self._sizes = {}

    def _forget(self, storage):
        self._tensors[storage] -= 1
        if not self._tensors[storage]:
            del self._sizes[storage]

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                pointer = storage.data_ptr()
                self._tensors[pointer] += 1
                self._sizes[pointer] = storage.nbytes()
                weakref.finalize(tensor, self._forget, pointer)
        self.peak = max(self.peak, sum(self._sizes.values()))
        return result


def peak_bytes(call):
    with LiveBytes() as live:
        call()
    return live.peak


def test_peak_memory_does_not_grow_with_depth(tmp_path):
    shallow, deep = (
        load_random(tmp_path / str(n), LlamaConfig(**checkpoints.TEXT | {"num_hidden_layers": n}))
        for n in (3, 12)
    )
    prompt = shallow.prompt(picture(), QUESTION)
    layer_rows = 4 * shallow.n_heads * len(prompt)  # what one layer adds to the result, in bytes
    layer_maps = layer_rows * len(prompt)  # what one layer's attention maps would add

    def growth(measure):
        return peak_bytes(lambda: measure(deep)) - peak_bytes(lambda: measure(shallow))

    ours = growth(lambda lvlm: attention_flow(lvlm, lvlm.prompt(picture(), QUESTION)))
    eager = growth(lambda lvlm: baselines.eager_attentions(lvlm, prompt.inputs_embeds))
    assert ours <= 3 * 9 * layer_rows  # the rows themselves, listed and then stacked
    assert eager >= 9 * layer_maps  # the same gauge sees the maps of eager attention
    assert layer_maps > 30 * layer_rows  # so that the first bound is far below the second


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("", "holds no token"),
        (torch.zeros(0, dtype=torch.long), "holds no token"),
        (torch.zeros(1, 2, dtype=torch.long), "holds no token"),
        (torch.tensor([10**5]), "outside 0.."),
        ("yes " * 100, "context of 160"),
    ],
)
def test_a_bad_answer_is_one_clear_error(lvlm, prompt, answer, message):
    with pytest.raises(InfoflowError, match=message):
        attention_flow(lvlm, prompt, answer)


def test_an_unknown_head_reduction_is_one_clear_error(lvlm, prompt):
    with pytest.raises(UnknownNameError, match=r"'median'.*Valid: max, mean"):
        attention_flow(lvlm, prompt, head_reduce="median")
