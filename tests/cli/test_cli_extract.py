"""``speechre extract``: formats, overrides, failures that leave the rest alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from speechre.cli import main
from speechre.cli.output import Output, open_output, print_extraction
from speechre.types import Entity, Extraction, Triplet
from tests.conftest import MakeSound

EXTRACTION = Extraction(
    id="talk",
    source="talk.wav",
    duration_s=12.31,
    model="tiny@123456",
    triplets=(
        Triplet(
            Entity("Ann Lee", "Peop", start_s=3.25, end_s=4.0),
            "Live_In",
            Entity("Oslo [north]", "Loc", start_s=8.0, end_s=9.0),
            0.813,
            5,
            ("hrt", "htr"),
        ),
    ),
    transcript="Ann Lee lives\x1b[31m in Oslo.",
    warnings=("it was cut",),
)


def test_table_shows_types_confidence_and_votes(capsys: pytest.CaptureFixture[str]) -> None:
    print_extraction(Output(sys.stdout, "stdout"), EXTRACTION, 6)
    assert capsys.readouterr().out.splitlines() == [
        "talk.wav  12.3 s",
        r'"Ann Lee lives\x1b[31m in Oslo."',  # not a red terminal
        "warning: it was cut",
        "head            relation  tail                confidence  votes  at",
        "Ann Lee (Peop)  Live_In   Oslo [north] (Loc)        0.81    5/6  0:03.2 to 0:09.0",
        "",
    ]


def test_jsonl_lines_follow_the_contract(
    make_sound: MakeSound,
    tiny_model_dir: Path,
    capsys: pytest.CaptureFixture[str],
    read_jsonl: Callable[[str], list[dict]],
) -> None:
    files = [str(make_sound("a.wav", 0.5)), str(make_sound("b.flac", 0.9, seed=1))]
    assert main(["extract", *files, "--model", str(tiny_model_dir), "--format", "jsonl"]) == 0
    out, err = capsys.readouterr()
    lines = read_jsonl(out)
    assert [list(line) for line in lines] == [list(EXTRACTION.to_dict())] * 2
    assert list(EXTRACTION.to_dict()) == [
        "id",
        "source",
        "duration_s",
        "model",
        "transcript",
        "triplets",
        "relation_probabilities",
        "warnings",
    ]
    assert [line["id"] for line in lines] == ["a", "b"]
    assert [line["source"] for line in lines] == files
    assert [line["duration_s"] for line in lines] == [0.5, 0.9]
    assert set(lines[0]["relation_probabilities"]) == {
        "OrgBased_In",
        "Work_For",
        "Located_In",
        "Live_In",
        "Kill",
    }
    assert err == ""


def test_the_default_is_a_table_and_the_output_s_suffix_can_change_it(
    make_sound: MakeSound,
    tiny_model_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    read_jsonl: Callable[[Path], list[dict]],
) -> None:
    sound = make_sound("a.wav")
    common = ["extract", str(sound), "--model", str(tiny_model_dir)]
    assert main(common) == 0
    table = capsys.readouterr().out
    assert table.startswith(f"{sound}  0.6 s\n")
    assert main([*common, "--output", str(tmp_path / "out.jsonl")]) == 0
    assert [line["id"] for line in read_jsonl(tmp_path / "out.jsonl")] == ["a"]
    assert main([*common, "--output", str(tmp_path / "out.txt")]) == 0
    assert (tmp_path / "out.txt").read_text() == table
    assert capsys.readouterr().out == ""
    assert not list(tmp_path.glob(".*"))


def test_failed_recordings_are_named_and_the_rest_goes_on(
    make_sound: MakeSound,
    tiny_model_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    read_jsonl: Callable[[str], list[dict]],
) -> None:
    first, last = make_sound("1.wav"), make_sound("4.wav", seed=1)
    (tmp_path / "2.wav").write_bytes(b"")
    (tmp_path / "3\n.wav").write_text("no sound")
    arguments = ["extract", str(tmp_path), "--model", str(tiny_model_dir), "--format", "jsonl"]
    assert main([*arguments, "--batch-size", "2"]) == 1
    out, err = capsys.readouterr()
    assert [line["source"] for line in read_jsonl(out)] == [str(first), str(last)]
    lines = err.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(f"AudioError: {tmp_path}/2.wav: ")
    assert lines[1].startswith(rf"AudioError: {tmp_path}/3\n.wav: ")  # one line, whatever the name
    assert lines[2] == "2 of 4 recordings failed"


def test_a_name_that_is_another_one_s_path_gets_an_id_of_its_own(
    make_sound: MakeSound,
    tiny_model_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    read_jsonl: Callable[[str], list[dict]],
) -> None:
    for name in ("m.wav", "m.flac", "m.wav.flac", "n.wav"):
        make_sound(name, 0.3)
    monkeypatch.chdir(tmp_path)
    files = ["m.wav", "m.flac", "m.wav.flac", "n.wav"]
    assert main(["extract", *files, "--model", str(tiny_model_dir), "--format", "jsonl"]) == 0
    assert [line["id"] for line in read_jsonl(capsys.readouterr().out)] == ["m.wav", "m.flac", "m.wav.flac", "n"]


def test_recordings_of_other_formats_in_a_folder_are_named(
    make_sound: MakeSound, tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_sound("m.wav", 0.3)
    for name in ("talk.m4a", "talk.MP4", "notes.txt", ".hidden.m4a"):
        (tmp_path / name).touch()
    assert main(["extract", str(tmp_path), "--model", str(tiny_model_dir), "--format", "jsonl"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    told = f"{tmp_path}/talk.MP4, {tmp_path}/talk.m4a; convert them to WAV or FLAC"
    assert err == f"left out, for their format is not read (2): {told}\n"


@pytest.mark.parametrize("style", ["jsonl", "html"])
def test_where_nothing_was_extracted_the_file_there_stays(
    tiny_model_dir: Path, tmp_path: Path, style: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.wav").touch()
    output = tmp_path / f"out.{style}"
    for kept in (None, "KEEP"):
        if kept is not None:
            output.write_text(kept)
        command = ["extract", str(tmp_path / "empty.wav"), "--model", str(tiny_model_dir), "--output", str(output)]
        assert main(command) == 1
        assert (output.read_text() if output.exists() else None) == kept
    assert "AudioError" in capsys.readouterr().err


def test_a_name_that_is_empty_is_not_this_folder(tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["extract", "", "--model", str(tiny_model_dir)]) == 2
    assert "got an empty name, expected a file or folder" in capsys.readouterr().err
    assert main(["extract", "a.wav", "--second-listener", ""]) == 2
    capsys.readouterr()


def test_closed_streams_are_no_tracebacks(make_sound: MakeSound, tiny_model_dir: Path, tmp_path: Path) -> None:
    sound, output = make_sound("a.wav", 0.3), tmp_path / "out.jsonl"
    program = f"{sys.executable} -m speechre extract {sound} --model {tiny_model_dir} --format jsonl"
    done = subprocess.run(["sh", "-c", f"{program} >&-"], capture_output=True, text=True)
    assert (done.returncode, done.stderr.splitlines()) == (
        2,
        ["UsageError: standard output: cannot be written: it is closed; open it, or name a file with --output"],
    )
    done = subprocess.run(["sh", "-c", f"{program} --output {output} >&-"], capture_output=True, text=True)
    assert (done.returncode, done.stderr, len(output.read_text().splitlines())) == (0, "", 1)
    done = subprocess.run(["sh", "-c", f"{program} no.wav 2>&-"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")


def test_files_of_one_name_get_ids_of_their_own(
    make_sound: MakeSound,
    tiny_model_dir: Path,
    capsys: pytest.CaptureFixture[str],
    read_jsonl: Callable[[str], list[dict]],
) -> None:
    files = [str(make_sound(name)) for name in ("x/talk.wav", "y/talk.wav", "y/other.wav")]
    assert main(["extract", *files, "--model", str(tiny_model_dir), "--format", "jsonl"]) == 0
    assert [line["id"] for line in read_jsonl(capsys.readouterr().out)] == [files[0], files[1], "other"]


def test_only_given_options_override_the_model(make_sound: MakeSound, monkeypatch: pytest.MonkeyPatch) -> None:
    from speechre.errors import CheckpointError
    from speechre.extract.extractor import Extractor

    seen: list[dict[str, object]] = []

    def from_pretrained(name: str, **options: object) -> Extractor:
        seen.append({"name": name, **options})
        raise CheckpointError("enough seen")

    monkeypatch.setattr(Extractor, "from_pretrained", from_pretrained)
    sound = str(make_sound())
    assert main(["extract", sound, "--model", "m", "--device", "cpu"]) == 1
    options = ["--orders", "hrt, trh", "--beams", "3", "--threshold", "0.25", "--batch-size", "2"]
    assert main(["extract", sound, "--device", "cpu", *options]) == 1
    own = {"device": "cpu", "memory_mib": None, "vad": "energy"}
    assert seen == [
        {"name": "m", **own, "batch_size": 8},
        {
            "name": "speechre-tiny-conll04",
            **own,
            "batch_size": 2,
            "orders": ("hrt", "trh"),
            "beams": 3,
            "threshold": 0.25,
        },
    ]


def test_an_automatic_batch_size_answers_as_a_fixed_one_in_the_same_sequence(
    make_sound: MakeSound,
    tiny_model_dir: Path,
    capsys: pytest.CaptureFixture[str],
    read_jsonl: Callable[[str], list[dict]],
) -> None:
    files = [str(make_sound(f"{n}.wav", 0.5 + 0.4 * (n * 3 % 5), n)) for n in range(5)]
    common = ["extract", *files, "--model", str(tiny_model_dir), "--format", "jsonl"]
    assert main(common) == 0
    fixed = read_jsonl(capsys.readouterr().out)
    assert main([*common, "--batch-size", "auto", "--memory-mib", "4096"]) == 0
    found = read_jsonl(capsys.readouterr().out)
    assert [line["source"] for line in found] == files
    for line in (*fixed, *found):
        for key in ("triplets", "relation_probabilities"):
            line[key] = json.loads(json.dumps(line[key]), parse_float=lambda text: round(float(text), 3))
    assert found == fixed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--memory-mib", "900"], "--memory-mib has no effect without --batch-size auto"),
        (["--batch-size", "auto", "--memory-mib", "20"], "a memory budget of 20 MiB: the loaded model takes"),
        (["--batch-size", "most"], 'argument --batch-size: got "most", expected a whole number from 1 on, or auto'),
    ],
)
def test_batch_sizes_and_budgets_that_do_not_go(
    options: list[str],
    message: str,
    make_sound: MakeSound,
    tiny_model_dir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["extract", str(make_sound()), "--model", str(tiny_model_dir), *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_orders_and_beams_reach_the_decoder(
    make_sound: MakeSound, tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["extract", str(make_sound()), "--model", str(tiny_model_dir)]
    assert main([*arguments, "--orders", "hrt", "--beams", "2"]) == 0
    assert capsys.readouterr().err == ""


def test_the_output_is_tried_before_the_model_loads(
    make_sound: MakeSound, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = str(make_sound())
    for bad in (tmp_path, tmp_path / "missing" / "out.jsonl", Path(sound) / "out.jsonl"):
        assert main(["extract", sound, "--model", "there is no such model", "--output", str(bad)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"UsageError: {bad}: cannot be written: ")


def test_a_failed_run_leaves_the_old_output(
    make_sound: MakeSound, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.jsonl"
    output.write_text("old")
    assert main(["extract", str(make_sound()), "--model", str(tmp_path / "none"), "--output", str(output)]) == 2
    assert capsys.readouterr().err.startswith("UnknownModelError: ")
    assert output.read_text() == "old"
    assert not list(tmp_path.glob(".*"))


def test_output_through_a_link_replaces_what_it_points_at(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "folder" / "real")
    with open_output(link) as out:
        out.write("new")
    assert link.is_symlink()
    assert (tmp_path / "folder" / "real").read_text() == "new"


@pytest.mark.skipif(os.name != "posix", reason="needs permissions as POSIX has them")
def test_output_keeps_the_permissions_of_what_it_replaces(tmp_path: Path) -> None:
    output, link = tmp_path / "out.jsonl", tmp_path / "link"
    output.write_text("old")
    output.chmod(0o600)
    link.symlink_to(output)
    for place in (output, link):
        with open_output(place) as out:
            (building,) = tmp_path.glob(".*.tmp")
            assert building.stat().st_mode & 0o777 == 0o600  # from the start: nobody reads along
            out.write("new")
        assert (output.read_text(), output.stat().st_mode & 0o777) == ("new", 0o600)
    assert link.is_symlink()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_device_is_written_not_replaced(
    make_sound: MakeSound, tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["extract", str(make_sound()), "--model", str(tiny_model_dir), "--output", "/dev/full"]
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("UsageError: /dev/full: cannot be written: No space left")
    assert Path("/dev/full").is_char_device()


def test_as_a_process(make_sound: MakeSound, tiny_model_dir: Path, tmp_path: Path) -> None:
    """Nothing but messages on stderr, and a name that is not UTF-8 is no reason to fail."""
    name = os.fsdecode(b"caf\xe9.wav")
    make_sound("plain.wav").rename(tmp_path / name)
    command = [sys.executable, "-m", "speechre", "extract", name, "--model", str(tiny_model_dir)]
    done = subprocess.run([*command, "--format", "jsonl"], cwd=tmp_path, capture_output=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert rb'"source": "caf\udce9.wav"' in done.stdout


def test_a_reader_that_leaves_early_is_no_error(make_sound: MakeSound, tiny_model_dir: Path) -> None:
    command = [sys.executable, "-m", "speechre", "extract", str(make_sound()), "--model", str(tiny_model_dir)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(timeout=120) == 141


def test_no_recording_is_replaced_by_its_extraction(
    make_sound: MakeSound, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = make_sound()
    before = sound.read_bytes()
    link = tmp_path / "link"
    link.symlink_to(sound)
    for output in (sound, tmp_path / "." / sound.name, link):
        assert main(["extract", str(sound), "--model", "never loaded", "--output", str(output)]) == 2
        assert capsys.readouterr().err.startswith(f"UsageError: {output}: would replace the input {sound}; ")
    assert sound.read_bytes() == before


def test_an_empty_model_is_not_the_default(make_sound: MakeSound, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["extract", str(make_sound()), "--model", ""]) == 2
    assert capsys.readouterr().err.startswith('UnknownModelError: model "" is neither a folder nor a shipped model')


def test_orders_that_the_model_has_not_learned(
    make_sound: MakeSound, tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(tiny_model_dir, tmp_path / "few"))
    config = json.loads((folder / "config.json").read_text())
    config["run"]["model"]["orders"] = config["run"]["decode"]["orders"] = ["hrt", "trh"]
    config["run"]["train"]["orders_per_utterance"] = 2
    (folder / "config.json").write_text(json.dumps(config))
    arguments = ["extract", str(make_sound()), "--model", str(folder)]
    assert main([*arguments, "--orders", "hrt"]) == 0
    capsys.readouterr()
    assert main([*arguments, "--orders", "hrt,thr"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "decode.orders names thr, but the model has only hrt, trh" in line
