"""What an audio file claims, checked against the bytes that are there, before any decoder sees it.

libsndfile hides three faults that would hand shorter or patched sound to the model without a word: it takes a
WAV's data size from the file when the header promises more, it fills a lost Ogg page with concealment, and it
plays only the first of several Ogg or FLAC streams that were put one behind the other. The four readers here
refuse such files. They read headers, page checksums and the marks where a stream begins, never sound, and let
through nothing but the codecs of the allow-list, so the decoder's rarely used code is never reached.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

from speechre.errors import AudioError

MAX_CHANNELS = 32
_MAX_CHUNKS = 1000
_MAX_TAGS = 16
_UNKNOWN_SIZES = {0xFFFFFFFF, 0x7FFFF000, 0x80000000}  # what ffmpeg, sox and arecord write into a pipe
_WAV_CODECS = {1: (8, 16, 24, 32), 3: (32, 64), 6: (8,), 7: (8,)}  # PCM, float, A-law, mu-law
_FFMPEG = 'convert it with "ffmpeg -i IN -ar 16000 -ac 1 OUT.wav"'
_REPAIR = 'copy or download it again, or keep what is there with "ffmpeg -i IN OUT.wav"'
_OTHER_KINDS = {
    (4, b"ftyp"): "an MP4 or M4A file",
    (0, b"\x1aE\xdf\xa3"): "a WebM or Matroska file",
    (0, b"FORM"): "an AIFF file",
    (0, b"caff"): "a CAF file",
    (0, b".snd"): "an AU file",
    (0, b"RF64"): "an RF64 file",
    (0, b"RIFX"): "a big-endian WAV file",
    (0, b"#!AMR"): "an AMR file",
    (0, b"0&\xb2u"): "a WMA file",
}


@dataclass(frozen=True, slots=True)
class Container:
    """A checked file: its kind and the bytes to give to the decoder (``prefix``, then ``[start, stop)`` of
    the file).
    """

    kind: str  # WAV, FLAC, OGG or MP3
    start: int
    stop: int
    prefix: bytes = b""


def inspect_container(file: BinaryIO, name: str) -> Container:
    """Checks the container in ``file`` (seekable, binary) and says what to decode.

    Raises :class:`AudioError`, naming ``name``, on an unknown or unsupported format or codec and on a file
    whose data is shorter than its header promises, interrupted or damaged.
    """
    size = file.seek(0, 2)
    if size == 0:
        raise AudioError(f"{name}: the file is empty (0 bytes); record or copy it again")
    start = _skip_id3(file, size)
    head = _read(file, start, 16)
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        _check_wav(file, name, start, size)
        return Container("WAV", start, size)
    if head[:4] == b"fLaC":
        _check_flac(file, name, start, size)
        return Container("FLAC", start, size)
    if head[:4] == b"OggS":
        return Container("OGG", start, _check_ogg(file, name, start, size))
    if _mp3_frame(head) is not None:
        return _check_mp3(file, name, start, size)
    for (offset, magic), kind in _OTHER_KINDS.items():
        if head[offset : offset + len(magic)] == magic:
            raise AudioError(f"{name}: this is {kind}; expected WAV, FLAC, Ogg Vorbis/Opus or MP3; {_FFMPEG}")
    raise AudioError(
        f"{name}: not an audio file that can be read: it starts with {head[:12]!r}; expected WAV, FLAC, Ogg "
        "Vorbis/Opus or MP3 (the content counts, not the file's extension)"
    )


def _read(file: BinaryIO, position: int, count: int) -> bytes:
    file.seek(position)
    return file.read(count)


def _skip_id3(file: BinaryIO, size: int) -> int:
    """The first byte behind any ID3v2 tags."""
    position = 0
    for _ in range(_MAX_TAGS):
        head = _read(file, position, 10)
        if len(head) < 10 or head[:3] != b"ID3" or max(head[6:10]) > 127:
            break
        length = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        position += 10 + length + (10 if head[5] & 0x10 else 0)
    return min(position, size)


def _cut(name: str, what: str) -> AudioError:
    return AudioError(f"{name}: truncated: {what}; {_REPAIR}")


# --- WAV ----------------------------------------------------------------------------------------------------


def _check_wav(file: BinaryIO, name: str, start: int, size: int) -> None:
    position, has_format = start + 12, False
    for _ in range(_MAX_CHUNKS):
        header = _read(file, position, 8)
        if len(header) < 8:
            break
        tag, length = header[:4], struct.unpack("<I", header[4:])[0]
        position += 8
        if tag == b"fmt ":
            _check_wav_format(_read(file, position, min(length, 40)), name)
            has_format = True
        elif tag == b"data":
            if not has_format:
                raise AudioError(f'{name}: damaged: the "data" chunk comes before the "fmt " chunk; {_FFMPEG}')
            _check_wav_length(length, size - position, name)
            return
        position += length + length % 2
    raise _cut(name, 'the WAV file has no "data" chunk')


def _check_wav_format(chunk: bytes, name: str) -> None:
    if len(chunk) < 16:
        raise _cut(name, f'its "fmt " chunk has {len(chunk)} of at least 16 bytes')
    codec, channels, rate_hz, _, block, bits = struct.unpack("<HHIIHH", chunk[:16])
    if codec == 0xFFFE and len(chunk) >= 26:  # extensible: the codec is the start of the sub-format
        codec = struct.unpack("<H", chunk[24:26])[0]
    if bits not in _WAV_CODECS.get(codec, ()):
        raise AudioError(
            f"{name}: unsupported WAV codec {codec:#06x} with {bits} bits; expected PCM of 8, 16, 24 or 32 "
            f"bits, float, A-law or mu-law; {_FFMPEG}"
        )
    if not 1 <= channels <= MAX_CHANNELS or rate_hz == 0 or block != channels * bits // 8:
        raise AudioError(
            f"{name}: damaged header: {channels} channels, {rate_hz} Hz, {block} bytes a frame of {bits}-bit "
            f"samples; expected 1 to {MAX_CHANNELS} channels, a rate above 0 and frames of channels x bits / "
            "8 bytes"
        )


def _check_wav_length(declared: int, available: int, name: str) -> None:
    if declared in _UNKNOWN_SIZES and available < declared:
        return  # written to a pipe: the header names no length, so the sound reaches to the end of the file
    if declared == 0 and available > 0:
        raise AudioError(
            f"{name}: the header says 0 bytes of sound, but {available} bytes follow: the recording was "
            'never closed; repair it with "ffmpeg -i IN OUT.wav"'
        )
    if declared > available:
        raise _cut(name, f"the header promises {declared} bytes of sound, but the file holds {available}")


# --- FLAC ---------------------------------------------------------------------------------------------------


_FLAC_START = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22", re.DOTALL)  # the mark, and the head of its STREAMINFO
_SCAN_BYTES = 2**20


def _check_flac(file: BinaryIO, name: str, start: int, size: int) -> None:
    info = _read(file, start + 4, 38)  # the STREAMINFO block: 4 bytes of header, 34 of content
    if len(info) < 38 or info[0] & 0x7F != 0:
        raise _cut(name, "the FLAC file has no complete STREAMINFO block")
    if int.from_bytes(info[17:22], "big") & (1 << 36) - 1 == 0:
        raise AudioError(
            f"{name}: the FLAC header does not say how long the sound is (it was written to a pipe), so that "
            'a missing end would not show; rewrite it with "ffmpeg -i IN OUT.flac"'
        )
    for position in range(start + 8, size, _SCAN_BYTES):
        if _FLAC_START.search(_read(file, position, _SCAN_BYTES + 7)):
            raise AudioError(
                f"{name}: the file holds several FLAC recordings one after the other, of which only the first would "
                'be heard; cut them apart, or join them with "sox A.flac B.flac OUT.flac"'
            )


# --- Ogg ----------------------------------------------------------------------------------------------------

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _ogg_checksum(page: bytes) -> int:
    """Ogg's CRC-32 (polynomial 0x04c11db7, most significant bit first) with zlib's mirrored one."""
    mirrored = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)


def _check_ogg(file: BinaryIO, name: str, start: int, size: int) -> int:
    """Walks all pages; returns where the stream ends."""
    position, index, stream = start, 0, b""
    while True:
        page = _ogg_page(file, name, position, size)
        flags, serial, sequence = page[5], page[14:18], struct.unpack("<I", page[18:22])[0]
        if index == 0:
            stream = serial
            body = page[27 + page[26] :]
            if not body.startswith((b"OpusHead", b"\x01vorbis")):
                raise AudioError(f"{name}: unsupported codec in the Ogg file; expected Opus or Vorbis; {_FFMPEG}")
        elif serial != stream:
            raise AudioError(f"{name}: the Ogg file holds several streams at a time; {_FFMPEG}")
        if sequence != index:
            raise AudioError(f"{name}: damaged: Ogg page {index} is missing (page {sequence} follows); {_REPAIR}")
        position, index = position + len(page), index + 1
        if flags & 4:  # end of stream
            break
        if position >= size:
            raise _cut(name, f"the Ogg stream has no last page (it ends after page {index - 1})")
    if _read(file, position, 4) == b"OggS":
        raise AudioError(f"{name}: the Ogg file holds several recordings one after the other; {_FFMPEG}")
    return position


def _ogg_page(file: BinaryIO, name: str, position: int, size: int) -> bytes:
    head = _read(file, position, 27)
    if head[:4] != b"OggS"[: len(head)]:
        raise AudioError(f"{name}: damaged: no Ogg page at byte {position}; {_REPAIR}")
    lacing = file.read(head[26]) if len(head) == 27 else b""
    length = 27 + len(lacing) + sum(lacing)
    if len(head) < 27 or len(lacing) < head[26] or position + length > size:
        raise _cut(name, f"the Ogg page at byte {position} is not complete")
    page = head + lacing + file.read(sum(lacing))
    if _ogg_checksum(page[:22] + bytes(4) + page[26:]) != struct.unpack("<I", page[22:26])[0]:
        raise AudioError(f"{name}: damaged: the Ogg page at byte {position} has a wrong checksum; {_REPAIR}")
    return page


# --- MP3 ----------------------------------------------------------------------------------------------------

_RATES_HZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # MPEG 1, 2, 2.5
_KBITS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBITS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_TRAILERS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"ID3", b"3DI")


def _mp3_frame(head: bytes) -> int | None:
    """The length in bytes of the MPEG layer III frame that starts with ``head``; ``None`` when none does."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return None
    version, kbits_index, rate_index = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or kbits_index in (0, 15) or rate_index == 3:
        return None
    kbits = (_KBITS_1 if version == 3 else _KBITS_2)[kbits_index]
    return (144000 if version == 3 else 72000) * kbits // _RATES_HZ[version][rate_index] + (head[2] >> 1 & 1)


