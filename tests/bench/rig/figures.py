"""
The machine, and how figures are printed.

Owns the one-line description of the machine, percentiles, and the verdict against a bound.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path


def machine() -> str:
    """Processor, cores, memory, kernel and Python, in one line."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{model}, {os.cpu_count()} cores, {memory_gib:.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def verdict(value: float, must: float, aim: float, *, higher_is_better: bool = False) -> str:
    """How a figure stands against what must be and what is aimed at."""
    reached_aim = value >= aim if higher_is_better else value <= aim
    reached_must = value >= must if higher_is_better else value <= must
    grade = "aim reached" if reached_aim else "must reached, aim missed" if reached_must else "MUST MISSED"
    return f"must {must:g}, aim {aim:g}: {grade}"
