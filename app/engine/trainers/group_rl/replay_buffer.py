"""Replay: remembers groups of attempts that had something to teach, to take the place of groups that have not."""

from __future__ import annotations

from typing import Any

from app.engine.trainers.group_rl.zero_variance_groups import own_words

Group = dict[
    str, Any
]  # prompt: token numbers; answers: a list of such; counts: does each count; advantages; reference: of each token, or None
Batch = dict[str, Any]  # TRL's tensors, one row an answer


class Memory:
    """The strongest groups so far, at most `size` of them."""

    def __init__(self, size: int, groups: list[tuple[float, Group]] | None = None):
        self.size, self.groups = size, groups or []

    def add(self, strength: float, group: Group) -> None:
        """Keeps it if it is stronger than the weakest, which goes; of equals the older one stays."""
        self.groups = sorted([*self.groups, (strength, group)], key=lambda one: -one[0])[: self.size]

    def draw(self, count: int, seed: int) -> list[Group]:
        """Different ones, the stronger the likelier; fewer than asked when there are not so many."""
        import torch

        count = min(count, len(self.groups))
        if not count:
            return []
        strengths = torch.tensor([strength for strength, _ in self.groups], dtype=torch.float64).clamp(min=1e-8)
        places = torch.multinomial(strengths, count, generator=torch.Generator().manual_seed(seed))
        return [self.groups[place][1] for place in places.tolist()]


def group_of(batch: Batch, first: int, size: int) -> Group:
    """The rows [first, first + size) of a batch, without padding."""
    rows = range(first, first + size)
    prompt = batch["prompt_ids"][first][batch["prompt_mask"][first].bool()].tolist()
    lengths = [answer_length(batch, row) for row in rows]
    reference = batch.get("ref_per_token_logps")
    return {
        "prompt": prompt,
        "answers": [batch["completion_ids"][row, :length].tolist() for row, length in zip(rows, lengths, strict=True)],
        "counts": [bool(batch["completion_mask"][row].any()) for row in rows],
        "advantages": batch["advantages"][first : first + size].tolist(),
        "reference": None
        if reference is None
        else [reference[row, :length].tolist() for row, length in zip(rows, lengths, strict=True)],
    } | own(batch, rows, lengths)


def own(batch: Batch, rows: range, lengths: list[int]) -> Group:
    """Which tokens the model wrote itself, where tools wrote others."""
    if "tool_mask" not in batch:
        return {}
    return {"own": [batch["tool_mask"][row, :length].tolist() for row, length in zip(rows, lengths, strict=True)]}


def answer_length(batch: Batch, row: int) -> int:
    """Of an answer that was cut off the mask may be empty, so that it does not count: then it is as long as all there is."""
    return int(batch["completion_mask"][row].sum()) or batch["completion_ids"].shape[1]


def put(batch: Batch, groups: dict[int, Group], size: int, pad: int) -> Batch:
    """The batch with other groups in some places. groups: {number of the group: what goes there}.

    Prompts are padded on the left and answers on the right, as TRL does; the batch grows where a remembered one is longer.
    What older weights thought of the answers is left to the caller: `old_per_token_logps` and `old_logps` are not touched.
    """
    longest = {
        "prompt": max([batch["prompt_ids"].shape[1], *(len(group["prompt"]) for group in groups.values())]),
        "answer": max([batch["completion_ids"].shape[1], *(len(one) for group in groups.values() for one in group["answers"])]),
    }  # fmt: skip
    made = batch | {
        "prompt_ids": widened(batch["prompt_ids"], longest["prompt"], pad, left=True),
        "prompt_mask": widened(batch["prompt_mask"], longest["prompt"], 0, left=True),
        "completion_ids": widened(batch["completion_ids"], longest["answer"], pad),
        "completion_mask": widened(batch["completion_mask"], longest["answer"], 0),
        "advantages": batch["advantages"].clone(),
    }
    for name, value in (("ref_per_token_logps", 0), ("old_per_token_logps", 0), ("tool_mask", 1)):
        if name in batch:
            made[name] = widened(batch[name], longest["answer"], value)
    for number, group in groups.items():
        for place in range(size):
            write(made, number * size + place, group, place, pad)
    if "num_items_in_batch" in made:
        made["num_items_in_batch"] = own_words(made).sum()
    return made


