"""The audit: claims of the paper, held against arithmetic and against what was measured.

The claims and their places are data (``claims`` of the paper's values); how each is decided is
code, with the rule in words beside it. Only :mod:`infoflow.claims.gather` asks for measurements.
"""
