"""Histogram of example lengths in tokens, with a line at the maximum length."""

from __future__ import annotations

from typing import TYPE_CHECKING

from components.theme import escape, html_block, launch_demo

if TYPE_CHECKING:
    from app.engine.preview.run_estimate import LengthHistogram


def render_length_histogram(lengths: LengthHistogram) -> str:
    """HTML of the histogram. lengths: {"edges", "counts", "limit", "longest", "median"} from the worker, in tokens."""
    edges, counts = reached_bins(lengths)
    limit_position = _limit_position(edges, lengths["limit"])
    bars_html = "".join(
        _render_bar(count, max(counts), index, limit_position, len(counts)) for index, count in enumerate(counts)
    )
    limit_line = (
        ""
        if limit_position is None
        else f'<i class="cut-line{" far" if limit_position > 0.6 else ""}" style="left: {limit_position:.2%}"><span>cut at {lengths["limit"]:,}</span></i>'
    )
    return (
        f'<figure class="lengths"><figcaption>How long the examples are, in tokens{_limit_text(lengths, limit_position)}</figcaption>'
        f'<div class="bars" role="img" aria-label="{escape(_describe_lengths(lengths))}">{bars_html}{limit_line}</div>'
        f'<p class="reach" aria-hidden="true"><span>{edges[0]:,.0f}</span><span>{edges[-1]:,.0f}</span></p>{_render_table(edges, counts)}</figure>'
    )


def _limit_text(lengths: LengthHistogram, limit_position: float | None) -> str:
    """Sentence about the maximum length, where it lies outside of the histogram."""
    if lengths["limit"] is None or limit_position is not None:
        return ""
    return f". The maximum length is {lengths['limit']:,}, which none reaches"


def reached_bins(lengths: LengthHistogram) -> tuple[list[int], list[int]]:
    """Edges and counts without the empty bins before the shortest example, but including the limit."""
    edges, counts, limit = lengths["edges"], lengths["counts"], lengths["limit"]
    first = next((index for index, count in enumerate(counts) if count), 0)
    while first and limit is not None and limit < edges[first]:
        first -= 1
    return edges[first:], counts[first:]


def _limit_position(edges: list[int], limit: float | None) -> float | None:
    """Position of the limit as a share (0 to 1) of the width; None when it lies outside of the histogram."""
    if limit is None or limit >= edges[-1] or limit < edges[0]:
        return None
    bin_index = next(i for i in range(len(edges) - 1) if limit < edges[i + 1])
    bin_fraction = (limit - edges[bin_index]) / (edges[bin_index + 1] - edges[bin_index])
    return (bin_index + bin_fraction) / (len(edges) - 1)


def _render_bar(count: int, highest: int, index: int, limit_position: float | None, bar_count: int) -> str:
    """HTML of one bar. Bars behind the limit are hatched: their examples are truncated."""
    css_suffix = " behind" if limit_position is not None and index + 1e-9 >= limit_position * bar_count else ""
    return f'<i class="bar{css_suffix}" style="height: {count / max(1, highest):.1%}"></i>'


def _describe_lengths(lengths: LengthHistogram) -> str:
    """The histogram in words, for screen readers."""
    edges, counts = reached_bins(lengths)
    largest_bin = counts.index(max(counts))
    description = (
        f"Half of the examples have at most {lengths['median']:,.0f} tokens, the longest has {lengths['longest']:,}. "
        f"The most common are {edges[largest_bin]:,.0f} to {edges[largest_bin + 1]:,.0f} tokens long."
    )
    return description if lengths["limit"] is None else f"{description} The maximum length is {lengths['limit']:,}."


def _render_table(edges: list[int], counts: list[int]) -> str:
    """HTML table of the histogram, for screen readers."""
    rows_html = "".join(
        f"<tr><td>{edges[i]:,.0f} to {edges[i + 1]:,.0f}</td><td>{count:,}</td></tr>" for i, count in enumerate(counts)
    )
    return (
        f'<table class="unseen"><caption>Examples by length</caption><thead><tr><th scope="col">Tokens</th><th scope="col">Examples</th></tr></thead>'
        f"<tbody>{rows_html}</tbody></table>"
    )


def _demo() -> None:
    html_block(
        render_length_histogram(
            {
                "edges": [0, 50, 100, 150, 200, 250],
                "counts": [40, 210, 160, 60, 10],
                "limit": 192,
                "longest": 243,
                "median": 98,
            }
        )
    )


if __name__ == "__main__":
    launch_demo(_demo)
