"""Gauges: processor time, and the peak memory of a process of its own."""

import multiprocessing
import os
import re
import time
from collections.abc import Callable
from pathlib import Path


def cpu_seconds(task: Callable[[], object], runs: int = 1) -> float:
    """Time a task by the processor time it takes, the best of some runs.

    Processor time, not the clock's: other programs on the machine do not count.
    """
    return min(_once(task) for _ in range(runs))


def _once(task: Callable[[], object]) -> float:
    start = time.process_time()
    task()
    return time.process_time() - start


def peak_megabytes(prepare: Callable[[str], Callable[[], object]], argument: str) -> float:
    """Run a task in a fresh process: the memory it needs beyond what was there when it began.

    Args:
        prepare: Makes the task; a function at the top of its module.
        argument: What the task is made from.

    Returns:
        Megabytes (2**20 bytes). Linux only: the kernel's high-water mark is read.
    """
    # freed blocks go back to the system at once, or the peak would be that of the allocator
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (prepare, argument))


def _peak(prepare: Callable[[str], Callable[[], object]], argument: str) -> float:
    task = prepare(argument)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the high-water mark
    before = _status("VmRSS")
    task()
    return _status("VmHWM") - before


def _status(field: str) -> float:
    """Read a field of this process's memory status, in megabytes."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    match = re.search(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE)
    assert match is not None, f"the kernel reports no {field}"
    return int(match[1]) / 1024
