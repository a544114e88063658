"""The gradient in the last layer: zero behind the attention by nature, not by being left out."""

import torch

from infoflow.methods.gradients import LAYER_SITES, last_layer_gradient_maxima


def change_there(lvlm, prompt, site):
    """How far the answer's logits move when a site's image features are replaced."""
    module = lvlm.layers[-1].get_submodule(site)

    def replace(module, args, output):
        output = output.clone()
        output[:, prompt.spans.image] += torch.randn_like(output[:, prompt.spans.image])
        return output

    with torch.no_grad():
        before = lvlm.logits(prompt.inputs_embeds)[0, -1]
        torch.manual_seed(0)
        handle = module.register_forward_hook(replace)
        try:
            after = lvlm.logits(prompt.inputs_embeds)[0, -1]
        finally:
            handle.remove()
    return float((after - before).abs().max())


def test_behind_the_last_attention_the_image_reaches_nothing(lvlm, prompt):
    found = last_layer_gradient_maxima(lvlm, prompt)
    assert set(found) == set(LAYER_SITES) - {"output"}
    for site, (at_image, at_answer) in found.items():
        reaches = site != "post_attention_layernorm"
        assert (at_image > 0) == reaches
        # features replaced outright tell the same as the gradient
        assert (change_there(lvlm, prompt, site) > 0) == reaches
        assert at_answer > 0


def test_nothing_is_left_hooked_or_recording(lvlm, prompt):
    before = lvlm.logits(prompt.inputs_embeds)
    hooks = [dict(layer._forward_hooks) for layer in lvlm.layers]  # transformers leaves its own
    with torch.inference_mode():
        last_layer_gradient_maxima(lvlm, prompt)
    after = lvlm.logits(prompt.inputs_embeds)
    assert torch.equal(before, after)
    assert [dict(layer._forward_hooks) for layer in lvlm.layers] == hooks
    assert not after.requires_grad
