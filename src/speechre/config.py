"""A run is a typed config: read from a recipe, changed by overrides, stored whole in every checkpoint and report.

Every field is read somewhere; an unknown key is an error, so a typo never trains a different model in silence.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import math
import numbers
import os
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from speechre.errors import ConfigError
from speechre.limits import beyond_limits
from speechre.orders import ORDERS, select_orders
from speechre.strict_yaml import load_yaml


@dataclass(frozen=True)
class DataConfig:
    """Which utterances, and how their text is written as a target."""

    train: tuple[str, ...] = ()  # manifests
    repeats: tuple[int, ...] = ()  # how often an epoch holds each of the manifests; none: once each
    dev: tuple[str, ...] = ()
    schema: str = "conll04"  # a built-in schema's name or a YAML file
    text_style: Literal["plain", "annotated"] = (
        "plain"  # plain: treebank spacing and quotes undone, see data/plain_text.py
    )
    max_duration_s: float = 30.0


@dataclass(frozen=True)
class ModelConfig:
    """What the network is made of and what its decoder reads and writes."""

    backbone: str = "tiny.en"  # a hub id, a local folder, "tiny.en" (from a PyPI wheel) or "random" (tests)
    start_from: str = ""  # a model folder or shipped model to go on training from, in place of the bare backbone
    prompt_style: Literal["compact", "paper"] = "compact"
    transcript: bool = True  # write the transcript first, then the triplets
    relation_prompt: bool = True
    relation_padding: bool = False  # the paper pads prompts with a token of their own to the batch's longest
    exact_length: bool = True  # False: pad every clip to 30 s, as Whisper was trained
    tail_s: float = 0.0  # silence after every clip of exact length: Whisper knows no speech that stops at the end
    orders: tuple[str, ...] = tuple(ORDERS)


@dataclass(frozen=True)
class AugmentConfig:
    """Changes of the training audio; none of it is used in evaluation."""

    pad_s: float = 0.6  # silence of a random length up to this, before and after
    speed: float = 0.1  # play between 1 - speed and 1 + speed times as fast
    noise_snr_db: float = 15.0  # the loudest noise; 0 turns noise off
    colored_noise: bool = False  # from white to brown in place of white only
    room: float = 0.0  # chance of reverberation
    telephone: float = 0.0  # chance of a telephone's bandwidth and coding
    gain_db: float = 0.0  # louder or softer by up to this
    join: float = 0.0  # chance that an utterance is heard behind another one, as one sample (to 30 s at most)
    time_masks: int = 2
    time_mask_s: float = 0.4
    mel_masks: int = 2
    mel_mask_bins: int = 12


@dataclass(frozen=True)
class TrainConfig:
    """The optimizer, the objective and the rhythm of a run."""

    steps: int = 600
    batch_size: int = 8
    learning_rate: float = 1e-4
    encoder_learning_rate: float = 5e-5  # lower: what Whisper has learned to hear should not be forgotten
    head_learning_rate: float = 1e-3  # the relation head starts at random
    warmup_steps: int = 50
    encoder_interpolation: float = 1.0  # of the final model: 0 is the pretrained Whisper, 1 the trained weights
    decoder_interpolation: float = 1.0
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    orders_per_utterance: int = 6  # 1: a random order per sample and epoch; 6: all on one encoder pass
    entity_target: bool = True  # the list of entities as one more target
    prompt_source: Literal["gold", "predicted", "noisy"] = "noisy"
    prompt_noise: float = 0.15  # noisy: chance to drop each gold relation and to add each other one
    loss_on: Literal["answer", "everything"] = "answer"  # everything: prompts and padding too, as the paper's code
    transcript_weight: float = 0.5
    relation_weight: float = 1.0
    answer_vocabulary: Literal["full", "batch"] = "full"  # batch: what the copy constraint could let through there
    frozen_words: bool = False  # Whisper's own token embeddings stay; those of the new tokens learn
    frozen_relation_blocks: bool = False  # only the classifier of the relation head learns, not its convolutions
    frozen_encoder_layers: int = 0  # so many of the lowest, and the convolutions before them, stay Whisper's
    lora_rank: int = 0  # Whisper's layers learn by changes of this rank (LoRA) in place of whole matrices; 0: whole
    teacher_share: float = 0.0  # of each transcript token what plain Whisper expects there, in place of the annotated
    precision: Literal["auto", "no", "bf16"] = "no"
    seed: int = 1
    eval_every: int = 200
    eval_utterances: int = 48  # of dev during training; the whole of it is scored by "speechre evaluate"
    save_every: int = 50
    device: str = "auto"

    @property
    def keeps_words(self) -> bool:
        """Whether the embeddings of Whisper's own tokens stay as they are."""
        return self.frozen_words or bool(self.lora_rank)


