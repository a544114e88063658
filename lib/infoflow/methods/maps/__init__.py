"""Rival maps: how else than by LLaVA-CAM an answer can be laid onto the image tokens.

A file holds one function of its own name, ``(lvlm, prompt, answer) -> values``, the answer being
ids of shape (T,) without an end token. The values, not negative, are (L, N): one a layer and image
token, or (1, N) where there is no layer, and NaN throughout where undefined. To add a map, add a
file: nothing else names it, and it gets its row on the page *Which map to trust?*.
"""

from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules

from torch import Tensor

from infoflow.models.lvlm import LVLM, Prompt

Map = Callable[[LVLM, Prompt, Tensor], Tensor]

MAPS: dict[str, Map] = {
    file.name: getattr(import_module(f"{__name__}.{file.name}"), file.name)
    for file in iter_modules(__path__)
}
"""The maps by name."""
