"""Digest of the code behind stored rows: by folder, so that no import has to be followed."""

import ast
import hashlib
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("data", "models", "hooks", "interventions", "methods")
"""What measured numbers pass through. Not ``stats``, which reads rows, nor the modules at the top,
which change no value: a new wording of an error must not cost the rows of days."""


@cache  # what runs is the code that was there when it was loaded
def code_digest(*modules: str, root: Path = ROOT) -> str:
    """Digest the code that stored rows come from: of :data:`FOLDERS` and modules that measure.

    These are such as ``"infoflow.evaluate.flow"``, or a loaded one beside a notebook, with the
    files there that it names. Comments, docstrings and layout do not count.
    """
    files = {path for folder in FOLDERS for path in (root / folder).rglob("*.py")}
    named = {path.relative_to(root).as_posix(): path for path in files}
    for module in modules:
        name = module.removeprefix("infoflow.")
        base = root.joinpath(*name.split("."))
        named[name] = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
        if not named[name].exists() and module in sys.modules:
            named[name] = own = Path(str(sys.modules[module].__file__))
            code = own.read_text(encoding="utf-8")
            named |= {p.stem: p for p in own.parent.glob("*.py") if p.stem in code}
    digest = hashlib.sha256()
    for name, path in sorted(named.items()):
        digest.update(name.encode())
        digest.update(_without_docstrings(path.read_text(encoding="utf-8")).encode())
    return digest.hexdigest()


@cache  # the folders' files are part of every measure's digest
def _without_docstrings(code: str) -> str:
    tree = ast.parse(code)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)