MAX_NAME_CHARS = 100
"""The longest known name."""

ADAPTED = "adapter:"
"""Before the name of a second listener that listens with its adapter; alone it is the model's own."""


@dataclass(frozen=True)
class DecodeConfig:
    """Inference: stored with the model as its defaults, changed per call."""

    orders: tuple[str, ...] = tuple(ORDERS)
    beams: int = 1
    length_penalty: float = 0.0  # beams are ranked by log-probability / length ** length_penalty
    max_new_tokens: int = 160
    max_transcript_tokens: int = 200
    transcript_beams: int = 1  # more: the reader reads all of these transcripts, each as far as it is likely
    constrained: bool = True  # by the grammar; a triplet told twice ends the answer, and its two ends differ
    copy_entities: bool = True  # constrained, with a transcript: entities are spans of it
    relation_threshold: float = 0.5
    step_weights: Literal["float32", "float16"] = "float32"  # of the search on a CPU; float16 is half as much to read
    # In what precision the encoder, the relation head and the text reader's encoder compute; auto: bfloat16 where fast.
    hearing: Literal["float32", "bfloat16", "auto"] = "float32"
    vote: Literal["paper", "weighted"] = "weighted"
    min_votes: int = 2  # of the paper's vote
    threshold: float = 0.5  # of the weighted vote's confidence
    calibration: tuple[float, float] = (1.0, 0.0)  # slope and intercept on the logit of the raw support
    reader: bool = True  # a text reader, where the model has one, reads the transcript and votes too
    # Who hears too, whose transcripts the reader reads as well: a model, adapter:[MODEL] or whisper:NAME.
    second_listener: str = ""
    second_share: float = 0.45  # the belief in the second listener before anything was heard; the rest is this model's
    speeds: tuple[float, ...] = (1.0,)  # at which recordings are heard for the reader; 1 first: as they are
    second_speeds: tuple[float, ...] = ()  # at which the second listener hears them; none: the same
    names: tuple[str, ...] = ()  # known beforehand: a transcript that is searched with beams rather writes these
    name_bonus: float = 3.0  # what each token of a known name scores beside its log-probability
    reader_calibration: tuple[float, ...] = ()  # slopes of support and of the reader's belief, and the intercept


@dataclass(frozen=True)
class Config:
    name: str = "speechre"
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "config") -> Config:
        """Raises :class:`ConfigError` naming the key on anything that does not fit."""
        config: Config = _build(cls, data, where)
        if "orders" not in data.get("decode", {}):  # a model of fewer orders decodes its own
            config = dataclasses.replace(config, decode=dataclasses.replace(config.decode, orders=config.model.orders))
        _check(config, where)
        check_names(config)
        return config


def _build(cls: Any, data: Any, where: str) -> Any:
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where}: got {data!r}, expected a mapping of {cls.__name__}'s keys")
    hints = typing.get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls)]
    values = {}
    for key, value in data.items():
        if key not in names:
            close = difflib.get_close_matches(str(key), names, 1)
            hint = f'; did you mean "{close[0]}"?' if close else f"; expected one of {', '.join(names)}"
            raise ConfigError(f'{where}: unknown key "{key}"{hint}')
        values[key] = _coerce(hints[key], value, f"{where}.{key}")
    return cls(**values)


