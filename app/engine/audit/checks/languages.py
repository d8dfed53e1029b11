"""Audit check of the languages that the examples are in, on a sample of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.engine.audit.base import MAX_FINDING_ROWS, AuditCheck, AuditedRow, Finding, FlaggedRows, build_finding

if TYPE_CHECKING:
    from datasets import Dataset

    from app.engine.job import Job

_SAMPLE_ROWS = 400
_MIN_LETTERS = 40  # of a row's text: a shorter one does not show its language
_MAX_CHARACTERS = 400  # of a row that are read
_MIN_CONFIDENCE = 0.8  # of the language detector
_MIN_SHARE = 0.01  # of the sampled rows: a rarer language is not mentioned
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

    def check_row(self, audited_row: AuditedRow) -> None:
        if (audited_row.number - 1) % self.sampling_interval:
            return
        text = audited_row.text[:_MAX_CHARACTERS]
        if sum(map(str.isalpha, text)) < _MIN_LETTERS:
            return
        from app.engine.rewards.language import language_detector

        language, confidence = language_detector().identifier.classify(text)
        if confidence >= _MIN_CONFIDENCE:
            self.rows_by_language.setdefault(language, FlaggedRows()).add(audited_row.number)

    def findings(self) -> list[Finding]:
        total = sum(rows.count for rows in self.rows_by_language.values())
        languages = [
            language
            for language, rows in sorted(self.rows_by_language.items(), key=lambda entry: -entry[1].count)
            if rows.count > 1 and rows.count / total >= _MIN_SHARE
        ]
        if not languages:
            return []
        sampled = f" ({total:,} of {self.row_count:,} examples looked at)" if self.sampling_interval > 1 else ""
        if len(languages) == 1:
            return [build_finding("languages", "good", f"The examples are in {_language_name(languages[0])}{sampled}.")]
        mix = ", ".join(
            f"{self.rows_by_language[language].count / total * 100:.0f} % in {_language_name(language)}"
            for language in languages[:_MAX_LISTED_LANGUAGES]
        )
        minority = [self.rows_by_language[language] for language in languages[1:]]
        row_numbers = [number for rows in minority for number in rows.row_numbers][:MAX_FINDING_ROWS]
        flagged = FlaggedRows(sum(rows.count for rows in minority), row_numbers)
        text = f"The examples are in several languages: {mix}{sampled}."
        return [build_finding("languages", "careful", text, flagged)]


def _language_name(code: str) -> str:
    return _LANGUAGE_NAMES.get(code, code)
