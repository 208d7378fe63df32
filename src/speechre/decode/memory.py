"""How much memory a batch takes, before it is decoded, and how much this process holds.

The prediction counts what the engine keeps at its two widest moments, in float32 on a CPU: the relation head's first
convolution on the longest recording, whose picture is 16 times as wide as what it looks at, behind an encoder whose
memory the allocator has not given back; and the search over orders, where every row writes keys and values of its own.
It assumes transcripts and answers as long as they may become, and beams that part with their first token, for that is
what a budget must hold. Real answers mostly end sooner, and beams share most of what they wrote: with eight of them a
fifth of the prediction was measured.

Letters: B utterances, S encoder frames, D width, F width of a feed-forward layer, L decoder layers, N rows (B x orders
x beams), T tokens, V vocabulary.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from speechre.config import ADAPTED, DecodeConfig, ModelConfig
from speechre.decode.alignment import FRAME_S
from speechre.decode.transcripts import ROWS_AT_ONCE, max_transcript_tokens
from speechre.model.heap import trim_heap
from speechre.model.log_mel import WINDOW_SAMPLES
from speechre.model.relation_head import CHANNELS
from speechre.model.weights import WhisperConfig

_MIB = 2**20
_FLOAT_BYTES = 4
_WINDOW_S = WINDOW_SAMPLES / 16_000
# Buffers of the libraries that come with the first batch, whatever its size; measured.
_FIRST_BATCH_MIB = 20.0
# Keys and values of what was heard are laid out anew, head by head, and the first layout leaves holes.
_CROSS_ROOM = 1.5
# Keys and values lie in buffers with half as much room again, and forgetting those of lost beams copies a layer's.
_CACHE_ROOM = 1.5
# Prompts hold little besides the transcript: start, relation types, an order's five tokens.
_PROMPT_TOKENS = 24
# Copies of logits that live at once in a search: raw, float, masked, normalized, with the beams' scores, and sorted.
_LOGIT_COPIES = 6

_STATUS = Path("/proc/self/status")


def predicted_growth_mib(
    sizes: WhisperConfig, model: ModelConfig, decode: DecodeConfig, batch_size: int, duration_s: float
) -> float:
    """MiB that decoding a batch adds, at most, to a process that has loaded its model.

    ``duration_s`` is the longest recording of the batch, at most 30 s; the silence behind it (``model.tail_s``) is
    added here. Orders, beams and speeds are those of ``decode``. Raises ``ValueError`` on sizes that no batch has.
    Within a factor of 2 of what was measured (``tests/decode/test_memory.py``) where answers run to their limit.
    """
    if batch_size < 1 or not 0 < duration_s <= _WINDOW_S:
        raise ValueError(f"batch of {batch_size} recordings of {duration_s} s; expected 1 or more of 0 to 30 s")
    speeds = decode.speeds if decode.reader else decode.speeds[:1]  # nobody else reads what is heard at other speeds
    slowest = min((*speeds, *(decode.second_speeds if decode.second_listener and decode.reader else ())))
    if decode.second_listener == ADAPTED and decode.reader:  # in one search with the model's own
        speeds = (*speeds, *(decode.second_speeds or decode.speeds))
    duration_s = min(_WINDOW_S, duration_s / slowest)
    heard_s = min(_WINDOW_S, duration_s + model.tail_s) if model.exact_length else _WINDOW_S
    longest = round(heard_s / FRAME_S)
    hearing = _hearing_floats(sizes, longest)
    writing = _writing_floats(sizes, model, decode, batch_size, longest, len(speeds))
    heard = len(speeds) * batch_size * longest * (2 * sizes.num_mel_bins + sizes.d_model)  # features and states of all
    return _FIRST_BATCH_MIB + (heard + max(hearing, writing)) * _FLOAT_BYTES / _MIB


def _hearing_floats(sizes: WhisperConfig, num_frames: int) -> float:
    """Encoder and relation head on one recording: on a CPU they take one after the other."""
    encoder = 6 * sizes.d_model + 2 * sizes.encoder_ffn_dim
    # The picture and its masked copy; the first block's output in two layouts, then a quarter of it, twice.
    head = sizes.d_model * (2 + CHANNELS[1] * 2.5)
    return num_frames * (encoder + head)


def _writing_floats(
    sizes: WhisperConfig,
    model: ModelConfig,
    decode: DecodeConfig,
    batch_size: int,
    longest: int,
    num_speeds: int,
) -> float:
    """Decoder rows: cross-attention memory, prompts, what each row writes, and logits. The transcripts' search, of all
    speeds at once, and that of the orders come one after the other: the wider one counts. ``longest`` is in encoder
    frames, of one recording.
    """
    num_frames = batch_size * longest
    token = 2.0 * sizes.decoder_layers * sizes.d_model  # keys and values of all layers
    num_rows = batch_size * len(decode.orders) * decode.beams
    num_transcript = 0
    if model.transcript:
        most = min(decode.max_transcript_tokens, sizes.max_target_positions // 2)
        num_transcript = max_transcript_tokens(longest, most)
    num_new = min(decode.max_new_tokens, sizes.max_target_positions)
    is_copying = decode.constrained and decode.copy_entities and model.transcript
    num_words = min(sizes.vocab_size, batch_size * num_transcript + 32) if is_copying else sizes.vocab_size
    cache = token * (
        _CROSS_ROOM * num_frames + _CACHE_ROOM * (batch_size * (num_transcript + _PROMPT_TOKENS) + num_rows * num_new)
    )
    copied = cache / sizes.decoder_layers if decode.beams > 1 else 0.0
    logits = _LOGIT_COPIES * num_rows * num_words
    orders = cache + copied + max(logits, 3 * batch_size * sizes.vocab_size)
    if not model.transcript or (decode.transcript_beams == 1 and num_speeds == 1):
        return orders
    num_beams = min(batch_size * num_speeds * decode.transcript_beams, max(ROWS_AT_ONCE, decode.transcript_beams))
    is_apart = num_speeds > 1 or batch_size * decode.transcript_beams > ROWS_AT_ONCE
    num_heard = num_frames * (num_speeds + 2 * is_apart)  # what is read at once, and by the orders, are copies
    heard = token * (_CROSS_ROOM * num_heard + _CACHE_ROOM * num_beams * num_transcript)
    return max(orders, heard * (1 + 1 / sizes.decoder_layers) + _LOGIT_COPIES * num_beams * sizes.vocab_size)


class FreedMemory:
    """Gives freed memory back to the system, now and then.

    Every batch has other shapes, so the holes that one leaves in the C library's heap do not fit the next, and a
    process that works for hours grows. glibc returns them when asked, in some 10 ms; other C libraries are not asked.
    """

    def __init__(self, every_s: float = 20.0) -> None:
        self._every_s = every_s
        self._heard_s = 0.0

    def hears(self, seconds: float) -> None:
        """So much audio comes next; where that makes ``every_s`` since the last time, memory is given back first."""
        self._heard_s += seconds
        if self._heard_s >= self._every_s:
            self._heard_s = 0.0
            trim_heap()


def resident_mib() -> float:
    """MiB of memory that this process holds now; where the system does not say (not Linux), the most it ever held."""
    return _status_mib("VmRSS")


def peak_resident_mib() -> float:
    """The most MiB this process held since it began or, on Linux, since :func:`start_peak`."""
    return _status_mib("VmHWM")


def start_peak() -> bool:
    """Forget the peak so far; False where the system does not allow it, and peaks are of the whole process."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _status_mib(key: str) -> float:
    if _STATUS.is_file():
        for line in _STATUS.read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) / 1024
    # A process starts with the peak of the one that started it here, so this is the second choice.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (_MIB if sys.platform == "darwin" else 1024)