def _coerce(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _build(kind, value, where)
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        if value is False and "no" in args:  # what YAML makes of no
            return "no"
        if value not in args:
            raise ConfigError(f"{where}: got {value!r}, expected one of {', '.join(map(str, args))}")
        return value
    if origin is tuple:
        items = value
        if isinstance(value, str):
            items = [part.strip() for part in value.split(",")] if value.strip() else []
        if not isinstance(items, Sequence):
            raise ConfigError(f"{where}: got {value!r}, expected a list")
        if args[-1] is not Ellipsis and len(items) != len(args):
            raise ConfigError(f"{where}: got {len(items)} values, expected {len(args)}")
        return tuple(_coerce(args[0], item, where) for item in items)
    if origin in (types.UnionType, typing.Union):
        return None if value is None else _coerce(args[0], value, where)
    return _coerce_scalar(kind, value, where)


def _coerce_scalar(kind: type, value: Any, where: str) -> Any:
    error = ConfigError(f"{where}: got {value!r}, expected {kind.__name__}")
    if kind is bool:
        if isinstance(value, bool):
            return value
        if str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
        raise error
    if kind is str:
        if not isinstance(value, str):
            raise error
        return value
    if isinstance(value, bool) or not isinstance(value, numbers.Real | str):  # numpy's are numbers, but no int or float
        raise error
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise error from None
    if not math.isfinite(number):
        raise error
    if kind is int:
        if number != int(number):
            raise error
        return int(number)
    return number


def _check(config: Config, where: str) -> None:
    """Values that fit their type but make no run."""
    for name, orders in (("model.orders", config.model.orders), ("decode.orders", config.decode.orders)):
        if len(select_orders(orders)) != len(orders):
            raise ConfigError(f"{where}: {name} names an order twice: {', '.join(orders)}")
    untrained = [order for order in config.decode.orders if order not in config.model.orders]
    if untrained:
        raise ConfigError(
            f"{where}: decode.orders names {', '.join(untrained)}, but the model has only "
            f"{', '.join(config.model.orders)} (model.orders)"
        )
    train = config.train
    if config.model.transcript and config.model.prompt_style == "paper":
        raise ConfigError(
            f"{where}: model.transcript true needs model.prompt_style compact: a transcript ends with the first token "
            "of the prompt, and the paper's sentences begin like a word of the transcript"
        )
    if train.answer_vocabulary == "batch" and (train.loss_on != "answer" or not config.model.transcript):
        raise ConfigError(
            f"{where}: train.answer_vocabulary batch needs model.transcript true and train.loss_on answer: its words "
            "are those of the transcripts"
        )
    for name, value, expected in beyond_limits(config):
        raise ConfigError(f"{where}: {name} is {value}; expected {expected} (see docs/training.md)")
    _check_retention(config, where)


_LEAST_TAIL_S = 2.0


def _check_retention(config: Config, where: str) -> None:
    """What keeps a network near the one that it starts from."""
    train, model = config.train, config.model
    if train.teacher_share and (train.loss_on != "answer" or not model.transcript or not train.transcript_weight):
        raise ConfigError(
            f"{where}: train.teacher_share needs model.transcript true, train.loss_on answer and a "
            "train.transcript_weight: what plain Whisper teaches are the words of transcripts"
        )
    if train.teacher_share and model.exact_length and model.tail_s < _LEAST_TAIL_S:
        raise ConfigError(
            f"{where}: train.teacher_share needs model.tail_s of {_LEAST_TAIL_S:g} or more (3 is usual), or "
            f"model.exact_length false: with {model.tail_s:g} s of silence behind the speech plain Whisper writes "
            "nonsense, which is nothing to teach"
        )
    if train.lora_rank and (train.encoder_interpolation, train.decoder_interpolation) != (1.0, 1.0):
        raise ConfigError(
            f"{where}: train.lora_rank and an interpolation below 1 are two ways to stay near the start; leave one out"
        )
    if train.lora_rank and not train.head_learning_rate and not model.start_from:
        raise ConfigError(
            f"{where}: with train.lora_rank and train.head_learning_rate 0 neither the relation head nor the new "
            "tokens would ever learn; start from a model that has them (model.start_from), or give them a rate"
        )


def check_names(config: Config) -> None:
    """Raises :class:`ConfigError` where known names cannot be found, or are no names."""
    decode = config.decode
    if not decode.names:
        return
    if not config.model.transcript:
        raise ConfigError("known names: this model writes no transcript; choose one that does, or leave them out")
    if decode.transcript_beams == 1:
        raise ConfigError(
            "known names: the transcript is written greedily here, and names are found by a search; ask for "
            "transcript_beams of 2 or more (--transcript-beams 5)"
        )
    for name in decode.names:
        is_text = name.encode("utf-8", "replace").decode() == name
        if not is_text or not 0 < len(name.strip()) <= MAX_NAME_CHARS:
            raise ConfigError(
                f"known names: got {name[:40]!r} of {len(name)} characters; expected text of 1 to {MAX_NAME_CHARS}"
            )


def recipe_path(name_or_path: str) -> Path:
    """A recipe file: a path as it is, else a shipped one by name (``conll04`` or ``recipes/conll04.yaml``).

    Raises :class:`ConfigError` listing the shipped recipes.
    """
    path = Path(name_or_path)
    if os.path.isfile(path):
        return path
    folder = Path(__file__).parent / "recipes"
    shipped = folder / f"{path.stem}.yaml"
    if os.path.isfile(shipped) and str(path.parent) in (".", "recipes"):
        return shipped
    known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
    raise ConfigError(f'no recipe "{name_or_path}": neither a file nor one of the shipped ones ({known})')


def load_config(name_or_path: str, overrides: Mapping[str, str] | None = None) -> Config:
    """A recipe with overrides like ``{"train.steps": "100"}``, checked whole.

    A recipe may begin with ``extends: OTHER``, a shipped recipe or a file beside it: its own keys then go before the
    other's, key by key.
    """
    path = recipe_path(name_or_path)
    data = _read_recipe(path, ())
    if not overrides:
        return Config.from_dict(data, str(path))
    overridden = copy.deepcopy(data)
    for key, value in overrides.items():
        _override(overridden, key, value)
    try:
        return Config.from_dict(overridden, str(path))
    except ConfigError as error:
        at_fault = _fault_of(data, str(path))
        if at_fault is not None and str(at_fault) == str(error):  # the recipe itself, whatever the overrides say
            raise
    return Config.from_dict(overridden, _OVERRIDDEN)


_OVERRIDDEN = "overrides"
"""Where a fault is that a recipe alone has not."""


def _fault_of(data: dict[str, Any], where: str) -> ConfigError | None:
    try:
        Config.from_dict(data, where)
    except ConfigError as error:
        return error
    return None


def _read_recipe(path: Path, extending: tuple[Path, ...]) -> dict[str, Any]:
    """A recipe's keys and those of what it extends. Raises :class:`ConfigError`."""
    import yaml

    if path in extending:
        raise ConfigError(f"{path}: extends itself by way of {', '.join(map(str, extending))}; cut the circle")
    try:
        data = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: got {type(data).__name__}, expected a mapping with data, model, train, ...")
    if "extends" not in data:
        return data
    other = data.pop("extends")
    if not isinstance(other, str):
        raise ConfigError(f"{path}.extends: got {other!r}, expected a shipped recipe's name or a file")
    beside = path.parent / other
    try:
        extended = beside if beside.is_file() else recipe_path(other)
    except ConfigError as error:
        raise ConfigError(f"{path}.extends: {error}") from error
    return _laid_over(_read_recipe(extended, (*extending, path)), data)


def _laid_over(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of both, section by section; where both have one, the value ``above``."""
    for key, value in above.items():
        both_are_sections = isinstance(value, dict) and isinstance(below.get(key), dict)
        below[key] = _laid_over(below[key], value) if both_are_sections else value
    return below


def _override(data: dict[str, Any], key: str, value: str) -> None:
    *parents, leaf = key.split(".")
    node = data
    for parent in parents:
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise ConfigError(f"--{key}: {parent} is a value, not a section")
    node[leaf] = value
