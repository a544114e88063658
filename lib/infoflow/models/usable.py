"""What a loaded checkpoint must be for its prompts and answers to be right."""

from collections.abc import Mapping
from math import isclose
from pathlib import Path

from PIL import Image

from infoflow.errors import InfoflowError
from infoflow.models.checkpoint import in_one_line
from infoflow.models.config import require_value
from infoflow.models.families.base import Family
from infoflow.options import require_finite, require_whole

_MOST_TILES = 16
_LEAST_STD = 0.05  # of pixels from 0 to 1; less would blow up what the tower gets


def require_usable(family: Family, folder: Path) -> None:
    """Raise unless tokens, images and answers of a checkpoint are what its family expects."""
    _require_tokens(family, folder)
    if hasattr(family.model.config, "vision_feature_layer"):
        _require_features(family, folder)
    _require_processor(family, folder)
    config = family.decoder.config
    window = getattr(config, "sliding_window", None)
    if window is not None and window < config.max_position_embeddings:
        raise InfoflowError(
            f"the decoder in {folder} attends within a sliding window of {window} tokens, shorter "
            f"than its context of {config.max_position_embeddings}; it cannot be measured."
        )


def _require_tokens(family: Family, folder: Path) -> None:
    """Raise unless tokens have embeddings, end answers, and none of text is the image token."""
    tokenizer, image = family.tokenizer, family.image_token_id
    vocabulary, most = tokenizer.get_vocab(), family.decoder.embed_tokens.num_embeddings - 1
    if None in family.beginning:
        raise InfoflowError(f"the tokenizer in {folder} names no bos_token.")
    tokens = {index: token for token, index in vocabulary.items()}
    taken = tokens.pop(image, None)
    if (highest := max(tokens, default=-1)) > most:
        raise InfoflowError(
            f"the tokenizer in {folder} has ids up to {highest}, the model embeddings up to "
            f"{most}: they are of different models."
        )
    others = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id}
    if taken is not None and (image in others or image not in tokenizer.added_tokens_decoder):
        raise InfoflowError(f"the image token's id {image} in {folder} is that of {taken!r}.")
    if found := [token for token in family.foreign_tokens if token in vocabulary]:
        raise InfoflowError(
            f"{folder} was trained on another conversation than this family's: its vocabulary has "
            f"{', '.join(found)}."
        )
    for index in family.eos_token_ids or [None]:
        require_whole(index, f"the eos_token_id in {folder}", 0, most)


def _require_features(family: Family, folder: Path) -> None:
    """Raise unless a LLaVA takes one layer's patches, and whole tiles."""
    config = family.model.config
    depth, layer = config.vision_config.num_hidden_layers, config.vision_feature_layer
    require_whole(layer, f"vision_feature_layer in {folder}", -depth - 1, depth)
    strategy = config.vision_feature_select_strategy
    require_value(strategy, f"vision_feature_select_strategy in {folder}", "default")
    side = family.pixels_a_side
    valid = range(side, _MOST_TILES * side + 1, side)
    whole = [(side, side)]  # of a model without tiles
    for shape in getattr(config, "image_grid_pinpoints", whole) or [None]:
        sides = shape if isinstance(shape, list | tuple) else ()
        if len(sides) != 2 or not all(type(n) is int and n in valid for n in sides):
            raise InfoflowError(
                f"image_grid_pinpoints in {folder} hold {shape!r}; valid: pairs of multiples of "
                f"{side}, the vision tower's side, up to {valid[-1]}."
            )


def _require_processor(family: Family, folder: Path) -> None:
    """Raise unless images reach the tower in its size, normalised and whole."""
    processor, side = family.image_processor, family.pixels_a_side
    what = f"of the image processor in {folder}"
    for name in ("do_resize", "do_rescale", "do_normalize"):
        require_value(getattr(processor, name, None), f"{name} {what}", True)
    flips = getattr(processor, "do_flip_channel_order", None)
    require_value(flips, f"do_flip_channel_order {what}", False, None)
    factor = require_finite(processor.rescale_factor, f"rescale_factor {what}")
    if not isclose(factor, 1 / 255, rel_tol=1e-6):
        raise InfoflowError(f"rescale_factor {what} is {factor}; valid: 1/255.")
    for name, least in (("image_mean", 0.0), ("image_std", _LEAST_STD)):
        values = getattr(processor, name)
        if not isinstance(values, list | tuple) or len(values) != 3:
            raise InfoflowError(f"{name} {what} is {values!r}; valid: three numbers.")
        for value in values:
            require_finite(value, f"{name} {what}", least, 1.0)
    for name in ("size", "crop_size"):
        size = getattr(processor, name, None) or {}
        for value in (size if isinstance(size, Mapping) else vars(size)).values():
            if value is not None:
                require_value(value, f"{name} {what}", side)
    with in_one_line(f"the image processor in {folder} takes no image"):
        shape = tuple(family.pixel_values(Image.new("RGB", (side + 1, side))).shape)
    require_value(shape[-3:], f"the shape of an image {what}", (3, side, side))
