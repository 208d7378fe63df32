"""The reader of model.bin against files that ctranslate2 itself writes, and against broken ones."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import ctranslate2
import numpy as np
import pytest
import torch

from speechre.errors import CheckpointError
from speechre.model.ctranslate2_format import num_layers, parse_model, read_model, whisper_state

WIDTH, HEADS, VOCAB, FFN = 8, 2, 20, 12


def fill_linear(spec: object, shape: tuple[int, ...], rng: np.random.Generator, zero_rows: slice | None = None) -> None:
    bias = rng.normal(size=shape[0]).astype(np.float32)
    if zero_rows is not None:
        bias[zero_rows] = 0
    spec.weight = rng.normal(size=shape).astype(np.float32)  # type: ignore[attr-defined]
    spec.bias = bias  # type: ignore[attr-defined]


def fill_norm(spec: object, rng: np.random.Generator) -> None:
    spec.gamma = rng.normal(size=WIDTH).astype(np.float32)  # type: ignore[attr-defined]
    spec.beta = rng.normal(size=WIDTH).astype(np.float32)  # type: ignore[attr-defined]


def make_spec(*, key_bias: bool = False, tied: bool = True) -> ctranslate2.specs.WhisperSpec:
    """A Whisper of two encoder layers and one decoder layer with random weights."""
    rng = np.random.default_rng(0)
    spec = ctranslate2.specs.WhisperSpec(2, HEADS, 1, HEADS)
    key_rows = None if key_bias else slice(WIDTH, 2 * WIDTH)
    fill_linear(spec.encoder.conv1, (WIDTH, 80, 3), rng)
    fill_linear(spec.encoder.conv2, (WIDTH, WIDTH, 3), rng)
    spec.encoder.position_encodings.encodings = rng.normal(size=(30, WIDTH)).astype(np.float32)
    spec.decoder.position_encodings.encodings = rng.normal(size=(10, WIDTH)).astype(np.float32)
    spec.decoder.embeddings.weight = rng.normal(size=(VOCAB, WIDTH)).astype(np.float32)
    spec.decoder.projection.weight = spec.decoder.embeddings.weight + (0 if tied else 1)
    for norm in (spec.encoder.layer_norm, spec.decoder.layer_norm):
        fill_norm(norm, rng)
    for layer in (*spec.encoder.layer, *spec.decoder.layer):
        fill_linear(layer.self_attention.linear[0], (3 * WIDTH, WIDTH), rng, key_rows)
        fill_linear(layer.self_attention.linear[1], (WIDTH, WIDTH), rng)
        fill_linear(layer.ffn.linear_0, (FFN, WIDTH), rng)
        fill_linear(layer.ffn.linear_1, (WIDTH, FFN), rng)
        for norm in (layer.self_attention.layer_norm, layer.ffn.layer_norm):
            fill_norm(norm, rng)
    for layer in spec.decoder.layer:
        fill_linear(layer.attention.linear[0], (WIDTH, WIDTH), rng)
        fill_linear(layer.attention.linear[1], (2 * WIDTH, WIDTH), rng, slice(0, WIDTH))
        fill_linear(layer.attention.linear[2], (WIDTH, WIDTH), rng)
        fill_norm(layer.attention.layer_norm, rng)
    return spec


def write(spec: ctranslate2.specs.WhisperSpec, folder: Path, quantization: str | None = None) -> Path:
    spec.register_vocabulary([f"t{index}" for index in range(VOCAB)])
    spec.validate()
    spec.optimize(quantization)
    spec.save(str(folder))
    return folder / "model.bin"


@pytest.fixture
def model_bin(tmp_path: Path) -> Path:
    return write(make_spec(), tmp_path)


def expected_state(spec: ctranslate2.specs.WhisperSpec) -> Mapping[str, np.ndarray]:
    """Some tensors that stand for each kind of mapping, from the spec's own arrays."""
    encoder, decoder = spec.encoder.layer[1].self_attention.linear[0], spec.decoder.layer[0].attention.linear
    return {
        "encoder.conv2.weight": spec.encoder.conv2.weight,
        "encoder.embed_positions.weight": spec.encoder.position_encodings.encodings,
        "encoder.layers.1.self_attn.q_proj.weight": encoder.weight[:WIDTH],
        "encoder.layers.1.self_attn.k_proj.weight": encoder.weight[WIDTH : 2 * WIDTH],
        "encoder.layers.1.self_attn.v_proj.bias": encoder.bias[2 * WIDTH :],
        "encoder.layers.0.fc1.bias": spec.encoder.layer[0].ffn.linear_0.bias,
        "encoder.layers.0.self_attn_layer_norm.weight": spec.encoder.layer[0].self_attention.layer_norm.gamma,
        "encoder.layers.0.final_layer_norm.bias": spec.encoder.layer[0].ffn.layer_norm.beta,
        "decoder.embed_tokens.weight": spec.decoder.embeddings.weight,
        "decoder.layers.0.encoder_attn.q_proj.weight": decoder[0].weight,
        "decoder.layers.0.encoder_attn.k_proj.weight": decoder[1].weight[:WIDTH],
        "decoder.layers.0.encoder_attn.v_proj.bias": decoder[1].bias[WIDTH:],
        "decoder.layers.0.encoder_attn.out_proj.weight": decoder[2].weight,
        "decoder.layers.0.encoder_attn_layer_norm.bias": spec.decoder.layer[0].attention.layer_norm.beta,
    }


