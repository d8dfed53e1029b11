"""Personal data: what is recognised in a text, and what only looks alike."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace
from typing import Any

import pytest

from app.core.paths import ROOT
from app.engine.audit.base import AuditedRow
from app.engine.audit.checks import languages, personal_data
from app.engine.tokens.personal_data import find_personal_data
from app.engine.tokens.secrets import redact_text

CARD, ACCOUNT, SOCIAL, PHONE, ADDRESS = personal_data.KINDS


def kinds_in(text: str) -> set[str]:
    return {kind for kind, _ in find_personal_data(text)}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("My card is 4539 1488 0343 6467, please charge it.", CARD),
        ("Visa 4539148803436467.", CARD),
        ("Amex 3782-822463-10005 exp 04/29", CARD),
        ("card=5555555555554444;", CARD),
        ("Mastercard of the new range: 2223003122003222", CARD),
        ("Pay to DE89 3704 0044 0532 0130 00 by Friday", ACCOUNT),
        ("IBAN: GB82WEST12345698765432", ACCOUNT),
        ("SSN 078-05-1120 on file", SOCIAL),
        ("Call me at +49 170 1234567.", PHONE),
        ("Tel. +44 20 7946 0958", PHONE),
        ("my number is (212) 736-5000", PHONE),
        ("reach her on 0033 1 42 68 53 00", PHONE),
        ("I live at 221 Baker Street, London.", ADDRESS),
        ("ship to 1600 Pennsylvania Ave. NW, Washington", ADDRESS),
        ("Ich wohne in der Lindenstraße 14a, 50674 Köln.", ADDRESS),
        ("Adresse: Am Alten Markt, Mozartgasse 3", ADDRESS),
        ("Heideweg 7, 20095 Hamburg", ADDRESS),
        ("12 bis, rue de la Paix, 75002 Paris", ADDRESS),
        ("Vivo en la Calle de Alcalá 42, Madrid", ADDRESS),
        ("Via Giuseppe Garibaldi, 10 Torino", ADDRESS),
        ("Keizersgracht 174, Amsterdam", ADDRESS),
        ("ul. Marszałkowska 104, Warszawa", ADDRESS),
        ("PO Box 1234", ADDRESS),
    ],
)
def test_personal_data_is_recognised(text: str, kind: str) -> None:
    assert kinds_in(text) == {kind}


@pytest.mark.parametrize(
    "text",
    [
        "Order 4539148803436468 has shipped.",  # the last digit is wrong
        "Tracking number 1234567890123456",
        "pi is 3.14159265358979323846",
        "sha 4539148803436467123456789",
        "DE89 3704 0044 0532 0130 01",
        "ISBN 978-3-16-148410-0, due 2026-11-30 12:30:45",
        "000-12-3456 and 123-45-67890",
        "Call 555-0123 or (212) 555-0142 in the film.",
        "The 3 Main reasons, 12 Monkeys, 100 Years of Solitude",
        "It is a long way 12 times over; ein Umweg 3 Kilometer lang",
        "Via email 10 people answered; Place 3 cubes",
        "Version 10.0.19045.3570, port 192.168.100.200",
        "from 1990-2010, 20-30 pieces at 1,234,567,890,123",
        "def f(x): return x[0:4] + 1600 * 1200",
        "Unix time 1764601234567, seed 18446744073709551615",
    ],
)
def test_what_only_looks_alike_is_left_alone(text: str) -> None:
    assert kinds_in(text) == set()


def test_no_shipped_sample_is_flagged() -> None:
    for path in sorted((ROOT / "presets" / "samples").glob("*/train.jsonl")):
        assert kinds_in(path.read_text("utf-8")) == set(), path


def test_a_long_text_of_digits_is_read_quickly() -> None:
    for text in ("1 " * 100_000, "4539 " * 40_000, "A1" * 100_000, "+49 " * 50_000, "Rua " * 50_000, "12 Aa " * 30_000):
        started_at = time.monotonic()
        list(find_personal_data(text))
        assert time.monotonic() - started_at < 3, text[:10]


def test_reports_do_not_repeat_what_they_warn_of() -> None:
    text = redact_text("Card 4539 1488 0343 6467, IBAN DE89 3704 0044 0532 0130 00, 221 Baker Street")
    assert not kinds_in(text)
    assert "0343 6467" not in text


# -- the checks of all rows ----------------------------------------------------------------------------------------


def findings_of(check_module: Any, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    job: Any = SimpleNamespace(data=SimpleNamespace(train=rows))
    table: Any = SimpleNamespace(column_names=[])
    check = check_module.Check(job, table)
    for number, row in enumerate(rows, 1):
        check.check_row(AuditedRow(number, row))
    return check.findings()


def chat(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


ENGLISH = [
    chat(f"Where is my parcel number {i}, it should have come yesterday?", "It is on its way and will arrive tomorrow.")
    for i in range(95)
]


def test_the_audit_names_each_kind_of_personal_data_with_its_rows() -> None:
    rows = [
        *ENGLISH[:3],
        chat("Charge 4539 1488 0343 6467 please", "Done."),
        chat("Send it to 221 Baker Street", "Yes."),
    ]
    findings = findings_of(personal_data, rows)
    assert [(finding["severity"], finding["rows"]) for finding in findings] == [("wrong", [4]), ("careful", [5])]
    assert "payment card (4539 1… of 19 characters)" in findings[0]["text"]
    assert findings_of(personal_data, ENGLISH) == []
    assert json.dumps(findings).count("6467") == 0


FRENCH_ANSWER = chat(
    "Where is my parcel, it should have come yesterday?", "Il est en route et arrivera chez vous demain matin."
)
MIXED = {
    "Russian": chat("Где он?", "Завтра будет."),
    "Chinese": chat("在哪里？", "明天到。"),
    "Greek": chat("Πού είναι;", "Αύριο."),
    "French": FRENCH_ANSWER,
    "German": chat(
        "Where is my parcel? " * 60, "Ihr Paket ist unterwegs und kommt morgen früh bei Ihnen an, vielen Dank."
    ),
}


@pytest.mark.parametrize("language", MIXED)
def test_a_second_language_in_a_few_rows_is_found_also_in_short_texts_and_in_answers_alone(language: str) -> None:
    (finding,) = findings_of(languages, ENGLISH + [MIXED[language]] * 6)
    assert finding["severity"] == "careful"
    assert f"6 % in {language}" in finding["text"]
    assert finding["rows"] == [96, 97, 98, 99, 100, 101]


def test_what_is_too_short_to_tell_is_said() -> None:
    (finding,) = findings_of(languages, ENGLISH + [chat("Wo ist es?", "Bald da.")] * 6)
    assert (finding["severity"], "6 too short to tell" in finding["text"]) == ("good", True)


def test_one_language_stays_one() -> None:
    (finding,) = findings_of(languages, ENGLISH)
    assert (finding["severity"], finding["text"]) == ("good", "The examples are in English.")
