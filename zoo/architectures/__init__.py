"""The table of the zoo's architectures: each family's own in small, with one decoder's shape."""

from infoflow.errors import unknown_name
from zoo.architectures.base import Architecture, Asked, Look
from zoo.architectures.instructblip import TinyInstructBlip
from zoo.architectures.internvl import TinyInternVL
from zoo.architectures.llava import TinyLlava, TinyShikra
from zoo.architectures.llava_next import TinyLlavaNext
from zoo.architectures.qwen_vl import TinyQwenVL

ARCHITECTURES: dict[str, Architecture] = {
    architecture.name: architecture
    for architecture in (
        TinyLlava(),
        TinyLlavaNext(),
        TinyInstructBlip(),
        TinyInternVL(),
        TinyShikra(),
        TinyQwenVL(),
    )
}
"""By the trained model's name, in the order of the families' papers."""


def find_architecture(name: str) -> Architecture:
    """Return the architecture of the zoo's model of that name.

    Raises:
        UnknownNameError: There is no such model.
    """
    if name not in ARCHITECTURES:
        raise unknown_name("model of the zoo", name, ARCHITECTURES)
    return ARCHITECTURES[name]


__all__ = ["ARCHITECTURES", "Architecture", "Asked", "Look", "find_architecture"]
