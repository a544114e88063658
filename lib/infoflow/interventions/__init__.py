"""Interventions: FastV, Simignore, EAH and truncation, at work inside ``intervene``."""

from infoflow.interventions.base import Intervention
from infoflow.interventions.context import intervene
from infoflow.interventions.eah import EAH, sink_density
from infoflow.interventions.pruning import FastV, Truncate
from infoflow.interventions.simignore import Simignore

__all__ = ["EAH", "FastV", "Intervention", "Simignore", "Truncate", "intervene", "sink_density"]
