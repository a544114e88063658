import checkpoints
import pytest
import torch
from checkpoints import TEXT
from tiny_models import LLAVA, QUESTION, load_random, never_ending, picture
from transformers import Gemma2Config, LlamaConfig, MistralConfig

from benchmarks import baselines
from infoflow.errors import InfoflowError
from infoflow.hooks import forward
from infoflow.hooks.attention import attention_rows
from infoflow.hooks.forward import Observer, attached
from infoflow.methods.flow import attention_flow
from infoflow.methods.truncation import truncation_sweep
from infoflow.models.families import Llava15
from infoflow.models.lvlm import LVLM, load_lvlm
from infoflow.models.placement import Placement

MODELS = LLAVA  # nothing here depends on the family
SHAPE = {k: v for k, v in TEXT.items() if k != "num_key_value_heads"}


@pytest.fixture
def fresh(tmp_path):
    """A model that no test has used, so that its once-a-model check has not run."""
    return load_random(tmp_path / "fresh", LlamaConfig(**TEXT), seed=1)


def traces(lvlm):
    """What hooks could leave behind."""
    return (
        lvlm.decoder.config._attn_implementation,
        lvlm.model.config.vision_config._attn_implementation,
        [len(layer._forward_hooks) + len(layer._forward_pre_hooks) for layer in lvlm.layers],
        forward._hooks_of(lvlm).observer,
        lvlm.reading,
    )


class Failing(Observer):
    def attend(self, layer, call):
        if layer == 3:
            raise RuntimeError("in the middle of a pass")
        return super().attend(layer, call)


def test_nothing_is_left_behind(lvlm, prompt):
    before, ordinary = traces(lvlm), lvlm.logits(prompt.inputs_embeds)
    truncation_sweep(lvlm, prompt, max_new_tokens=3)
    attention_flow(lvlm, prompt)
    assert traces(lvlm) == before
    assert torch.equal(lvlm.logits(prompt.inputs_embeds), ordinary)


def test_nothing_is_left_behind_by_an_exception(lvlm, prompt):
    before, ordinary = traces(lvlm), lvlm.logits(prompt.inputs_embeds)
    with pytest.raises(RuntimeError, match="in the middle"), attached(lvlm, Failing()):
        lvlm.logits(prompt.inputs_embeds)
    assert traces(lvlm) == before
    assert torch.equal(lvlm.logits(prompt.inputs_embeds), ordinary)


def test_logits_are_those_of_the_prompts_embeddings_and_of_the_door(lvlm, prompt, fresh):
    expected = lvlm.logits(prompt.inputs_embeds)
    assert torch.equal(lvlm.logits(prompt), expected)
    with forward.forward_pass(lvlm, prompt) as states:
        assert torch.equal(lvlm.lm_head(states), expected)
    for refuse in (fresh.logits, lambda prompt: forward.record(fresh, prompt, None)):
        with pytest.raises(InfoflowError, match="encoded for another model"):
            refuse(prompt)


def test_the_implementation_the_user_chose_comes_back(fresh):
    fresh.decoder.set_attn_implementation("eager")
    attention_flow(fresh, fresh.prompt(picture(), QUESTION))
    assert fresh.decoder.config._attn_implementation == "eager"


def test_only_the_text_configuration_is_touched(lvlm, prompt):
    before = traces(lvlm)
    with attached(lvlm, Observer()):
        assert lvlm.decoder.config._attn_implementation == forward.IMPLEMENTATION
        assert lvlm.model.config.vision_config._attn_implementation == before[1]
        assert torch.equal(lvlm.embed(prompt.input_ids, prompt.pixel_values), prompt.inputs_embeds)


def test_a_second_measure_on_the_same_model_is_refused_and_the_first_goes_on(lvlm, prompt):
    ordinary = lvlm.logits(prompt.inputs_embeds)
    with attached(lvlm, Observer()):
        with pytest.raises(InfoflowError, match="already running"):
            attention_flow(lvlm, prompt)
        assert torch.equal(lvlm.logits(prompt.inputs_embeds), ordinary)
        assert lvlm.decoder.config._attn_implementation == forward.IMPLEMENTATION


def test_two_models_are_observed_side_by_side(lvlm, prompt, fresh):
    alone = attention_flow(lvlm, prompt)
    with attached(fresh, Observer()):
        assert torch.equal(attention_flow(lvlm, prompt).rows, alone.rows)


class LastRows(Observer):
    def __init__(self, n_rows):
        self.rows, self.n_rows = [], n_rows

    def see(self, layer, call):
        self.rows.append(attention_rows(call, self.n_rows))


@pytest.mark.parametrize("n_rows", [1, 3, 40])
def test_attention_rows_are_those_of_eager_attention(lvlm, prompt, n_rows):
    recorder = LastRows(n_rows)
    with attached(lvlm, recorder):
        lvlm.logits(prompt.inputs_embeds)
    eager = baselines.eager_attentions(lvlm, prompt.inputs_embeds)
    expected = torch.stack([weights[0, :, -n_rows:] for weights in eager])
    torch.testing.assert_close(torch.stack(recorder.rows), expected, rtol=0, atol=2e-6)


