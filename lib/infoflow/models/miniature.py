"""A tiny random model of an architecture, and a prompt for it, from a configuration alone.

What makes an architecture what it is stays: kinds of layers, rotations, masks, features inside.
Widths, depths and vocabularies shrink; weights are random, and large enough to matter to logits.
"""

from collections.abc import Iterator, Mapping
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from infoflow.errors import InfoflowError
from infoflow.models.checkpoint import in_one_line
from infoflow.models.families.auto import AutoFamily, architecture_of, require_followed
from infoflow.models.families.base import Reading, first
from infoflow.models.grid import Grid
from infoflow.models.lvlm import LVLM, Prompt

_VOCABULARY, _PATCHES = 128, 4
_SIZES: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "embed_dim", "out_hidden_size", "projection_dim"), 64),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "projector_intermediate_dim"), 96),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 32),
    **dict.fromkeys(("num_hidden_layers", "num_layers", "max_window_layers"), 6),
    **dict.fromkeys(("num_attention_heads", "num_heads", "depth"), 4),
    **dict.fromkeys(("head_dim", "query_pre_attn_scalar"), 16),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "num_key_value_heads"), 2),
    "vocab_size": _VOCABULARY,
    "mm_tokens_per_image": (_PATCHES // 2) ** 2,
    "mrope_section": [2, 3, 3],
    "deepstack_visual_indexes": [0, 1, 2],
    "fullatt_block_indexes": [1, 3],
}
"""What settings shrink to; all others stay."""


def _shrunk(settings: Mapping[str, Any]) -> dict[str, Any]:
    found = {n: _SIZES[n] if n in _SIZES and v is not None else v for n, v in settings.items()}
    side = _PATCHES * first(settings.get("patch_size") or 1)
    ids = iter(range(_VOCABULARY - 1, 0, -1))
    for name, value in settings.items():
        if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
            found[name] = _shrunk(value)
        elif name.endswith(("token_id", "token_index")) and isinstance(value, int):
            found[name] = next(ids)
        elif name in ("layer_types", "mlp_layer_types") and value:
            kinds = list(dict.fromkeys(value))
            found[name] = [kinds[i % len(kinds)] for i in range(max(6, len(kinds)))]
        elif name == "image_size" and "patch_size" in settings:
            found[name] = [side, side] if isinstance(value, list | tuple) else side
    if "image_grid_pinpoints" in found:
        side = found["vision_config"]["image_size"]
        found["image_grid_pinpoints"] = [[side, side], [side, 2 * side], [2 * side, side]]
    return found


def tiny_model(config: Any, seed: int = 0) -> Any:
    """Build a model of as few layers as show each kind, widths of 64, 128 tokens; float32."""
    require_followed(config)
    torch.manual_seed(seed)
    with torch.no_grad(), in_one_line(f"no small {config.model_type} could be built"):
        small = type(config).from_dict(_shrunk(config.to_dict()))
        model = architecture_of(config)(small).float().eval()
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(std=weight[0].numel() ** -0.5)
    for module in model.modules():
        section = getattr(module, "mrope_section", None)  # the rotations that turn by each axis
        if section and sum(section) != (n := len(module.inv_freq)):
            module.mrope_section = [n - 2 * (n // 3), n // 3, n // 3]
    return model.requires_grad_(False)


def miniature(config: Any, seed: int = 0) -> tuple[LVLM, Prompt]:
    """Build a tiny random model of a configuration, if hooks can follow it, and a prompt for it."""
    family = _Miniature(tiny_model(config, seed), seed)
    lvlm, failures = LVLM(str(config.model_type), family, Path(), None), []
    for shown in _images(family.model.config):
        family.shown = shown
        try:
            return lvlm, lvlm.prompt(Image.new("RGB", (8, 8)), "random words")
        except Exception as error:  # any: models refuse pixels of another kind in many ways
            failures.append(f"{type(error).__name__}: {error}")
    why = f"its tower takes pixels in a way that is not known here ({failures[0]:.160})"
    raise InfoflowError(f"no prompt could be made for a {config.model_type}: {why}.")


class _Miniature(AutoFamily):
    """A model without a processor or a tokenizer: image and words of its prompt are random."""

    eos_token_ids = (2 * _VOCABULARY,)  # no answer ends
    shown: tuple[Tensor, dict[str, Tensor]]  # pixels, and what goes beside them

    def __init__(self, model: Any, seed: int) -> None:
        times = getattr(model.config.vision_config, "temporal_patch_size", 1)
        processor = SimpleNamespace(image_std=[1.0, 1.0, 1.0], temporal_patch_size=times)
        super().__init__(model, None, SimpleNamespace(image_processor=processor))
        self.seed = seed

    @torch.no_grad()
    def encode(self, image: Image.Image, question: str) -> Reading:
        pixels, inputs = self.shown
        found = self.model.get_image_features(pixel_values=pixels, **inputs, return_dict=True)
        features = found.pooler_output
        parts = [features] if isinstance(features, Tensor) else features
        n_image = sum(part.shape[:-1].numel() for part in parts)
        generator = torch.Generator().manual_seed(self.seed)
        words = torch.randint(4, _VOCABULARY // 2, (14,), generator=generator).tolist()
        ids = [*words[:5], *[self.image_token_id] * n_image, *words[5:]]
        is_image = torch.tensor([[int(index == self.image_token_id) for index in ids]])
        # in PaliGemma they say what follows the prompt
        types = 0 * is_image if self.model.config.model_type == "paligemma" else is_image
        inputs = {**inputs, "mm_token_type_ids": is_image, "token_type_ids": types}
        taken = signature(type(self.model).forward).parameters
        inputs = {name: value for name, value in inputs.items() if name in taken}
        grid = Grid(1, n_image, unplaced="there is no processor to say so")
        return Reading(ids, pixels, inputs, grid=grid)


def _images(config: Any) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    vision = config.vision_config
    patch = first(getattr(vision, "patch_size", 14))
    side = _PATCHES * patch
    if merge := getattr(vision, "spatial_merge_size", None):
        down, across = 2 * merge, 3 * merge
        width = 3 * getattr(vision, "temporal_patch_size", 1) * patch**2
        inputs = {"image_grid_thw": torch.tensor([[1, down, across]])}
        yield torch.randn(down * across, width), inputs
    if getattr(config, "image_grid_pinpoints", None):
        sizes = {"image_sizes": torch.tensor([[side, 2 * side]])}
        yield torch.randn(1, 3, 3, side, side), sizes
    yield torch.randn(1, 3, side, side), {"image_sizes": torch.tensor([[side, side]])}
    yield torch.randn(1, 3, side, side), {}
    yield torch.randn(1, 2, 3, side, side), {}
