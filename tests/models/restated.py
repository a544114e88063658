"""Architectures written out plainly from their published tensors, sharing nothing with the library.

Every function takes tensors by their published names; transformers' modules are not used.
"""

import math

import torch
from torch.nn import functional

MEANS = {"clip": (122, 116, 104), "imagenet": (123, 116, 103), "white": (255, 255, 255)}


def rms_norm(states, weight, eps):
    return states * torch.rsqrt(states.square().mean(-1, keepdim=True) + eps) * weight


def attention(query, key, value, n_heads, causal=False):
    """Attend over sequences (S, D), heads side by side."""
    query, key, value = (
        x.unflatten(-1, (n_heads, -1)).transpose(0, 1) for x in (query, key, value)
    )
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if causal:
        scores = scores.masked_fill(torch.ones(scores.shape[-2:]).triu(1).bool(), -math.inf)
    return (scores.softmax(-1) @ value).transpose(0, 1).flatten(1)


def rotate(states, n_heads, base=10000.0):
    """Turn heads of (S, D) by their positions, the first half of a head against the second."""
    heads = states.unflatten(-1, (n_heads, -1))
    half = heads.shape[-1] // 2
    angles = torch.arange(len(states))[:, None] / base ** (torch.arange(half) / half)
    cosine, sine = angles.cos()[:, None], angles.sin()[:, None]
    first, second = heads[..., :half], heads[..., half:]
    turned = torch.cat([first * cosine - second * sine, second * cosine + first * sine], -1)
    return turned.flatten(1)


def llama(weights, embeds, n_heads, eps):
    """Logits (S, V) of embeddings (S, D)."""
    states, n_layers = embeds, len({k for k in weights if k.endswith("input_layernorm.weight")})
    for i in range(n_layers):
        w = {
            k.removeprefix(f"model.layers.{i}."): v
            for k, v in weights.items()
            if k.startswith(f"model.layers.{i}.")
        }
        x = rms_norm(states, w["input_layernorm.weight"], eps)
        query, key, value = (x @ w[f"self_attn.{p}_proj.weight"].mT for p in "qkv")
        query, key = rotate(query, n_heads), rotate(key, n_heads)
        mixed = attention(query, key, value, n_heads, causal=True)
        states = states + mixed @ w["self_attn.o_proj.weight"].mT
        x = rms_norm(states, w["post_attention_layernorm.weight"], eps)
        gate = functional.silu(x @ w["mlp.gate_proj.weight"].mT)
        states = states + (gate * (x @ w["mlp.up_proj.weight"].mT)) @ w["mlp.down_proj.weight"].mT
    return rms_norm(states, weights["model.norm.weight"], eps) @ weights["lm_head.weight"].mT


def intern_vit(weights, pixels, n_heads, n_layers):
    """InternViT's patches (N, D) after some layers, of a picture (3, side, side)."""
    patch = weights["embeddings.patch_embedding.weight"]
    states = functional.conv2d(pixels[None], patch, stride=patch.shape[-1])[0].flatten(1).T
    states = states + weights["embeddings.patch_embedding.bias"]
    states = torch.cat([weights["embeddings.class_embedding"][0], states])
    states = states + weights["embeddings.position_embedding"][0]
    for i in range(n_layers):
        w = {
            k.removeprefix(f"encoder.layers.{i}."): v
            for k, v in weights.items()
            if k.startswith(f"encoder.layers.{i}.")
        }
        x = rms_norm(states, w["norm1.weight"], 1e-6)
        query, key, value = (x @ w["attn.qkv.weight"].mT).chunk(3, -1)
        query = rms_norm(query, w["attn.q_norm.weight"], 1e-6)
        key = rms_norm(key, w["attn.k_norm.weight"], 1e-6)
        mixed = attention(query, key, value, n_heads)
        states = states + w["ls1"] * (mixed @ w["attn.proj.weight"].mT + w["attn.proj.bias"])
        x = rms_norm(states, w["norm2.weight"], 1e-6)
        x = functional.gelu(x @ w["mlp.fc1.weight"].mT + w["mlp.fc1.bias"])
        states = states + w["ls2"] * (x @ w["mlp.fc2.weight"].mT + w["mlp.fc2.bias"])
    return states[1:]


def clip(weights, pixels, n_heads, n_layers):
    """CLIP's patches (N, D) after some layers, of a picture (3, side, side)."""
    patch = weights["embeddings.patch_embedding.weight"]
    states = functional.conv2d(pixels[None], patch, stride=patch.shape[-1])[0].flatten(1).T
    states = torch.cat([weights["embeddings.class_embedding"][None], states])
    states = states + weights["embeddings.position_embedding.weight"]
    states = layer_norm(states, weights, "pre_layrnorm", 1e-5)
    for i in range(n_layers):
        name = f"encoder.layers.{i}"
        x = layer_norm(states, weights, f"{name}.layer_norm1", 1e-5)
        query, key, value = (linear(x, weights, f"{name}.self_attn.{p}_proj") for p in "qkv")
        mixed = attention(query, key, value, n_heads)
        states = states + linear(mixed, weights, f"{name}.self_attn.out_proj")
        x = linear(
            layer_norm(states, weights, f"{name}.layer_norm2", 1e-5), weights, f"{name}.mlp.fc1"
        )
        states = states + linear(x * torch.sigmoid(1.702 * x), weights, f"{name}.mlp.fc2")
    return states[1:]


