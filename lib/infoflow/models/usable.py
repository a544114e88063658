"""What a loaded checkpoint must give for its prompts and answers to be right."""

from pathlib import Path

import numpy as np
from PIL import Image

from infoflow.errors import InfoflowError
from infoflow.models.checkpoint import in_one_line, require_value
from infoflow.models.families.auto import AutoFamily
from infoflow.models.families.base import Family
from infoflow.options import require_finite, require_whole

_LEAST_STD = 0.05  # of pixels from 0 to 1; less would blow up what the tower gets


def require_usable(family: Family, folder: Path) -> None:
    """Raise unless tokens, images and answers of a checkpoint are what its family expects."""
    _require_tokens(family, folder)
    if isinstance(family, AutoFamily):
        return  # prompts and pixels are its own processor's
    config = family.model.config
    if hasattr(config, "vision_feature_layer"):
        depth, what = config.vision_config.num_hidden_layers, f"vision_feature_layer in {folder}"
        require_whole(config.vision_feature_layer, what, -depth - 1, depth)
        strategy = config.vision_feature_select_strategy
        require_value(strategy, f"vision_feature_select_strategy in {folder}", "default")
    _require_processor(family, folder)


def _require_tokens(family: Family, folder: Path) -> None:
    tokenizer, image = family.tokenizer, family.image_token_id
    vocabulary, most = tokenizer.get_vocab(), family.decoder.embed_tokens.num_embeddings - 1
    if None in family.beginning:
        raise InfoflowError(f"the tokenizer in {folder} names no bos_token.")
    tokens = {index: token for token, index in vocabulary.items()}
    taken = tokens.pop(require_whole(image, f"the image token's id in {folder}", 0), None)
    if (highest := max(tokens, default=-1)) > most:
        ids = f"the tokenizer in {folder} has ids up to {highest}"
        raise InfoflowError(f"{ids}, the model embeddings up to {most}: they are of two models.")
    others = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id}
    if taken is not None and (image in others or image not in tokenizer.added_tokens_decoder):
        raise InfoflowError(f"the image token's id {image} in {folder} is that of {taken!r}.")
    if found := [token for token in family.foreign_tokens if token in vocabulary]:
        kind = "was trained on another conversation than this family's: its vocabulary has"
        raise InfoflowError(f"{folder} {kind} {', '.join(found)}.")
    for index in family.eos_token_ids or [None]:
        require_whole(index, f"the eos_token_id in {folder}", 0, most)


def _require_processor(family: Family, folder: Path) -> None:
    processor, side = family.image_processor, family.pixels_a_side
    what = f"of the image processor in {folder}"
    with in_one_line(f"the image processor in {folder} takes no image"):
        for value in (*processor.image_mean, *processor.image_std):
            require_finite(value, f"image_mean or image_std {what}", 0.0, 1.0)
        require_finite(min(processor.image_std), f"image_std {what}", _LEAST_STD)
        noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
        found = family.pixel_values(Image.fromarray(noise)).flatten(0, -4)
        wide = family.pixel_values(Image.new("RGB", (side + 1, side)))
        expected = (noise / 255 - processor.image_mean) / processor.image_std
    for image in (found, wide):
        require_value(tuple(image.shape[-3:]), f"the shape of an image {what}", (3, side, side))
    if not np.allclose(found[0].permute(1, 2, 0), expected, atol=1e-4):
        check = "check do_resize, do_rescale, rescale_factor, do_normalize and sizes"
        given = f"the image processor in {folder} does not give the tower its image as it is"
        raise InfoflowError(f"{given}, normalised; {check}.")
