"""Reads CTranslate2's ``model.bin`` and gives a Whisper's weights their Hugging Face names.

The layout (binary version 6, little-endian, no padding) is what ``ModelSpec._serialize`` of the
``ctranslate2`` package writes::

    u32 version | string spec name | u32 spec revision u32 number of variables, each: string name | u8 rank |
    u32 x rank shape | u8 type id | u32 number of bytes | the bytes u32 number of aliases,   each: string
    alias | string name of a variable string = u16 length, the ending zero byte included | that many bytes

Nothing in the file is executed and every length is checked against the file's size before it is used.
"""

from __future__ import annotations

import math
import mmap
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from speechre.errors import CheckpointError

_BINARY_VERSION = 6
_WHISPER_SPEC = ("WhisperSpec", 3)
# Position = type id in the file. numpy has no bfloat16: its bits are read as u16 and widened in
# CTranslate2Model.float32.
_TYPES: tuple[tuple[str, str], ...] = (
    ("float32", "<f4"),
    ("int8", "<i1"),
    ("int16", "<i2"),
    ("int32", "<i4"),
    ("float16", "<f2"),
    ("bfloat16", "<u2"),
)
_MAX_RANK = 4

Buffer = bytes | bytearray | memoryview | mmap.mmap


@dataclass(frozen=True)
class Variable:
    """One array of the file: a view of the mapped bytes, so keeping it keeps the mapping."""

    type: str
    array: npt.NDArray[np.generic]


