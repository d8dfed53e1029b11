"""Dry run of reinforcement learning: completions of the untrained model, their rewards, and the rewards' spread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from components import notices
from components.theme import escape, html_block, launch_demo

if TYPE_CHECKING:
    from app.engine.preview.dry_run import DryRun, RewardRange, SampledCompletion, SampledPrompt

_MAX_ANSWER_CHARACTERS = 600  # characters of one completion that are shown
_EXPLANATION = (
    "The model learns from the difference between its own attempts. So let it try before it has learned anything: "
    "if every attempt earns the same, there is nothing to prefer, and nothing to learn from."
)


def render_dry_run_invitation() -> str:
    """HTML that explains the dry run before it is started."""
    return f'<div class="trial"><h2>What it would earn today</h2><p>{_EXPLANATION}</p></div>'


def render_dry_run_progress(done: int, total: int, waiting_text: str = "") -> str:
    """HTML of the progress in prompts, or of what the dry run waits for."""
    text = waiting_text or (
        f"It tries prompt {min(done + 1, total)} of {total} …" if total else "The untouched model is being loaded …"
    )
    share = done / total if total else 0
    return (
        f'<div class="trial" aria-busy="true"><h2>What it would earn today</h2><p role="status">{escape(text)}</p>'
        f'<div class="track" role="progressbar" aria-label="Prompts tried" aria-valuemin="0" aria-valuemax="{total}" aria-valuenow="{done}">'
        f'<i style="width: {share:.0%}"></i></div></div>'
    )


def render_dry_run(result: DryRun) -> str:
    """HTML of the worker's response: findings, statistics by reward, then every prompt with its completions."""
    prompts_html = "".join(_render_prompt(row) for row in result["rows"])
    return (
        f'<div class="trial"><h2>What it would earn today</h2>{notices.render_findings(result["findings"])}'
        f'{_render_reward_table(result["by_reward"])}<div class="attempts">{prompts_html}</div></div>'
    )


def _render_reward_table(rewards: dict[str, RewardRange]) -> str:
    rows_html = ""
    for reward_name, statistics in rewards.items():
        rewards_in_order = (statistics["lowest"], statistics["mean"], statistics["highest"])
        cells_html = "".join(f"<td>{format_reward(reward)}</td>" for reward in rewards_in_order)
        rows_html += f'<tr><th scope="row">{escape(reward_name)}</th>{cells_html}</tr>'
    header_html = "".join(f'<th scope="col">{title}</th>' for title in ("Reward", "lowest", "mean", "highest"))
    return f'<table class="earned"><thead><tr>{header_html}</tr></thead><tbody>{rows_html}</tbody></table>'


def _render_prompt(row: SampledPrompt) -> str:
    """HTML of a prompt, the spread of its rewards, and each completion with its reward."""
    spread_text = (
        "all earn the same" if not row["spread"] else f"{format_reward(row['spread'])} between the best and the worst"
    )
    attempts_html = "".join(_render_completion(completion) for completion in row["completions"])
    return (
        f'<article><p class="asked">{escape_clipped(row["prompt"])}</p>'
        f'<p class="spread">{escape(spread_text)}</p><ol>{attempts_html}</ol></article>'
    )


def _render_completion(completion: SampledCompletion) -> str:
    """HTML of a completion with its total reward, and each reward by name where there are several."""
    rewards_text = " · ".join(
        f"{reward_name} {format_reward(reward)}" for reward_name, reward in completion["rewards"].items()
    )
    rewards_html = f"<small>{escape(rewards_text)}</small>" if len(completion["rewards"]) > 1 else ""
    total, text = format_reward(completion["total"]), escape_clipped(completion["text"]) or "(nothing)"
    return f'<li><b title="{escape(rewards_text)}">{total}</b><span>{text}{rewards_html}</span></li>'


def escape_clipped(text: str) -> str:
    """Escaped text, cut after _MAX_ANSWER_CHARACTERS."""
    return escape(text if len(text) <= _MAX_ANSWER_CHARACTERS else f"{text[:_MAX_ANSWER_CHARACTERS]} …")


def format_reward(reward: float | None) -> str:
    """Three significant digits; a dash where there is no reward."""
    return "–" if reward is None else f"{reward:.3g}"


def _demo() -> None:
    completions: list[SampledCompletion] = [
        {"text": "43", "rewards": {"correct": 1.0}, "total": 1.0},
        {"text": "<b>34</b>", "rewards": {"correct": 0.0}, "total": 0.0},
    ]
    html_block(render_dry_run_invitation())
    html_block(render_dry_run_progress(3, 32))
    html_block(
        render_dry_run(
            {
                "rows": [{"prompt": "What is 12 + 31?", "completions": completions, "spread": 1.0}],
                "by_reward": {"correct": {"lowest": 0.0, "mean": 0.5, "highest": 1.0}},
                "findings": [
                    {
                        "id": "spread",
                        "severity": "good",
                        "text": "The attempts differ, so there is something to learn from.",
                        "count": 0,
                        "rows": [],
                        "remedy": None,
                    }
                ],
            }
        )
    )


if __name__ == "__main__":
    launch_demo(_demo)
