"""Snakemake as a process of its own, without its start-up: a fork of one that has imported it.

Starting Python and importing Snakemake takes three seconds of a core, and its work on a graph of
a few jobs a fifth of one. A fork runs the same command line to its end in a process of its own:
with its own working folder, environment and output, and none of the library that the tests use.
"""

import functools
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO


def snakemake(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run ``python -m snakemake`` with some arguments; give what it said and how it ended."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = started(arguments, folder, environment, out, err)
        process.join()
        said = [file.read() for file in (out, err) if file.seek(0) == 0]
    return subprocess.CompletedProcess(arguments, process.exitcode or 0, *said)


def started(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], out: IO, err: IO
) -> multiprocessing.process.BaseProcess:
    """Start the same, and lead a group of all the processes that it starts in turn."""
    _import_once()
    given = (arguments, folder, dict(environment), out.fileno(), err.fileno())
    process = multiprocessing.get_context("fork").Process(target=_run, args=given)
    process.start()
    return process


@functools.cache
def _import_once() -> None:
    """Import what Snakemake and the Snakefiles import, and register Snakemake's plugins."""
    import jsonschema  # noqa: F401
    import pandas  # noqa: F401
    import smart_open  # noqa: F401
    from snakemake import cli

    cli.get_argument_parser()


def _run(
    arguments: Sequence[str], folder: Path, environment: dict[str, str], out: int, err: int
) -> None:
    os.setsid()
    os.dup2(out, 1)
    os.dup2(err, 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    # the library is that of the folder or the environment, not what a test has imported
    for name in [name for name in sys.modules if name.partition(".")[0] == "infoflow"]:
        del sys.modules[name]
    sys.path[:0] = [str(folder), *environment.get("PYTHONPATH", "").split(os.pathsep)]
    sys.argv = ["snakemake", *arguments]
    from snakemake import cli

    cli.main()
