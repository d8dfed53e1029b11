"""Tokens: prepared rows and batches as text a person can read, token by token."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

from app.engine.job import Job
from app.engine.model.tokenizer import special_ids
from app.engine.preview import trainer_capture
from app.engine.tokens.tokenized_examples import UNLEARNED, BatchRow, Text, batch_rows, folded

SHOWN = 50_000  # tokens of one answer to the page


def rows(job: Job) -> list[dict[str, Any]]:
    """The first rows as tokens: [{"tokens": [{"text", "id", "trained", "special"}], "length"}]; of several answers the first."""
    trainer, found = trainer_capture.prepared(job)
    return [row_tokens(trainer.processing_class, one.texts[0]) for one in found]


def batch_tokens(job: Job, count: int) -> list[dict[str, Any]]:
    """Batches for the page: rows of documents, each a list of tokens, padding left out and counted."""
    return [shown_batch(job, batch) for batch in trainer_capture.batches(job, count)]


def shown_batch(job: Job, batch: dict[str, Any], cuts: list[list[int]] | None = None) -> dict[str, Any]:
    """tokens: all positions that are computed. padding: the share of them that holds nothing. cuts: where documents begin in each
    row, and the end, where the batch itself does not tell."""
    found = batch_rows(batch, getattr(job.method, "SIDES", ()), job.tokenizer.pad_token_id)
    found = [replace(row, cuts=own) for row, own in zip(found, cuts, strict=True)] if cuts else found
    told = [documents(job.tokenizer, row, job.picture) for row in found]
    positions = sum(len(row.kept) for row in found)
    return {"rows": told, "tokens": positions, "padding": round(sum(row["padding"] for row in told) / positions, 4)}


def documents(tokenizer: Any, row: BatchRow, picture: int | None = None) -> dict[str, Any]:
    """A batch row cut at its document boundaries: a packed row holds several. name: which of several answers it is.
    picture: the token that stands for one, of a model that sees."""
    parts = []
    for start, end in pairwise(row.cuts):
        places = [i for i in range(start, end) if row.kept[i]]
        text = folded(Text([row.text.ids[i] for i in places], [row.text.labels[i] for i in places]), picture)
        parts.append(with_pictures(row_tokens(tokenizer, text), text))
    return {"documents": parts, "padding": row.kept.count(False)} | ({"name": row.text.name} if row.text.name else {})


def row_tokens(tokenizer: Any, text: Text, cut: int = 0, most: int = SHOWN) -> dict[str, Any]:
    """Tokens with their text. A row's first token is never trained: nothing stands before it to predict it from.

    cut: so many at the end are beyond the maximum length; length counts the others.
    """
    special = special_ids(tokenizer)
    end = len(text.ids) - cut
    tokens = [
        {"text": piece, "id": one, "trained": 0 < place < end and label != UNLEARNED, "special": one in special}
        for place, (piece, one, label) in enumerate(
            zip(pieces(tokenizer, text.ids[:most]), text.ids, text.labels, strict=False)
        )
    ]
    for token in tokens[end:]:
        token["cut"] = True
    more = sum(count - 1 for place, count in text.pictures.items() if place < end)
    return {"tokens": tokens, "length": end + more, "cut": cut}


def with_pictures(row: dict[str, Any], text: Text) -> dict[str, Any]:
    """Says of a folded token what it stands for."""
    for place, count in text.pictures.items():
        if place < len(row["tokens"]):
            row["tokens"][place] |= {"text": f"[picture: {count} tokens]", "special": True, "count": count}
    return row


def pieces(tokenizer: Any, ids: list[int]) -> list[str]:
    """The text of each token; a character made of several tokens shows with the last of them."""
    if not ids:
        return []
    different = list(set(ids))
    alone = dict(zip(different, tokenizer.batch_decode([[one] for one in different], **AS_IT_IS), strict=True))
    for one, name in zip(different, tokenizer.convert_ids_to_tokens(different), strict=True):
        if name.startswith("▁") and not alone[one].startswith(" "):
            alone[one] = " " + alone[one]  # these tokenizers drop the space before a word that stands alone
    texts, pending = [], []
    for one in ids:
        pending.append(one)
        text = alone[one] if len(pending) == 1 else tokenizer.decode(pending, **AS_IT_IS)
        whole = not text.endswith("\ufffd") or len(pending) > 4
        texts.append(text if whole else "")
        pending = [] if whole else pending
    return texts


AS_IT_IS = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