@dataclass(frozen=True)
class CTranslate2Model:
    """A parsed ``model.bin``: ``variables`` by name, aliases resolved to the variable that they stand for."""

    where: str
    spec: str
    revision: int
    variables: Mapping[str, Variable]

    def fault(self, reason: str) -> CheckpointError:
        """The error that names this file and ``reason``; the caller raises it."""
        return _fault(self.where, reason)

    def scalar(self, name: str) -> int:
        """The integer attribute ``name``. Raises :class:`CheckpointError` if it is absent or not a scalar."""
        variable = self._get(name)
        if variable.array.ndim != 0 or not variable.type.startswith("int"):
            raise self.fault(f'"{name}" is {variable.type} {list(variable.array.shape)}; expected one integer')
        return int(variable.array.item())

    def float32(self, name: str) -> npt.NDArray[np.float32]:
        """A fresh float32 copy of ``name`` in its own shape; int8 and int16 weights are divided by their
        scales.

        Raises :class:`CheckpointError` if it is absent, or quantized without a scale that fits.
        """
        variable = self._get(name)
        if variable.type == "bfloat16":
            # bfloat16 is the upper half of a float32.
            return (variable.array.astype(np.uint32) << 16).view(np.float32)
        values = np.array(variable.array, dtype=np.float32)
        if variable.type in ("int8", "int16"):
            values /= self._scale_of(name, values.shape)
        elif variable.type == "int32":
            raise self.fault(f'"{name}" has type int32, which is not a weight')
        return values

    def _get(self, name: str) -> Variable:
        if name not in self.variables:
            raise self.fault(f'variable "{name}" is missing')
        return self.variables[name]

    def _scale_of(self, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """The divisor of a quantized weight, one per row (int8) or one in all (int16), ready to broadcast."""
        if f"{name}_scale" not in self.variables:
            raise self.fault(f'"{name}" is quantized, but "{name}_scale" is missing')
        scale = self.float32(f"{name}_scale")
        if scale.ndim > 1 or scale.size not in (1, shape[0]) or not (np.isfinite(scale) & (scale > 0)).all():
            raise self.fault(f'"{name}_scale" {list(scale.shape)} does not fit "{name}" {list(shape)}')
        return scale if scale.size == 1 else scale.reshape(-1, *[1] * (len(shape) - 1))


def _fault(where: str, reason: str) -> CheckpointError:
    return CheckpointError(
        f"{where}: {reason}. Expected CTranslate2's model.bin of a Whisper (binary version "
        f"{_BINARY_VERSION}, {_WHISPER_SPEC[0]} revision {_WHISPER_SPEC[1]}); fetch the model again"
    )


class _Cursor:
    """Reads forward through a buffer and refuses to step over its end."""

    def __init__(self, buffer: Buffer, where: str) -> None:
        self.view = memoryview(buffer)
        self.where = where
        self.offset = 0

    def take(self, num_bytes: int, what: str) -> memoryview:
        left = len(self.view) - self.offset
        if num_bytes > left:
            raise _fault(
                self.where,
                f"truncated or corrupt: {what} at byte {self.offset} needs {num_bytes} bytes of {left} left",
            )
        self.offset += num_bytes
        return self.view[self.offset - num_bytes : self.offset]

    def number(self, code: str, what: str) -> int:
        (value,) = struct.unpack("<" + code, self.take(struct.calcsize("<" + code), what))
        return int(value)

    def string(self, what: str) -> str:
        at = self.offset
        raw = bytes(self.take(self.number("H", what), what))
        if not raw.endswith(b"\0") or b"\0" in raw[:-1]:
            raise _fault(self.where, f"corrupt: {what} at byte {at} is not a zero-ended string")
        try:
            return raw[:-1].decode("utf-8")
        except UnicodeDecodeError as error:
            raise _fault(self.where, f"corrupt: {what} at byte {at} is not UTF-8") from error


def read_model(path: Path) -> CTranslate2Model:
    """Maps the file ``path`` into memory and parses it.

    Raises :class:`CheckpointError` naming file and reason if it is absent, empty, truncated, corrupt or of
    another format.
    """
    try:
        with path.open("rb") as file:
            if path.stat().st_size == 0:
                raise _fault(str(path), "the file is empty")
            # The mapping lives as long as an array that looks into it, and is closed by its last reference.
            buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error
    return parse_model(buffer, str(path))


def parse_model(buffer: Buffer, where: str) -> CTranslate2Model:
    """Parses the bytes of a ``model.bin``; ``where`` names them in errors.

    Raises :class:`CheckpointError` if they are truncated, corrupt, have bytes left over, or are of another
    format.
    """
    cursor = _Cursor(buffer, where)
    _check_magic(cursor)
    spec = cursor.string("the spec's name")
    revision = cursor.number("I", "the spec's revision")
    variables: dict[str, Variable] = {}
    for index in range(cursor.number("I", "the number of variables")):
        name = cursor.string(f"the name of variable {index}")
        if name in variables:
            raise _fault(where, f'corrupt: variable "{name}" stands twice')
        variables[name] = _read_variable(cursor, name)
    for index in range(cursor.number("I", "the number of aliases")):
        alias, name = cursor.string(f"alias {index}"), cursor.string(f"the target of alias {index}")
        if alias in variables or name not in variables:
            raise _fault(where, f'corrupt: alias "{alias}" of "{name}" does not point at a variable, or hides one')
        variables[alias] = variables[name]
        # A quantized weight shares its scale with its aliases; the file does not say so twice.
        if f"{name}_scale" in variables:
            variables.setdefault(f"{alias}_scale", variables[f"{name}_scale"])
    if cursor.offset != len(cursor.view):
        raise _fault(where, f"corrupt: {len(cursor.view) - cursor.offset} bytes are left over at the end")
    return CTranslate2Model(where, spec, revision, variables)


def _check_magic(cursor: _Cursor) -> None:
    """Raises unless the file begins with the one version that this reader knows; a pickle is told by name."""
    start = bytes(cursor.view[:4])
    if start == b"PK\x03\x04" or start[:1] == b"\x80":
        raise _fault(cursor.where, "this is a PyTorch pickle, which speechre never opens")
    version = cursor.number("I", "the binary version")
    if version != _BINARY_VERSION:
        raise _fault(cursor.where, f"the file begins with binary version {version}")


def _read_variable(cursor: _Cursor, name: str) -> Variable:
    what = f'variable "{name}"'
    rank = cursor.number("B", what)
    if rank > _MAX_RANK:
        raise _fault(cursor.where, f"corrupt: {what} has rank {rank}; expected at most {_MAX_RANK}")
    shape = tuple(cursor.number("I", what) for _ in range(rank))
    type_id = cursor.number("B", what)
    if type_id >= len(_TYPES):
        raise _fault(cursor.where, f"corrupt: {what} has type id {type_id}; expected 0 to {len(_TYPES) - 1}")
    type_name, code = _TYPES[type_id]
    num_bytes = cursor.number("I", what)
    # math.prod is exact: shapes of a corrupt file must not wrap around into a plausible size.
    expected = math.prod(shape) * np.dtype(code).itemsize
    if num_bytes != expected:
        raise _fault(cursor.where, f"corrupt: {what} has {num_bytes} bytes; {type_name} {list(shape)} needs {expected}")
    return Variable(type_name, np.frombuffer(cursor.take(num_bytes, what), dtype=code).reshape(shape))


# --- Whisper ------------------------------------------------------------------------------------------------

# CTranslate2's module -> Hugging Face's modules in a layer; several are stacked by rows, in this order.
_ENCODER_LAYER: Mapping[str, tuple[str, ...]] = {
    "self_attention/layer_norm": ("self_attn_layer_norm",),
    "self_attention/linear_0": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attention/linear_1": ("self_attn.out_proj",),
    "ffn/layer_norm": ("final_layer_norm",),
    "ffn/linear_0": ("fc1",),
    "ffn/linear_1": ("fc2",),
}
_DECODER_LAYER: Mapping[str, tuple[str, ...]] = {
    **_ENCODER_LAYER,
    "attention/layer_norm": ("encoder_attn_layer_norm",),
    "attention/linear_0": ("encoder_attn.q_proj",),
    "attention/linear_1": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "attention/linear_2": ("encoder_attn.out_proj",),
}
_TOP: Mapping[str, tuple[str, ...]] = {
    "encoder/conv1": ("encoder.conv1",),
    "encoder/conv2": ("encoder.conv2",),
    "encoder/layer_norm": ("encoder.layer_norm",),
    "decoder/layer_norm": ("decoder.layer_norm",),
}
_ARRAYS: Mapping[str, str] = {
    "encoder/position_encodings/encodings": "encoder.embed_positions.weight",
    "decoder/position_encodings/encodings": "decoder.embed_positions.weight",
    "decoder/embeddings/weight": "decoder.embed_tokens.weight",
}
# Switches of CTranslate2's decoder and the only value with which it computes what Whisper does (3 = exact
# GELU).
_REQUIRED_SWITCHES: Mapping[str, int] = {
    "decoder/activation": 3,
    "decoder/alibi": 0,
    "decoder/pre_norm": 1,
    "decoder/scale_embeddings": 0,
    "decoder/start_from_zero_embedding": 0,
}
_IGNORED = frozenset(
    {
        "encoder/num_heads",
        "decoder/num_heads",
        "decoder/alignment_heads",
        "decoder/alignment_layer",
        "decoder/alibi_use_positive_positions",
        "decoder/projection/weight",
        "decoder/scale_alibi",
    }
)


def whisper_state(model: CTranslate2Model) -> dict[str, torch.Tensor]:
    """The weights of a Whisper under Hugging Face's names without the leading ``model.``, float32, no shared
    storage.

    ``self_attention/linear_0`` holds q, k and v stacked; Hugging Face's k has no bias, so its part must be
    zero. The output projection must be the token embeddings (tied) and is left out. Raises
    :class:`CheckpointError` on a model of another spec, a missing variable, or one that has no place in
    Whisper.
    """
    if (model.spec, model.revision) != _WHISPER_SPEC:
        raise model.fault(f"the model is a {model.spec} of revision {model.revision}")
    _check_switches(model)
    modules = dict(_TOP)
    for side, table in (("encoder", _ENCODER_LAYER), ("decoder", _DECODER_LAYER)):
        for layer in range(num_layers(model, side)):
            for theirs, ours in table.items():
                modules[f"{side}/layer_{layer}/{theirs}"] = tuple(f"{side}.layers.{layer}.{name}" for name in ours)
    state = {ours: torch.from_numpy(model.float32(theirs)) for theirs, ours in _ARRAYS.items()}
    read = set(_ARRAYS)
    for theirs, parts in modules.items():
        weight, bias = ("gamma", "beta") if theirs.endswith("layer_norm") else ("weight", "bias")
        read |= {f"{theirs}/{weight}", f"{theirs}/{bias}"}
        state |= _split_rows(model, f"{theirs}/{weight}", tuple(f"{part}.weight" for part in parts))
        state |= _split_rows(model, f"{theirs}/{bias}", tuple(f"{part}.bias" for part in parts))
    _check_nothing_left(model, read)
    return state


def num_layers(model: CTranslate2Model, side: str) -> int:
    """How many layers the ``encoder`` or ``decoder`` has. Raises :class:`CheckpointError` if there is none or
    a gap."""
    pattern = re.compile(rf"{side}/layer_(\d+)/")
    indices = {int(match[1]) for match in map(pattern.match, model.variables) if match}
    if indices != set(range(len(indices))) or not indices:
        raise model.fault(f"the {side} has layers {sorted(indices)}; expected 0, 1, 2, ... without a gap")
    return len(indices)


def _split_rows(model: CTranslate2Model, name: str, targets: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """Cuts the variable ``name`` into ``len(targets)`` equal blocks of rows, each with storage of its own."""
    stacked = model.float32(name)
    if stacked.ndim == 0 or stacked.shape[0] % len(targets):
        raise model.fault(f'"{name}" {list(stacked.shape)} cannot be cut into {len(targets)} equal parts')
    parts = dict(zip(targets, np.split(stacked, len(targets)), strict=True))
    for target in [target for target in targets if target.endswith("k_proj.bias")]:
        if np.any(parts.pop(target)):
            raise model.fault(f'"{name}" gives the keys a bias, which Whisper does not have')
    # safetensors refuses tensors that share storage, so a part of a stack is copied out of it.
    return {t: torch.from_numpy(part if len(targets) == 1 else part.copy()) for t, part in parts.items()}


def _check_switches(model: CTranslate2Model) -> None:
    for name, expected in _REQUIRED_SWITCHES.items():
        if name in model.variables and model.scalar(name) != expected:
            raise model.fault(f'"{name}" is {model.scalar(name)}; Whisper needs {expected}')
    projection = model.variables.get("decoder/projection/weight")
    embeddings = model.variables.get("decoder/embeddings/weight")
    if projection is not None and embeddings is not None and projection is not embeddings:
        same = np.array_equal(model.float32("decoder/projection/weight"), model.float32("decoder/embeddings/weight"))
        if not same:
            raise model.fault("the output projection differs from the token embeddings; Whisper ties them")


def _check_nothing_left(model: CTranslate2Model, read: set[str]) -> None:
    """A variable that nobody read would be silently lost: refuse it."""
    known = read | _IGNORED | _REQUIRED_SWITCHES.keys()
    left = sorted(set(model.variables) - known - {f"{name}_scale" for name in known})
    if left:
        raise model.fault(f"{len(left)} variables have no place in Whisper: {', '.join(left[:5])}")
