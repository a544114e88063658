"""InternVL-Chat 1.0: LLaVA-1.5 with InternViT-6B for its tower (Chen et al., 2024)."""

from infoflow.models.convert.conversion import Conversion
from infoflow.models.convert.llava import convert_internvl
from infoflow.models.families.vicuna import VicunaFamily


class InternVLChat(VicunaFamily):
    """InternVL-Chat, as ``OpenGVLab/InternVL-Chat-ViT-6B-Vicuna-7B`` or as converted.

    Its vocabulary has no token for the image, so the image token's id is the first one past it.
    """

    tower = "internvl_vision"
    conversion = Conversion(convert_internvl, "tokenizer.model")
    files = ("*.json", "pytorch_model*.bin", "tokenizer.model")
