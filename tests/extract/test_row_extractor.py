"""``datasets.Dataset.map`` with an extractor: every form of a recording, single rows and batches, stable features."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pytest
import soundfile
import torch

from speechre import Extractor
from speechre.errors import AudioError, UsageError
from tests.tiny import tones


@pytest.fixture(scope="module")
def extractor(tiny_model_dir: Path) -> Extractor:
    return Extractor.from_pretrained(tiny_model_dir, batch_size=2)


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    found = [tmp_path / f"u{number}.wav" for number in range(3)]
    for number, path in enumerate(found):
        soundfile.write(path, tones(number, 0.5 + number), 16_000, subtype="FLOAT")
    return [str(path) for path in found]


def texts(column: list[dict[str, Any]]) -> list[tuple[str, list[tuple[str, str, str]]]]:
    return [
        (one["transcript"], [(t["head"]["text"], t["relation"], t["tail"]["text"]) for t in one["triplets"]])
        for one in column
    ]


@pytest.fixture
def told(extractor: Extractor, paths: list[str]) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """What the extractor says of the recordings by itself."""
    found = texts([extraction.to_dict() for extraction in extractor(list(paths))])
    assert any(triplets for _, triplets in found), "nothing was found: this proves nothing"
    return found


def test_a_data_set_is_mapped_by_rows_and_by_batches(
    extractor: Extractor, paths: list[str], told: list[Any], tmp_path: Path
) -> None:
    dataset = datasets.Dataset.from_dict({"id": ["a", "b", "c"], "audio": paths})
    dataset = dataset.cast_column("audio", datasets.Audio(decode=False))
    single = dataset.map(extractor)
    rows = extractor.rows()
    batched = dataset.map(rows, batched=True, batch_size=2, features=rows.features(dataset.features))
    assert texts(single["extraction"]) == texts(batched["extraction"]) == told
    assert [one["id"] for one in batched["extraction"]] == ["a", "b", "c"]
    assert [one["source"] for one in batched["extraction"]] == paths
    assert batched.features == rows.features(dataset.features)
    batched.to_parquet(tmp_path / "out.parquet")
    assert texts(datasets.Dataset.from_parquet(str(tmp_path / "out.parquet"))["extraction"]) == told


def test_features_hold_rows_without_triplets_before_rows_with_some(extractor: Extractor, paths: list[str]) -> None:
    """Guessed from the first rows written, the lists' type would be none."""
    dataset = datasets.Dataset.from_dict({"audio": paths})
    rows = extractor.rows()

    def quiet_first(batch: dict[str, Any]) -> dict[str, Any]:
        out = rows(batch)
        if batch["audio"][0] == paths[0]:
            out["extraction"][0] |= {"triplets": [], "warnings": []}
        return out

    mapped = dataset.map(
        quiet_first, batched=True, batch_size=1, writer_batch_size=1, features=rows.features(dataset.features)
    )
    assert mapped["extraction"][0]["triplets"] == []
    assert any(one["triplets"] for one in mapped["extraction"])


def test_every_form_of_a_recording_is_heard_alike(extractor: Extractor, paths: list[str], told: list[Any]) -> None:
    content = Path(paths[0]).read_bytes()
    samples, rate = soundfile.read(io.BytesIO(content), dtype="float32")
    decoded = SimpleNamespace(data=torch.from_numpy(samples)[None], sample_rate=rate)
    forms = [
        paths[0],
        Path(paths[0]),
        {"path": paths[0], "bytes": None},
        {"path": None, "bytes": content},
        {"path": "elsewhere/u0.wav", "bytes": content},
        {"array": samples, "sampling_rate": rate, "path": None},
        {"array": samples.tolist(), "sampling_rate": rate},
        SimpleNamespace(get_all_samples=lambda: decoded),
    ]
    found = extractor.rows()({"audio": forms})["extraction"]
    assert texts(found) == told[:1] * len(forms)
    assert [one["id"] for one in found] == [*["u0"] * 3, "recording-3", "u0", *[f"recording-{n}" for n in (5, 6, 7)]]
    assert found[4]["source"] == "elsewhere/u0.wav"


def test_columns_can_have_other_names(extractor: Extractor, paths: list[str], told: list[Any]) -> None:
    assert list(extractor.rows("sound", into="said")({"sound": paths[0]})) == ["said"]
    assert texts([extractor({"audio": paths[0]})["extraction"]]) == told[:1]
    with pytest.raises(UsageError, match=r'no column "audio" in sound, text; .*extractor\.rows\("NAME"\)'):
        extractor({"sound": paths[0], "text": ""})


def test_a_row_that_cannot_be_heard_is_named(extractor: Extractor, paths: list[str], tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r'row "b": .*missing\.wav: no such file'):
        extractor.rows()({"id": ["a", "b"], "audio": [paths[0], str(tmp_path / "missing.wav")]})
    with pytest.raises(AudioError, match='row "recording-1": '):
        extractor.rows()({"audio": [paths[0], {"bytes": b"no sound", "path": None}]})
    with pytest.raises(UsageError, match="a recording with the keys path; expected array and sampling_rate, or"):
        extractor({"audio": {"path": None}})
    with pytest.raises(UsageError, match="a recording with the keys array; expected array and sampling_rate, or"):
        extractor({"audio": {"array": [0.0] * 16000}})


def test_other_processes_can_be_given_it(extractor: Extractor, paths: list[str], told: list[Any]) -> None:
    """``num_proc`` pickles the callable."""
    again = pickle.loads(pickle.dumps(extractor.rows()))
    assert texts(again({"audio": paths})["extraction"]) == told


def test_an_answer_that_was_given_before_is_known(
    extractor: Extractor, paths: list[str], told: list[Any], tiny_model_dir: Path, tmp_path: Path
) -> None:
    """``datasets`` keeps the answers of what has the same bytes when it is pickled."""
    datasets.Dataset.from_dict({"audio": paths}).save_to_disk(tmp_path / "set")
    dataset = datasets.load_from_disk(str(tmp_path / "set"))
    assert texts(dataset.map(extractor)["extraction"]) == told
    same = Extractor.from_pretrained(tiny_model_dir, batch_size=2)
    other = Extractor.from_pretrained(tiny_model_dir, batch_size=2, threshold=0.987)
    for one in (same, other):
        one._analyze = None  # type: ignore[method-assign,assignment]  # so that it can only be remembered
    assert texts(dataset.map(same)["extraction"]) == told
    with pytest.raises(TypeError):
        dataset.map(other)


def test_what_is_no_recording_is_said(extractor: Extractor) -> None:
    with pytest.raises(UsageError, match=r"recording-0: got ndarray; expected .* pair an array with its sampling rate"):
        extractor([np.zeros(100)])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="recording-1: got int; expected a path"):
        extractor([(np.ones(16000) / 9, 16000), 5])  # type: ignore[list-item]
    with pytest.raises(UsageError, match=r"recording-0: got tuple; expected a path.*several recordings are a list"):
        extractor((1, 2, 3))  # type: ignore[call-overload]
