"""Notices: what was found or refused, each in a sentence with its sign."""

from __future__ import annotations

from app.core.problems import Problem
from components.theme import alone, page, safe

SIGNS = ("good", "info", "careful", "wrong")


def findings(found: list[dict[str, str]]) -> str:
    """A list of {"severity", "text"}."""
    return f'<ul class="notice">{"".join(item(one["severity"], one["text"]) for one in found)}</ul>' if found else ""


def item(sign: str, text: str) -> str:
    assert sign in SIGNS, f"there is no sign for {sign}"
    return f'<li class="{sign}">{safe(text)}</li>'


def problem(found: Problem) -> str:
    """What was refused, and what to do; read out at once by screen readers."""
    return (
        f'<div role="alert"><ul class="notice boxed">{item("wrong", f"{found.text} {found.advice}".strip())}</ul></div>'
    )


def note(text: str) -> str:
    return f'<div role="status"><ul class="notice boxed">{item("info", text)}</ul></div>'


# The way back from a refusal: to the setting that it names, or to where settings are. Shown by notices.css beside an alert.
WAY = '<a class="way" href="#choose">Go to this setting</a>'
WAY_JS = """element.addEventListener('click', () => {
  const name = element.closest('.view')?.querySelector('[role=alert]')?.textContent.match(/“(\\w+)”/)?.[1];
  const fields = name ? [...document.querySelectorAll(`#view-choose [id$="-${name}"] :is(input, textarea)`)] : [];
  setTimeout(() => fields.find(one => one.offsetParent)?.focus(), 150);  // the view is there by then
});"""


def example() -> None:
    page(findings([{"severity": sign, "text": f"A sentence that is {sign}."} for sign in SIGNS]))
    page(problem(Problem("Batch 64 needs about 31 GB; this device has 24.", advice="Try 32.")))
    page(note("This setup came by a link."))


if __name__ == "__main__":
    alone(example)
