"""The C library's heap, where tensors of a CPU live: to give back what is free, or to keep it.

Other C libraries than glibc are left alone.
"""

from __future__ import annotations

import ctypes
import sys

# glibc's malloc.h, and the most that mallopt takes.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_MOST_BYTES = 2**31 - 1


def trim_heap() -> None:
    """Give what the heap holds free back to the system."""
    trim = _glibc("malloc_trim")
    if trim is not None:
        trim(0)


def keep_freed_memory() -> bool:
    """From now on keep freed memory for the next tensor; returns whether that could be asked for.

    Else glibc returns each large tensor to the system and has the next one's pages cleared one by one, which costs a
    step of training as much as its arithmetic.
    """
    set_option = _glibc("mallopt")
    if set_option is None:
        return False
    return all(set_option(option, _MOST_BYTES) == 1 for option in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD))


def _glibc(name: str) -> ctypes._NamedFuncPointer | None:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
