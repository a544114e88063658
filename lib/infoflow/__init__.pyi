from .cam import CAM, llava_cam
from .cliff import Cliff, cliff_layer
from .errors import InfoflowError, UnknownNameError
from .families import list_models
from .flow import AttentionFlow, attention_flow
from .interventions import EAH, FastV, Simignore, Truncate, intervene
from .lvlm import LVLM, Prompt, load_lvlm
from .store import Store
from .tasks import Sample, Task, load_task
from .truncation import TruncationSweep, truncated_log_probs, truncation_sweep

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
