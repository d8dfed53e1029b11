"""Secrets: keys and e-mail addresses in a text that look real, and how they are redacted."""

from __future__ import annotations

import re
from collections.abc import Iterator

from app.engine.tokens.personal_data import find_personal_data

_SECRET_PATTERNS = {
    "a private key": r"-----BEGIN (?:[A-Z]{2,10} )?PRIVATE KEY(?: BLOCK)?-----",
    "an Amazon key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a GitHub token": r"\bgh[pousr]_[A-Za-z0-9]{36,255}\b|\bgithub_pat_[A-Za-z0-9_]{60,255}\b",
    "a GitLab token": r"\bglpat-[A-Za-z0-9_-]{20,64}\b",
    "a key of a model service": r"\bsk-(?:proj-|ant-|or-)?[A-Za-z0-9_-]{24,200}\b",
    "a Hugging Face token": r"\bhf_[A-Za-z0-9]{30,64}\b",
    "a Slack token": r"\bxox[abprs]-[A-Za-z0-9-]{20,200}\b",
    "a Google key": r"\bAIza[0-9A-Za-z_-]{35}\b",
    "a Stripe key": r"\b[sr]k_live_[0-9A-Za-z]{20,200}\b",
    "a web token": r"\beyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{20,1000}\b",
}
# Substrings of which every secret has one: searching for them is many times faster than the patterns.
_SECRET_SUBSTRINGS = ("PRIVATE KEY", "AKIA", "ASIA", "gh", "glpat-", "sk-", "hf_", "xox", "AIza", "k_live_", "eyJ")
_ANY_SECRET = re.compile("|".join(f"({pattern})" for pattern in _SECRET_PATTERNS.values()))
_EMAIL_ADDRESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@((?:[A-Za-z0-9-]{1,63}\.){1,5}[A-Za-z]{2,24})\b")
# Domains of examples: those of RFC 2606, and names that are commonly used as placeholders.
_PLACEHOLDER_DOMAIN = re.compile(
    r"(^|\.)(example|test|invalid|localhost|local|domain|email|mail|company|yourdomain|acme|foo|bar|sample)\.[a-z]+$"
    r"|\.(example|test|invalid|localhost|local)$",
    re.IGNORECASE,
)
_MIN_DISTINCT_CHARACTERS = 8  # of a real key; xxxxxxxx has fewer
_PLACEHOLDER_TEXTS = ("EXAMPLE", "example", "xxxx", "XXXX", "your", "YOUR", "12345678", "abcdefgh")


def find_secrets(text: str) -> Iterator[tuple[str, str]]:
    """(what it is, the secret) for every key or token that looks real."""
    if not any(substring in text for substring in _SECRET_SUBSTRINGS):
        return
    names = [*_SECRET_PATTERNS]
    for match in _ANY_SECRET.finditer(text):
        secret = match.group()
        name = names[(match.lastindex or 1) - 1]
        is_random = len({*secret}) >= _MIN_DISTINCT_CHARACTERS
        if name == names[0] or (is_random and not any(placeholder in secret for placeholder in _PLACEHOLDER_TEXTS)):
            yield name, secret


def find_email_addresses(text: str) -> Iterator[str]:
    """E-mail addresses that look like those of a person."""
    if "@" in text:
        for match in _EMAIL_ADDRESS.finditer(text):
            if not _PLACEHOLDER_DOMAIN.search(match.group(1)):
                yield match.group()


def redact_secret(secret: str) -> str:
    """Enough of a key or an address to find it in the file, and not enough to use it."""
    name, at_sign, domain = secret.partition("@")
    if at_sign:
        return f"{name[0]}…@{domain}"
    return f"{secret[:6]}… of {len(secret)} characters" if not secret.startswith("-----") else secret.strip("-").title()


def redact_text(text: str) -> str:
    """The text with its secrets, personal data and e-mail addresses redacted."""
    for _, match in [*find_personal_data(text)]:
        text = text.replace(match, redact_secret(match))
    for _, secret in [*find_secrets(text)]:
        text = text.replace(secret, redact_secret(secret))
    for address in [*find_email_addresses(text)]:
        text = text.replace(address, redact_secret(address))
    return text