# --- what ctranslate2 writes ---


@pytest.mark.parametrize(
    ("quantization", "relative"),
    [
        (None, 0.0),
        ("float32", 0.0),
        ("float16", 2**-10),
        ("bfloat16", 2**-7),
        # Half a step of a row's largest value. int16 has one scale for q, k and v together: a step.
        ("int8", 0.51 / 127),
        ("int8_float16", 0.51 / 127),
        ("int16", 1 / 1024),
    ],
)
def test_every_type_that_ctranslate2_writes_is_read(tmp_path: Path, quantization: str | None, relative: float) -> None:
    expected = expected_state(make_spec())
    state = whisper_state(read_model(write(make_spec(), tmp_path, quantization)))
    for name, array in expected.items():
        bound = relative * float(np.abs(array).max())
        torch.testing.assert_close(state[name], torch.from_numpy(array.copy()), rtol=0, atol=bound)


def test_state_is_complete_and_owns_its_storage(model_bin: Path) -> None:
    model = read_model(model_bin)
    state = whisper_state(model)
    assert (num_layers(model, "encoder"), num_layers(model, "decoder")) == (2, 1)
    assert (model.scalar("encoder/num_heads"), model.scalar("decoder/num_heads")) == (HEADS, HEADS)
    # 7 at the top of the encoder, 4 of the decoder, 15 a layer and 9 + 2 more for cross-attention.
    assert len(state) == 7 + 4 + 15 * 3 + 9
    assert not any(name.endswith("k_proj.bias") for name in state)
    assert all(tensor.dtype == torch.float32 and tensor.is_contiguous() for tensor in state.values())
    assert len({tensor.untyped_storage().data_ptr() for tensor in state.values()}) == len(state)


def test_aliases_stand_for_their_variable(tmp_path: Path) -> None:
    # Equal arrays are written once: here two betas, and the projection, which is always the embeddings.
    spec = make_spec()
    spec.encoder.layer_norm.beta = np.ones(WIDTH, np.float32)
    spec.decoder.layer_norm.beta = np.ones(WIDTH, np.float32)
    model = read_model(write(spec, tmp_path))
    assert model.variables["decoder/projection/weight"] is model.variables["decoder/embeddings/weight"]
    assert torch.equal(whisper_state(model)["encoder.layer_norm.bias"], torch.ones(WIDTH))


def test_an_alias_of_a_quantized_weight_has_its_scale(tmp_path: Path) -> None:
    spec = make_spec()
    spec.encoder.layer[1].ffn.linear_0.weight = spec.encoder.layer[0].ffn.linear_0.weight.copy()
    model = read_model(write(spec, tmp_path, "int8"))
    first, second = (f"encoder/layer_{index}/ffn/linear_0/weight" for index in range(2))
    assert model.variables[first] is model.variables[second]
    state = whisper_state(model)
    assert torch.equal(state["encoder.layers.0.fc1.weight"], state["encoder.layers.1.fc1.weight"])


def test_the_file_stays_readable_after_it_is_deleted(model_bin: Path) -> None:
    model = read_model(model_bin)
    model_bin.unlink()
    assert len(whisper_state(model)) > 0


# --- what is not Whisper ---


def test_a_bias_of_the_keys_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="gives the keys a bias"):
        whisper_state(read_model(write(make_spec(key_bias=True), tmp_path)))


def test_an_untied_projection_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="output projection differs from the token embeddings"):
        whisper_state(read_model(write(make_spec(tied=False), tmp_path)))


def test_another_spec_is_refused(model_bin: Path) -> None:
    data = model_bin.read_bytes().replace(b"WhisperSpec", b"WhimperSpec", 1)
    with pytest.raises(CheckpointError, match="is a WhimperSpec of revision 3"):
        whisper_state(parse_model(data, "x"))


def test_another_revision_is_refused(model_bin: Path) -> None:
    data = bytearray(model_bin.read_bytes())
    struct.pack_into("<I", data, 4 + 2 + len("WhisperSpec") + 1, 2)
    with pytest.raises(CheckpointError, match="is a WhisperSpec of revision 2"):
        whisper_state(parse_model(data, "x"))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"encoder/conv1/bias\0", b"encoder/conv1/bios\0", '"encoder/conv1/bias" is missing'),
        (b"decoder/alibi\0", b"decoder/aliby\0", "1 variables have no place in Whisper: decoder/aliby"),
        (b"encoder/layer_1/", b"encoder/layer_7/", r"the encoder has layers \[0, 7\]"),
        (b"decoder/layer_0/", b"decodes/layer_0/", r"the decoder has layers \[\]"),
        (b"encoder/num_heads\0", b"encoder/num_headz\0", "no place in Whisper: encoder/num_headz"),
    ],
)
def test_renamed_variables_are_refused(model_bin: Path, old: bytes, new: bytes, reason: str) -> None:
    data = model_bin.read_bytes()
    assert old in data
    with pytest.raises(CheckpointError, match=reason):
        whisper_state(parse_model(data.replace(old, new), "x"))


