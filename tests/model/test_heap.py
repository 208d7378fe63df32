"""Freed memory that is kept is there for the next tensor; memory that is given back is gone."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# Page faults of ten tensors of 80 MB, one after the other, and memory held before and after the heap is trimmed.
SCRIPT = """
import resource, sys
import torch
from speechre.decode.memory import resident_mib
from speechre.model.heap import keep_freed_memory, trim_heap
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def work(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        tensor = torch.ones(20_000_000)
        del tensor
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
work(12)  # the first few tensors may each lie behind the one before, where something small has begun in its place
faults = work(10)
held = resident_mib()
trim_heap()
print(faults, held - resident_mib())
"""


def measured(mode: str) -> tuple[int, float]:
    run = subprocess.run([sys.executable, "-c", SCRIPT, mode], capture_output=True, text=True, check=True)
    faults, given_back_mib = run.stdout.split()
    return int(faults), float(given_back_mib)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is asked")
def test_kept_memory_costs_no_page_faults_and_can_be_given_back() -> None:
    faults, given_back_mib = measured("keep")
    faults_else, given_back_else_mib = measured("leave")
    assert faults < faults_else / 2
    assert given_back_mib > 70
    assert given_back_else_mib < 10
