"""Template: a short conversation as a model's chat template writes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Never

from app import contracts
from app.setup.spec import Model

if TYPE_CHECKING:
    from app.engine.preview.template_preview import TemplatePreview


@dataclass(frozen=True)
class Question(contracts.Question["TemplatePreview", Never]):
    """model: as in a Spec, with its template and new tokens."""

    title = "Chat format"
    timeout = 300.0
    schedule = "at_once"

    model: Model

    def answer(self) -> TemplatePreview:
        from app.engine.preview.template_preview import preview_template

        return preview_template(self.model)
