"""Whisper as a SpeechRE network: weights, tokenizer, backbone, relation head, checkpoint. torch starts in this room."""
