"""Weights in four or eight bits, by bitsandbytes: an optional extra, for GPUs alone.

Linear layers but the head are quantised, the vision side's among them. Flow, truncation, decoding
and interventions work on such a model as on any other. LLaVA-CAM needs gradients at activations
alone, which bitsandbytes hands through its layers. Weights cannot be drawn anew
(:func:`infoflow.methods.faithfulness.randomised_weights`): that is refused.
"""

from importlib.util import find_spec
from typing import Any

import torch
from transformers import BitsAndBytesConfig

from infoflow.errors import InfoflowError, unknown_name

BYTES = {"8bit": 1.1, "4bit": 0.6}
"""What a weight takes on average, since embeddings, norms and the head are not quantised."""


def require_quantisable(kind: str | None, device: torch.device) -> None:
    """Raise unless weights can be quantised as asked.

    Args:
        kind: One of ``BYTES``, or None, which is always possible.
        device: Where the model goes.

    Raises:
        UnknownNameError: There is no such kind.
        InfoflowError: The device is no GPU, or bitsandbytes is not installed.
    """
    if kind is None:
        return
    if not isinstance(kind, str) or kind not in BYTES:
        raise unknown_name("quantisation", str(kind), (*BYTES, "None"))
    if device.type != "cuda":
        raise InfoflowError(
            f"quantise={kind!r} needs a GPU, but the model is to go to {str(device)!r}; "
            "dtype='bfloat16' halves what float32 takes on any device."
        )
    if find_spec("bitsandbytes") is None:
        raise InfoflowError(
            f"quantise={kind!r} needs the package bitsandbytes: pip install 'infoflow[quantised]'."
        )


def quantisation_settings(kind: str | None, dtype: torch.dtype) -> Any:
    """Return transformers' settings for a kind of quantisation; None for none.

    Args:
        kind: One of ``BYTES``, or None.
        dtype: The type of activations, in which is computed.
    """
    if kind == "4bit":
        return BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
        )
    return None if kind is None else BitsAndBytesConfig(load_in_8bit=True)