def _mp3_index_offset(head: bytes) -> int:
    """Where in a frame the "Xing"/"Info" index starts: behind the side information, whose size the mode
    decides.
    """
    is_mono = head[3] >> 6 == 3
    if head[1] >> 3 & 3 == 3:
        return 4 + (17 if is_mono else 32)
    return 4 + (9 if is_mono else 17)


def _check_mp3(file: BinaryIO, name: str, start: int, size: int) -> Container:
    head = _read(file, start, 4)
    first = _read(file, start, _mp3_frame(head) or 0)
    offset = _mp3_index_offset(head)
    promised: int | None = None
    has_index = first[offset : offset + 4] in (b"Xing", b"Info") or first[36:40] == b"VBRI"
    if first[36:40] == b"VBRI" and len(first) >= 54:
        promised = struct.unpack(">I", first[50:54])[0]
    elif has_index and len(first) >= offset + 12 and first[offset + 7] & 1:
        promised = struct.unpack(">I", first[offset + 8 : offset + 12])[0]

    position, num_frames = start, 0
    while length := _mp3_frame(_read(file, position, 4)):
        if position + length > size:
            raise _cut(name, f"MPEG frame {num_frames} at byte {position} is not complete")
        position, num_frames = position + length, num_frames + 1
    tail = _read(file, position, 4096)
    if tail.strip(b"\0") and not tail.lstrip(b"\0").startswith(_TRAILERS):
        raise AudioError(f"{name}: damaged: no MPEG frame at byte {position}, but {tail[:8]!r}; {_REPAIR}")
    num_audio_frames = num_frames - has_index
    if num_audio_frames <= 0:
        raise _cut(name, "the MP3 file holds no sound")
    if promised is None:
        return Container("MP3", start + len(first) * has_index, position, _mp3_index(head, num_audio_frames))
    if num_audio_frames < promised:
        raise _cut(name, f"the header promises {promised} MPEG frames, but the file holds {num_audio_frames}")
    if num_audio_frames > promised:
        raise AudioError(
            f"{name}: the header promises {promised} MPEG frames, but the file holds {num_audio_frames}, as "
            'when files are joined byte by byte; rewrite it with "ffmpeg -i IN OUT.wav"'
        )
    return Container("MP3", start, position)


def _mp3_index(head: bytes, num_audio_frames: int) -> bytes:
    """A "Xing" frame with the true length, to be put before a stream that has none.

    Without one the decoder guesses the length from the first frames' bit rate; where the rate varies it stops
    early.
    """
    kbits_index = 9 if head[1] >> 3 & 3 == 3 else 12  # 128 kbit/s: room for the index at every sampling rate
    header = bytes((0xFF, head[1] | 1, kbits_index << 4 | head[2] & 0x0C, head[3]))
    length = _mp3_frame(header)
    assert length is not None
    frame = bytearray(length)
    frame[:4] = header
    offset = _mp3_index_offset(header)
    frame[offset : offset + 12] = b"Xing" + struct.pack(">II", 1, num_audio_frames)
    return bytes(frame)
