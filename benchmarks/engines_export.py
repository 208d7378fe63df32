"""A checkpoint's Whisper in the formats of the engines it is compared with: Hugging Face's, and from it CTranslate2's.

Our tensors have Hugging Face's names, so nothing is renamed or scaled; the new tokens are rows of the embeddings and
entries of the tokenizer as any other. The relation head has no place in these formats and stays behind.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from speechre.model.checkpoint import Checkpoint


def hugging_face_model(checkpoint: Checkpoint) -> Any:
    """``WhisperForConditionalGeneration`` with the checkpoint's weights, float32, and no rule of its own on tokens."""
    import transformers

    sizes, tokenizer = checkpoint.network.config, checkpoint.tokenizer
    ends: dict[str, Any] = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), tokenizer.eot_id)
    ends |= {"decoder_start_token_id": tokenizer.sot_id, "suppress_tokens": None, "begin_suppress_tokens": None}
    config = transformers.WhisperConfig(
        vocab_size=sizes.vocab_size,
        num_mel_bins=sizes.num_mel_bins,
        d_model=sizes.d_model,
        encoder_layers=sizes.encoder_layers,
        encoder_attention_heads=sizes.encoder_heads,
        encoder_ffn_dim=sizes.encoder_ffn_dim,
        decoder_layers=sizes.decoder_layers,
        decoder_attention_heads=sizes.decoder_heads,
        decoder_ffn_dim=sizes.decoder_ffn_dim,
        max_source_positions=sizes.max_source_positions,
        max_target_positions=sizes.max_target_positions,
        **ends,
    )
    model = transformers.WhisperForConditionalGeneration(config)
    state = {f"model.{name}": tensor for name, tensor in checkpoint.network.whisper.state_dict().items()}
    missing, unknown = model.load_state_dict(state, strict=False)
    if set(missing) - {"proj_out.weight"} or unknown:
        raise ValueError(f"Hugging Face's Whisper has other tensors: missing {missing}, unknown {unknown}")
    model.tie_weights()
    # Whisper's generation config suppresses tokens; an empty one asks for what the weights say.
    model.generation_config = transformers.GenerationConfig(**ends, lang_to_id={})
    return model.eval()


def export_hugging_face(checkpoint: Checkpoint, folder: Path) -> None:
    """A folder that ``from_pretrained`` reads: config, weights, tokenizer."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    folder.mkdir(parents=True, exist_ok=True)
    hugging_face_model(checkpoint).save_pretrained(folder)
    checkpoint.tokenizer.save(folder)
    end = "<|endoftext|>"
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), unk_token=end, bos_token=end, eos_token=end
    )
    if len(tokenizer) != checkpoint.tokenizer.vocab_size:
        raise ValueError(f"the exported tokenizer has {len(tokenizer)} tokens, not {checkpoint.tokenizer.vocab_size}")
    tokenizer.save_pretrained(folder)


def export_ctranslate2(hugging_face_folder: Path, folder: Path, quantization: str) -> None:
    """CTranslate2's folder, converted by its own converter; ``quantization`` is float32 or int8."""
    import ctranslate2

    converter = ctranslate2.converters.TransformersConverter(str(hugging_face_folder))
    converter.convert(str(folder), quantization=quantization)
