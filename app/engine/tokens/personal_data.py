"""Personal data in a text: payment cards, bank accounts, telephone numbers, social security numbers, postal addresses."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

# Prefixes and lengths of the large card networks (ISO/IEC 7812); the last digit is checked beside them.
_CARD_NUMBER = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}|3[47]\d{13}"
    r"|3(?:0[0-5]|[689]\d)\d{11}|(?:6011|65\d\d|64[4-9]\d)\d{12}|35(?:2[89]|[3-8]\d)\d{12}|62\d{14,17}"
)
_CARD_CANDIDATE = re.compile(r"(?<![\d.,/-])\d(?:[ -]?\d){12,18}(?![\d]|[.,/-]\d)")
_IBAN_CANDIDATE = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b")
_SOCIAL_SECURITY = re.compile(r"(?<![\d-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])")
# International numbers with their plus sign, and American ones with their area code in parentheses or dashes.
_PHONE_CANDIDATE = re.compile(
    r"(?<![\w+])(?:\+|(?<!\d[ -])00)[1-9]\d{0,2}[ ./-]?(?:\(0?\d{1,5}\)|\d)(?:[ ./-]?\d){6,12}(?!\d)"
    r"|(?<![\w-])(?:\([2-9]\d\d\) ?|[2-9]\d\d[-.])[2-9]\d\d[-.]\d{4}(?![\d-])"
)
_FICTIONAL_PHONE = re.compile(r"555.?01\d\d$")  # reserved for fiction

_NAME = r"[A-ZÀ-ÖØ-ÞŁŚŻ][\w.'’-]*"
_SMALL_WORDS = (
    r"(?:(?:de|du|des|la|le|les|l['’]|d['’]|del|della|dei|di|da|do|dos|das|y|e|van|der|den|von|zur|zum|am|an der) ?)*"
)
_ADDRESS_PATTERNS = (
    # 12 Baker Street, 1600 Pennsylvania Ave. NW
    rf"\d{{1,5}}[A-Za-z]? (?:{_NAME} ){{1,3}}(?:Street|St\.?|Avenue|Ave\.?|Road|Rd\.?|Boulevard|Blvd\.?|Lane|Ln\.?|Drive|Dr\.?|Court|Ct\.?"
    r"|Terrace|Crescent|Highway|Hwy\.?|Parkway|Pkwy\.?)(?![\w])",
    # Hauptstraße 12a, Alte Gasse 3, Keizersgracht 5
    rf"(?:{_NAME} )?(?:{_NAME}(?:straße|strasse|str\.|gasse|allee|platz|damm|ufer|straat|laan|gracht|kade|plein)|(?:Straße|Gasse|Allee|Platz|Weg))"
    r" (?:des |der |am )?\d{1,4} ?[a-zA-Z]?(?![\w%])",
    rf"(?:{_NAME}weg) \d{{1,4}} ?[a-z]?,? \d{{4,5}} {_NAME}",  # with its town: Umweg 3 is no address
    # 12 bis, rue de la Paix
    rf"\d{{1,4}}(?: ?(?:bis|ter))?,? (?:rue|avenue|boulevard|place|chemin|allée|impasse|quai|cours) {_SMALL_WORDS}{_NAME}",
    # Calle Mayor 5, Via Roma, 10, Rua Augusta 100, ul. Marszałkowska 10
    rf"(?:Calle|C/|Avenida|Avda\.|Av\.|Paseo|Plaza|Via|Viale|Piazza|Corso|Rua|Travessa|ul\.|al\.) ?{_SMALL_WORDS}{_NAME}(?: {_SMALL_WORDS}{_NAME}){{0,3}},?"
    r" (?:n\.? ?[º°o]?\.? ?)?\d{1,4}(?![\w%])",
    r"P\.? ?O\.? Box \d{1,6}",
)
_ADDRESS = re.compile("|".join(f"(?:(?<![\\w])(?:{pattern}))" for pattern in _ADDRESS_PATTERNS))


def find_payment_cards(text: str) -> Iterator[str]:
    """Numbers of payment cards: of a network's prefix and length, with a right last digit."""
    for match in _CARD_CANDIDATE.finditer(text):
        digits = re.sub(r"\D", "", match.group())
        if _CARD_NUMBER.fullmatch(digits) and has_luhn_digit(digits):
            yield match.group()


def has_luhn_digit(digits: str) -> bool:
    """Whether the last digit is that of Luhn's formula (ISO/IEC 7812-1, annex B)."""
    doubled = [int(digit) * (1 + position % 2) for position, digit in enumerate(reversed(digits))]
    return sum(number - 9 * (number > 9) for number in doubled) % 10 == 0


def find_ibans(text: str) -> Iterator[str]:
    """International bank account numbers with right check digits (ISO 13616: the number modulo 97 is 1)."""
    for match in _IBAN_CANDIDATE.finditer(text):
        number = match.group().replace(" ", "")
        rearranged = "".join(str(int(character, 36)) for character in number[4:] + number[:4])
        if 15 <= len(number) <= 34 and int(rearranged) % 97 == 1:
            yield match.group()


def find_phone_numbers(text: str) -> Iterator[str]:
    """Telephone numbers with their country or area code, but those reserved for fiction."""
    yield from (
        match.group() for match in _PHONE_CANDIDATE.finditer(text) if not _FICTIONAL_PHONE.search(match.group())
    )


def find_social_security_numbers(text: str) -> Iterator[str]:
    """American social security numbers, by their form and the ranges that are never given out."""
    yield from (match.group() for match in _SOCIAL_SECURITY.finditer(text))


def find_postal_addresses(text: str) -> Iterator[str]:
    """Streets with a house number, as English, German, Dutch, French, Spanish, Italian, Portuguese and Polish write them."""
    yield from (match.group() for match in _ADDRESS.finditer(text))


# {what it is: (how it is found, whether nobody could want to train on it)}
KINDS: dict[str, tuple[Callable[[str], Iterator[str]], bool]] = {
    "the number of a payment card": (find_payment_cards, True),
    "the number of a bank account (IBAN)": (find_ibans, True),
    "a social security number": (find_social_security_numbers, True),
    "a telephone number": (find_phone_numbers, False),
    "a postal address": (find_postal_addresses, False),
}


def find_personal_data(text: str) -> Iterator[tuple[str, str]]:
    """(what it is, the text of it) for all personal data that is recognised."""
    if any(character.isdigit() for character in text):  # each kind has a number
        for kind, (find, _) in KINDS.items():
            yield from ((kind, match) for match in find(text))
