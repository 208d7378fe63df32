"""A model folder: written whole, read back equal, and refused when anything in it does not fit."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from speechre.config import Config
from speechre.digests import file_sha256
from speechre.errors import CheckpointError, UsageError
from speechre.model import checkpoint
from speechre.model.backbone import sinusoids
from speechre.model.card import model_card
from speechre.model.checkpoint import (
    load_checkpoint,
    model_folder,
    save_checkpoint,
)
from speechre.model.folders import prepare_place
from speechre.model.weights import load_whisper
from speechre.schema import Schema
from speechre.schemas import CONLL04
from speechre.types import Extraction
from tests.tiny import random_mels, tiny_network

CONFIG = Config.from_dict({"name": "tiny", "model": {"backbone": "random"}, "train": {"steps": 7}})


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Do not change it."""
    network, sequencer = tiny_network()
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_checkpoint(folder, network, sequencer.tokenizer, CONLL04, CONFIG)
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    """One to break."""
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def edit_config(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "config.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")


def rewrite_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """Other tensors, and the hash that fits them."""
    path = folder / "model.safetensors"
    state = dict(load_file(path))
    change(state)
    save_file(state, path)
    edit_config(folder, lambda data: data.update(weights_sha256=file_sha256(path)))


def test_round_trip(saved: Path) -> None:
    network, sequencer = tiny_network()
    loaded = load_checkpoint(str(saved))
    assert (loaded.name, loaded.schema, loaded.config) == ("tiny", CONLL04, CONFIG)
    assert loaded.model_id == f"tiny@{loaded.weights_sha256[:6]}"
    assert loaded.sequencer().relation_ids == sequencer.relation_ids
    assert not loaded.network.training
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], tensor), name
    mels = random_mels(2)
    with torch.inference_mode():
        assert torch.equal(loaded.network.encode(mels).states, network.encode(mels).states)


def test_float16_is_half_the_size_and_loads_as_float32(saved: Path, tmp_path: Path) -> None:
    network, sequencer = tiny_network()
    save_checkpoint(tmp_path / "half", network, sequencer.tokenizer, CONLL04, CONFIG, torch.float16)
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (saved, tmp_path / "half")]
    assert sizes[1] < 0.51 * sizes[0]
    loaded = load_checkpoint(str(tmp_path / "half")).network
    for name, tensor in network.state_dict().items():
        assert loaded.state_dict()[name].dtype == tensor.dtype
        assert torch.allclose(loaded.state_dict()[name], tensor, atol=2e-3), name


def test_whispers_own_encoder_positions_are_not_stored_and_others_are(saved: Path, tmp_path: Path) -> None:
    name = "whisper.encoder.embed_positions.weight"
    assert name in load_file(saved / "model.safetensors")  # random ones
    network, sequencer = tiny_network()
    network = deepcopy(network)
    positions = network.whisper.encoder.embed_positions.weight
    published = sinusoids(*positions.shape).to(torch.float16)
    positions.data.copy_(published)
    save_checkpoint(tmp_path / "fixed", network, sequencer.tokenizer, CONLL04, CONFIG, torch.int8)
    assert name not in load_file(tmp_path / "fixed" / "model.safetensors")
    loaded = load_checkpoint(str(tmp_path / "fixed")).network.whisper.encoder.embed_positions.weight
    assert torch.allclose(loaded, published.float(), atol=1e-3)


def test_the_sinusoids_are_whispers() -> None:
    whisper = load_whisper("tiny.en")
    published = whisper.state["encoder.embed_positions.weight"].float()
    assert torch.allclose(sinusoids(*published.shape), published, atol=1e-3)


