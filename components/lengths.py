"""Lengths: how many examples are how long, as bars, with the line behind which they are cut."""

from __future__ import annotations

from typing import Any

from components.theme import alone, page, safe


def histogram(lengths: dict[str, Any]) -> str:
    """Of {"edges", "counts", "limit", "longest", "median"}, in tokens, as the worker's plan tells them."""
    edges, counts = reached(lengths)
    place = cut_at(edges, lengths["limit"])
    bars = "".join(bar(count, max(counts), index, place, len(counts)) for index, count in enumerate(counts))
    line = (
        ""
        if place is None
        else f'<i class="cut-line{" far" if place > 0.6 else ""}" style="left: {place:.2%}"><span>cut at {lengths["limit"]:,}</span></i>'
    )
    return (
        f'<figure class="lengths"><figcaption>How long the examples are, in tokens{limit_of(lengths, place)}</figcaption>'
        f'<div class="bars" role="img" aria-label="{safe(told(lengths))}">{bars}{line}</div>'
        f'<p class="reach" aria-hidden="true"><span>{edges[0]:,.0f}</span><span>{edges[-1]:,.0f}</span></p>{table(edges, counts)}</figure>'
    )


def limit_of(lengths: dict[str, Any], place: float | None) -> str:
    """Said where no line can show it."""
    if lengths["limit"] is None or place is not None:
        return ""
    return f". The maximum length is {lengths['limit']:,}, which none reaches"


def reached(lengths: dict[str, Any]) -> tuple[list[float], list[int]]:
    """Edges and counts from the first example's length on, or from the limit where all are longer."""
    edges, counts, limit = lengths["edges"], lengths["counts"], lengths["limit"]
    first = next((index for index, count in enumerate(counts) if count), 0)
    while first and limit is not None and limit < edges[first]:
        first -= 1
    return edges[first:], counts[first:]


def cut_at(edges: list[float], limit: float | None) -> float | None:
    """Where the limit stands, as a share of the width; None when no example reaches so far."""
    if limit is None or limit >= edges[-1] or limit < edges[0]:
        return None
    index = next(i for i in range(len(edges) - 1) if limit < edges[i + 1])
    within = (limit - edges[index]) / (edges[index + 1] - edges[index])
    return (index + within) / (len(edges) - 1)


def bar(count: int, highest: int, index: int, place: float | None, of: int) -> str:
    """A bar behind the line is hatched: its examples lose their end."""
    behind = " behind" if place is not None and index + 1e-9 >= place * of else ""
    return f'<i class="bar{behind}" style="height: {count / max(1, highest):.1%}"></i>'


def told(lengths: dict[str, Any]) -> str:
    """The picture in a sentence."""
    edges, counts = reached(lengths)
    most = counts.index(max(counts))
    said = (f"Half of the examples have at most {lengths['median']:,.0f} tokens, the longest has {lengths['longest']:,}. "
            f"The most common are {edges[most]:,.0f} to {edges[most + 1]:,.0f} tokens long.")  # fmt: skip
    return said if lengths["limit"] is None else f"{said} The maximum length is {lengths['limit']:,}."


def table(edges: list[float], counts: list[int]) -> str:
    """The same in numbers, for whoever cannot see the bars."""
    rows = "".join(
        f"<tr><td>{edges[i]:,.0f} to {edges[i + 1]:,.0f}</td><td>{count:,}</td></tr>" for i, count in enumerate(counts)
    )
    return (
        f'<table class="unseen"><caption>Examples by length</caption><thead><tr><th scope="col">Tokens</th><th scope="col">Examples</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def example() -> None:
    page(histogram({"edges": [0, 50, 100, 150, 200, 250], "counts": [40, 210, 160, 60, 10], "limit": 192,
                    "longest": 243, "median": 98}))  # fmt: skip


if __name__ == "__main__":
    alone(example)
