"""Counters of the service, and their text for Prometheus (exposition format 0.0.4).

Both the event loop and the model's thread count, so a lock goes around all of it.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate

BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper ends of the histograms: from a sentence alone to an hour of sound."""
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

HELP = {
    "speechre_requests_total": ("counter", "Answered requests by path and status; 499: the client had gone."),
    "speechre_recordings_total": (
        "counter",
        "Recordings by outcome: answered, refused (cannot be heard, too long), failed (a fault), dropped (nobody "
        "waited any more).",
    ),
    "speechre_audio_seconds_total": ("counter", "Seconds of sound in the recordings that were answered."),
    "speechre_model_faults_total": ("counter", "Faults in the model's thread."),
    "speechre_waiting_seconds": ("histogram", "From when a recording was received until the model took it."),
    "speechre_extracting_seconds": ("histogram", "From when the model took a recording until it was answered."),
    "speechre_requests_in_progress": ("gauge", "Requests that are being received, wait or are heard."),
    "speechre_recordings_waiting": ("gauge", "Recordings that wait for the model."),
}
"""Type and meaning of each metric."""


class _Histogram:
    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        index = next((i for i, end in enumerate(BUCKETS_S) if value <= end), len(BUCKETS_S))
        self.counts[index] += 1
        self.sum += value

    def lines(self, name: str) -> Iterator[str]:
        ends = [*(f"{end:g}" for end in BUCKETS_S), "+Inf"]
        for end, count in zip(ends, accumulate(self.counts), strict=True):
            yield f'{name}_bucket{{le="{end}"}} {count}'
        yield f"{name}_sum {self.sum:.6f}"
        yield f"{name}_count {sum(self.counts)}"


class Metrics:
    """What happened since the service began."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._recordings: Counter[str] = Counter(dict.fromkeys(("answered", "refused", "failed", "dropped"), 0))
        self._num_faults = 0
        self._audio_s = 0.0
        self._waiting_s, self._extracting_s = _Histogram(), _Histogram()

    def count_request(self, path: str, status: int) -> None:
        """One request was answered. ``path`` is one of the service's own, or there would be no end of them."""
        with self._lock:
            self._requests[path, status] += 1

    def count_recording(self, outcome: str) -> None:
        """One recording that was not answered: ``refused``, ``failed`` or ``dropped``."""
        with self._lock:
            self._recordings[outcome] += 1

    def count_answer(self, audio_s: float, waiting_s: float, extracting_s: float) -> None:
        """One recording was answered."""
        with self._lock:
            self._recordings["answered"] += 1
            self._audio_s += audio_s
            self._waiting_s.observe(waiting_s)
            self._extracting_s.observe(extracting_s)

    def count_fault(self) -> None:
        """The model's thread met a fault and went on."""
        with self._lock:
            self._num_faults += 1

    def to_text(self, num_requests: int, num_waiting: int) -> str:
        """All metrics; the two numbers are what is in the house now."""
        with self._lock:
            lines = {
                "speechre_requests_total": [
                    f'speechre_requests_total{{path="{path}",status="{status}"}} {count}'
                    for (path, status), count in sorted(self._requests.items())
                ],
                "speechre_recordings_total": [
                    f'speechre_recordings_total{{outcome="{outcome}"}} {count}'
                    for outcome, count in self._recordings.items()
                ],
                "speechre_audio_seconds_total": [f"speechre_audio_seconds_total {self._audio_s:.3f}"],
                "speechre_model_faults_total": [f"speechre_model_faults_total {self._num_faults}"],
                "speechre_waiting_seconds": [*self._waiting_s.lines("speechre_waiting_seconds")],
                "speechre_extracting_seconds": [*self._extracting_s.lines("speechre_extracting_seconds")],
                "speechre_requests_in_progress": [f"speechre_requests_in_progress {num_requests}"],
                "speechre_recordings_waiting": [f"speechre_recordings_waiting {num_waiting}"],
            }
        out = []
        for name, (kind, meaning) in HELP.items():
            out += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}", *lines[name]]
        return "\n".join(out) + "\n"
