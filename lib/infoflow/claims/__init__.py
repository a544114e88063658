"""The claims of the papers: each with one entry, one rule, and one verdict.

The sentences and their places are data (``claims`` of ``paper_values.yml``); how each is decided is
a function of its name in ``measured`` or ``printed``. Only ``gather`` measures, and pages.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infoflow.claims import measured, printed
from infoflow.claims.findings import NOT_RUN, Evidence, Finding, joined
from infoflow.claims.paper import paper_values


@dataclass(frozen=True)
class Claim:
    """A claim, as ``paper_values.yml`` describes it: who says what where, on which evidence."""

    id: str
    topic: str
    pages: list[str]
    source: str
    place: str
    claim: str
    evidence: str
    rule: str
    needs: str = ""  # which part of the measured evidence

    @property
    def where(self) -> str:
        """Who says it, and the place."""
        authors = paper_values()["sources"][self.source]["text"].split(",")[:2]
        return f"{','.join(authors)}: {self.place}"

    @property
    def printed(self) -> bool:
        """Whether printed numbers alone decide it."""
        return not self.needs

    def find(self, evidence: Evidence | None) -> Finding:
        """Decide it by its rule."""
        find = getattr(printed if self.printed else measured, self.id.replace("-", "_"))
        if self.printed:
            return Finding(*find(paper_values()))._replace(claim=self)
        given: Mapping[str, Any] = getattr(evidence, self.needs)
        if not given:
            return Finding(NOT_RUN, NOT_RUN, claim=self)
        if self.needs == "cliffs":  # which are compared with each other
            return Finding(*find(evidence))._replace(claim=self)
        return joined({task: find(evidence, task) for task in given})._replace(claim=self)


def all_claims() -> list[Claim]:
    """Every claim, in the order of ``paper_values.yml``."""
    return [Claim(**entry) for entry in paper_values()["claims"]]


def findings_of(page: str | None, evidence: Evidence | None = None) -> list[Finding]:
    """Decide the claims that a page shows.

    Args:
        page: The notebook's name; None for the claims of all pages.
        evidence: What was measured on a model: decides the claims that need a measurement. None
            decides those that printed numbers and released code decide alone.

    Returns:
        A finding for each claim; "not run" where the evidence lacks what its rule goes by.
    """
    claims = [claim for claim in all_claims() if page is None or page in claim.pages]
    shown = [claim for claim in claims if claim.printed == (evidence is None)]
    return [claim.find(evidence) for claim in shown]


def findings_beside(
    page: str, evidence: Evidence, paper_model: str, source: Any
) -> dict[str, list[Finding]]:
    """Decide a page's claims by model: its own, and the paper's where the page does not run it."""
    found = {evidence.model: findings_of(page, evidence)}
    if source == "shapes" or evidence.model != paper_model:
        nobody = Evidence(paper_model, evidence.n_layers)
        found[f"{paper_model} on the benchmarks"] = findings_of(page, nobody)
    return found
