"""The view Try: one prompt, answered by the base model and by the tuned model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from app.contracts import Done, Waiting
from app.core.problems import Problem
from app.engine.questions.evaluation import Question as EvaluationQuestion
from app.history import metric_labels, summary
from app.history.result_words import known_result_step, result_words
from app.hub.model_card import completions_by_prompt
from app.runs import store
from app.runs.eval_sets import count_deciding_rows
from app.runs.events import Event, SampleEvent, last_of_type
from app.runs.store import Run
from app.server.error_boundary import EVENT_OPTIONS, Updates, error_notice, stream_with_error_notice, with_error_notice
from app.server.views import scores
from app.server.views.chat_layout import MEASURE_LABEL, ChatView
from app.server.visitor import visitor_workspace
from app.worker.client import WorkerClient
from components import chat, notices

if TYPE_CHECKING:
    from app.engine.evaluation.baseline_eval import Comparison
    from app.engine.generation.chat import ChatCompletion, ChatText

AnsweredRun = tuple[str, int]  # id of a run, and modification time of its result in nanoseconds
_MAX_SUGGESTIONS = 6
_TEXT_ONLY_HINT = '<p class="hint">This model takes pictures too. Here it is asked in words alone; its tests show what it says of pictures.</p>'
_MAX_ANSWER_TOKENS = 256  # per answer


def bind_chat_events(view: ChatView, open_run: gr.HTML, worker: WorkerClient) -> None:
    """Binds the events of the view and of its scoring panel. open_run: its value is the id of the run that answers."""
    scores.bind_scoring_events(view.scoring_panel, open_run, worker)

    _bind_answer_events(view, open_run, _bind_ask_events(view, open_run, worker), worker)
    view.publish_button.click(None, None, None, js="() => { tunesmith.go('publish'); return []; }", **EVENT_OPTIONS)


def _bind_ask_events(view: ChatView, open_run: gr.HTML, worker: WorkerClient) -> list[dict[str, Any]]:
    """Binds what sends a prompt: the button, the Enter key and the suggestions. Returns the events."""
    ask = _ask_handler(view, worker)

    def ask_suggestion(event: gr.EventData, run_id: str, temperature: float) -> Iterator[Updates]:
        yield from ask(run_id, event.prompt, temperature)

    typed_prompt_event = gr.on(
        [view.ask_button.click, view.prompt.submit],
        stream_with_error_notice(ask, view.side_notice),
        [open_run, view.prompt, view.temperature],
        view.answer_outputs,
        trigger_mode="multiple",
        **EVENT_OPTIONS,
    )
    suggestion_event = view.suggestions.select(
        stream_with_error_notice(ask_suggestion, view.side_notice),
        [open_run, view.temperature],
        view.answer_outputs,
        trigger_mode="multiple",
        **EVENT_OPTIONS,
    )
    return [typed_prompt_event, suggestion_event]


def _bind_answer_events(
    view: ChatView, open_run: gr.HTML, ask_events: list[dict[str, Any]], worker: WorkerClient
) -> None:
    """Binds what stops an answer: the button, and another run. Binds the evaluation, too, which another run stops."""

    def open_view(event: gr.EventData, answered_run: AnsweredRun | None) -> Updates:
        return _idle_updates(view) | _show_run(view, event.run, answered_run)

    view.stop_button.click(
        lambda: _idle_updates(view) | {view.status: notices.render_status("Stopped.")},
        None,
        view.answer_outputs,
        cancels=ask_events,
        **EVENT_OPTIONS,
    )
    measure_event = view.measure_button.click(
        stream_with_error_notice(_measure_handler(view, worker), view.side_notice),
        open_run,
        [view.side_notice, view.header, view.measure_button, view.status],
        **EVENT_OPTIONS,
    )
    view.heading.select(
        with_error_notice(open_view, view.notice),
        view.answered_run,
        [*view.answer_outputs, *view.open_outputs],
        cancels=[*ask_events, measure_event],
        trigger_mode="multiple",
        **EVENT_OPTIONS,
    )


def _ask_handler(view: ChatView, worker: WorkerClient) -> Callable[[str, str, float], Iterator[Updates]]:
    """Handler that sends one prompt to both models."""

    def ask(run_id: str, prompt: str, temperature: float) -> Iterator[Updates]:
        if not prompt.strip():
            raise Problem("There is nothing to ask yet.", advice="Type a prompt, or take one of the list.")
        run = store.get_run(visitor_workspace(), run_id)
        chat_prompt = chat.ChatPrompt(prompt, _is_text_completion(run))
        yield {
            view.side_notice: "",
            view.ask_button: gr.update(interactive=False),
            view.stop_button: gr.update(interactive=True),
            view.prompt: prompt,
            view.answers: chat.render_answer_pair({}, prompt=chat_prompt),
            view.status: notices.render_status("Getting both models ready …"),
        }
        try:
            messages = worker.stream_completions(
                run.id, prompt, max_new_tokens=_MAX_ANSWER_TOKENS, temperature=temperature
            )
            yield from _stream_answers(view, messages, chat_prompt)
        except Exception as error:
            yield _idle_updates(view) | {
                view.answers: chat.render_empty_pair(),
                view.status: "",
                view.side_notice: error_notice(error, ask),
            }

    return ask


def _measure_handler(view: ChatView, worker: WorkerClient) -> Callable[[str], Iterator[Updates]]:
    """Handler that scores both models on held-out examples."""

    def measure(run_id: str) -> Iterator[Updates]:
        yield {view.side_notice: "", view.measure_button: gr.update(interactive=False, value="Testing both …")}
        try:
            run = store.get_run(visitor_workspace(), run_id)
            for message in worker.stream(EvaluationQuestion(run.id)):
                if "waiting" in message:
                    yield {view.status: notices.render_status(message["waiting"])}
                elif "done" in message:
                    yield {
                        view.header: _render_measured(run, message["done"]),
                        view.measure_button: gr.update(visible=False),
                        view.status: "",
                    }
        except Exception as error:
            enabled = gr.update(interactive=True, value=MEASURE_LABEL)
            yield {view.side_notice: error_notice(error, measure), view.measure_button: enabled}

    return measure


def _idle_updates(view: ChatView) -> Updates:
    """Updates of the buttons while no answer is being generated."""
    return {view.ask_button: gr.update(interactive=True), view.stop_button: gr.update(interactive=False)}


def _highlight_next_step(view: ChatView, is_answered: bool) -> Updates:
    """Updates that make the next step the primary button: asking, or publishing after an answer."""
    ask_variant, publish_variant = ("secondary", "primary") if is_answered else ("primary", "secondary")
    return {
        view.ask_button: gr.update(interactive=True, variant=ask_variant),
        view.publish_button: gr.update(variant=publish_variant),
    }


def _is_text_completion(run: Run) -> bool:
    """Whether the run's prompts are continued as plain text, without a chat template."""
    return run.facts.get("chat") is False


