"""A match of a layout with a table: how sure it is, and which columns are taken for which."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType

from app.core import registry
from app.data.empty_words import RealWords

SURE, LIKELY, POSSIBLE = 2, 1, 0  # confidence of a match
# Where rows match several row types, the most specific one first.
ROW_TYPE_PRIORITY = (
    "segments",
    "tokens",
    "stepwise",
    "ranked",
    "thumbs",
    "preference",
    "messages",
    "prompt_completion",
    "text",
    "hinted",
    "prompt",
)


@dataclass(frozen=True)
class LayoutMatch:
    """One possible layout of a table.

    columns: {target column: source column}; both are the same where a template fills the column. confidence: SURE,
    LIKELY or POSSIBLE. usable_share: the share of the rows that are not dropped. names_match: the needed columns have
    their standard names, or the source maps them. num_mapped_columns: how many columns the source maps. real_words:
    see `find_real_words`. undecided: numbers that are verdicts and whose meaning only a person knows; until then no row
    can be used.
    """

    layout: str
    columns: dict[str, str]
    confidence: int
    usable_share: float
    names_match: bool
    num_mapped_columns: int = 0
    real_words: RealWords = field(default_factory=dict)
    undecided: tuple[float, ...] = ()

    @cached_property
    def module(self) -> ModuleType:
        """The module of the layout in app/data/layouts."""
        return registry.load_module("layouts", self.layout)

    @property
    def row_type(self) -> str:
        """The row type that the layout produces."""
        return self.module.KIND

    @property
    def mapping(self) -> dict[str, str]:
        """{target column: source column} where the names differ."""
        return {target: source for target, source in self.columns.items() if target != source}

    @property
    def is_usable(self) -> bool:
        """Whether some row can be used, perhaps once a person said what its verdicts mean."""
        return bool(self.usable_share or self.undecided)

    @property
    def sort_key(self) -> tuple[int, bool, bool, int, int, bool, int, str]:
        """Smaller is better: more mapped columns, then usable rows, then a confidence above POSSIBLE, the more
        specific row type, the higher confidence, recognition by contents, and more columns."""
        return (
            -self.num_mapped_columns,
            not self.is_usable,
            not self.confidence,
            ROW_TYPE_PRIORITY.index(self.row_type),
            -self.confidence,
            not hasattr(self.module, "fits"),
            -len(self.columns),
            self.layout,
        )
