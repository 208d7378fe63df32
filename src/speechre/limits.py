"""What the numbers of a :class:`speechre.config.Config` may be, beside their types."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speechre.config import Config

_Fits = Callable[[Any], bool]


def _are_speeds(speeds: tuple[float, ...]) -> bool:
    return len(set(speeds)) == len(speeds) <= 8 and all(0.5 <= speed <= 2 for speed in speeds)


_RANGES: tuple[tuple[str, _Fits, tuple[str, ...]], ...] = (
    (
        "1 or more",
        lambda value: value >= 1,
        (
            *("train.steps", "train.batch_size", "train.eval_every", "train.eval_utterances", "train.save_every"),
            *("decode.max_new_tokens", "decode.max_transcript_tokens", "decode.min_votes"),
        ),
    ),
    (
        "0 or more",
        lambda value: value >= 0,
        (
            *("train.encoder_learning_rate", "train.head_learning_rate", "train.warmup_steps", "train.weight_decay"),
            *("train.transcript_weight", "train.relation_weight", "train.frozen_encoder_layers", "train.lora_rank"),
            *("augment.time_masks", "augment.time_mask_s", "augment.mel_masks", "augment.mel_mask_bins"),
        ),
    ),
    ("more than 0", lambda value: value > 0, ("train.learning_rate", "train.max_grad_norm")),
    (
        "0 to 1",
        lambda value: 0 <= value <= 1,
        (
            *("train.encoder_interpolation", "train.decoder_interpolation", "train.prompt_noise"),
            *("decode.threshold", "decode.relation_threshold", "augment.room", "augment.telephone"),
        ),
    ),
    ("0 to less than 1", lambda value: 0 <= value < 1, ("train.teacher_share", "augment.join")),
    ("0 to less than 0.5", lambda value: 0 <= value < 0.5, ("augment.speed",)),
    ("more than 0 and less than 1", lambda value: 0 < value < 1, ("decode.second_share",)),
    ("more than 0 and 30 at most", lambda value: 0 < value <= 30, ("data.max_duration_s",)),
    ("1 to 64", lambda value: 1 <= value <= 64, ("decode.beams", "decode.transcript_beams")),
    ("0 to 15", lambda value: 0 <= value <= 15, ("augment.pad_s",)),
    ("0 to 20", lambda value: 0 <= value <= 20, ("decode.name_bonus",)),
    ("0 to 30", lambda value: 0 <= value <= 30, ("model.tail_s",)),
    ("0 to 40", lambda value: 0 <= value <= 40, ("augment.gain_db",)),
    ("three numbers, or none", lambda value: len(value) in (0, 3), ("decode.reader_calibration",)),
    ("0.5 to 2, each once, and eight at most", _are_speeds, ("decode.second_speeds",)),
    (
        "1 first, then others from 0.5 to 2, each once, and eight at most",
        lambda value: _are_speeds(value) and value[:1] == (1.0,),
        ("decode.speeds",),
    ),
)


def beyond_limits(config: Config) -> Iterator[tuple[str, Any, str]]:
    """The name of each value that is out of its range, the value, and what it may be."""

    def value_of(name: str) -> Any:
        section, key = name.split(".")
        return getattr(getattr(config, section), key)

    for expected, fits, names in _RANGES:
        for name in names:
            value = value_of(name)
            if not fits(value):
                yield name, value, expected
    num_orders, num_manifests = len(config.model.orders), len(config.data.train)
    if not 1 <= config.train.orders_per_utterance <= num_orders:
        yield (
            "train.orders_per_utterance",
            config.train.orders_per_utterance,
            f"1 to {num_orders} (model.orders)",
        )
    repeats = config.data.repeats
    if len(repeats) not in (0, num_manifests) or not all(count >= 1 for count in repeats):
        yield "data.repeats", repeats, f"1 or more for each of the {num_manifests} manifests of data.train, or none"
