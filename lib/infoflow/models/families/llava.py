"""LLaVA-1.5: a CLIP tower, a two-layer connector and a LLaMA decoder (Liu et al., 2024)."""

from typing import Any, ClassVar

from infoflow.models.families.vicuna import VicunaFamily


class Llava15(VicunaFamily):
    """LLaVA-1.5, in the layout of ``llava-hf/llava-1.5-7b-hf`` or in transformers' own."""

    # the published processor crops the centre; the original code pads, which loses no border
    processor_options: ClassVar[dict[str, Any]] = {"do_pad": True}
