"""What the service takes and what it refuses: limits, and an error with its HTTP status for each refusal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from speechre.errors import AudioError, SpeechreError, UsageError

MAX_FILES = 100
"""Recordings in one request."""
MAX_NAME_CHARS = 255
READ_TIMEOUT_S = 60.0
"""A client that sends nothing for so long in the middle of its request is not waited for."""
LEAST_BYTES_PER_S = 1024
"""Nor is one that has sent less than this on average, once that time is over, or reads an answer more slowly."""
IDLE_TIMEOUT_S = 30.0
"""A connection on which no request is under way for so long is closed."""
MAX_CONNECTIONS = 512
RETRY_AFTER_S = 5


@dataclass(frozen=True)
class Limits:
    """What ``speechre serve`` can be told. ``grace_s`` is how long requests may still take after SIGTERM."""

    max_upload_mib: int = 200
    max_duration_s: int = 4 * 3600
    max_waiting: int = 32
    grace_s: int = 60

    @property
    def max_upload_bytes(self) -> int:
        """Of one request, all its parts together."""
        return self.max_upload_mib * 2**20


class RefusedError(SpeechreError):
    """A request that gets no extraction; ``status`` and ``headers`` are those of the answer."""

    status = 400
    headers: Mapping[str, str] = {}


class BadRequestError(RefusedError):
    """A request that is not as the interface says."""


class ForbiddenError(RefusedError):
    """A request that another site's page made a browser send."""

    status = 403


class NotFoundError(RefusedError):
    """An address that the service does not have."""

    status = 404


class MethodError(RefusedError):
    """An address that is there, but not for this method."""

    status = 405

    def __init__(self, message: str, allowed: str) -> None:
        super().__init__(message)
        self.headers = {"Allow": allowed}


class SlowUploadError(RefusedError):
    """A client that stopped sending."""

    status = 408


class TooLargeError(RefusedError):
    """More bytes than the service takes."""

    status = 413


class TooLongError(RefusedError):
    """More seconds than the service takes."""

    status = 413


class GoneError(RefusedError):
    """A client that went away; nobody reads the answer, and the status is for the metrics."""

    status = 499


class FaultError(RefusedError):
    """A fault of the service itself; its traceback is on stderr."""

    status = 500


class UnavailableError(RefusedError):
    """A format whose library is not installed where the service runs."""

    status = 501


class BusyError(RefusedError):
    """As many requests as the service takes at a time are there already."""

    status = 503
    headers = {"Retry-After": str(RETRY_AFTER_S)}  # noqa: RUF012  # read only, as the class it is declared in says


class CrowdedError(BusyError):
    """As many connections as the service has are open already."""


class StoppingError(RefusedError):
    """The service is being shut down."""

    status = 503
    headers = {"Retry-After": str(RETRY_AFTER_S)}  # noqa: RUF012


def status_of(error: SpeechreError) -> int:
    """The HTTP status of an error: what cannot be heard is the client's, what is not known to be so the service's."""
    if isinstance(error, RefusedError):
        return error.status
    return 422 if isinstance(error, AudioError | UsageError) else 500
