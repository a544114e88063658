"""A tiny random model of an architecture, and a prompt for it, from a configuration alone.

All that makes an architecture what it is stays: kinds of layers, rotations, masks, what is added
inside. Widths, depths and vocabularies shrink, and weights are random but large enough that every
part matters to the logits.
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
from infoflow.models.grid import Grid
from infoflow.models.lvlm import LVLM
from infoflow.models.prompt import Prompt, find_spans

_VOCABULARY, _PATCHES = 128, 4
_MOST = 30_000_000  # parameters of a model that is still called small
_SIZES: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "embed_dim", "out_hidden_size", "projection_dim"), 64),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "projector_intermediate_dim"), 96),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 32),
    **dict.fromkeys(("num_hidden_layers", "num_layers", "max_window_layers"), 6),
    "depth": 4,
    **dict.fromkeys(("num_attention_heads", "num_heads"), 4),
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


def tiny_config(config: Any) -> Any:
    """Shrink a configuration: as few layers as show each kind, widths of 64, 128 tokens."""
    return type(config).from_dict(_shrunk(config.to_dict()))


def _shrunk(settings: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    ids = iter(range(_VOCABULARY - 1, 0, -1))
    for name, value in settings.items():
        if isinstance(value, Mapping):
            named = all(isinstance(key, str) for key in value)
            found[name] = _shrunk(value) if named else value
        elif name.endswith(("token_id", "token_index")) and isinstance(value, int):
            found[name] = next(ids)
        elif name in ("layer_types", "mlp_layer_types") and value:
            kinds = list(dict.fromkeys(value))
            found[name] = [kinds[i % len(kinds)] for i in range(max(6, len(kinds)))]
        else:
            found[name] = _SIZES[name] if name in _SIZES and value is not None else value
    if patch := settings.get("patch_size"):
        side = _PATCHES * (patch[0] if isinstance(patch, list | tuple) else patch)
        if "image_size" in settings:
            many = isinstance(settings["image_size"], list | tuple)
            found["image_size"] = [side, side] if many else side
    if "image_grid_pinpoints" in found and isinstance(found.get("vision_config"), dict):
        side = found["vision_config"]["image_size"]
        found["image_grid_pinpoints"] = [[side, side], [side, 2 * side], [2 * side, side]]
    return found


def tiny_model(config: Any, seed: int = 0) -> Any:
    """Build a tiny random model of a configuration, float32, in evaluation mode."""
    require_followed(config)
    torch.manual_seed(seed)
    with torch.no_grad():
        with in_one_line(f"no small {config.model_type} could be built"):
            small, architecture = tiny_config(config), architecture_of(config)
            with torch.device("meta"):
                size = sum(weight.numel() for weight in architecture(small).parameters())
            if size > _MOST:
                raise InfoflowError(
                    f"no small {config.model_type} could be built: its configuration asks for "
                    f"{size:,} parameters still."
                )
            model = architecture(small).float().eval()
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(std=weight[0].numel() ** -0.5)
    for module in model.modules():
        section = getattr(module, "mrope_section", None)  # the rotations that turn by each axis
        if section and sum(section) != (n := len(module.inv_freq)):
            module.mrope_section = [n - 2 * (n // 3), n // 3, n // 3]
    return model.requires_grad_(False)


class _Miniature(AutoFamily):
    """A model without a processor or a tokenizer: prompts are random."""

    eos_token_ids = (2 * _VOCABULARY,)  # no answer ends


def miniature(config: Any, seed: int = 0) -> tuple[LVLM, Prompt]:
    """Build a tiny random model of a configuration and a random prompt for it.

    Raises:
        InfoflowError: Hooks do not follow its attention; no small model of it can be built; or
            images reach it in a way that is not known here.
    """
    model = tiny_model(config, seed)
    vision = getattr(model.config, "vision_config", None)
    times = getattr(vision, "temporal_patch_size", 1)
    processor = SimpleNamespace(image_std=[1.0, 1.0, 1.0], temporal_patch_size=times)
    family = _Miniature(model, None, SimpleNamespace(image_processor=processor))
    lvlm = LVLM(str(config.model_type), family, Path(), None)
    failures = []
    for pixels, inputs in _images(family.model.config):
        try:
            return lvlm, _prompt(lvlm, pixels, inputs, seed)
        except Exception as error:  # any: models refuse pixels of another kind in many ways
            failures.append(f"{type(error).__name__}: {error}")
    raise InfoflowError(
        f"no prompt could be made for a {config.model_type}: its tower takes pixels in a way that "
        f"is not known here ({failures[0]:.160})."
    )


def _images(config: Any) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """Random pixels in the forms that towers take, with what goes beside them."""
    vision = getattr(config, "vision_config", None) or config
    patch = getattr(vision, "patch_size", 14)
    patch = patch[0] if isinstance(patch, list | tuple) else patch
    side = _PATCHES * patch
    if merge := getattr(vision, "spatial_merge_size", None):
        down, across = 2 * merge, 3 * merge
        width = 3 * getattr(vision, "temporal_patch_size", 1) * patch**2
        yield (
            torch.randn(down * across, width),
            {"image_grid_thw": torch.tensor([[1, down, across]])},
        )
    if getattr(config, "image_grid_pinpoints", None):
        sizes = {"image_sizes": torch.tensor([[side, 2 * side]])}
        yield torch.randn(1, 3, 3, side, side), sizes
    yield torch.randn(1, 3, side, side), {"image_sizes": torch.tensor([[side, side]])}
    yield torch.randn(1, 3, side, side), {}
    yield torch.randn(1, 2, 3, side, side), {}


@torch.no_grad()
def _prompt(lvlm: LVLM, pixels: Tensor, inputs: dict[str, Tensor], seed: int) -> Prompt:
    """A random text around as many image tokens as the tower makes of the pixels."""
    model, image_id = lvlm.model, lvlm.family.image_token_id
    found = model.get_image_features(pixel_values=pixels, **inputs, return_dict=True).pooler_output
    parts = [found] if isinstance(found, Tensor) else found
    n_image = sum(part.shape[:-1].numel() for part in parts)
    generator = torch.Generator().manual_seed(seed)
    before, after = torch.randint(4, _VOCABULARY // 2, (2, 9), generator=generator)
    ids = torch.cat([before[:5], torch.full((n_image,), image_id), after])
    is_image = (ids == image_id).long()[None]
    taken = signature(type(model).forward).parameters
    inputs = {name: value for name, value in inputs.items() if name in taken}
    if "mm_token_type_ids" in taken:
        inputs = inputs | {"mm_token_type_ids": is_image}
    elif "token_type_ids" in taken:  # in PaliGemma they say what follows the prompt
        prefix = "paligemma" in model.config.model_type
        inputs = inputs | {"token_type_ids": 0 * is_image if prefix else is_image}
    call = lvlm.family.decoder_inputs(ids, pixels, None, inputs)
    return Prompt(
        ids,
        call.inputs_embeds,
        pixels,
        find_spans(ids, image_id),
        Grid(1, n_image, unplaced="there is no processor to say so"),
        Image.new("RGB", (8, 8)),
        "",
        lvlm.key,
        call.position_ids,
        call.mask,
        call.deepstack,
        inputs,
    )
