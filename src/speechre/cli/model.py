"""From arguments to an extractor. Importing this module loads no torch."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechre.cli.loading import loading
from speechre.config import MAX_NAME_CHARS
from speechre.errors import UsageError

if TYPE_CHECKING:
    from speechre.extract.batching import BatchSize
    from speechre.extract.extractor import Extractor
    from speechre.reader.reader import TextModel


@dataclass(frozen=True)
class ExtractorSettings:
    """What ``--model`` and the options of :func:`speechre.cli.options.add_decoding` ask for; can be pickled."""

    model: str
    device: str
    batch_size: BatchSize
    overrides: dict[str, Any]
    """Fields of :class:`speechre.config.DecodeConfig` in place of the model's own."""
    memory_mib: int | None = None
    vad: str = "energy"


@loading()
def extractor_settings(args: argparse.Namespace) -> ExtractorSettings:
    """Only what the user gave overrides the model's own config. Raises :class:`UsageError`."""
    from speechre.model.checkpoint import DEFAULT_MODEL
    from speechre.model.device import choose_device

    if args.second_listener == "":
        raise UsageError('--second-listener is empty; name a listener, or "none"')
    given = {
        "orders": args.orders,
        "beams": args.beams,
        "transcript_beams": args.transcript_beams,
        "second_listener": args.second_listener,
        "speeds": args.speeds,
        **known_names(args),
        "threshold": args.threshold,
        "reader": args.use_reader,
    }
    if args.memory_mib is not None and args.batch_size != "auto":
        raise UsageError("--memory-mib has no effect without --batch-size auto; add it, or leave the budget out")
    return ExtractorSettings(
        DEFAULT_MODEL if args.model is None else args.model,
        choose_device(args.device),
        args.batch_size,
        {key: value for key, value in given.items() if value is not None},
        args.memory_mib,
        getattr(args, "vad", "energy"),  # the commands for short utterances have no such option
    )


def known_names(args: argparse.Namespace) -> dict[str, Any]:
    """What ``--names`` and ``--name-bonus`` ask for, of a command that has them. Raises :class:`UsageError`."""
    if getattr(args, "names", None) is None:
        if getattr(args, "name_bonus", None) is not None:
            raise UsageError("--name-bonus has no effect without --names; add it, or leave the bonus out")
        return {}
    return {"names": read_names(args.names), "name_bonus": args.name_bonus}


def read_names(path: Path) -> tuple[str, ...]:
    """The known names of a file, one a line, each once; empty lines and those that begin with # do not count.

    Raises :class:`UsageError` for a file that cannot be read or has none.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise UsageError(f"--names {path}: {error}; expected a text file in UTF-8, a name a line") from error
    lines = (" ".join(line.split()) for line in text.splitlines())
    names = tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    long = next((name for name in names if len(name) > MAX_NAME_CHARS), None)
    if long is not None:
        raise UsageError(
            f'--names {path}: "{long[:40]}..." has {len(long)} characters; expected a name a line, of at most '
            f"{MAX_NAME_CHARS}"
        )
    if not names:
        raise UsageError(f"--names {path}: no name in it; expected one a line, or leave the option out")
    return names


@loading()
def make_extractor(settings: ExtractorSettings) -> Extractor:
    """Raises :class:`CheckpointError` and :class:`UsageError`."""
    from speechre.extract.extractor import Extractor

    extractor = Extractor.from_pretrained(
        settings.model,
        device=settings.device,
        batch_size=settings.batch_size,
        memory_mib=settings.memory_mib,
        vad=settings.vad,
        **settings.overrides,
    )
    if "threshold" in settings.overrides and extractor.checkpoint.config.decode.vote != "weighted":
        raise UsageError(
            f"--threshold has no effect on {extractor.checkpoint.model_id}: its vote counts orders "
            '(decode.vote "paper"); leave the option out'
        )
    return extractor


def load_extractor(args: argparse.Namespace) -> Extractor:
    """The extractor that the arguments ask for. Raises :class:`CheckpointError` and :class:`UsageError`."""
    return make_extractor(extractor_settings(args))


@loading()
def load_reader(name_or_path: str) -> TextModel:
    """The text reader of a reader's own folder, of a model's folder or of a shipped model.

    Raises :class:`CheckpointError` as loading does, :class:`UsageError` for a model that has none.
    """
    from speechre.model.checkpoint import load_checkpoint, model_folder
    from speechre.reader.folder import is_text_model, load_text_model

    folder = model_folder(name_or_path)
    if is_text_model(folder):
        return load_text_model(folder)
    checkpoint = load_checkpoint(name_or_path)
    if checkpoint.reader is None:
        raise UsageError(f"{checkpoint.model_id} has no text reader")
    return replace(checkpoint.reader, name=f"{checkpoint.name} reader")