def layer_norm(states, weights, name, eps):
    gain, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    return functional.layer_norm(states, states.shape[-1:], gain, bias, eps)


def linear(states, weights, name):
    return states @ weights[f"{name}.weight"].mT + weights[f"{name}.bias"]


def starting_with(prefix, weights):
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


def joined(prompt, tokens, words):
    """Embeddings (S, D) of a prompt: image tokens (N, D) in the run of equal ids, else words."""
    start, stop = prompt.spans.image.start, prompt.spans.image.stop
    ids = prompt.input_ids.tolist()
    return torch.stack(
        [tokens[i - start] if start <= i < stop else words[token] for i, token in enumerate(ids)]
    )


def assert_close(found, expected):
    """Equal to 1e-5, of the largest value if that is more than 1."""
    assert expected.std() > 0.1
    scale = max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * scale)


def balanced(weights, name, tokens, norm=6.0):
    """Tensors whose last map makes image tokens that differ, rather than all point one way.

    Maps of tokens that are nearly the same are zero everywhere, and tests of them vacuous.

    Args:
        weights: Tensors by name.
        name: The linear layer that makes the tokens.
        tokens: What it makes of some picture now, (N, D).
        norm: How far from their mean tokens shall lie.
    """
    scale = norm / float((tokens - tokens.mean(0)).norm(dim=1).mean())
    bias = (weights[f"{name}.bias"] - tokens.mean(0)) * scale
    return weights | {f"{name}.weight": weights[f"{name}.weight"] * scale, f"{name}.bias": bias}


def noise(side, padding=None, seed=5):
    """Pixels (3, side, side) much like a picture's of noise, squashed or padded to a square."""
    pixels = torch.randn(3, side, side, generator=torch.Generator().manual_seed(seed))
    band = 0 if padding is None else 3 * side // 16
    if not band:
        return pixels
    pixels[:, :band], pixels[:, side - band :] = padding, padding
    return pixels


def eva(weights, pixels, n_heads):
    """EVA's tokens (1 + N, D), class token first and normed, of a picture (3, side, side)."""
    patch = weights["embeddings.patch_embedding.weight"]
    states = functional.conv2d(pixels[None], patch, stride=patch.shape[-1])[0].flatten(1).T
    states = states + weights["embeddings.patch_embedding.bias"]
    states = torch.cat([weights["embeddings.class_embedding"][0], states])
    states = states + weights["embeddings.position_embedding"][0]
    n_layers = len({k for k in weights if k.endswith("mlp.fc1.weight")})
    for i in range(n_layers):
        name = f"encoder.layers.{i}"
        x = layer_norm(states, weights, f"{name}.layer_norm1", 1e-6)
        query, key, value = linear(x, weights, f"{name}.self_attn.qkv").chunk(3, -1)
        mixed = attention(query, key, value, n_heads)
        states = states + linear(mixed, weights, f"{name}.self_attn.projection")
        x = linear(
            layer_norm(states, weights, f"{name}.layer_norm2", 1e-6), weights, f"{name}.mlp.fc1"
        )
        states = states + linear(functional.gelu(x), weights, f"{name}.mlp.fc2")
    return layer_norm(states, weights, "post_layernorm", 1e-6)


def qformer(weights, queries, text, patches, n_heads, every=2):
    """What the queries (Q, D) become, and their mean attention to the patches: (Q, D), (Q, P)."""
    words = weights["embeddings.word_embeddings.weight"][text]
    words = words + weights["embeddings.position_embeddings.weight"][: len(text)]
    states = layer_norm(torch.cat([queries, words]), weights, "embeddings.layernorm", 1e-12)
    n, n_layers, looks = len(queries), 0, []
    while f"encoder.layer.{n_layers}.output.dense.weight" in weights:
        name = f"encoder.layer.{n_layers}"
        states = _bert_attention(states, states, weights, f"{name}.attention", n_heads)[0]
        asking, reading = states[:n], states[n:]
        if n_layers % every == 0:
            crossing = f"{name}.crossattention"
            asking, look = _bert_attention(asking, patches, weights, crossing, n_heads)
            looks.append(look)
        halves = ((asking, "_query"), (reading, ""))
        states = torch.cat([_bert_mlp(x, weights, name, kind) for x, kind in halves])
        n_layers += 1
    return states[:n], torch.stack(looks).mean(0)


def _bert_attention(states, others, weights, name, n_heads):
    query = linear(states, weights, f"{name}.attention.query")
    key, value = (linear(others, weights, f"{name}.attention.{p}") for p in ("key", "value"))
    mixed = linear(attention(query, key, value, n_heads), weights, f"{name}.output.dense")
    split = [x.unflatten(-1, (n_heads, -1)).transpose(0, 1) for x in (query, key)]
    scores = split[0] @ split[1].mT / math.sqrt(split[0].shape[-1])
    out = layer_norm(states + mixed, weights, f"{name}.output.LayerNorm", 1e-12)
    return out, scores.softmax(-1).mean(0)


def _bert_mlp(states, weights, name, kind):
    x = functional.gelu(linear(states, weights, f"{name}.intermediate{kind}.dense"))
    x = linear(x, weights, f"{name}.output{kind}.dense")
    return layer_norm(states + x, weights, f"{name}.output{kind}.LayerNorm", 1e-12)