def test_a_decoder_with_softcap_is_refused(fresh):
    fresh.layers[0].register_forward_pre_hook(
        lambda module, args, kwargs: (args, kwargs | {"softcap": 50.0}), with_kwargs=True
    )
    prompt, before = fresh.prompt(picture(), QUESTION), traces(fresh)
    for measure in (attention_flow, truncation_sweep):
        with pytest.raises(InfoflowError, match="uses softcap"):
            measure(fresh, prompt)
    assert traces(fresh) == before


def test_a_decoder_that_sdpa_cannot_run_is_refused_when_it_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(Llava15, "kinds", {})
    config = Gemma2Config(**SHAPE, num_key_value_heads=2, head_dim=16)  # caps its scores
    checkpoints.save_zoo_layout(checkpoints.random_model(config), tmp_path)
    with pytest.raises(InfoflowError, match=r"cannot be loaded: .*Gemma2Model"):
        Llava15.open(tmp_path, Placement(torch.device("cpu")), torch.float32)


def test_a_sliding_window_is_refused_only_if_the_prompt_is_longer(tmp_path, monkeypatch):
    monkeypatch.setattr(Llava15, "kinds", {})  # else no Mistral is asked in Vicuna's words

    def load(window):
        config = MistralConfig(**SHAPE, num_key_value_heads=2, sliding_window=window)
        folder = checkpoints.save_zoo_layout(
            checkpoints.random_model(config), tmp_path / str(window)
        )
        family = Llava15.open(folder, Placement(torch.device("cpu")), torch.float32)
        return never_ending(LVLM("tiny-llava-1.5", family, folder, None))

    narrow, wide = load(50), load(150)
    prompt = wide.prompt(picture(), QUESTION)
    assert 50 < len(prompt) < 150
    with pytest.raises(InfoflowError, match="context of 50"):
        attention_flow(narrow, narrow.prompt(picture(), QUESTION))
    sweep = truncation_sweep(wide, prompt, cuts=[2])
    image = baselines.image_positions(prompt)
    expected = baselines.masked_logits(wide, prompt.inputs_embeds, 2, image)
    torch.testing.assert_close(sweep.logits[0], expected, rtol=0, atol=5e-5)


def test_attention_that_is_not_causal_is_refused(fresh):
    fresh.layers[2].self_attn.is_causal = False
    with pytest.raises(InfoflowError, match="not causal"):
        attention_flow(fresh, fresh.prompt(picture(), QUESTION))


def test_a_mask_from_elsewhere_is_refused(fresh):
    def see_ahead(module, args, kwargs):
        n = args[0].shape[1]
        return args, kwargs | {"attention_mask": torch.ones(1, 1, n, n, dtype=torch.bool)}

    fresh.layers[1].register_forward_pre_hook(see_ahead, with_kwargs=True)
    with pytest.raises(InfoflowError, match="uses attention_mask"):
        attention_flow(fresh, fresh.prompt(picture(), QUESTION))


@pytest.mark.parametrize("option", ["softcap", "s_aux", "position_bias"])
def test_what_hooks_would_not_honour_is_refused(option, lvlm):
    states = [torch.zeros(1, 1, 10, 4)] * 3
    with pytest.raises(InfoflowError, match=option):
        forward._attend(lvlm.layers[0].self_attn, *states, None, **{option: torch.ones(1)})


def test_a_decoder_that_hooks_would_change_is_refused(fresh):
    def mask_only_where_masks_are_built(module, args, kwargs):
        if fresh.decoder.config._attn_implementation != "sdpa":
            return None
        n = args[0].shape[1]
        mask = torch.ones(n, n, dtype=torch.bool).tril()
        mask[:, 40] = False
        mask.fill_diagonal_(True)
        return args, kwargs | {"attention_mask": mask[None, None]}

    fresh.layers[1].register_forward_pre_hook(mask_only_where_masks_are_built, with_kwargs=True)
    for measure in (attention_flow, truncation_sweep):
        with pytest.raises(InfoflowError, match="its output changes"):
            measure(fresh, fresh.prompt(picture(), QUESTION))


def test_half_precision_runs_and_agrees_with_itself(zoo_checkpoint):
    lvlm = load_lvlm("tiny-llava-1.5", checkpoint=zoo_checkpoint, device="cpu", dtype="bfloat16")
    prompt = lvlm.prompt(picture(), QUESTION)
    sweep = truncation_sweep(lvlm, prompt, max_new_tokens=4)
    assert torch.equal(sweep.logits[-1], lvlm.logits(prompt.inputs_embeds)[0, -1].float())
    assert sweep.logits.dtype == torch.float32
    flow = attention_flow(lvlm, prompt, "two red circle")
    torch.testing.assert_close(flow.rows.mean(1).sum(-1), torch.ones(6))
