"""Audit check of the languages that the examples are in, on a sample of them."""

from __future__ import annotations

import unicodedata
from collections import Counter
from typing import TYPE_CHECKING

from app.engine.audit.base import MAX_FINDING_ROWS, AuditCheck, AuditedRow, Finding, FlaggedRows, build_finding

if TYPE_CHECKING:
    from datasets import Dataset

    from app.engine.job import Job

_SAMPLE_ROWS = 400
_MIN_LETTERS = 40  # of a text; a shorter one shows its language only where the detector is surer
_MIN_SHORT_LETTERS, _MIN_SHORT_CONFIDENCE = 20, 0.99
_MAX_CHARACTERS = 400  # that are read of the beginning of a text, and as many of its end
_MIN_CONFIDENCE = 0.8  # of the language detector
_MIN_SHARE = 0.01  # of the sampled rows: a rarer language is not mentioned
# Scripts that say by a few letters that a text is in another language than one in Latin letters: their first names in
# Unicode, and the language that is most often written so.
_SCRIPT_LANGUAGES = {
    **{"CYRILLIC": "ru", "CJK": "zh", "HIRAGANA": "ja", "KATAKANA": "ja", "HANGUL": "ko", "ARABIC": "ar"},
    **{"HEBREW": "he", "GREEK": "el", "DEVANAGARI": "hi", "BENGALI": "bn", "THAI": "th"},
}
_MIN_SCRIPT_LETTERS = 3
_MAX_LISTED_LANGUAGES = 5
_LANGUAGE_NAMES = {
    **{"en": "English", "de": "German", "fr": "French", "es": "Spanish", "it": "Italian", "pt": "Portuguese"},
    **{"nl": "Dutch", "pl": "Polish", "ru": "Russian", "uk": "Ukrainian", "tr": "Turkish", "ar": "Arabic"},
    **{"fa": "Persian", "he": "Hebrew", "hi": "Hindi", "bn": "Bengali", "zh": "Chinese", "ja": "Japanese"},
    **{"ko": "Korean", "vi": "Vietnamese", "th": "Thai", "id": "Indonesian", "sv": "Swedish", "da": "Danish"},
    **{"no": "Norwegian", "fi": "Finnish", "cs": "Czech", "sk": "Slovak", "hu": "Hungarian", "ro": "Romanian"},
    **{"bg": "Bulgarian", "el": "Greek", "ca": "Catalan", "hr": "Croatian", "sr": "Serbian", "la": "Latin"},
}


class Check(AuditCheck):
    def __init__(self, job: Job, table: Dataset):
        super().__init__(job, table)
        self.sampling_interval = max(1, self.row_count // _SAMPLE_ROWS)
        self.rows_by_language: dict[str, FlaggedRows] = {}
        self.sampled_count = self.judged_count = 0  # rows

    def check_row(self, audited_row: AuditedRow) -> None:
        if (audited_row.number - 1) % self.sampling_interval:
            return
        self.sampled_count += 1
        languages = {language for text in audited_row.texts for language in _languages_of(text)}
        languages = languages or _languages_of(" ".join(audited_row.texts))
        self.judged_count += bool(languages)
        for language in languages:
            self.rows_by_language.setdefault(language, FlaggedRows()).add(audited_row.number)

    def findings(self) -> list[Finding]:
        total = self.judged_count
        languages = [
            language
            for language, rows in sorted(self.rows_by_language.items(), key=lambda entry: -entry[1].count)
            if rows.count > 1 and rows.count / total >= _MIN_SHARE
        ]
        if not languages:
            return []
        sampled = self._coverage()
        if len(languages) == 1:
            return [build_finding("languages", "good", f"The examples are in {_language_name(languages[0])}{sampled}.")]
        mix = ", ".join(
            f"{self.rows_by_language[language].count / total * 100:.0f} % in {_language_name(language)}"
            for language in languages[:_MAX_LISTED_LANGUAGES]
        )
        minority = [self.rows_by_language[language] for language in languages[1:]]
        row_numbers = sorted({number for rows in minority for number in rows.row_numbers})[:MAX_FINDING_ROWS]
        flagged = FlaggedRows(sum(rows.count for rows in minority), row_numbers)
        text = f"The examples are in several languages: {mix}{sampled}."
        return [build_finding("languages", "careful", text, flagged)]

    def _coverage(self) -> str:
        """How many rows this says something of, where it is not all of them."""
        if self.judged_count == self.row_count:
            return ""
        too_short = self.sampled_count - self.judged_count
        looked_at = (
            f"{self.sampled_count:,} of {self.row_count:,} examples looked at" if self.sampling_interval > 1 else ""
        )
        untold = f"{too_short:,} too short to tell" if too_short else ""
        return f" ({', '.join(filter(None, [looked_at, untold]))})"


def _languages_of(text: str) -> set[str]:
    """The languages of the beginning and of the end of a text; none where it is too short to tell."""
    ends = [text] if len(text) <= 2 * _MAX_CHARACTERS else [text[:_MAX_CHARACTERS], text[-_MAX_CHARACTERS:]]
    return {language for end in ends if (language := _language_of(end[: 2 * _MAX_CHARACTERS]))}


def _language_of(text: str) -> str | None:
    letters = [character for character in text if character.isalpha()]
    if len(letters) < _MIN_LETTERS and (language := _language_of_script(letters)):
        return language
    if len(letters) < _MIN_SHORT_LETTERS:
        return None
    from app.engine.rewards.language import language_detector

    language, confidence = language_detector().identifier.classify(text)
    needed = _MIN_CONFIDENCE if len(letters) >= _MIN_LETTERS else _MIN_SHORT_CONFIDENCE
    return str(language) if confidence >= needed else None


def _language_of_script(letters: list[str]) -> str | None:
    """The language that the script of most letters stands for; None for Latin letters and for fewer than three."""
    scripts = Counter(unicodedata.name(letter, "").split(" ")[0].split("-")[0] for letter in letters)
    script, count = next(iter(scripts.most_common(1)), ("", 0))
    return _SCRIPT_LANGUAGES.get(script) if count >= _MIN_SCRIPT_LETTERS else None


def _language_name(code: str) -> str:
    return _LANGUAGE_NAMES.get(code, code)
