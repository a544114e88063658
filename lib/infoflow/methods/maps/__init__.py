"""Rival maps: how else than by LLaVA-CAM an answer can be laid onto the image tokens.

A file holds one function of its own name: of a model, a prompt and an answer's ids (T,), without an
end token, it makes values (L, N), not negative, one a layer and image token; or (1, N) if it has no
layer, and NaN throughout where undefined. A file more is a map more on the page *Which map?*.
"""

from importlib import import_module
from pkgutil import iter_modules

MAPS = {
    file.name: getattr(import_module(f"{__name__}.{file.name}"), file.name)
    for file in iter_modules(__path__)
}
"""The maps by name."""
