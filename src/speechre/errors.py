"""Every error that a user can cause. Each message says what, where, got, expected and what to do.

Commands print the message as one line and exit with the code that the class carries (1: a finding in the data,
2: a usage fault); programs catch :class:`SpeechreError`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

OnMessage = Callable[[str], None]
"""Is told, in a line each, what whoever runs a thing should know of it."""
_NUM_SHOWN = 5


class SpeechreError(Exception):
    """Base of all errors that speechre raises on purpose."""

    exit_code = 1

    def to_dict(self) -> dict[str, str]:
        """The JSON form, the same from the service and in bulk: the kind as the command line names it, the message."""
        return {"type": type(self).__name__, "message": str(self)}


def list_some(ids: Sequence[str]) -> str:
    """The first of them in quotes, and how many more there are: for messages."""
    shown = ", ".join(f'"{one}"' for one in ids[:_NUM_SHOWN])
    return f"{shown} and {len(ids) - _NUM_SHOWN} more" if len(ids) > _NUM_SHOWN else shown


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the machine or the GPU has no memory left; torch says so in a RuntimeError."""
    if isinstance(error, MemoryError):
        return True
    said = str(error).lower()
    shortages = ("can't allocate memory", "not enough memory", "out of memory")
    return isinstance(error, RuntimeError) and any(shortage in said for shortage in shortages)


class UsageError(SpeechreError):
    """A wrong argument: an unknown order, an unknown format, a path that cannot be written."""

    exit_code = 2


class ConfigError(UsageError):
    """A recipe or an override with an unknown key or a value of the wrong kind."""


class AudioError(SpeechreError):
    """An audio file that cannot be decoded into sound; the message names the file and the reason."""


class DataError(SpeechreError):
    """A fault in a manifest, an annotation or a prediction file; the message names file, line and utterance."""


class SchemaError(SpeechreError):
    """A type, a relation or an argument pair that the schema does not know."""


class CheckpointError(SpeechreError):
    """A model folder that is missing, partial, corrupt or made for something else."""


class MissingFileError(DataError, UsageError):
    """A file of data that is not there, or is a folder: a wrong argument, and no finding in any data."""


class UnknownModelError(CheckpointError, UsageError):
    """What is neither a model folder nor a shipped model's name."""


class UnknownSchemaError(SchemaError, UsageError):
    """What is neither a schema's file nor a built-in schema's name."""


class TrainingError(SpeechreError):
    """A training that cannot go on: its loss or its gradient is no longer a number."""
