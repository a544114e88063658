"""What is at work inside ``intervene``: FastV, Simignore, EAH, truncation; and planted faults."""

from infoflow.interventions.base import Intervention, intervene
from infoflow.interventions.eah import EAH, even_strengths, sink_density, sink_strengths
from infoflow.interventions.hiding import FastV, Simignore, Truncate

__all__ = [
    "EAH",
    "FastV",
    "Intervention",
    "Simignore",
    "Truncate",
    "even_strengths",
    "intervene",
    "sink_density",
    "sink_strengths",
]
