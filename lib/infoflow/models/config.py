"""What a checkpoint's configuration may say, held against its weights before a model is built."""

from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from infoflow.errors import InfoflowError
from infoflow.options import require_finite, require_whole

_LAYERS = ("num_hidden_layers", "layers")
_SIZES = (
    "head_dim",
    "heads",
    "hidden_size",
    "image_size",
    "intermediate_size",
    "max_position_embeddings",
    "mlp_width",
    "num_attention_heads",
    "num_key_value_heads",
    "num_query_tokens",
    "output_width",
    "patch_size",
    "pool_heads",
    "raster",
    "vocab_size",
    "width",
)
_IDS = ("image_token_id", "image_token_index")
_EPSILONS = ("layer_norm_eps", "layer_norm_epsilon", "rms_norm_eps")
_BASES = ("rope_theta", "rotary_emb_base")
_LARGEST = 1 << 31


def require_config(config: Mapping[str, Any], path: Path, n_tensors: int) -> None:
    """Raise unless the numbers of a configuration can be those of a model.

    Args:
        config: The configuration, or a part of it.
        path: Its file.
        n_tensors: How many tensors the checkpoint holds: there are no more layers.

    Raises:
        InfoflowError: One of them is no number of its kind; the error names it.
    """
    for name, value in config.items():
        what = f"{name} in {path}"
        if name == "quantization_config" or (name == "is_encoder_decoder" and value):
            raise InfoflowError(f"{what} is set; valid: a plain decoder that is not quantised.")
        if isinstance(value, Mapping):
            require_config(value, path, n_tensors)
        elif isinstance(value, float) and not isfinite(value):
            raise InfoflowError(f"{what} is {value}; valid: a finite number.")
        elif value is None:
            continue
        elif name in _LAYERS:
            require_whole(value, what, 1, n_tensors)
        elif name in _SIZES:
            for side in value if isinstance(value, list) else [value]:
                require_whole(side, what, 1, _LARGEST)
        elif name in _IDS:
            require_whole(value, what, 0, _LARGEST)
        elif name in _EPSILONS:
            require_finite(value, what, 1e-30, 1.0)
        elif name in _BASES:
            require_finite(value, what, 1.0)
        elif name == "image_grid_pinpoints":
            _require_pinpoints(value, what)


def _require_pinpoints(value: Any, what: str) -> None:
    """Raise unless shapes of pictures are pairs of whole numbers."""
    pairs = value if isinstance(value, list) and value else [None]
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2:
            raise InfoflowError(f"{what} is {value!r}; valid: pairs of a height and a width.")
        for side in pair:
            require_whole(side, what, 1, _LARGEST)
