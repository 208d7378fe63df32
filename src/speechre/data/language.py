"""Which language a text is in, by py3langid (an optional package): only a clear case is a finding."""

from __future__ import annotations

from typing import Any

from speechre.errors import UsageError

MIN_WORDS = 3
"""Shorter texts are names as often as language."""
MIN_ODDS = 100.0
"""How much likelier another language must be. Of 1,114 English news sentences two reach it, both nothing but names;
plain sentences of other languages have a thousand and more."""


class LanguageCheck:
    """Tells texts that are clearly not in one language."""

    def __init__(self, language: str) -> None:
        """``language`` is an ISO 639-1 code. Raises :class:`UsageError` on an unknown one and without py3langid."""
        try:
            from py3langid.langid import MODEL_FILE, LanguageIdentifier
        except ImportError as error:
            raise UsageError(
                'the check of languages needs the package py3langid; run "pip install speechre[language]"'
            ) from error
        self._identifier: Any = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        known = {str(label) for label in self._identifier.labels}
        if language not in known:
            raise UsageError(f'unknown language "{language}"; expected an ISO 639 code as en, de, sw')
        self.language = language

    def other_language(self, text: str) -> tuple[str, float] | None:
        """The likeliest other language and its odds against the expected one, where these are clear."""
        if len(text.split()) < MIN_WORDS:
            return None
        probabilities = {str(name): float(p) for name, p in self._identifier.rank(text)}
        best = max(probabilities, key=lambda name: probabilities[name])
        odds = probabilities[best] / max(probabilities[self.language], 1e-12)
        return (best, odds) if odds >= MIN_ODDS else None
