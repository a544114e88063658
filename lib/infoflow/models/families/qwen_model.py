"""Qwen-VL as one model: transformers' Qwen2 with Qwen-VL's own vision side beside it."""

from typing import Any

from transformers import Qwen2Config, Qwen2ForCausalLM

from infoflow.models.families.qwen_vision import QwenVision, VisionShape


class QwenVLConfig(Qwen2Config):  # type: ignore[misc]
    """The decoder's configuration, as Qwen2's; ``vision_config`` holds a ``VisionShape``."""

    model_type = "qwen_vl"

    vision_config: dict[str, Any] | None = None


class QwenVLForConditionalGeneration(Qwen2ForCausalLM):  # type: ignore[misc]
    """A Qwen-7B decoder, which is layer by layer a Qwen2, and ``visual``."""

    config_class = QwenVLConfig

    def __init__(self, config: QwenVLConfig) -> None:
        super().__init__(config)
        self.visual = QwenVision(VisionShape(**(config.vision_config or {})))
        self.post_init()
