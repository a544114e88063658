"""Qwen-VL written out plainly from its published tensors, sharing nothing with the library."""

import math

import restated
import torch
from restated import layer_norm, linear
from torch.nn import functional

EPS = 1e-6
VISUAL = "transformer.visual."


def decoder(weights, embeds, n_heads):
    """Logits (S, V) of embeddings (S, D)."""
    states, n_layers = embeds, len({k for k in weights if k.endswith("attn.c_attn.weight")})
    for i in range(n_layers):
        w = restated.starting_with(f"transformer.h.{i}.", weights)
        x = restated.rms_norm(states, w["ln_1.weight"], EPS)
        query, key, value = linear(x, w, "attn.c_attn").chunk(3, -1)
        query, key = restated.rotate(query, n_heads), restated.rotate(key, n_heads)
        mixed = restated.attention(query, key, value, n_heads, causal=True)
        states = states + mixed @ w["attn.c_proj.weight"].mT
        x = restated.rms_norm(states, w["ln_2.weight"], EPS)
        first, second = (x @ w[f"mlp.w{n}.weight"].mT for n in (1, 2))
        states = states + (first * functional.silu(second)) @ w["mlp.c_proj.weight"].mT
    normed = restated.rms_norm(states, weights["transformer.ln_f.weight"], EPS)
    return normed @ weights["lm_head.weight"].mT


def image_tokens(weights, pixels, n_heads, n_pool_heads):
    """The queries' embeddings (N, D) of a picture (3, side, side), and their looks (N, P)."""
    normed, looks = read(weights, pixels, n_heads, n_pool_heads)
    return normed @ weights[f"{VISUAL}proj"], looks


def read(weights, pixels, n_heads, n_pool_heads):
    """What the queries read, normed but not yet mapped, and where they looked."""
    w = restated.starting_with(VISUAL, weights)
    patch = w["conv1.weight"]
    states = functional.conv2d(pixels[None], patch, stride=patch.shape[-1])[0].flatten(1).T
    side = round(len(states) ** 0.5)
    states = states + bicubic(w["positional_embedding"], side)
    states = layer_norm(states, w, "ln_pre", EPS)
    n_layers = len({k for k in w if k.endswith("mlp.c_fc.weight")})
    for i in range(n_layers):
        layer = restated.starting_with(f"transformer.resblocks.{i}.", w)
        states = states + tower_attention(layer_norm(states, layer, "ln_1", EPS), layer, n_heads)
        x = linear(layer_norm(states, layer, "ln_2", EPS), layer, "mlp.c_fc")
        states = states + linear(functional.gelu(x), layer, "mlp.c_proj")
    found, looks = resampler(states, restated.starting_with("attn_pool.", w), side, n_pool_heads)
    return layer_norm(found, w, "ln_post", EPS), looks


def tower_attention(x, w, n_heads):
    """Head by head: the joint projection holds a head's query, key and value side by side."""
    width = x.shape[-1] // n_heads
    mixed = []
    for h in range(n_heads):
        rows = [slice((3 * h + part) * width, (3 * h + part + 1) * width) for part in range(3)]
        query, key, value = (
            x @ w["attn.in_proj.weight"][r].T + w["attn.in_proj.bias"][r] for r in rows
        )
        mixed.append((query @ key.T / math.sqrt(width)).softmax(-1) @ value)
    return linear(torch.cat(mixed, -1), w, "attn.out_proj")


def resampler(patches, w, side, n_heads):
    """What the queries read, and their mean attention to the patches."""
    values = layer_norm(patches @ w["kv_proj.weight"].T, w, "ln_kv", EPS)
    keys = values + bicubic(w["pos_embed"], side)
    queries = layer_norm(w["query"], w, "ln_q", EPS) + w["pos_embed"]
    query, key, value = (
        x @ weight.T + bias
        for x, weight, bias in zip(
            (queries, keys, values),
            w["attn.in_proj_weight"].chunk(3),
            w["attn.in_proj_bias"].chunk(3),
            strict=True,
        )
    )
    mixed = restated.attention(query, key, value, n_heads)
    query, key = (x.unflatten(-1, (n_heads, -1)).transpose(0, 1) for x in (query, key))
    looks = (query @ key.mT / math.sqrt(query.shape[-1])).softmax(-1).mean(0)
    return linear(mixed, w, "attn.out_proj"), looks


def bicubic(positions, side):
    """Positions of a raster (n * n, C) on another one, by Keys' cubic with a = -0.75."""
    n = round(len(positions) ** 0.5)
    if n == side:
        return positions
    weigh = torch.zeros(side, n)
    for i in range(side):
        place = (i + 0.5) * n / side - 0.5
        for tap in range(math.floor(place) - 1, math.floor(place) + 3):
            weigh[i, min(max(tap, 0), n - 1)] += keys_cubic(abs(place - tap))
    raster = positions.unflatten(0, (n, n))
    return torch.einsum("ia,jb,abc->ijc", weigh, weigh, raster).flatten(0, 1)


def keys_cubic(distance, a=-0.75):
    if distance <= 1:
        return (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    return a * (distance**3 - 5 * distance**2 + 8 * distance - 4) if distance < 2 else 0.0
