"""A tiny InternVL-Chat of random weights, laid out as OpenGVLab/InternVL-Chat-ViT-6B-Vicuna-7B.

Pickled shards in the names of the original LLaVA code, a tokenizer.model, no preprocessor, and a
stray projector of an earlier stage of its training.
"""

from pathlib import Path

import checkpoints
import restated
import tiny_sentencepiece
import torch
from checkpoints import TEXT
from torch.nn import functional

WIDTH, HEADS, DEPTH, MLP, SIDE, PATCH = 256, 2, 6, 96, 56, 7
TOWER = "model.vision_tower.vision_tower"


def tensors(seed=3):
    """Random tensors under their published names, in the published order of shapes."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape, scale=0.15, mean=0.0):
        return mean + scale * torch.randn(*shape, generator=generator)

    hidden, mlp, vocabulary = (
        TEXT["hidden_size"],
        TEXT["intermediate_size"],
        tiny_sentencepiece.SIZE,
    )
    found = decoder(draw, hidden, mlp, vocabulary, TEXT["num_hidden_layers"])
    found |= {
        f"{TOWER}.embeddings.class_embedding": draw(1, 1, WIDTH),
        f"{TOWER}.embeddings.position_embedding": draw(
            1, (SIDE // PATCH) ** 2 + 1, WIDTH, scale=1.0
        ),
        f"{TOWER}.embeddings.patch_embedding.weight": draw(WIDTH, 3, PATCH, PATCH),
        f"{TOWER}.embeddings.patch_embedding.bias": draw(WIDTH, scale=0.02),
    }
    for i in range(DEPTH):
        layer = f"{TOWER}.encoder.layers.{i}"
        found |= {
            f"{layer}.ls1": draw(WIDTH, mean=0.3),
            f"{layer}.ls2": draw(WIDTH, mean=0.3),
            f"{layer}.attn.qkv.weight": draw(3 * WIDTH, WIDTH),
            f"{layer}.attn.q_norm.weight": draw(WIDTH, mean=1.0),
            f"{layer}.attn.k_norm.weight": draw(WIDTH, mean=1.0),
            f"{layer}.attn.proj.weight": draw(WIDTH, WIDTH),
            f"{layer}.attn.proj.bias": draw(WIDTH, scale=0.02),
            f"{layer}.norm1.weight": draw(WIDTH, mean=1.0),
            f"{layer}.norm2.weight": draw(WIDTH, mean=1.0),
            f"{layer}.mlp.fc1.weight": draw(MLP, WIDTH),
            f"{layer}.mlp.fc1.bias": draw(MLP, scale=0.02),
            f"{layer}.mlp.fc2.weight": draw(WIDTH, MLP),
            f"{layer}.mlp.fc2.bias": draw(WIDTH, scale=0.02),
        }
    found |= {
        "model.mm_projector.0.weight": draw(hidden, WIDTH),
        "model.mm_projector.0.bias": draw(hidden, scale=0.02),
        "model.mm_projector.2.weight": draw(hidden, hidden, scale=0.5),
        "model.mm_projector.2.bias": draw(hidden, scale=0.02),
    }
    return restated.balanced(
        found, "model.mm_projector.2", image_tokens(found, restated.noise(SIDE, padding=0.0))
    )


def image_tokens(weights, pixels):
    """What the tower and the projector make of a picture (3, side, side), written out."""
    tower = restated.starting_with(f"{TOWER}.", weights)
    # hidden state -4 of 6 layers and the embeddings: behind the third layer
    patches = restated.intern_vit(tower, pixels, HEADS, n_layers=3)
    hidden = functional.gelu(restated.linear(patches, weights, "model.mm_projector.0"))
    return restated.linear(hidden, weights, "model.mm_projector.2")


def decoder(draw, hidden, mlp, vocabulary, depth):
    """A LLaMA's tensors, with the buffers that old checkpoints hold."""
    found = {
        "model.embed_tokens.weight": draw(vocabulary, hidden),
        "model.norm.weight": draw(hidden, mean=1.0),
        "lm_head.weight": draw(vocabulary, hidden),
    }
    for i in range(depth):
        layer = f"model.layers.{i}"
        found |= {f"{layer}.self_attn.{p}_proj.weight": draw(hidden, hidden) for p in "qkvo"}
        found |= {
            f"{layer}.mlp.gate_proj.weight": draw(mlp, hidden),
            f"{layer}.mlp.up_proj.weight": draw(mlp, hidden),
            f"{layer}.mlp.down_proj.weight": draw(hidden, mlp),
            f"{layer}.input_layernorm.weight": draw(hidden, mean=1.0),
            f"{layer}.post_attention_layernorm.weight": draw(hidden, mean=1.0),
            f"{layer}.self_attn.rotary_emb.inv_freq": torch.zeros(8),
        }
    return found


def save(folder: Path) -> dict:
    """Write the checkpoint; give what ``load_lvlm`` takes."""
    save_bin({k: v.bfloat16() for k, v in tensors().items()}, folder)
    torch.save({"model.mm_projector.0.weight": torch.ones(3)}, folder / "mm_projector.bin")
    checkpoints.write(folder / "config.json", config())
    generation = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
    checkpoints.write(folder / "generation_config.json", generation)
    tower = {"hidden_size": WIDTH, "num_attention_heads": HEADS}
    (folder / config()["mm_vision_tower"]).mkdir(parents=True)
    checkpoints.write(folder / config()["mm_vision_tower"] / "config.json", tower)
    tiny_sentencepiece.save(folder / "tokenizer.model")
    return {"checkpoint": folder}


def config():
    return {
        "architectures": ["LlavaLlamaForCausalLM"],
        "bos_token_id": 1,
        "eos_token_id": 2,
        "freeze_mm_mlp_adapter": False,
        "hidden_act": "silu",
        "hidden_size": TEXT["hidden_size"],
        "image_aspect_ratio": "pad",
        "intermediate_size": TEXT["intermediate_size"],
        "max_position_embeddings": TEXT["max_position_embeddings"],
        "mm_hidden_size": WIDTH,
        "mm_projector_type": "mlp2x_gelu",
        "mm_use_im_patch_token": False,
        "mm_use_im_start_end": False,
        "mm_vision_select_feature": "patch",
        "mm_vision_select_layer": -4,
        "mm_vision_tower": "OpenGVLab/InternViT-6B-224px",
        "model_type": "llava",
        "num_attention_heads": TEXT["num_attention_heads"],
        "num_hidden_layers": TEXT["num_hidden_layers"],
        "num_key_value_heads": TEXT["num_key_value_heads"],
        "pad_token_id": 0,
        "rms_norm_eps": 1e-5,
        "torch_dtype": "bfloat16",
        "use_mm_proj": True,
        "vocab_size": tiny_sentencepiece.SIZE,
    }


def save_bin(state, folder: Path, n=3) -> None:
    """Save tensors as pickled shards with their index."""
    folder.mkdir(parents=True, exist_ok=True)
    names = list(state)
    shards = {
        f"pytorch_model-{i + 1:05d}-of-{n:05d}.bin": {k: state[k] for k in names[i::n]}
        for i in range(n)
    }
    for shard, content in shards.items():
        torch.save(content, folder / shard)
    checkpoints.write(folder / "pytorch_model.bin.index.json", checkpoints.index_of(shards))
