"""What reading a source brought to light beside its rows: its form, and the rows that cannot be read, as findings."""

from __future__ import annotations

from dataclasses import dataclass, field

from app.contracts import Finding, Remedy, Severity
from app.data.reading.text_lines import FileNote, UnreadableRow
from app.data.row_finding import make_finding

FILE_FORM = "file_form"  # id of the findings about the form of a file
_MAX_LISTED = 20  # rows with their reasons


@dataclass
class UnreadableRows:
    """The unreadable rows of one source.

    count: how many. reasons_by_row: {row number, from 1: reason} of the first MAX_LISTED. num_encoding_errors: how many
    may be readable in another encoding. notes: sentences of the reader about the form of the file, each once.
    """

    count: int = 0
    reasons_by_row: dict[int, str] = field(default_factory=dict)
    num_encoding_errors: int = 0
    notes: list[str] = field(default_factory=list)

    def add_note(self, note: FileNote) -> None:
        """Collects a sentence about the form of the file."""
        if note.text not in self.notes:
            self.notes.append(note.text)

    def add(self, row: UnreadableRow, number: int) -> None:
        """Counts a row. number: of the row in its source, from 1."""
        self.count += 1
        self.num_encoding_errors += row.kind == "encoding"
        if len(self.reasons_by_row) < _MAX_LISTED:
            self.reasons_by_row[number] = row.reason

    def findings(self, source_index: int = 0, is_skipped: bool = False, encoding: str | None = None) -> list[Finding]:
        """The findings about the form of the file, then those about these rows: one, or two where another encoding may
        help.

        source_index: of the source in the spec's data. is_skipped: the source has `skip_bad`. encoding: the guessed
        encoding of the file, None where it is UTF-8 or not known.
        """
        return self._note_findings() + self._row_findings(source_index, is_skipped, encoding)

    def _note_findings(self) -> list[Finding]:
        """A finding for each note."""
        return [make_finding(FILE_FORM, "good", note) for note in self.notes]

    def _row_findings(self, source_index: int, is_skipped: bool, encoding: str | None) -> list[Finding]:
        """The findings about rows that cannot be read."""
        if not self.count:
            return []
        first_reason = next(iter(self.reasons_by_row.values()))
        plural_text = f"{self.count:,} rows cannot be read, first: {first_reason}."
        text = f"A row cannot be read: {first_reason}." if self.count == 1 else plural_text
        if is_skipped:
            return [self._finding("unreadable_rows", "careful", f"{text} {self._subject} left out.")]
        skip_title = f"Leave {'it' if self.count == 1 else 'them'} out"
        skip_remedy = _make_remedy(skip_title, f"data.{source_index}.skip_bad", True)
        skip_findings = [self._finding("unreadable_rows", "wrong", text, skip_remedy)]
        if not (encoding and self.num_encoding_errors):
            return skip_findings
        name = {"windows-1252": "Windows-1252", "latin-1": "Latin-1"}[encoding]
        encoding_text = (
            f"{text} It may be in {name}, as older programs in Western Europe and America write: look at its letters."
        )
        encoding_remedy = _make_remedy(f"Read it as {name}", f"data.{source_index}.encoding", encoding)
        return [
            self._finding("encoding", "wrong", encoding_text, encoding_remedy),
            *(skip_findings if self.num_encoding_errors < self.count else []),
        ]

    def _finding(self, finding_id: str, severity: Severity, text: str, remedy: Remedy | None = None) -> Finding:
        finding = make_finding(finding_id, severity, text, [*self.reasons_by_row], remedy)
        return {**finding, "count": self.count}  # only the first rows have a number

    @property
    def _subject(self) -> str:
        """The beginning of a sentence about these rows."""
        return "It is" if self.count == 1 else "They are"


def _make_remedy(title: str, path: str, value: bool | str) -> Remedy:
    """A remedy that changes one setting. path: of the setting in the spec."""
    return {"title": title, "changes": {path: value}}
