"""A tiny Shikra of random weights: a difference as shikras/shikra-7b-delta-v1, its LLaMA, its CLIP.

The difference is in pickled shards and has three rows more than LLaMA's vocabulary; LLaMA and CLIP
are in safetensors, CLIP with its text tower.
"""

from pathlib import Path

import checkpoints
import restated
import tiny_sentencepiece
import torch
from checkpoints import TEXT
from tiny_internvl import decoder, save_bin

WIDTH, HEADS, DEPTH, MLP, SIDE, PATCH = 32, 2, 3, 48, 56, 7
GROWN = ("model.embed_tokens.weight", "lm_head.weight")


def draws(seed):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape, scale=0.1, mean=0.0):
        return mean + scale * torch.randn(*shape, generator=generator)

    return draw


def base_tensors():
    return llama(draws(1), tiny_sentencepiece.SIZE)


def delta_tensors():
    draw = draws(2)
    delta = llama(draw, tiny_sentencepiece.SIZE + 3)
    delta = {k: v - 1 if k.endswith("norm.weight") else v for k, v in delta.items()}
    delta |= {
        "model.mm_projector.weight": draw(TEXT["hidden_size"], WIDTH, scale=1.0),
        "model.mm_projector.bias": draw(TEXT["hidden_size"], scale=0.02),
    }
    tokens = image_tokens(delta, restated.noise(SIDE, padding=2.0))
    return restated.balanced(delta, "model.mm_projector", tokens)


def image_tokens(weights, pixels):
    """What the tower and the projector make of a picture (3, side, side), written out."""
    tower = restated.starting_with("vision_model.", clip_tensors())
    patches = restated.clip(tower, pixels, HEADS, n_layers=2)
    return restated.linear(patches, weights, "model.mm_projector")


def llama(draw, n_words):
    return decoder(draw, TEXT["hidden_size"], TEXT["intermediate_size"], n_words, 6)


def clip_tensors():
    draw = draws(3)
    found = {
        "vision_model.embeddings.class_embedding": draw(WIDTH),
        "vision_model.embeddings.position_embedding.weight": draw(
            (SIDE // PATCH) ** 2 + 1, WIDTH, scale=1.0
        ),
        "vision_model.embeddings.patch_embedding.weight": draw(WIDTH, 3, PATCH, PATCH),
        "vision_model.embeddings.position_ids": torch.arange((SIDE // PATCH) ** 2 + 1)[None],
        "text_model.final_layer_norm.bias": draw(5),
        "text_projection.weight": draw(5, 5),
        "visual_projection.weight": draw(5, WIDTH),
        "logit_scale": draw(1)[0],
    }
    norms = ["pre_layrnorm", "post_layernorm"]
    for i in range(DEPTH):
        layer = f"vision_model.encoder.layers.{i}"
        norms += [f"encoder.layers.{i}.layer_norm{n}" for n in (1, 2)]
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            found[f"{layer}.self_attn.{name}.weight"] = draw(WIDTH, WIDTH, scale=0.3)
            found[f"{layer}.self_attn.{name}.bias"] = draw(WIDTH, scale=0.02)
        for name, shape in (("fc1", (MLP, WIDTH)), ("fc2", (WIDTH, MLP))):
            found[f"{layer}.mlp.{name}.weight"] = draw(*shape, scale=0.3)
            found[f"{layer}.mlp.{name}.bias"] = draw(shape[0], scale=0.02)
    for norm in norms:
        found[f"vision_model.{norm}.weight"] = draw(WIDTH, mean=1.0)
        found[f"vision_model.{norm}.bias"] = draw(WIDTH, scale=0.02)
    return found


def save(folder: Path) -> dict:
    """Write the three checkpoints; give what ``load_lvlm`` takes."""
    delta, base, vision = (folder / name for name in ("delta", "llama", "clip"))
    halves = {k: v if "inv_freq" in k else v.half() for k, v in delta_tensors().items()}
    save_bin(halves, delta, n=2)
    shape = {k: v for k, v in TEXT.items() if k not in ("vocab_size", "initializer_range")}
    old_ids = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": -1}
    config = {
        **shape,
        **old_ids,
        "architectures": ["ShikraLlamaForCausalLM"],
        "mm_hidden_size": WIDTH,
        "mm_use_im_start_end": True,
        "mm_vision_select_layer": -2,
        "mm_vision_tower": "openai/clip-vit-large-patch14",
        "model_type": "shikra",
        "rms_norm_eps": 1e-6,
        "use_mm_proj": True,
        "vocab_size": tiny_sentencepiece.SIZE + 3,
    }
    checkpoints.write(delta / "config.json", config)
    checkpoints.write(delta / "generation_config.json", old_ids)
    tiny_sentencepiece.save(delta / "tokenizer.model")
    checkpoints.save_shards({k: v.half() for k, v in base_tensors().items()}, base, n=2)
    checkpoints.write(base / "config.json", {**shape, **old_ids, "model_type": "llama"})
    checkpoints.save_shards(clip_tensors(), vision, n=1)
    tower = {
        "hidden_size": WIDTH,
        "image_size": SIDE,
        "intermediate_size": MLP,
        "model_type": "clip_vision_model",
        "num_attention_heads": HEADS,
        "num_hidden_layers": DEPTH,
        "patch_size": PATCH,
        "projection_dim": 5,
    }
    checkpoints.write(vision / "config.json", {"model_type": "clip", "vision_config": tower})
    return {"checkpoint": delta, "base": base, "vision": vision}
