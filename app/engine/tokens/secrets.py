"""Hiding: keys and addresses in a text that look real, and how they are shown without being told."""

from __future__ import annotations

import re
from collections.abc import Iterator

KINDS = {
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
# What every one of them holds: a plain search for these is many times quicker than the patterns.
SIGNS = ("PRIVATE KEY", "AKIA", "ASIA", "gh", "glpat-", "sk-", "hf_", "xox", "AIza", "k_live_", "eyJ")
ANY = re.compile("|".join(f"({pattern})" for pattern in KINDS.values()))
MAIL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@((?:[A-Za-z0-9-]{1,63}\.){1,5}[A-Za-z]{2,24})\b")
# Of examples and of nobody: RFC 2606, and names that stand for none.
NOBODYS = re.compile(r"(^|\.)(example|test|invalid|localhost|local|domain|email|mail|company|yourdomain|acme|foo|bar|sample)\.[a-z]+$|\.(example|test|invalid|localhost|local)$", re.IGNORECASE)  # fmt: skip
DIFFERENT = 8  # characters that a real key has at least; xxxxxxxx has fewer
PRETENDED = ("EXAMPLE", "example", "xxxx", "XXXX", "your", "YOUR", "12345678", "abcdefgh")


def secrets(text: str) -> Iterator[tuple[str, str]]:
    """(what it is, the secret) of all that look real."""
    if not any(sign in text for sign in SIGNS):
        return
    names = [*KINDS]
    for found in ANY.finditer(text):
        secret = found.group()
        kind = names[(found.lastindex or 1) - 1]
        if kind == names[0] or (len({*secret}) >= DIFFERENT and not any(one in secret for one in PRETENDED)):
            yield kind, secret


def addresses(text: str) -> Iterator[str]:
    """E-mail addresses that look like somebody's."""
    if "@" in text:
        for found in MAIL.finditer(text):
            if not NOBODYS.search(found.group(1)):
                yield found.group()


def hidden(secret: str) -> str:
    """Enough to find it in the file, and not to use it."""
    name, at, domain = secret.partition("@")
    if at:
        return f"{name[0]}…@{domain}"
    return f"{secret[:6]}… of {len(secret)} characters" if not secret.startswith("-----") else secret.strip("-").title()


def covered(text: str) -> str:
    """The text with its secrets and addresses hidden."""
    for _, secret in [*secrets(text)]:
        text = text.replace(secret, hidden(secret))
    for address in [*addresses(text)]:
        text = text.replace(address, hidden(address))
    return text
