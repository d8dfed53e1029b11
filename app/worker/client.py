"""WorkerClient: the page's and command line's access to the warm worker process. Imports no heavy library itself."""

from __future__ import annotations

import copy
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from app import contracts
from app.core.json_types import JsonObject
from app.engine.questions import (
    AnyQuestion,
    audit,
    batches,
    chat,
    completions,
    dataset_configs,
    dry_run,
    evaluation,
    plan,
    question_arguments,
    question_name,
    rows,
    score,
    source_preview,
    template,
)
from app.setup.spec import Model, Spec
from app.worker.bounded_calls import BoundedCalls
from app.worker.rpc import RpcClient, RpcService

if TYPE_CHECKING:
    from app.data.findings.source_preview import SourcePreview
    from app.engine.audit.report import AuditReport
    from app.engine.cooperative import ProgressPart
    from app.engine.evaluation.baseline_eval import Comparison
    from app.engine.generation.chat import ChatCompletion, ChatText
    from app.engine.preview.dry_run import DryRun
    from app.engine.preview.page_types import BatchesPreview, RowsPreview
    from app.engine.preview.run_estimate import RunEstimate
    from app.engine.preview.template_preview import TemplatePreview

OnWaiting = Callable[[str], None]
_AnswerT = TypeVar("_AnswerT")
_PartT = TypeVar("_PartT")


class WorkerClient:
    """One warm process: started by the first request or by `ensure_started`, used by any thread, started again when it
    died.

    `call` and `stream` put any question of app/engine/questions/; the other methods are shorthands. Streams are
    generators: closing one stops its work in the process.
    """

    def __init__(self, timeouts: Mapping[str, float] | None = None) -> None:
        """timeouts: in seconds, by the name of a question, instead of its own."""
        self._timeouts = timeouts or {}
        self._is_abandoned: Callable[[], bool] = lambda: False
        self._service = RpcService("app.engine.worker")
        self.bounded_calls = BoundedCalls()

    def __enter__(self) -> WorkerClient:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def process(self) -> subprocess.Popen[str] | None:
        """The worker process; None before it is started."""
        return self._service.client.process if self._service.client else None

    def ensure_started(self) -> RpcClient:
        """Starts the process unless it is alive. Returns at once, before the process has imported its libraries."""
        return self._service.ensure_started()

    def while_wanted(self, is_abandoned: Callable[[], bool]) -> WorkerClient:
        """A client of the same process, whose questions end once nobody waits for them any more."""
        client = copy.copy(self)
        client._is_abandoned = is_abandoned
        return client

    def close(self) -> None:
        """Ends the process, if there is one, and that of bounded calls."""
        self.bounded_calls.close()
        self._service.close()

    def stream(
        self, question: contracts.Question[_AnswerT, _PartT]
    ) -> Iterator[_PartT | contracts.Waiting | contracts.Done[_AnswerT]]:
        """The parts of the answer as they come, and last {"done": answer}.

        Raises Problem from the worker, and when it died or timed out.
        """
        return self._stream_json(question)

    def call(self, question: contracts.Question[_AnswerT, _PartT], on_waiting: OnWaiting | None = None) -> _AnswerT:
        """The complete answer. on_waiting: called with a sentence while another process uses the device."""
        for message in self._stream_json(question):
            if "done" in message:
                return message["done"]
            if on_waiting and "waiting" in message:
                on_waiting(message["waiting"])
        raise AssertionError("a stream ends with its answer or a Problem")

    def _stream_json(self, question: AnyQuestion) -> Iterator[Any]:
        name = question_name(question)
        timeout = self._timeouts.get(name, question.timeout)
        request = {"what": name, **question_arguments(question)}
        return self.ensure_started().stream(request, question.title, timeout, self._is_abandoned)

    # -- previews -----------------------------------------------------------------------------------------------------

    def preview_source(self, request: JsonObject) -> SourcePreview:
        """The first rows of a dataset on the Hub, see app/data/findings/source_preview.py."""
        return self.call(source_preview.Question(request))

    def list_configs(self, name: str, revision: str | None = None, config: str | None = None) -> dict[str, list[str]]:
        """{"parts": configs, "splits"} of a dataset on the Hub, see app/data/reading/hub_datasets.py."""
        return self.call(dataset_configs.Question(name, revision, config))

    def preview_template(self, model: Model) -> TemplatePreview:
        """A short conversation in the chat template of this model."""
        return self.call(template.Question(model))

    def preview_rows(self, spec: Spec, count: int = 50, row_numbers: Sequence[int] = ()) -> RowsPreview:
        """Rows as the trainer reads them, with a label for each token. row_numbers: these rows instead of the first."""
        return self.call(rows.Question(spec, count, tuple(row_numbers)))

    def preview_batches(self, spec: Spec, count: int = 3) -> BatchesPreview:
        """The first batches in training order, over the complete data."""
        return self.call(batches.Question(spec, count))

    def audit(self, spec: Spec) -> Iterator[ProgressPart | contracts.Waiting | contracts.Done[AuditReport]]:
        """{"progress": …} as it goes, and last {"done": report}; at once where the same data was audited before."""
        return self.stream(audit.Question(spec))

    def estimate_run(self, spec: Spec) -> RunEstimate:
        """Rows, tokens, lengths and steps as the trainer itself counts, and about how long they take."""
        return self.call(plan.Question(spec))

    # -- device work --------------------------------------------------------------------------------------------------

    def stream_completions(
        self,
        run: str,
        prompt: str,
        *,
        with_base_model: bool = True,
        max_new_tokens: int = 256,
        messages: Sequence[dict[str, str]] = (),
        temperature: float = 0.0,
    ) -> Iterator[ChatText | contracts.Waiting | contracts.Done[dict[str, ChatCompletion]]]:
        """The completion of one prompt, piece by piece, by who writes it; greedy when the temperature is 0.

        messages: earlier turns of the conversation.
        """
        question = chat.Question(run, prompt, tuple(messages), with_base_model, max_new_tokens, temperature)
        return self.stream(question)

    def generate(
        self,
        run: str,
        prompts: Sequence[str],
        *,
        with_base_model: bool = False,
        max_new_tokens: int = 128,
        on_waiting: OnWaiting | None = None,
    ) -> dict[str, list[str]]:
        """{"tuned": greedy completions, "base": those of the base model, if wanted}."""
        return self.call(completions.Question(run, tuple(prompts), with_base_model, max_new_tokens), on_waiting)

    def score(
        self,
        run: str,
        prompt: str,
        *,
        completions: Sequence[str] = (),
        reasoning_steps: Sequence[str] = (),
        on_waiting: OnWaiting | None = None,
    ) -> dict[str, list[float]]:
        """{"scores": one for each completion, higher is better} of a run that trained a reward model;
        {"steps": the probability that each step is right} of one that trained a process reward model."""
        return self.call(score.Question(run, prompt, tuple(completions), tuple(reasoning_steps)), on_waiting)

    def evaluate(self, run: str, on_waiting: OnWaiting | None = None) -> Comparison:
        """Held-out metrics of a run's result beside those of the model it started from."""
        return self.call(evaluation.Question(run), on_waiting)

    def dry_run(self, spec: Spec, prompts: int = 8, attempts: int = 4, on_waiting: OnWaiting | None = None) -> DryRun:
        """Completions of the untrained model with their rewards."""
        return self.call(dry_run.Question(spec, prompts, attempts), on_waiting)
