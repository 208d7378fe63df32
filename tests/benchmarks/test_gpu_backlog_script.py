"""scripts/gpu-backlog: every job is a recipe that loads, on data and weights that it packs."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path

from speechre.config import load_config
from speechre.model.checkpoint import PRETRAINED_DIR, load_checkpoint

SCRIPT = Path(__file__).parents[2] / "scripts" / "gpu-backlog"


def test_jobs_need_only_what_is_packed() -> None:
    loader = importlib.machinery.SourceFileLoader("gpu_backlog", str(SCRIPT))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    script = importlib.util.module_from_spec(spec)
    loader.exec_module(script)
    packed = {"data/conll04/train.jsonl", *(f"data/{name}" for name in script.OWN)}
    assert len(script.JOBS) >= 21  # seven rows of the ablation, three seeds each, among them
    for name, (_, recipe, overrides) in script.JOBS.items():
        settings = {key[2:]: value for key, value in zip(overrides[::2], overrides[1::2], strict=True)}
        config = load_config(recipe, settings)
        told = dict(zip(*[iter(script.training(name, Path("stage")))] * 2, strict=True))
        assert told.pop("--config") == recipe, name
        run = load_config(recipe, {key[2:]: value for key, value in told.items()})
        assert len(run.data.train) == len(config.data.train), name
        assert all(one.startswith("stage/") for one in (*run.data.train, *run.data.dev)), name
        start, backbone = run.model.start_from, run.model.backbone
        if start:
            assert load_checkpoint(start).config.model.backbone == backbone, name
        else:
            assert backbone in ("stage/tiny.en", "stage/base"), name
        assert config.train.device == "cuda", name
        assert set(config.data.train) <= packed, name
        assert config.model.backbone in ("tiny.en", "base"), name
        # What a job starts from is shipped: it comes with the code.
        assert config.model.start_from in ("", *(folder.name for folder in PRETRAINED_DIR.iterdir())), name
