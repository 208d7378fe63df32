"""A decoder that writes some rows with an adapter's changes, against one whose matrices are changed."""

from __future__ import annotations

import pytest
import torch

from speechre.model.adapter import Adapter
from speechre.model.backbone import Encoder
from speechre.model.half import half_decoder, has_half_kernel
from speechre.model.network import LowerLayers, SpeechReNetwork
from speechre.model.row_changes import changed_decoder
from speechre.model.rows import DecoderRows
from tests.tiny import random_adapter, random_mels, tiny_network

pytestmark = pytest.mark.skipif(not has_half_kernel(), reason="torch has no kernel for float16 matrices here")

FED = [[[1, 50, 600], [1, 50], [1, 50, 600, 7000]], [[5], [9], [13]], [[70], [80]], [[71], [81]]]
NUM_PLAIN = 2


def changes_of_all_layers(network: SpeechReNetwork) -> Adapter:
    changes = random_adapter(network).changes
    first = {name.replace("layers.1", "layers.0"): pair for name, pair in changes.items() if "decoder" in name}
    return Adapter({**changes, **first})


@torch.inference_mode()
def states(rows: DecoderRows) -> list[torch.Tensor]:
    """Those of every feed; before the third the first utterance leaves."""
    found = [rows.feed(FED[0]), rows.feed(FED[1])]
    rows.select([1, 2], [1, 2])
    return [*found, rows.feed(FED[2]), rows.feed(FED[3])]


@pytest.mark.parametrize("part", ["", "self_attn", "encoder_attn", "fc1", "k_proj", "v_proj", "layers.1.fc2"])
@torch.inference_mode()
def test_rows_are_written_as_by_two_decoders(part: str) -> None:
    network, _ = tiny_network()
    whole = changes_of_all_layers(network)
    adapter = Adapter({name: pair for name, pair in whole.changes.items() if "decoder" in name and part in name})
    assert adapter.changes
    half = half_decoder(network.whisper.decoder)
    other = adapter.applied_to(network)
    encoded = network.encode(random_mels(3))
    assert encoded.mask is not None
    plain, changed = network.cross_memory(encoded), other.cross_memory(encoded)
    mask = encoded.mask[:, None, None, :]
    joined = [
        type(a)(*(torch.cat([x[:NUM_PLAIN], y[NUM_PLAIN:]]) for x, y in zip(a, b, strict=True)))
        for a, b in zip(plain, changed, strict=True)
    ]
    of_plain = states(DecoderRows(half, plain, mask))
    of_changed = states(DecoderRows(half_decoder(other.whisper.decoder), changed, mask))
    both = changed_decoder(half, adapter)
    of_both = states(DecoderRows(both, joined, mask, num_plain=NUM_PLAIN))
    for step, (ours, as_plain, as_changed) in enumerate(zip(of_both, of_plain, of_changed, strict=True)):
        num_plain = NUM_PLAIN if step < 2 else NUM_PLAIN - 1
        assert torch.equal(ours[:num_plain], as_plain[:num_plain]), step
        change = (as_changed[num_plain:] - as_plain[num_plain:]).abs().max()
        assert change > 0.1, step
        # Here the changed matrix was rounded, there the change is added to what was.
        assert (ours[num_plain:] - as_changed[num_plain:]).abs().max() < 0.05 * change, step
    # What it was made of writes as before, and so does it where nobody is to be changed.
    assert all(map(torch.equal, states(DecoderRows(half, plain, mask)), of_plain))
    assert all(map(torch.equal, states(DecoderRows(both, plain, mask)), of_plain))


def test_what_is_heard_is_changed_by_its_own_part() -> None:
    network, _ = tiny_network()
    adapter = random_adapter(network)
    heard = adapter.heard_part()
    in_decoder = {name for name in heard.changes if "decoder" in name}
    assert in_decoder == {f"whisper.decoder.layers.1.encoder_attn.{name}_proj" for name in "kv"}
    assert {n for n in adapter.changes if "encoder." in n} == heard.changes.keys() - in_decoder
    mels = random_mels(2)
    with torch.inference_mode():
        whole, part = adapter.applied_to(network), heard.applied_to(network)
        expected, found = whole.encode(mels), part.encode(mels)
        assert torch.equal(expected.states, found.states)
        for ours, theirs in zip(part.cross_memory(found), whole.cross_memory(expected), strict=True):
            assert all(map(torch.equal, ours, theirs))


@pytest.mark.parametrize("kept", [0, 1, 2])
@torch.inference_mode()
def test_what_the_same_first_layers_made_is_not_made_again(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network, _ = tiny_network()
    whole = random_adapter(network).changes
    changed = {n: pair for n, pair in whole.items() if all(f"encoder.layers.{i}." not in n for i in range(kept))}
    adapter = Adapter(changed)
    assert adapter.num_equal_layers(network) == kept
    other = adapter.applied_to(network)
    mels = random_mels(3)
    expected = [one.encode(mels) for one in (network, other)]
    assert torch.equal(expected[0].states, expected[1].states) == (kept == 2)
    lower = LowerLayers(kept)
    plain = network.encode(mels, lower=lower)
    # Only a log-mel that was not heard yet goes through these layers.
    heard: list[int] = []
    below = Encoder.lower
    monkeypatch.setattr(
        Encoder, "lower", lambda self, mel, *rest: (heard.append(mel.shape[2]), below(self, mel, *rest))[1]
    )
    again = other.encode([mels[0], mels[1].clone(), mels[2]], lower=lower)
    assert heard == [mels[1].shape[1]]
    assert torch.equal(plain.states, expected[0].states)
    assert torch.equal(again.states, expected[1].states)
