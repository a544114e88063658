"""Gauges: how long a task takes, and how much memory it needs beyond what was there."""

import multiprocessing
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.model import Size, random_lvlm
from infoflow.methods.flow import attention_flow
from infoflow.models.lvlm import LVLM, Prompt

Way = Callable[[LVLM, Prompt], object]
"""A way to measure something on a prompt; a function at the top of its module."""


def seconds(task: Callable[[], object], device: torch.device, runs: int = 1) -> float:
    """Time a task, the best of some runs.

    On a CPU by the processor time it takes, not the clock's: other programs on the machine do not
    count. On a GPU by the clock, until all its work is done.
    """
    return min(_once(task, device) for _ in range(runs))


def _once(task: Callable[[], object], device: torch.device) -> float:
    if device.type == "cpu":
        start = time.process_time()
        task()
        return time.process_time() - start
    torch.cuda.synchronize(device)
    start = time.perf_counter()
    task()
    torch.cuda.synchronize(device)
    return time.perf_counter() - start


def peak_megabytes(way: Way, size: Size, lvlm: LVLM, prompt: Prompt) -> float:
    """Measure the memory that a way needs beyond what was there when it began.

    On a GPU it runs where it is. On a CPU it runs on a model of the same size in a fresh process,
    and the kernel's high-water mark is read (Linux only).

    Returns:
        Megabytes (2**20 bytes).
    """
    if lvlm.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(lvlm.device)
        before = torch.cuda.memory_allocated(lvlm.device)
        way(lvlm, prompt)
        return (torch.cuda.max_memory_allocated(lvlm.device) - before) / 2**20
    # freed blocks go back to the system at once, or the peak would be that of the allocator
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (way, size))


def _peak(way: Way, size: Size) -> float:
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    lvlm, prompt = random_lvlm(size)
    attention_flow(lvlm, prompt)  # warms up, and does the check that runs once a model
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the high-water mark
    before = _status("VmRSS")
    way(lvlm, prompt)
    return _status("VmHWM") - before


def _status(field: str) -> float:
    """Read a field of this process's memory status, in megabytes."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    match = re.search(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE)
    assert match is not None, f"the kernel reports no {field}"
    return int(match[1]) / 1024
