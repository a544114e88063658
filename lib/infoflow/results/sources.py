"""Which rooms of the library a piece of code rests on, read from its imports alone.

Two things hang on this: a stored result is keyed by a digest of the code behind it, and the build
re-runs a notebook when a room behind it changed. The room uses the standard library alone, so that
the build need not wait for torch to learn that nothing is stale.
"""

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

PACKAGE = "infoflow"
ROOT = Path(__file__).resolve().parents[1]


def code_digest(*rooms: str, root: Path = ROOT) -> str:
    """Digest the code of some rooms and of every room they import, directly or not.

    Comments, docstrings and layout do not count: only a change that could change a result does.

    Args:
        *rooms: Names such as ``"flow"``, ``"infoflow.methods.flow"`` or ``"tasks.pope"``.
        root: Folder of the package.

    Returns:
        64 hexadecimal digits.

    Raises:
        ModuleNotFoundError: There is no such room.
    """
    digest = hashlib.sha256()
    for path in sorted(room_files([_qualified(room) for room in rooms], root)):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(_unparse(_parse(path)).encode())
    return digest.hexdigest()


def room_files(modules: Iterable[str], root: Path = ROOT) -> set[Path]:
    """Find the source files of some modules of the package and of all they import from it.

    Args:
        modules: Dotted names within the package (``"infoflow.methods.flow"``). The bare package
            stands for its public names, hence for every room that ``__init__.pyi`` imports.
        root: Folder of the package.

    Returns:
        The files. A package whose ``__init__.py`` only lists names, as ``infoflow`` itself, is
        never one of them: counting it in would make every notebook depend on every room.

    Raises:
        ModuleNotFoundError: One of them is not a module of the package.
    """
    found: set[Path] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if _only_lists_names(name, root):
            waiting += _public_names(name, root).values()
            continue
        path = _module_file(name, root)
        if path is None:
            raise ModuleNotFoundError(f"no room {name!r} in {root}", name=name)
        if path in found:
            continue
        found.add(path)
        waiting += [package for package in _ancestors(name) if not _only_lists_names(package, root)]
        is_package = path.name == "__init__.py"
        waiting += _imported_modules(_parse(path), name, root, is_package=is_package)
    return found


def notebook_files(notebook: Path, root: Path = ROOT) -> set[Path]:
    """Find the source files of the rooms a notebook rests on.

    Args:
        notebook: An ``.ipynb`` file.
        root: Folder of the package.

    Returns:
        The files. A notebook whose code cannot be parsed rests on every room: when unsure, run.
    """
    try:
        tree = ast.parse(_notebook_code(notebook))
    except (SyntaxError, ValueError):
        return set(root.rglob("*.py"))
    return room_files(_imported_modules(tree, "__main__", root, is_package=False), root)


def _notebook_code(notebook: Path) -> str:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return "\n".join(_without_magics(code))


def _without_magics(sources: Iterable[str]) -> Iterator[str]:
    """Drop IPython's own lines, which are no Python; a cell magic takes its whole cell with it."""
    for source in sources:
        if source.lstrip().startswith("%%"):
            continue
        lines = source.splitlines()
        yield "\n".join(line for line in lines if not line.lstrip().startswith(("%", "!", "?")))


def _qualified(room: str) -> str:
    return room if room.split(".")[0] == PACKAGE else f"{PACKAGE}.{room}"


def _ancestors(module: str) -> list[str]:
    """List the packages that importing a module runs first, without the top one."""
    parts = module.split(".")
    return [".".join(parts[:end]) for end in range(2, len(parts))]


def _module_file(module: str, root: Path) -> Path | None:
    base = root.joinpath(*module.split(".")[1:])
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def _parse(path: Path) -> ast.Module:
    return _tree(path.read_text(encoding="utf-8"))


@cache  # by what the file holds: a build asks for the same rooms once a notebook
def _tree(code: str) -> ast.Module:
    return _without_docstrings(ast.parse(code))


@cache
def _unparse(tree: ast.Module) -> str:
    return ast.unparse(tree)


@cache
def _import_statements(tree: ast.Module) -> list[ast.Import | ast.ImportFrom]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]


def _only_lists_names(module: str, root: Path) -> bool:
    """Whether a module is a package that runs nothing but imports of its public names."""
    path = _module_file(module, root)
    if module == PACKAGE or path is None or path.name != "__init__.py":
        return module == PACKAGE
    return all(
        isinstance(node, ast.ImportFrom)
        or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__")
        for node in _parse(path).body
    )


def _imported_modules(tree: ast.Module, importer: str, root: Path, *, is_package: bool) -> set[str]:
    """List the package's modules that the import statements of a module ask for."""
    found: set[str] = set()
    for node in _import_statements(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == PACKAGE:
                    found |= _of_name(alias.name, alias, tree, root)
        else:
            origin = _origin(node, importer, is_package=is_package)
            if origin.split(".")[0] == PACKAGE:
                for alias in node.names:
                    found |= _of_name(f"{origin}.{alias.name}", alias, tree, root)
    return found


def _origin(node: ast.ImportFrom, importer: str, *, is_package: bool) -> str:
    """Spell out the module that a ``from ... import`` names, relative or not."""
    if node.level == 0:
        return node.module or ""
    parts = importer.split(".")
    kept = parts[: len(parts) - node.level + (1 if is_package else 0)]
    return ".".join([*kept, *([node.module] if node.module else [])])


def _of_name(name: str, alias: ast.alias, tree: ast.Module, root: Path) -> set[str]:
    """Resolve an imported dotted name: a list of names by those that are used, others as they are.

    ``import infoflow.x`` binds ``infoflow``, whose uses do not tell; it stands for the whole of x.
    """
    local = alias.asname or alias.name
    if "." in local or not _only_lists_names(name, root):
        origin, _, attribute = name.rpartition(".")
        return _of_attribute(origin, attribute, root) if origin else {name}
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == local
    }
    return set().union(*(_of_attribute(name, attribute, root) for attribute in used))


def _of_attribute(origin: str, name: str, root: Path) -> set[str]:
    """Resolve one name of a module: a submodule, or the module that defines it."""
    if _module_file(f"{origin}.{name}", root) is not None:
        return {f"{origin}.{name}"}
    if not _only_lists_names(origin, root):
        return {origin}
    if name.startswith("__"):
        return set()  # __version__ and its like live in the package itself
    return {_public_names(origin, root).get(name, origin)}


def _public_names(package: str, root: Path) -> dict[str, str]:
    """Map each name that a package lists to the module that defines it."""
    listed = root.joinpath(*package.split(".")[1:]) / "__init__.pyi"
    path = listed if listed.exists() else listed.with_suffix(".py")
    names: dict[str, str] = {}
    for node in _import_statements(_parse(path)):
        if isinstance(node, ast.ImportFrom):
            origin = _origin(node, package, is_package=True)
            if origin.startswith(f"{PACKAGE}."):
                names |= {alias.asname or alias.name: origin for alias in node.names}
    return names


def _without_docstrings(tree: ast.Module) -> ast.Module:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return tree
