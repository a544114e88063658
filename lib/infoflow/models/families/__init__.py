"""The models that can be loaded by name, and the adapter of each one's architecture."""

from typing import NamedTuple

from infoflow.errors import require_name
from infoflow.models.families.auto import AutoFamily
from infoflow.models.families.base import Family
from infoflow.models.families.instructblip import InstructBlip
from infoflow.models.families.llava import InternVLChat, Llava15, Shikra
from infoflow.models.families.llava_next import LlavaNext
from infoflow.models.families.qwen_vl import QwenVL, QwenVLChat


class ModelSpec(NamedTuple):
    """A model that has a name."""

    name: str  #: As given to ``load_lvlm``.
    family: type[Family]  #: The adapter of its architecture.
    hub_id: str | None = None  #: Its repository on the hub; None for a zoo model.


_SPECS = (
    ModelSpec("tiny-instructblip", InstructBlip),
    ModelSpec("tiny-internvl", InternVLChat),
    ModelSpec("tiny-llava-1.5", Llava15),
    ModelSpec("tiny-llava-1.6", LlavaNext),
    ModelSpec("tiny-qwen-vl", QwenVL),
    ModelSpec("tiny-shikra", Shikra),
    ModelSpec("instructblip-7b", InstructBlip, "Salesforce/instructblip-vicuna-7b"),
    ModelSpec("internvl-7b", InternVLChat, "OpenGVLab/InternVL-Chat-ViT-6B-Vicuna-7B"),
    ModelSpec("llava-1.5-7b", Llava15, "llava-hf/llava-1.5-7b-hf"),
    ModelSpec("llava-1.6-7b", LlavaNext, "llava-hf/llava-v1.6-vicuna-7b-hf"),
    ModelSpec("qwen-vl-7b", QwenVL, "Qwen/Qwen-VL"),
    ModelSpec("qwen-vl-chat-7b", QwenVLChat, "Qwen/Qwen-VL-Chat"),
    ModelSpec("shikra-7b", Shikra, "shikras/shikra-7b-delta-v1"),
)
_BY_NAME = {spec.name: spec for spec in _SPECS}


def list_models() -> list[str]:
    """Return the names that ``load_lvlm`` knows: the zoo's first, then the hub's, each sorted."""
    return list(_BY_NAME)


def find_model(name: str) -> ModelSpec:
    """Return what is known of a name; with a slash, it is a hub's repository or a folder."""
    if isinstance(name, str) and "/" in name:
        return ModelSpec(name, AutoFamily, name)
    require_name(name, "model", _BY_NAME)
    return _BY_NAME[name]


__all__ = ["AutoFamily", "Family", "Llava15", "ModelSpec", "find_model", "list_models"]
