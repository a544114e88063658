"""Sphinx extension: let a reference use a public name where the page uses the defining room's.

``infoflow.data.load.Task`` is what one imports and writes in a docstring; the page documents it as
``infoflow.data.task.Task``, where it is defined. This resolves the first to the second.
"""

import pkgutil
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

PACKAGE = "infoflow"


def defining_name(name: str) -> str | None:
    """Return the dotted name under which an object of the library is defined.

    Args:
        name: Dotted name under which it can be imported, for example ``infoflow.data.load.Task``.

    Returns:
        For example ``infoflow.data.task.Task``; None if there is no such object in the library.
    """
    try:
        value = pkgutil.resolve_name(name)
    except (ValueError, ImportError, AttributeError):
        return None
    module, qualname = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    return f"{module}.{qualname}" if module and qualname else None


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.TextElement
) -> nodes.Element | None:
    """Resolve a Python reference that Sphinx could not, through the defining name."""
    target = str(node.get("reftarget", ""))
    if node.get("refdomain") != "py" or not target.startswith(f"{PACKAGE}."):
        return None
    home = defining_name(target)
    if home is None or home == target:
        return None
    python = env.get_domain("py")
    return python.resolve_xref(
        env, node["refdoc"], app.builder, node["reftype"], home, node, contnode
    )


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension with Sphinx."""
    app.connect("missing-reference", resolve)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