def write(batch: Batch, row: int, group: Group, place: int, pad: int) -> None:
    """One answer of a group into a row that is long enough."""
    import torch

    device, prompt, answer = batch["prompt_ids"].device, group["prompt"], group["answers"][place]
    for name, value in (("prompt_ids", pad), ("prompt_mask", 0), ("completion_ids", pad), ("completion_mask", 0)):
        batch[name][row] = value
    if prompt:
        batch["prompt_ids"][row, -len(prompt) :] = torch.tensor(prompt, device=device)
        batch["prompt_mask"][row, -len(prompt) :] = 1
    batch["completion_ids"][row, : len(answer)] = torch.tensor(answer, device=device)
    batch["completion_mask"][row, : len(answer)] = int(group["counts"][place])
    batch["advantages"][row] = group["advantages"][place]
    if "tool_mask" in batch:
        batch["tool_mask"][row] = 1
        batch["tool_mask"][row, : len(answer)] = torch.tensor(group["own"][place], device=device)
    if group["reference"] is not None:
        batch["ref_per_token_logps"][row] = 0
        batch["ref_per_token_logps"][row, : len(answer)] = torch.tensor(group["reference"][place], device=device)


def widened(tensor: Any, width: int, value: Any, left: bool = False) -> Any:
    """A copy of (rows, length) padded to (rows, width)."""
    import torch

    more = width - tensor.shape[1]
    return torch.nn.functional.pad(tensor, (more, 0) if left else (0, more), value=value).clone()


class Replaying:
    """Part of a trainer of groups (app/engine/trainers/group_rl/trainer.py), outside of what finds the silent ones."""

    knobs: Any
    memory: Memory

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> Batch:
        batch = super()._generate_and_score_completions(inputs)
        if not (self.knobs.replay and self.model.training):
            return batch
        size, seed = self.num_generations, self.args.seed + self.state.global_step
        places = self.quiet.nonzero()[:, 0].tolist()
        drawn = dict(zip(places, self.memory.draw(len(places), seed), strict=False))  # before this round is remembered
        for number, strength in enumerate(strengths(self.earned, batch["advantages"], size)):
            if number not in places:
                self.memory.add(strength, group_of(batch, number * size, size))
        self._metrics["train"]["replayed"].append(len(drawn))
        return self.renewed(put(batch, drawn, size, self._tokenizer.pad_token_id), [*drawn]) if drawn else batch

    def renewed(self, batch: Batch, groups: list[int]) -> Batch:
        """With how likely the model of now finds the replayed answers: their correction starts from there."""
        import torch

        if "old_per_token_logps" not in batch and "old_logps" not in batch:
            return batch
        rows = torch.tensor([number * self.num_generations + place for number in groups for place in range(self.num_generations)])  # fmt: skip
        ids, mask = (torch.cat([batch[f"prompt_{one}"][rows], batch[f"completion_{one}"][rows]], 1) for one in ("ids", "mask"))  # fmt: skip
        length, most = batch["completion_ids"].shape[1], self.args.per_device_train_batch_size
        with torch.no_grad():
            likely, *_ = self._get_per_token_logps_and_entropies(self.model, ids, mask, length, most)
        if "old_logps" in batch:  # RLOO's, of whole answers
            batch["old_logps"][rows] = (likely * batch["completion_mask"][rows]).sum(1)
        else:
            batch["old_per_token_logps"][rows] = likely
        return batch

    def kept(self) -> dict[str, Any]:
        return super().kept() | {"memory": self.memory.groups}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.memory = Memory(self.knobs.replay, state["memory"])


def strengths(earned: Any, advantages: Any, size: int) -> list[float]:
    """How much each group can teach: the sum of its advantages' sizes times the spread of its rewards, as axolotl measures it."""
    from trl.trainer.utils import nanstd

    spread = nanstd(earned.view(-1, size, earned.shape[1]), dim=1).nan_to_num(0).sum(1)
    return (advantages.view(-1, size).abs().sum(1) * spread).tolist()