def test_a_folder_is_replaced_and_nothing_lies_about(copy: Path) -> None:
    network, sequencer = tiny_network()
    other = Config.from_dict({**CONFIG.to_dict(), "name": "other"})
    save_checkpoint(copy, network, sequencer.tokenizer, CONLL04, other)
    assert load_checkpoint(str(copy)).name == "other"
    assert [path.name for path in copy.parent.iterdir()] == ["copy"]
    assert sorted(path.name for path in copy.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_transformers_finds_its_tokenizer_and_features_in_the_folder(saved: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(saved)
    ours = load_checkpoint(str(saved)).tokenizer
    text = " Helen Parker lives in Geneva."
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == list(ours.encode_text(text))
    assert len(tokenizer) == ours.vocab_size
    features = transformers.AutoFeatureExtractor.from_pretrained(saved)
    assert (features.feature_size, features.sampling_rate, features.n_samples) == (80, 16_000, 480_000)


def test_the_model_card_says_what_the_folder_knows(saved: Path, tmp_path: Path) -> None:
    card = (saved / "README.md").read_text(encoding="utf-8")
    _, head, body = card.split("---\n", 2)
    assert yaml.safe_load(head)["library_name"] == "speechre"
    assert "base_model" not in yaml.safe_load(head)  # random weights have none
    for name in (*CONLL04.entity_types, *CONLL04.relation_types):
        assert f"`{name}`" in body
    assert "text reader" not in body
    config = Config.from_dict(
        {"name": "my *model*", "model": {"backbone": "tiny.en"}, "data": {"train": ["/x/my.jsonl"]}}
    )
    network, _ = tiny_network()
    card = model_card(config, Schema("s", ("A`b", "C"), ("r",)), network.config, has_reader=True)
    assert yaml.safe_load(card.split("---\n")[1])["base_model"] == "openai/whisper-tiny.en"
    assert "# my \\*model\\*\n" in card
    assert "`` A`b ``, `C`" in card
    assert "utterances of `my.jsonl`." in card
    assert "text reader" in card


def test_the_code_of_the_card_runs(
    saved: Path, tmp_path: Path, make_sound: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (saved / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    # Where the card's two names lead somewhere: the model's folder and a recording.
    (tmp_path / "tiny").symlink_to(saved)
    make_sound("talk.wav")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert isinstance(names["extraction"], Extraction)
    assert names["extraction"].model == load_checkpoint(str(saved)).model_id


def test_a_failed_save_leaves_the_old_folder(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, sequencer = tiny_network()

    def full_disk(*args: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(checkpoint, "_write_json", full_disk)
    with pytest.raises(UsageError, match=r"copy: cannot be written: no space left; make room"):
        save_checkpoint(copy, network, sequencer.tokenizer, CONLL04, CONFIG)
    assert load_checkpoint(str(copy)).name == "tiny"
    assert names_in(copy.parent) == ["copy"]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_folders_that_look_like_ours_stay(saved: Path, tmp_path: Path) -> None:
    network, sequencer = tiny_network()
    others = [tmp_path / name for name in ("m.old", "m.tmp", ".m.mine.old", ".m.7.old.1", ".mm.7.old", ".m.7.building")]
    for other in others:
        shutil.copytree(saved, other)
        (other / "config.json").touch()  # .m.7.building: another process writes there right now
    for _ in range(2):  # new, and in the place of an old one
        save_checkpoint(tmp_path / "m", network, sequencer.tokenizer, CONLL04, CONFIG)
        assert names_in(tmp_path) == sorted(["m", *(other.name for other in others)])
    for other in others:
        assert load_checkpoint(str(other)).name == "tiny"


def test_a_place_that_cannot_be_written_is_told_before_and_after(tmp_path: Path) -> None:
    network, sequencer = tiny_network()
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "m", tmp_path / "file" / "below" / "m", tmp_path / ("m" * 250)):
        with pytest.raises(UsageError, match="cannot be written"):
            prepare_place(place)
        with pytest.raises(UsageError, match="cannot be written"):
            save_checkpoint(place, network, sequencer.tokenizer, CONLL04, CONFIG)
    with pytest.raises(UsageError, match="cannot be written"):
        prepare_place(tmp_path / "a\0b")
    prepare_place(tmp_path / "new" / "m")
    assert names_in(tmp_path) == ["file", "new"]
    assert names_in(tmp_path / "new") == []


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name} is missing"):
        load_checkpoint(str(copy))


@pytest.mark.parametrize("place", [0, 0.3, 0.99])
def test_a_flipped_byte(copy: Path, place: float) -> None:
    path = copy / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match="SHA-256 differs"):
        load_checkpoint(str(copy))


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5])
@pytest.mark.parametrize("with_right_hash", [False, True])
def test_truncated_weights(copy: Path, share: float, with_right_hash: bool) -> None:
    path = copy / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    if with_right_hash:
        edit_config(copy, lambda data: data.update(weights_sha256=file_sha256(path)))
    message = "not a readable safetensors file" if with_right_hash else "SHA-256 differs"
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(str(copy))


def test_a_missing_an_unknown_and_a_wrong_tensor(copy: Path) -> None:
    name = "relation_head.classifier.bias"
    right = load_file(copy / "model.safetensors")[name]
    rewrite_weights(copy, lambda state: state.pop(name))
    with pytest.raises(CheckpointError, match=f"tensor {name} is missing"):
        load_checkpoint(str(copy))
    rewrite_weights(copy, lambda state: state.update({name: right[:-1].clone()}))
    with pytest.raises(CheckpointError, match=rf"tensor {name} is \(4,\), config.json says \(5,\)"):
        load_checkpoint(str(copy))
    rewrite_weights(copy, lambda state: state.update({name: right, "extra": right.clone()}))
    with pytest.raises(CheckpointError, match="unknown tensor extra"):
        load_checkpoint(str(copy))
    rewrite_weights(copy, lambda state: state.pop("extra"))
    load_checkpoint(str(copy))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(model_type="whisper"), "model_type is 'whisper', expected \"speechre\""),
        (lambda d: d.pop("model_type"), "model_type is None"),
        (lambda d: d.update(format=2), "format 2, this version of speechre reads 1"),
        (lambda d: d.pop("format"), "format None"),
        (lambda d: d.pop("weights_sha256"), "not a complete speechre config"),
        (lambda d: d.pop("schema"), "not a complete speechre config"),
        (lambda d: d.update(schema=[]), "not a complete speechre config"),
        (lambda d: d["schema"].update(pairs=[]), None),
        (lambda d: d["schema"].update(pairs=[1]), "not a complete speechre config"),
        (lambda d: d.update(whisper=[]), "not a complete speechre config"),
        (lambda d: d["whisper"].update(d_model=63), "not a complete speechre config"),
        (lambda d: d["whisper"].update(encoder_ffn_dim=64), "config.json says"),
        (lambda d: d["whisper"].update(vocab_size=100), "config.json says"),
        (lambda d: d["run"].update(zzz=1), 'unknown key "zzz"'),
        (lambda d: d["schema"]["relation_types"].append("More"), "config.json says"),
        (lambda d: d["schema"]["entity_types"].append("More"), 'there is no token "<More>"'),
        (
            lambda d: d["schema"].update(relation_types=["A", "B", "C", "D", "E"], pairs={}),
            'there is no token "<A>".*another model or schema',
        ),
    ],
)
def test_a_config_that_does_not_fit(copy: Path, change: Callable[[dict[str, Any]], None], message: str | None) -> None:
    edit_config(copy, change)
    if message is None:  # no pairs: every pair is allowed
        assert load_checkpoint(str(copy)).schema.pairs == {}
        return
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(str(copy))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"null"])
def test_a_config_that_is_none(copy: Path, content: bytes) -> None:
    (copy / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_checkpoint(str(copy))


def test_a_tokenizer_of_another_model(copy: Path) -> None:
    path = copy / "tokenizer.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    data["added_tokens"].pop()
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        load_checkpoint(str(copy))


def test_no_pickle_is_opened(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one that lies in the folder nor one under the weights' name."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a pickle was opened")

    for module, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")):
        monkeypatch.setattr(module, name, refuse)
    (copy / "pytorch_model.bin").write_bytes(pickle.dumps({"a": 1}))
    load_checkpoint(str(copy))
    path = copy / "model.safetensors"
    path.write_bytes(pickle.dumps({"a": [1] * 100}))
    edit_config(copy, lambda data: data.update(weights_sha256=file_sha256(path)))
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        load_checkpoint(str(copy))


def test_a_name_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match='model "nope" is neither a folder nor a shipped model'):
        model_folder("nope")
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="is a file, not a model folder"):
        model_folder(str(tmp_path / "file"))


@pytest.mark.parametrize("name", [".", "..", "./", "speechre-tiny-conll04/.."])
def test_a_path_is_never_a_shipped_model(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    if "tiny" in name:
        with pytest.raises(CheckpointError, match="is neither a folder nor a shipped model"):
            model_folder(name)
    else:
        assert model_folder(name).resolve() in (tmp_path, tmp_path / "here")


def test_an_empty_name_is_no_model() -> None:
    with pytest.raises(CheckpointError, match='model "" is neither a folder nor a shipped model; shipped models: s'):
        model_folder("")


def test_a_shipped_name_needs_a_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "PRETRAINED_DIR", tmp_path)
    (tmp_path / "__pycache__").mkdir()
    with pytest.raises(CheckpointError, match="shipped models: none"):
        model_folder("__pycache__")
