"""The bar of long extractions: seconds done, time left, real-time factor; nothing of it where nobody looks."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from speechre.cli import main
from speechre.cli.progress import AudioProgress, audio_progress, durations_of
from tests.conftest import MakeSound


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=120)


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_bar_shows_share_eta_and_real_time_factor() -> None:
    seconds = iter([0.0, 30.0, 30.0, 30.0, 30.0])
    console = terminal()
    with AudioProgress({"a": 100.0, "b": 100.0}, console, lambda: next(seconds)) as progress:
        progress.advance("a", 60.0)
    text = shown(console)
    assert "30%" in text
    assert "ETA" in text
    assert "real-time factor 0.50" in text


def test_a_recording_that_fails_counts_as_done() -> None:
    console = terminal()
    with AudioProgress({"a": 100.0, "b": 100.0}, console) as progress:
        progress.advance("a", 20.0)
        progress.finish("a")
        progress.finish("not known")
    assert "50%" in shown(console)


def test_the_bar_is_gone_while_results_are_written() -> None:
    console = terminal()
    with AudioProgress({"a": 10.0}, console) as progress:
        progress.advance("a", 5.0)
        with progress.hidden():
            console.file.write("RESULT\n")
        progress.advance("a", 10.0)
    before, after = shown(console).split("RESULT\n")
    assert before.endswith("\x1b[2K")  # the line of the bar was cleared
    assert "100%" in after


def test_without_a_terminal_nothing_is_shown_or_measured(capsys: pytest.CaptureFixture[str]) -> None:
    def never() -> dict[str, float]:
        raise AssertionError("nobody looks: no header need be read")

    with audio_progress(never) as progress:
        progress.advance("a", 1.0)
        with progress.hidden():
            pass
    assert capsys.readouterr() == ("", "")


def test_durations_of_good_and_bad_files(make_sound: MakeSound, tmp_path: Path) -> None:
    good, bad = str(make_sound("a.wav", 1.5)), tmp_path / "b.wav"
    bad.write_text("no sound")
    assert durations_of([good, str(bad)]) == {good: pytest.approx(1.5), str(bad): 0.0}


def test_an_extraction_on_a_terminal_shows_the_bar_on_stderr_only(
    make_sound: MakeSound, tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stderr = io.StringIO()
    stderr.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stderr", stderr)
    monkeypatch.setenv("TERM", "xterm")
    (tmp_path / "bad.wav").write_text("no sound")
    output = tmp_path / "out.jsonl"
    files = [str(make_sound("a.wav", 1.5)), str(tmp_path / "bad.wav")]
    assert main(["extract", *files, "--model", str(tiny_model_dir), "--output", str(output)]) == 1
    assert "real-time factor" in stderr.getvalue()
    assert "AudioError: " in stderr.getvalue()
    assert len(output.read_text().splitlines()) == 1


def test_a_missing_detector_is_told_before_the_model_loads(
    make_sound: MakeSound, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from speechre.extract import vad

    vad._silero_session.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["extract", str(make_sound()), "--model", "there is no such model", "--vad", "silero"]) == 2
    assert 'pip install "speechre[vad]"' in capsys.readouterr().err
