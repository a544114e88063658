"""The audit itself: every claim with its rule, and what is found about it."""

from collections.abc import Mapping, Sequence
from typing import Any

from infoflow.claims import on_cam, on_flow, on_interventions, on_paper, on_truncation
from infoflow.claims.findings import Check, Evidence, Finding, Recomputed

TOPICS: dict[str, Mapping[str, Check]] = {
    "attention flow": on_flow.CHECKS,
    "LLaVA-CAM": on_cam.CHECKS,
    "truncation and the cliff": on_truncation.CHECKS,
    "the sister papers": on_interventions.CHECKS,
}
"""The measured claims, by what they are about."""

MEASURED: dict[str, Check] = {
    name: check for checks in TOPICS.values() for name, check in checks.items()
}
RECOMPUTED: dict[str, Recomputed] = on_paper.CHECKS

Claims = Sequence[Mapping[str, Any]]


def measured_findings(evidence: Evidence) -> dict[str, Finding]:
    """Decide every measured claim on one model."""
    return {name: check.find(evidence) for name, check in MEASURED.items()}


def recomputed_findings(paper: Mapping[str, Any]) -> dict[str, Finding]:
    """Decide every claim that printed numbers alone decide.

    Args:
        paper: The paper's values.
    """
    return {name: check.find(paper) for name, check in RECOMPUTED.items()}


def claims_about(claims: Claims, checks: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Pick the claims that some checks decide, in the order of the paper's values."""
    return [claim for claim in claims if claim["id"] in checks]
