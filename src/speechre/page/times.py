"""When something was said, for people."""

from __future__ import annotations

from speechre.types import Triplet


def clock_time(seconds: float) -> str:
    """Minutes and seconds, and hours where there are any.

    >>> clock_time(8.04), clock_time(3723.5)
    ('0:08.0', '1:02:03.5')
    """
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{clock}:{rest // 10:02}.{rest % 10}"


def said_at(triplet: Triplet) -> str:
    """From where to where a statement was said; "in" the chunk in which it was heard, where it could not be aligned
    with the sound; empty where nothing is known.
    """
    if triplet.start_s is None or triplet.end_s is None:
        return ""
    span = f"{clock_time(triplet.start_s)} to {clock_time(triplet.end_s)}"
    return span if triplet.times_of == "entities" else f"in {span}"
