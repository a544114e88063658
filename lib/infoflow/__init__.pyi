from .data.load import Sample, Task, load_task
from .errors import InfoflowError, UnknownNameError
from .evaluate.check import check_model
from .interventions import EAH, FastV, Simignore, Truncate, intervene
from .interventions.plants import plant
from .methods.cam import CAM, llava_cam
from .methods.flow import AttentionFlow, attention_flow
from .methods.knockout import AttentionKnockout, attention_knockout
from .methods.lens import logit_lens
from .methods.patching import activation_patching
from .methods.truncation import (
    TruncationSweep,
    truncated_log_probs,
    truncated_token_log_probs,
    truncation_sweep,
)
from .models.families import list_models
from .models.lvlm import LVLM, Prompt, load_lvlm
from .results.store import Store
from .stats.cliff import Cliff, cliff_layer

__all__ = [
    "CAM",
    "EAH",
    "LVLM",
    "AttentionFlow",
    "AttentionKnockout",
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
    "activation_patching",
    "attention_flow",
    "attention_knockout",
    "check_model",
    "cliff_layer",
    "intervene",
    "list_models",
    "llava_cam",
    "load_lvlm",
    "load_task",
    "logit_lens",
    "plant",
    "truncated_log_probs",
    "truncated_token_log_probs",
    "truncation_sweep",
]
