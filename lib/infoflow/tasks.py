"""The benchmarks under their first address: ``infoflow.tasks.pope.parse_yes_no`` and its like."""

import sys

from infoflow.data import captions, chair, pope, scienceqa, textvqa
from infoflow.data.load import Sample, Task, blind_guess, list_tasks, load_task

__all__ = ["Sample", "Task", "blind_guess", "list_tasks", "load_task"]
__path__: list[str] = []  # a package, so that its modules can be imported

for _module in (captions, chair, pope, scienceqa, textvqa):
    sys.modules[f"{__name__}.{_module.__name__.rpartition('.')[2]}"] = _module
