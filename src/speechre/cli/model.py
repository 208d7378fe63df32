"""From arguments to an extractor. Importing this module loads no torch."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from speechre.errors import UsageError

if TYPE_CHECKING:
    from speechre.extract.extractor import Extractor


def load_extractor(args: argparse.Namespace) -> Extractor:
    """The extractor that ``--model`` and the options of :func:`speechre.cli.options.add_decoding` ask for.

    Only what the user gave overrides the model's own config. Raises :class:`CheckpointError` and
    :class:`UsageError`.
    """
    from speechre.extract.extractor import Extractor
    from speechre.model.device import choose_device

    given = {"orders": args.orders, "beams": args.beams, "threshold": args.threshold, "reader": args.use_reader}
    overrides = {key: value for key, value in given.items() if value is not None}
    extractor = Extractor.from_pretrained(
        args.model, device=choose_device(args.device), batch_size=args.batch_size, **overrides
    )
    if args.threshold is not None and extractor.checkpoint.config.decode.vote != "weighted":
        raise UsageError(
            f"--threshold has no effect on {extractor.checkpoint.model_id}: its vote counts orders "
            '(decode.vote "paper"); leave the option out'
        )
    return extractor