def _show_run(view: ChatView, run_id: str, answered_run: AnsweredRun | None) -> Updates:
    """Updates for the run in the address. Answers stay when the view is opened again with the same result."""
    try:
        run = store.get_run(visitor_workspace(), run_id)
    except Problem:  # no run is open, or it was deleted: the view says how to get one
        return _show_no_run(view, chat.NO_RUN_HTML)
    if not run.adapter.is_dir():
        return _show_no_run(view, chat.render_no_result(store.run_title(run), store.is_alive(run)))
    this_result: AnsweredRun = (run.id, run.adapter.stat().st_mtime_ns)
    events = summary.sample_events(run.events)
    facts, damage_html = _facts_or_notice(run)
    updates: Updates = {
        view.header: _render_header(run, summary.eval_metrics(events, known_result_step(run))) + _text_only_hint(facts),
        view.answered_run: this_result,
        view.side_notice: damage_html,
    }
    if scores.model_kind(run) != "causal":
        is_new_run = this_result != answered_run
        panel_updates = scores.show_scoring_panel(view.scoring_panel, run, events, is_new_run=is_new_run)
        return updates | {view.body: gr.update(visible=False)} | panel_updates
    updates |= {view.body: gr.update(visible=True), view.scoring_panel.body: gr.update(visible=False)}
    if this_result == answered_run:
        return updates
    can_measure = _can_measure(facts, events)
    new_run = {
        view.suggestions: chat.render_prompt_suggestions(_suggested_prompts(run, events)),
        view.prompt: "",
        view.answers: chat.render_empty_pair(),
        view.status: "",
        view.measure_button: gr.update(visible=can_measure, interactive=True, value=MEASURE_LABEL),
    }
    return updates | _highlight_next_step(view, is_answered=False) | new_run


