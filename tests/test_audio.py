"""The guarded decoder: every format it takes, and every fault it must refuse."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechre.audio import audio_duration_s, read_audio, read_blocks
from speechre.errors import AudioError
from speechre.samples import SAMPLE_RATE_HZ, from_array

FORMATS = [
    ("WAV", "PCM_U8", 0.02),
    ("WAV", "PCM_16", 0.001),
    ("WAV", "PCM_24", 0.001),
    ("WAV", "PCM_32", 0.001),
    ("WAV", "FLOAT", 0.001),
    ("WAV", "DOUBLE", 0.001),
    ("WAV", "ULAW", 0.03),
    ("WAV", "ALAW", 0.03),
    ("WAVEX", "PCM_16", 0.001),
    ("FLAC", "PCM_16", 0.001),
    ("FLAC", "PCM_24", 0.001),
    ("OGG", "VORBIS", 0.1),
    ("OGG", "OPUS", 0.1),
    ("MP3", "MPEG_LAYER_III", 0.1),
]


def tone(rate_hz: int, duration_s: float = 1.0, channels: int = 1) -> np.ndarray:
    """A sweep with some noise, (samples,) or (samples, channels)."""
    time_s = np.arange(round(rate_hz * duration_s)) / rate_hz
    sound = 0.3 * np.sin(2 * np.pi * (200 + 400 * time_s) * time_s)
    sound += 0.01 * np.random.default_rng(0).standard_normal(len(sound))
    return sound if channels == 1 else np.stack([sound] * channels, axis=1)


def encode(sound: np.ndarray, rate_hz: int, kind: str = "WAV", codec: str = "PCM_16", **options: object) -> bytes:
    out = io.BytesIO()
    channels = 1 if sound.ndim == 1 else sound.shape[1]
    with soundfile.SoundFile(out, "w", rate_hz, channels, format=kind, subtype=codec, **options) as file:
        file.write(sound)
    return out.getvalue()


def fault(content: bytes, **options: object) -> str:
    with pytest.raises(AudioError) as caught:
        read_audio(content, name="talk.wav", **options)
    assert str(caught.value).startswith("talk.wav: ")
    return str(caught.value)


def ogg_pages(content: bytes) -> list[tuple[int, int]]:
    pages, position = [], 0
    while position < len(content):
        lacing = content[position + 27 : position + 27 + content[position + 26]]
        pages.append((position, position + 27 + len(lacing) + sum(lacing)))
        position = pages[-1][1]
    return pages


@pytest.mark.parametrize(("kind", "codec", "tolerance"), FORMATS)
@pytest.mark.parametrize("rate_hz", [8000, 16000, 24000, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_format_rate_and_channel_count(
    tmp_path: Path, kind: str, codec: str, tolerance: float, rate_hz: int, channels: int
) -> None:
    path = tmp_path / "sound.bin"  # the content counts, not the extension
    path.write_bytes(encode(tone(rate_hz, channels=channels), rate_hz, kind, codec))
    sound = read_audio(path)
    assert sound.dtype == np.float32
    assert sound.shape == (SAMPLE_RATE_HZ,)
    assert audio_duration_s(path) == pytest.approx(1.0)
    inside = slice(800, -800)
    expected = from_array(tone(rate_hz), rate_hz)
    assert np.sqrt(np.mean((sound - expected)[inside] ** 2)) < tolerance


@pytest.mark.parametrize("rate_hz", [1000, 11025, 22050, 44100, 96000, 192000])
def test_odd_rates_keep_the_length(rate_hz: int) -> None:
    sound = read_audio(encode(tone(rate_hz, 0.7311), rate_hz, "WAV", "FLOAT"))
    assert abs(len(sound) - 0.7311 * SAMPLE_RATE_HZ) <= 16


def test_channels_are_averaged() -> None:
    left = tone(16000)
    sound = read_audio(encode(np.stack([left, -left, left, left], axis=1), 16000, "WAV", "FLOAT"))
    np.testing.assert_allclose(sound, left / 2, atol=1e-6)


@pytest.mark.parametrize("louder", [1.0, 0.96])
def test_channels_that_cancel_each_other_are_refused(louder: float) -> None:
    left = tone(16000)
    sound = np.stack([left, -louder * left], axis=1)
    assert "channels cancel each other" in fault(encode(sound, 16000, "WAV", "FLOAT"))
    with pytest.raises(AudioError, match=r"cancel each other .* 0\.0\d% of their power.*pan=mono"):
        from_array(sound, 16000)
    with pytest.raises(AudioError, match="cancel each other"):
        list(read_blocks(encode(sound, 16000, "WAV", "FLOAT")))


def test_channels_that_leave_something_of_each_other_are_heard() -> None:
    """Also one of 32 that speaks alone, and what is too quiet to say anything."""
    left = tone(16000)
    read_audio(encode(np.stack([left, *[np.zeros_like(left)] * 31], axis=1), 16000, "WAV", "FLOAT"))
    read_audio(encode(np.stack([left, -0.8 * left], axis=1), 16000, "WAV", "FLOAT"))
    read_audio(encode(1e-5 * np.stack([left, -left], axis=1), 16000, "WAV", "FLOAT"))


@pytest.mark.parametrize(
    ("kind", "codec"),
    [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")],
)
def test_a_window_is_what_lies_there_in_the_whole(kind: str, codec: str) -> None:
    content = encode(tone(16000, 6.0), 16000, kind, codec)
    whole = read_audio(content)
    part = read_audio(content, start_s=2.5, duration_s=1.25)
    tolerance = 1e-3 if codec == "OPUS" else 1e-5  # Opus starts 80 ms early and converges
    np.testing.assert_allclose(part, whole[40000:60000], atol=tolerance)
    np.testing.assert_allclose(read_audio(content, start_s=5.0), whole[80000:], atol=tolerance)


def test_sources_give_the_same(tmp_path: Path) -> None:
    content = encode(tone(16000), 16000)
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    expected = read_audio(path)
    for source in (str(path), content, bytearray(content), memoryview(content), io.BytesIO(content)):
        np.testing.assert_array_equal(read_audio(source), expected)
    with path.open("rb") as file:
        np.testing.assert_array_equal(read_audio(file), expected)


def test_long_sound_is_resampled_in_blocks_without_seams() -> None:
    sound = tone(48000, 5.0)
    blocks = read_audio(encode(sound, 48000, "WAV", "FLOAT"))
    np.testing.assert_array_equal(blocks, from_array(sound.astype(np.float32), 48000))


@pytest.mark.parametrize(
    ("start_s", "duration_s", "reason"),
    [
        (-1.0, None, "start_s is -1.0"),
        (float("nan"), None, "start_s is nan"),
        (0.0, 0.0, "duration_s is 0.0"),
        (0.0, float("inf"), "duration_s is inf"),
        (1.0, None, "not inside the file, which is 1.000 s long"),
        (0.5, 0.6, "the window from 0.5 s to 1.1 s is not inside"),
    ],
)
def test_windows_outside_are_refused(start_s: float, duration_s: float | None, reason: str) -> None:
    assert reason in fault(encode(tone(16000), 16000), start_s=start_s, duration_s=duration_s)


def test_a_window_rounded_up_ends_with_the_file() -> None:
    assert read_audio(encode(tone(16000), 16000), start_s=0.5, duration_s=0.51).shape == (8000,)


def test_paths_that_hold_no_audio(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("Dear diary, nothing to hear here.")
    os.mkfifo(tmp_path / "pipe.wav")
    for name, reason in [
        ("missing.wav", "no such file"),
        (".", "a folder"),
        ("empty.wav", "empty (0 bytes)"),
        ("text.wav", "not an audio file"),
        ("pipe.wav", "not a regular file"),
        ("nul\0.wav", "cannot be opened"),
    ]:
        for function in (read_audio, audio_duration_s):
            with pytest.raises(AudioError, match=r"no|not|folder|empty|opened") as caught:
                function(tmp_path / name)
            assert str(tmp_path) in str(caught.value)
            assert reason in str(caught.value)


def test_a_text_mode_file_and_a_wrong_type() -> None:
    with pytest.raises(AudioError, match='mode "rb"'):
        read_audio(io.StringIO("text"))  # type: ignore[arg-type]
    with pytest.raises(AudioError, match="from list; expected a path"):
        read_audio([0.0])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\0\0\0\x20ftypM4A " + bytes(40), "MP4"),
        (b"\x1aE\xdf\xa3" + bytes(40), "WebM"),
        (b"RIFX\0\0\0\0WAVE" + bytes(40), "big-endian"),
        (b"RIFF\0\0\0\0AVI " + bytes(40), "not an audio file"),
        (b"ID3", "not an audio file"),
        (bytes(1000), "not an audio file"),
    ],
)
def test_other_formats_are_named(content: bytes, kind: str) -> None:
    assert kind in fault(content)


@pytest.mark.parametrize(
    ("kind", "codec"),
    [
        ("WAV", "IMA_ADPCM"),
        ("WAV", "MS_ADPCM"),
        ("WAV", "GSM610"),
        ("WAV", "G721_32"),
        ("WAV", "MPEG_LAYER_III"),
    ],
)
def test_codecs_outside_the_list_are_refused_before_decoding(kind: str, codec: str) -> None:
    try:
        content = encode(tone(8000), 8000, kind, codec)
    except soundfile.LibsndfileError:
        pytest.skip(f"this libsndfile cannot write {codec}")
    assert "unsupported WAV codec" in fault(content)


@pytest.mark.parametrize("kind", ["AIFF", "CAF", "AU", "RF64", "W64"])
def test_containers_outside_the_list_are_refused(kind: str) -> None:
    assert "expected WAV, FLAC" in fault(encode(tone(8000), 8000, kind))


@pytest.mark.parametrize(
    ("kind", "codec"),
    [
        ("WAV", "PCM_16"),
        ("WAV", "FLOAT"),
        ("WAVEX", "PCM_24"),
        ("FLAC", "PCM_16"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("MP3", "MPEG_LAYER_III"),
    ],
)
@pytest.mark.parametrize("part", [0.999, 0.9, 0.5, 0.2, 0.01])
def test_a_truncated_file_is_never_silently_shorter(kind: str, codec: str, part: float) -> None:
    content = encode(tone(16000, 4.0), 16000, kind, codec)
    message = fault(content[: int(len(content) * part)])
    assert any(word in message for word in ("truncated", "damaged", "0 frames"))


@pytest.mark.parametrize("codec", ["VORBIS", "OPUS"])
def test_ogg_with_a_lost_damaged_or_foreign_page(codec: str) -> None:
    content = encode(tone(16000, 6.0), 16000, "OGG", codec)
    pages = ogg_pages(content)
    start, stop = pages[-2]
    assert f"Ogg page {len(pages) - 2} is missing" in fault(content[:start] + content[stop:])
    assert "no last page" in fault(content[: pages[-1][0]])
    flipped = bytearray(content)
    flipped[(start + stop) // 2] ^= 0xFF
    assert "wrong checksum" in fault(bytes(flipped))
    assert "no Ogg page at byte" in fault(content[:start] + bytes(100) + content[start:])
    assert "one after the other" in fault(content + content)
    np.testing.assert_array_equal(read_audio(content + b"trailing tag"), read_audio(content))


def test_ogg_with_another_codec() -> None:
    content = bytearray(encode(tone(16000), 16000, "OGG", "OPUS"))
    at = content.index(b"OpusHead")
    content[at : at + 8] = b"Speex   "
    assert "checksum" in fault(bytes(content))


def mp3_frames(content: bytes) -> list[int]:
    from speechre.containers import _mp3_frame

    starts = [0]
    while length := _mp3_frame(content[starts[-1] : starts[-1] + 4]):
        starts.append(starts[-1] + length)
    return starts


@pytest.mark.parametrize("rate_hz", [16000, 44100])
@pytest.mark.parametrize("mode", ["CONSTANT", "AVERAGE", "VARIABLE"])
@pytest.mark.parametrize("channels", [1, 2])
def test_mp3_without_a_length_header_is_decoded_whole(rate_hz: int, mode: str, channels: int) -> None:
    sound = tone(rate_hz, 5.0, channels)
    sound[: len(sound) // 2] *= 0.001  # so that the first frames say little about the rest
    content = encode(sound, rate_hz, "MP3", "MPEG_LAYER_III", bitrate_mode=mode, compression_level=0.5)
    starts = mp3_frames(content)
    bare = content[starts[1] :]
    # All frames but the header's, less the 529 samples that every MP3 decoder needs to start.
    num_samples = (len(starts) - 2) * (1152 if rate_hz == 44100 else 576) - 529
    assert len(read_audio(bare)) == pytest.approx(num_samples * 16000 / rate_hz, abs=2)
    assert "is not complete" in fault(bare[:-20])
    padded = read_audio(b"ID3\x04\0\0\0\0\0\x0a" + bytes(10) + bare + b"TAG" + bytes(125))
    np.testing.assert_array_equal(padded, read_audio(bare))


def test_mp3_that_lacks_frames_or_has_too_many() -> None:
    content = encode(tone(16000, 4.0), 16000, "MP3", "MPEG_LAYER_III")
    starts = mp3_frames(content)
    assert "promises" in fault(content[: starts[-2]])  # cut between two frames: only the header tells
    assert "joined" in fault(content + content)
    assert "no MPEG frame" in fault(content[: starts[-2]] + b"some text that is no sound")


def patched(offset: int, layout: str, value: int) -> bytes:
    content = bytearray(encode(tone(16000), 16000))
    struct.pack_into(layout, content, offset, value)
    return bytes(content)


@pytest.mark.parametrize(
    ("offset", "layout", "value", "reason"),
    [
        (22, "<H", 0, "0 channels"),
        (22, "<H", 1000, "1000 channels"),
        (22, "<H", 65535, "65535 channels"),
        (24, "<I", 0, "0 Hz"),
        (24, "<I", 10**9, "1000000000 Hz"),
        (24, "<I", 10, "10 Hz"),
        (32, "<H", 0, "0 bytes a frame"),
        (34, "<H", 0, "0 bits"),
        (20, "<H", 0x11, "unsupported WAV codec 0x0011"),
        (40, "<I", 2**31 - 1, "promises 2147483647 bytes"),
        (40, "<I", 0, "never closed"),
    ],
)
def test_absurd_wav_headers(offset: int, layout: str, value: int, reason: str) -> None:
    tracemalloc.start()
    try:
        assert reason in fault(patched(offset, layout, value))
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000, 0x80000000])
def test_a_wav_written_to_a_pipe_reaches_to_the_end_of_the_file(size: int) -> None:
    np.testing.assert_array_equal(read_audio(patched(40, "<I", size)), read_audio(encode(tone(16000), 16000)))


@pytest.mark.parametrize(
    ("num_frames", "reason"), [(0, "written to a pipe"), (2**36 - 1, "too long"), (20000, "trunc")]
)
def test_absurd_flac_lengths(num_frames: int, reason: str) -> None:
    content = bytearray(encode(tone(16000), 16000, "FLAC"))
    packed = int.from_bytes(content[18:26], "big") >> 36 << 36 | num_frames
    content[18:26] = packed.to_bytes(8, "big")
    message = fault(bytes(content))
    assert reason in message or "damaged" in message


def test_flac_recordings_joined_byte_by_byte_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """libsndfile plays the first and says nothing of the second."""
    content = encode(tone(16000), 16000, "FLAC")
    for size in (2**20, 64, 7):  # the second's mark may lie across the end of what is read at once
        monkeypatch.setattr("speechre.containers._SCAN_BYTES", size)
        read_audio(content)
        assert "several FLAC recordings" in fault(content + content)


def test_wav_with_other_chunks_and_without_data() -> None:
    content = encode(tone(16000), 16000)
    extra = content[:12] + b"LIST" + struct.pack("<I", 5) + b"abcde\0" + content[12:]
    np.testing.assert_array_equal(read_audio(extra), read_audio(content))
    assert 'no "data" chunk' in fault(content[:36])
    assert "before" in fault(content[:12] + content[36:])


@pytest.mark.parametrize(("kind", "codec"), [("WAV", "PCM_16"), ("FLAC", "PCM_16")])
def test_no_frames(kind: str, codec: str) -> None:
    assert "s" in fault(encode(np.zeros(0), 16000, kind, codec))


def test_a_single_frame_at_a_high_rate_gives_no_sample() -> None:
    assert "too short" in fault(encode(np.zeros(1), 48000))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_samples_that_are_no_numbers(value: float) -> None:
    sound = tone(16000, channels=2)
    sound[8000, 1] = value
    assert "not a finite number at 0.500 s" in fault(encode(sound, 16000, "WAV", "DOUBLE"))


def test_floats_on_the_scale_of_integers() -> None:
    assert "divide by the range" in fault(encode(tone(16000) * 32768, 16000, "WAV", "FLOAT"))


def test_too_long_and_too_large(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(encode(tone(16000, 3.0), 16000))
    with pytest.raises(AudioError, match=r"too long: 3\.0 s; at most 2 s"):
        read_audio(path, max_duration_s=2.0)
    assert read_audio(path, max_duration_s=2.0, start_s=1.0).shape == (32000,)
    for source in (path, path.read_bytes(), io.BytesIO(path.read_bytes())):
        with pytest.raises(AudioError, match="too large"):
            read_audio(source, max_bytes=1000)


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["WAV", "FLAC", "OGG", "MP3"]),
    edits=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=8),
    cut=st.floats(0, 1),
)
def test_damaged_bytes_give_sound_or_an_audio_error(kind: str, edits: list[tuple[float, int]], cut: float) -> None:
    codec = {"WAV": "PCM_16", "FLAC": "PCM_16", "OGG": "VORBIS", "MP3": "MPEG_LAYER_III"}[kind]
    content = bytearray(encode(tone(16000, 0.3), 16000, kind, codec))
    for place, value in edits:
        content[int(place**3 * len(content))] = value  # mostly in the header
    if cut < 0.2:
        del content[int(cut * 5 * len(content)) :]
    try:
        sound = read_audio(bytes(content))
    except AudioError:
        return
    assert np.isfinite(sound).all()


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [("int16", -32768, 32767), ("int32", -(2**31), 2**31 - 1), ("int8", -128, 127), ("uint8", 0, 255)],
)
def test_integers_are_scaled_by_their_type(dtype: str, low: int, high: int) -> None:
    sound = from_array(np.array([low, high], dtype=dtype), 16000)
    np.testing.assert_allclose(sound, [-1.0, 1.0], atol=0.01)


def test_arrays_of_two_dimensions_are_samples_by_channels() -> None:
    sound = tone(44100, channels=2)
    np.testing.assert_allclose(from_array(sound, 44100), from_array(sound[:, 0], 44100), atol=1e-6)
    with pytest.raises(AudioError, match="transpose it"):
        from_array(sound.T, 44100)


@pytest.mark.parametrize(
    ("array", "rate_hz", "reason"),
    [
        (np.zeros((2, 3, 4)), 16000, r"got shape \(2, 3, 4\)"),
        (np.float32(0), 16000, r"got shape \(\)"),
        (np.zeros(0), 16000, "no samples"),
        (np.zeros((5, 0)), 16000, r"got shape \(5, 0\)"),
        (np.zeros(5, dtype="int64"), 16000, "type int64"),
        (np.zeros(5, dtype=bool), 16000, "type bool"),
        (np.zeros(5, dtype=complex), 16000, "type complex128"),
        (np.array(["a"]), 16000, "type <U1"),
        (np.array([0.0, np.nan]), 16000, "not a finite number"),
        (np.array([1e300]), 16000, "not a finite number"),
        (np.array([20000.0]), 16000, "peak of 20000"),
        (np.zeros(5), 0, "rate of 0 Hz"),
        (np.zeros(5), 16000.5, "rate of 16000.5 Hz"),
        (np.zeros(5), float("nan"), "rate of nan Hz"),
        (np.zeros(1), 48000, "too short"),
    ],
)
def test_arrays_that_are_no_sound(array: np.ndarray, rate_hz: int, reason: str) -> None:
    with pytest.raises(AudioError, match=reason):
        from_array(array, rate_hz)


def test_arrays_of_the_other_byte_order() -> None:
    np.testing.assert_array_equal(from_array(np.array([16384], dtype=">i2"), 16000), [0.5])


def test_from_array_does_not_touch_or_share_the_original() -> None:
    original = tone(16000).astype(np.float32)
    sound = from_array(original, 16000)
    sound[:] = 0
    assert original.any()


@pytest.mark.parametrize("module", ["soundfile", "soxr"])
def test_a_missing_library_is_said_clearly(module: str) -> None:
    code = f"import sys; sys.modules[{module!r}] = None\nimport speechre.audio"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "AudioError: cannot decode audio" in result.stderr
    assert "pip install soundfile soxr" in result.stderr


@pytest.mark.parametrize("kind", ["bfloat16", "in training"])
def test_tensors_that_numpy_does_not_take_are_taken(kind: str) -> None:
    sound = torch.from_numpy(tone(16000).astype(np.float32))
    tensor = sound.to(torch.bfloat16) if kind == "bfloat16" else sound.clone().requires_grad_()
    np.testing.assert_allclose(from_array(tensor, 16000), sound, atol=2**-8)


@pytest.mark.parametrize(
    ("array", "rate_hz", "reason"),
    [
        ([[0.0, 0.1], [0.2]], 16000, "list is no array of samples"),
        (object(), 16000, "expected"),
        (np.zeros(100), None, "a sampling rate of None Hz"),
        (np.zeros(100), "16000", "a sampling rate of '16000' Hz"),
    ],
)
def test_what_is_no_array_and_no_rate_is_an_audio_error(array: object, rate_hz: object, reason: str) -> None:
    with pytest.raises(AudioError, match=reason):
        from_array(array, rate_hz)  # type: ignore[arg-type]


# --- block by block


@pytest.mark.parametrize("rate_hz", [16000, 44100, 48000])
def test_a_window_of_an_mp3_file_is_that_of_the_whole(rate_hz: int) -> None:
    """Its frames share their bits, and a decoder that starts between two of them plays garbage."""
    generator = np.random.default_rng(1)
    loud = np.repeat(generator.random(60), rate_hz // 10)
    sound = 0.3 * loud * np.convolve(generator.standard_normal(len(loud)), np.ones(8) / 8, "same")
    file = io.BytesIO()
    with soundfile.SoundFile(
        file, "w", rate_hz, 1, "MPEG_LAYER_III", format="MP3", bitrate_mode="VARIABLE", compression_level=0.9
    ) as encoder:
        encoder.write(sound)
    whole = read_audio(file.getvalue())
    if rate_hz == 16000:  # block by block or at once
        at_once = soundfile.read(io.BytesIO(file.getvalue()), dtype="float32")[0]
        np.testing.assert_allclose(whole, at_once, atol=1e-6)
    edge = 160  # samples in which the resampler knows what is before the window, or does not
    for start_s in np.arange(0.3, 4.5, 0.4):
        window = read_audio(file.getvalue(), start_s=float(start_s), duration_s=1.0)
        first = round(start_s * 16000)
        np.testing.assert_allclose(window[edge:-edge], whole[first + edge : first + 16000 - edge], atol=2e-3)


@pytest.mark.parametrize(
    ("kind", "codec"), [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")]
)
@pytest.mark.parametrize("rate_hz", [16000, 44100])
def test_blocks_are_the_whole_sound_and_no_block_is_empty(kind: str, codec: str, rate_hz: int) -> None:
    content = encode(tone(rate_hz, 9.3, channels=2), rate_hz, kind, codec)
    blocks = list(read_blocks(content))
    assert len(blocks) > 1
    assert all(len(block) for block in blocks)
    np.testing.assert_array_equal(np.concatenate(blocks), read_audio(content))
    window = list(read_blocks(content, start_s=1.5, duration_s=6.0))
    np.testing.assert_array_equal(np.concatenate(window), read_audio(content, start_s=1.5, duration_s=6.0))


def test_blocks_have_the_caps_and_faults_of_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "long.flac"
    path.write_bytes(encode(tone(16000, 60.0), 16000, "FLAC")[:-200_000])
    blocks = read_blocks(path)
    assert len(next(blocks)) > 0  # what is there is given before the fault is met
    with pytest.raises(AudioError, match="truncated or damaged after"):
        list(blocks)
    for options, reason in [({"max_bytes": 1000}, "too large"), ({"start_s": 99.0}, "not inside the file")]:
        with pytest.raises(AudioError, match=reason):
            next(read_blocks(path, **options))
    with pytest.raises(AudioError, match="no such file"):
        next(read_blocks(tmp_path / "none.wav"))
    with pytest.raises(AudioError, match="too short for a single sample"):
        next(read_blocks(encode(np.zeros(1), 768_000, "WAV", "FLOAT")))


def test_blocks_need_no_memory_for_what_is_not_read_yet(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    with soundfile.SoundFile(path, "w", 16000, 1, subtype="PCM_16") as file:
        for _ in range(20):
            file.write(np.zeros(60 * 16000, dtype=np.float32))
    tracemalloc.start()
    num_samples = sum(len(block) for block in read_blocks(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert num_samples == 20 * 60 * 16000
    assert peak < 8_000_000  # the sound is 77 MB