def test_another_activation_is_refused(tmp_path: Path) -> None:
    spec = make_spec()
    spec.decoder.activation = np.dtype("int8").type(0)
    with pytest.raises(CheckpointError, match='"decoder/activation" is 0; Whisper needs 3'):
        whisper_state(read_model(write(spec, tmp_path)))


def test_int8_without_its_scale_is_refused(tmp_path: Path) -> None:
    data = write(make_spec(), tmp_path, "int8").read_bytes()
    broken = data.replace(
        b"encoder/layer_0/ffn/linear_0/weight_scale\0", b"encoder/layer_0/ffn/linear_0/weight_skale\0"
    )
    with pytest.raises(CheckpointError, match='linear_0/weight_scale" is missing'):
        whisper_state(parse_model(broken, "x"))


# --- broken files ---


def broken(change: Callable[[bytearray], object]) -> Callable[[bytes], bytes]:
    def apply(data: bytes) -> bytes:
        copy = bytearray(data)
        change(copy)
        return bytes(copy)

    return apply


BROKEN: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "the file is empty"),
    "three bytes": (
        lambda data: data[:3],
        "truncated or corrupt: the binary version at byte 0 needs 4 bytes of 3",
    ),
    "half": (lambda data: data[: len(data) // 2], "truncated or corrupt"),
    "last byte gone": (lambda data: data[:-1], "truncated or corrupt"),
    "bytes behind the end": (lambda data: data + b"\0\0", "2 bytes are left over"),
    "older version": (lambda data: struct.pack("<I", 5) + data[4:], "begins with binary version 5"),
    "a zip pickle": (lambda _: b"PK\x03\x04" + bytes(100), "PyTorch pickle, which speechre never opens"),
    "a bare pickle": (lambda _: b"\x80\x02" + bytes(100), "PyTorch pickle"),
    "an HTML page": (lambda _: b"<!doctype html>" * 9, "begins with binary version"),
    "a Git LFS pointer": (
        lambda _: b"version https://git-lfs.github.com/spec/v1\n",
        "begins with binary version",
    ),
    "name too long": (
        broken(lambda d: struct.pack_into("<H", d, 4, 60_000)),
        "truncated or corrupt|zero-ended",
    ),
    "name without end": (broken(lambda d: struct.pack_into("<H", d, 4, 5)), "is not a zero-ended string"),
    "name not UTF-8": (broken(lambda d: d.__setitem__(6, 0xFF)), "is not UTF-8"),
    "too many variables": (
        broken(lambda d: struct.pack_into("<I", d, 22, 2**31)),
        "corrupt: ",
    ),
    "huge rank": (lambda data: at(data, b"encoder/conv1/bias\0", b"\xff"), "has rank 255"),
    "size overflow": (
        lambda data: at(data, b"encoder/conv1/bias\0", b"\x02" + b"\xff" * 8),
        "corrupt: variable .* has .* bytes; .* needs|type id",
    ),
    "wrong shape": (
        lambda data: at(data, b"encoder/conv1/bias\0", b"\x01" + struct.pack("<I", WIDTH + 1)),
        r"has 32 bytes; float32 \[9\] needs 36",
    ),
    "unknown type": (
        lambda data: at(data, b"encoder/conv1/bias\0", b"\x01" + struct.pack("<IB", WIDTH, 9)),
        "has type id 9; expected 0 to 5",
    ),
    "variable twice": (
        lambda data: data.replace(b"encoder/conv2/bias\0", b"encoder/conv1/bias\0"),
        '"encoder/conv1/bias" stands twice',
    ),
    "dangling alias": (
        lambda data: data[::-1].replace(b"decoder/embeddings/weight"[::-1], b"x" * 25, 1)[::-1],
        'alias "decoder/projection/weight" of "x+" does not point at a variable',
    ),
}


def at(data: bytes, name: bytes, replacement: bytes) -> bytes:
    """``data`` with ``replacement`` written right behind ``name``."""
    start = data.index(name) + len(name)
    return data[:start] + replacement + data[start + len(replacement) :]


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_named_with_its_reason(model_bin: Path, kind: str) -> None:
    change, reason = BROKEN[kind]
    model_bin.write_bytes(change(model_bin.read_bytes()))
    with pytest.raises(CheckpointError, match=reason) as caught:
        read_model(model_bin)
    assert str(model_bin) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"model\.bin: cannot be read: No such file"):
        read_model(tmp_path / "model.bin")


def test_no_truncation_gets_through(model_bin: Path) -> None:
    data = model_bin.read_bytes()
    for end in range(0, len(data), 97):
        with pytest.raises(CheckpointError):
            parse_model(data[:end], "x")
