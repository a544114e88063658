"""infoflow: where image information flows inside large vision-language models."""

from infoflow.cam import CAM, llava_cam
from infoflow.cliff import Cliff, cliff_layer
from infoflow.errors import InfoflowError, UnknownNameError
from infoflow.families import list_models
from infoflow.flow import AttentionFlow, attention_flow
from infoflow.interventions import EAH, FastV, Simignore, Truncate, intervene
from infoflow.lvlm import LVLM, Prompt, load_lvlm
from infoflow.store import Store
from infoflow.tasks import Sample, Task, load_task
from infoflow.truncation import TruncationSweep, truncated_log_probs, truncation_sweep

__all__ = [
    "CAM",
    "EAH",
    "LVLM",
    "AttentionFlow",
    "Cliff",
    "FastV",
    "InfoflowError",
    "Prompt",
    "Sample",
    "Simignore",
    "Store",
    "Task",
    "Truncate",
    "TruncationSweep",
    "UnknownNameError",
    "attention_flow",
    "cliff_layer",
    "intervene",
    "list_models",
    "llava_cam",
    "load_lvlm",
    "load_task",
    "truncated_log_probs",
    "truncation_sweep",
]
