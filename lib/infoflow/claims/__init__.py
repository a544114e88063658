"""The claims of the papers: each with one entry, one rule, and one verdict.

The sentences and their places are data (``claims`` of ``paper_values.yml``); how each is decided is
code, with the rule in words beside it. Only :mod:`infoflow.claims.gather` measures.
"""

from infoflow.claims import measured, printed  # noqa: F401  # they hold the rules
from infoflow.claims.findings import (
    NOT_RUN,
    VERDICTS,
    Claim,
    Evidence,
    Finding,
    all_claims,
    findings_beside,
    findings_of,
)

__all__ = [
    "NOT_RUN",
    "VERDICTS",
    "Claim",
    "Evidence",
    "Finding",
    "all_claims",
    "findings_beside",
    "findings_of",
]
