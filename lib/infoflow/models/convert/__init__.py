"""Published checkpoints that transformers does not read, converted when they are loaded."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from infoflow.models.checkpoint import read_tensors, require_value, weight_files

CLIP_STATISTICS = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
Rules = dict[str, str]
"""By a pattern of a published name: what it is renamed to. Several names cut a joint tensor into as
many equal parts; none leaves it out."""


def read_renamed(folder: Path, rules: Rules) -> dict[str, Tensor]:
    """Map a published checkpoint's tensors from its files, renamed by the first rule that fits."""
    found = dict[str, Tensor]()
    for name, tensor in read_tensors(weight_files(folder)).items():
        matches = ((re.fullmatch(old, name), new) for old, new in rules.items())
        names = next((match.expand(new).split() for match, new in matches if match), [name])
        parts = tensor.chunk(len(names)) if len(names) > 1 else [tensor] * len(names)
        found |= dict(zip(names, parts, strict=True))
    return found


def require_settings(config: Mapping[str, Any], path: Path, settings: Mapping[str, Any]) -> None:
    """Raise if a configuration sets something otherwise than the family has it."""
    for name, value in settings.items():
        require_value(config.get(name, value), f"{name} in {path}", value)
