"""Dataset configs: the configs and splits that a dataset on the Hub offers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Never

from app import contracts
from app.data.reading.hub_datasets import list_configs_and_splits


@dataclass(frozen=True)
class Question(contracts.Question[dict[str, list[str]], Never]):
    """name: OWNER/NAME. config: the one whose splits are wanted."""

    title = "Dataset parts"
    timeout = 300.0
    schedule = "at_once"

    name: str
    revision: str | None = None
    config: str | None = None

    def answer(self) -> dict[str, list[str]]:
        return list_configs_and_splits(self.name, self.revision, self.config)
