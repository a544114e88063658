"""A tiny Qwen-VL of random weights, laid out as Qwen/Qwen-VL and Qwen/Qwen-VL-Chat are.

Pickled shards of bfloat16, a qwen.tiktoken, no preprocessor, and generation settings that sample.
"""

import math
from pathlib import Path

import checkpoints
import restated
import restated_qwen
import tiny_tiktoken
import torch
from checkpoints import TEXT
from tiny_internvl import save_bin

HIDDEN, HEADS, DEPTH, MLP = 256, 4, TEXT["num_hidden_layers"], 96
POOL_HEADS = HIDDEN // 128
WIDTH, TOWER_HEADS, TOWER_DEPTH, TOWER_MLP, SIDE, PATCH = 32, 2, 3, 48, 64, 4
RASTER = 8  # published: 16, on which 32 x 32 patches are read
QUERIES = RASTER**2
VISUAL = restated_qwen.VISUAL


def tensors(seed=28):
    """Random tensors under their published names.

    Of this seed no layer's class activation map is zero or a small difference of large numbers,
    and truncation changes what is answered: else tests would be vacuous, or of rounding.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape, scale=0.075, mean=0.0):
        return mean + scale * torch.randn(*shape, generator=generator)

    found = decoder(draw) | tower(draw) | resampler(draw)
    tokens, _ = restated_qwen.read(found, restated.noise(SIDE), TOWER_HEADS, POOL_HEADS)
    return restated.balanced(found, f"{VISUAL}ln_post", tokens, norm=12.0)


def image_tokens(weights, pixels):
    """The queries' embeddings and their looks, written out."""
    return restated_qwen.image_tokens(weights, pixels, TOWER_HEADS, POOL_HEADS)


def decoder(draw):
    found = {
        "transformer.wte.weight": draw(tiny_tiktoken.size(), HIDDEN),
        "transformer.ln_f.weight": draw(HIDDEN, mean=1.0),
        "lm_head.weight": draw(tiny_tiktoken.size(), HIDDEN),
    }
    for i in range(DEPTH):
        layer = f"transformer.h.{i}"
        found |= {
            f"{layer}.ln_1.weight": draw(HIDDEN, mean=1.0),
            f"{layer}.attn.c_attn.weight": draw(3 * HIDDEN, HIDDEN),
            f"{layer}.attn.c_attn.bias": draw(3 * HIDDEN, scale=0.1),
            f"{layer}.attn.c_proj.weight": draw(HIDDEN, HIDDEN),
            f"{layer}.ln_2.weight": draw(HIDDEN, mean=1.0),
            f"{layer}.mlp.w1.weight": draw(MLP, HIDDEN),
            f"{layer}.mlp.w2.weight": draw(MLP, HIDDEN),
            f"{layer}.mlp.c_proj.weight": draw(HIDDEN, MLP),
        }
    return found


def tower(draw):
    found = {
        f"{VISUAL}conv1.weight": draw(WIDTH, 3, PATCH, PATCH, scale=0.3),
        f"{VISUAL}positional_embedding": draw(QUERIES, WIDTH, scale=1.0),
        f"{VISUAL}proj": draw(HIDDEN, HIDDEN, scale=HIDDEN**-0.5),
        **norm(draw, "ln_pre", WIDTH),
        **norm(draw, "ln_post", HIDDEN),
    }
    for i in range(TOWER_DEPTH):
        layer = f"transformer.resblocks.{i}"
        found |= norm(draw, f"{layer}.ln_1", WIDTH) | norm(draw, f"{layer}.ln_2", WIDTH)
        maps = {
            "attn.in_proj": (3 * WIDTH, WIDTH),
            "attn.out_proj": (WIDTH, WIDTH),
            "mlp.c_fc": (TOWER_MLP, WIDTH),
            "mlp.c_proj": (WIDTH, TOWER_MLP),
        }
        for name, shape in maps.items():
            found[f"{VISUAL}{layer}.{name}.weight"] = draw(*shape, scale=0.3)
            found[f"{VISUAL}{layer}.{name}.bias"] = draw(shape[0], scale=0.02)
    return found