def _facts_or_notice(run: Run) -> tuple[dict[str, Any], str]:
    """The facts of the run, and HTML that says what is wrong with them: where they are damaged the view goes on without."""
    try:
        return run.facts, ""
    except Problem as problem:  # boundary: the disk
        return {}, notices.render_problem(problem)


def _text_only_hint(facts: dict[str, Any]) -> str:
    """Hint for vision models: the chat sends text only."""
    return _TEXT_ONLY_HINT if (facts.get("model") or {}).get("sees") else ""


def _show_no_run(view: ChatView, reason_html: str) -> Updates:
    hide: dict[str, Any] = gr.update(visible=False)
    updates: Updates = {
        view.header: reason_html,
        view.body: hide,
        view.scoring_panel.body: hide,
        view.answered_run: None,
    }
    return updates


def _render_header(run: Run, evaluations: Sequence[Mapping[str, float | None]]) -> str:
    comparison, words = summary.compare_evals(evaluations), result_words(run)
    if comparison is None:
        return chat.render_score_change(store.run_title(run), "", "", "", words)
    labels = metric_labels.eval_labels(run.spec.to_dict())
    return chat.render_score_change(
        store.run_title(run),
        labels.get(comparison.name, comparison.name),
        comparison.first_text,
        comparison.last_text,
        words,
    )


def _can_measure(facts: dict[str, Any], events: Sequence[Event]) -> bool:
    """Whether there are held-out examples without a score before and after training."""
    return summary.compare_evals(summary.eval_metrics(events)) is None and bool(count_deciding_rows(facts))


def _render_measured(run: Run, scores: Comparison) -> str:
    """The header with scores measured now. scores: {"base": {metric: score}, "tuned": {metric: score}}."""
    evaluations = [
        {f"eval/{metric}": score for metric, score in metrics.items()} for metrics in (scores["base"], scores["tuned"])
    ]
    return _render_header(run, evaluations)


def _suggested_prompts(run: Run, events: Sequence[Event]) -> list[str]:
    """The spec's prompts, then prompts of held-out examples from the latest evaluation."""
    sample = last_of_type(events, SampleEvent)
    sample_rows = completions_by_prompt(run, sample) if sample else {}
    return list(dict.fromkeys([*run.spec.prompts, *sample_rows]))[:_MAX_SUGGESTIONS]


def _stream_answers(
    view: ChatView,
    messages: Iterator[ChatText | Waiting | Done[dict[str, ChatCompletion]]],
    chat_prompt: chat.ChatPrompt,
) -> Iterator[Updates]:
    """Updates with both answers while they are generated. The worker's last message replaces the streamed text."""
    texts: dict[str, str] = {}
    for message in messages:
        if "waiting" in message:
            yield {view.status: notices.render_status(message["waiting"])}
        elif "done" in message:
            stats_by_model = message["done"]
            texts = {model_key: stats["text"] for model_key, stats in stats_by_model.items()}
            finished = {
                view.answers: chat.render_answer_pair(texts, stats_by_model, chat_prompt),
                view.status: notices.render_status("Both have answered."),
            }
            yield _idle_updates(view) | _highlight_next_step(view, is_answered=True) | finished
        else:
            texts[message["who"]] = texts.get(message["who"], "") + message["text"]
            yield {
                view.answers: chat.render_answer_pair(texts, prompt=chat_prompt),
                view.status: notices.render_status("Answering …"),
            }