def resampler(draw):
    return {
        f"{VISUAL}attn_pool.pos_embed": positions().bfloat16().float(),
        f"{VISUAL}attn_pool.query": draw(QUERIES, HIDDEN, scale=1.0),
        f"{VISUAL}attn_pool.kv_proj.weight": draw(HIDDEN, WIDTH, scale=0.3),
        # wide, else all queries look everywhere and read the same
        f"{VISUAL}attn_pool.attn.in_proj_weight": draw(3 * HIDDEN, HIDDEN, scale=0.12),
        f"{VISUAL}attn_pool.attn.in_proj_bias": draw(3 * HIDDEN, scale=0.02),
        f"{VISUAL}attn_pool.attn.out_proj.weight": draw(HIDDEN, HIDDEN),
        f"{VISUAL}attn_pool.attn.out_proj.bias": draw(HIDDEN, scale=0.02),
        **norm(draw, "attn_pool.ln_q", HIDDEN),
        **norm(draw, "attn_pool.ln_kv", HIDDEN),
    }


def norm(draw, name, width):
    return {
        f"{VISUAL}{name}.weight": draw(width, mean=1.0),
        f"{VISUAL}{name}.bias": draw(width, scale=0.02),
    }


def positions():
    """Sines and cosines, number by number: half the channels of the column, half of the row."""
    quarter = HIDDEN // 4
    found = torch.zeros(QUERIES, HIDDEN)
    for i in range(QUERIES):
        for half, place in enumerate((i % RASTER, i // RASTER)):
            for wave in range(quarter):
                angle = place / 10000 ** (wave / quarter)
                found[i, 2 * half * quarter + wave] = math.sin(angle)
                found[i, (2 * half + 1) * quarter + wave] = math.cos(angle)
    return found


def save(folder: Path, chat_format="raw") -> dict:
    """Write the checkpoint; give what ``load_lvlm`` takes."""
    save_bin({k: v.bfloat16() for k, v in tensors().items()}, folder)
    checkpoints.write(folder / "config.json", config())
    generation = {
        "chat_format": chat_format,
        "do_sample": True,
        "eos_token_id": tiny_tiktoken.special_id("<|endoftext|>"),
        "max_new_tokens": 512,
        "pad_token_id": tiny_tiktoken.special_id("<|endoftext|>"),
        "top_p": 0.3,
    }
    checkpoints.write(folder / "generation_config.json", generation)
    tokenizer = {"auto_map": {"AutoTokenizer": ["tokenization_qwen.QWenTokenizer", None]}}
    checkpoints.write(folder / "tokenizer_config.json", tokenizer)
    tiny_tiktoken.save(folder / "qwen.tiktoken")
    return {"checkpoint": folder}


def config():
    return {
        "architectures": ["QWenLMHeadModel"],
        "auto_map": {"AutoConfig": "configuration_qwen.QWenConfig"},
        "bf16": True,
        "hidden_size": HIDDEN,
        "intermediate_size": 2 * MLP,
        "kv_channels": HIDDEN // HEADS,
        "layer_norm_epsilon": 1e-6,
        "max_position_embeddings": 8192,
        "model_type": "qwen",
        "no_bias": True,
        "num_attention_heads": HEADS,
        "num_hidden_layers": DEPTH,
        "rotary_emb_base": 10000,
        "rotary_pct": 1.0,
        "seq_length": TEXT["max_position_embeddings"],
        "tie_word_embeddings": False,
        "use_dynamic_ntk": True,
        "use_logn_attn": True,
        "visual": {
            "heads": TOWER_HEADS,
            "image_size": SIDE,
            "image_start_id": tiny_tiktoken.special_id("<img>"),
            "layers": TOWER_DEPTH,
            "mlp_ratio": TOWER_MLP / WIDTH + 1e-4,
            "n_queries": QUERIES,
            "output_dim": HIDDEN,
            "patch_size": PATCH,
            "width": WIDTH,
        },
        "vocab_size": tiny_tiktoken.size(),
    }
