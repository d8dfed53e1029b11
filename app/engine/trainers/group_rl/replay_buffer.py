"""Replay buffer of groups with differing rewards, which take the place of zero-variance groups in later batches."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from app.engine.trainers.group_rl.resume import Group, ResumeMixin
from app.engine.trainers.group_rl.zero_variance_groups import ZeroVarianceMixin, model_token_mask

if TYPE_CHECKING:
    from torch import Tensor

    from app.data.fields import Row
    from app.engine.trainers.group_rl.resume import ResumeState
    from app.engine.trainers.mixin_bases import Batch


class ReplayBuffer:
    """The groups with the highest priority so far, at most `capacity` of them."""

    def __init__(self, capacity: int, groups: list[tuple[float, Group]] | None = None):
        self.capacity, self.groups = capacity, groups or []

    def add(self, priority: float, group: Group) -> None:
        """Adds a group; where the buffer is full, the lowest priority is dropped, of equal ones the newest."""
        self.groups = sorted([*self.groups, (priority, group)], key=lambda entry: -entry[0])[: self.capacity]

    def sample(self, count: int, seed: int) -> list[Group]:
        """Up to `count` different groups, drawn with a probability proportional to their priority."""
        import torch

        count = min(count, len(self.groups))
        if not count:
            return []
        priorities = torch.tensor([priority for priority, _ in self.groups], dtype=torch.float64).clamp(min=1e-8)
        indices = torch.multinomial(priorities, count, generator=torch.Generator().manual_seed(seed))
        return [self.groups[index][1] for index in indices.tolist()]


def extract_group(batch: Batch, first_row: int, group_size: int) -> Group:
    """The group in the rows [first_row, first_row + group_size) of a batch, without padding."""
    rows = range(first_row, first_row + group_size)
    prompt = batch["prompt_ids"][first_row][batch["prompt_mask"][first_row].bool()].tolist()
    lengths = [_completion_length(batch, row) for row in rows]
    ref_logps = batch.get("ref_per_token_logps")

    def without_padding(tensor: Tensor) -> list[Any]:
        return [tensor[row, :length].tolist() for row, length in zip(rows, lengths, strict=True)]

    group: Group = {
        "prompt": prompt,
        "answers": without_padding(batch["completion_ids"]),
        "counts": [bool(batch["completion_mask"][row].any()) for row in rows],
        "advantages": batch["advantages"][first_row : first_row + group_size].tolist(),
        "reference": None if ref_logps is None else without_padding(ref_logps),
    }
    if "tool_mask" in batch:
        group["own"] = without_padding(batch["tool_mask"])
    return group


def _completion_length(batch: Batch, row: int) -> int:
    """Tokens of a completion. The mask of a truncated one may be all 0, so that it is left out of the loss: then its full width."""
    return int(batch["completion_mask"][row].sum()) or batch["completion_ids"].shape[1]


def insert_groups(batch: Batch, groups: dict[int, Group], group_size: int, pad_token_id: int) -> Batch:
    """The batch with some of its groups replaced. groups: {index of the group in the batch: the new group}.

    Prompts are padded on the left and completions on the right, as TRL does; the batch becomes wider where a new group
    is longer. The caller must recompute `old_per_token_logps` and `old_logps`, which are not filled in here.
    """
    completions = [completion for group in groups.values() for completion in group["answers"]]
    prompt_width = max([batch["prompt_ids"].shape[1], *(len(group["prompt"]) for group in groups.values())])
    completion_width = max([batch["completion_ids"].shape[1], *map(len, completions)])
    new_batch = batch | {
        "prompt_ids": _padded_to(batch["prompt_ids"], prompt_width, pad_token_id, on_left=True),
        "prompt_mask": _padded_to(batch["prompt_mask"], prompt_width, 0, on_left=True),
        "completion_ids": _padded_to(batch["completion_ids"], completion_width, pad_token_id),
        "completion_mask": _padded_to(batch["completion_mask"], completion_width, 0),
        "advantages": batch["advantages"].clone(),
    }
    for name, fill in (("ref_per_token_logps", 0), ("old_per_token_logps", 0), ("tool_mask", 1)):
        if name in batch:
            new_batch[name] = _padded_to(batch[name], completion_width, fill)
    for group_index, group in groups.items():
        for member in range(group_size):
            _write_completion(new_batch, group_index * group_size + member, group, member, pad_token_id)
    if "num_items_in_batch" in new_batch:
        new_batch["num_items_in_batch"] = model_token_mask(new_batch).sum()
    return new_batch


def _write_completion(batch: Batch, row: int, group: Group, member: int, pad_token_id: int) -> None:
    """Writes the completion `member` of a group into a row of the batch, which must be wide enough."""
    import torch

    device, prompt, completion = batch["prompt_ids"].device, group["prompt"], group["answers"][member]
    for name in ("prompt", "completion"):
        batch[f"{name}_ids"][row] = pad_token_id
        batch[f"{name}_mask"][row] = 0
    if prompt:
        batch["prompt_ids"][row, -len(prompt) :] = torch.tensor(prompt, device=device)
        batch["prompt_mask"][row, -len(prompt) :] = 1
    batch["completion_ids"][row, : len(completion)] = torch.tensor(completion, device=device)
    batch["completion_mask"][row, : len(completion)] = int(group["counts"][member])
    batch["advantages"][row] = group["advantages"][member]
    if "tool_mask" in batch:
        batch["tool_mask"][row] = 1
        batch["tool_mask"][row, : len(completion)] = torch.tensor(group["own"][member], device=device)
    if group["reference"] is not None:
        batch["ref_per_token_logps"][row] = 0
        batch["ref_per_token_logps"][row, : len(completion)] = torch.tensor(group["reference"][member], device=device)


def _padded_to(tensor: Tensor, width: int, fill: float, on_left: bool = False) -> Tensor:
    """A copy of (rows, length) padded with `fill` to (rows, width), on the right or on the left."""
    import torch

    padding = width - tensor.shape[1]
    return torch.nn.functional.pad(tensor, (padding, 0) if on_left else (0, padding), value=fill).clone()


class ReplayMixin(ZeroVarianceMixin, ResumeMixin):
    """Replaces zero-variance groups by replayed ones."""

    @cached_property
    def replay_buffer(self) -> ReplayBuffer:
        return ReplayBuffer(self.knobs.replay)

    def _generate_and_score_completions(self, inputs: list[Row]) -> Batch:
        batch = super()._generate_and_score_completions(inputs)
        if not (self.knobs.replay and self.model.training):
            return batch
        size, seed = self.num_generations, self.args.seed + self.state.global_step
        replaceable = self.is_zero_variance.nonzero()[:, 0].tolist()
        sampled = self.replay_buffer.sample(len(replaceable), seed)  # before this round's groups are added
        replacements = dict(zip(replaceable, sampled, strict=False))
        for index, priority in enumerate(group_priorities(self.rewards_per_func, batch["advantages"], size)):
            if index not in replaceable:
                self.replay_buffer.add(priority, extract_group(batch, index * size, size))
        self._metrics["train"]["replayed"].append(len(replacements))
        if not replacements:
            return batch
        new_batch = insert_groups(batch, replacements, size, self._tokenizer.pad_token_id)
        return self._with_current_logps(new_batch, [*replacements])

    def _with_current_logps(self, batch: Batch, groups: list[int]) -> Batch:
        """Sets the old log-probabilities of the replayed groups to those of the current model, so that their ratios start at 1."""
        import torch

        if "old_per_token_logps" not in batch and "old_logps" not in batch:
            return batch
        size = self.num_generations
        rows = torch.tensor([group_index * size + member for group_index in groups for member in range(size)])
        ids = torch.cat([batch["prompt_ids"][rows], batch["completion_ids"][rows]], 1)
        mask = torch.cat([batch["prompt_mask"][rows], batch["completion_mask"][rows]], 1)
        length, batch_size = batch["completion_ids"].shape[1], self.args.per_device_train_batch_size
        with torch.no_grad():
            logps, *_ = self._get_per_token_logps_and_entropies(self.model, ids, mask, length, batch_size)
        if "old_logps" in batch:  # RLOO: one for each completion
            batch["old_logps"][rows] = (logps * batch["completion_mask"][rows]).sum(1)
        else:
            batch["old_per_token_logps"][rows] = logps
        return batch

    def resume_state(self) -> ResumeState:
        return super().resume_state() | {"memory": self.replay_buffer.groups}

    def load_resume_state(self, state: ResumeState) -> None:
        super().load_resume_state(state)
        self.replay_buffer = ReplayBuffer(self.knobs.replay, state["memory"])


def group_priorities(rewards_per_func: Tensor, advantages: Tensor, group_size: int) -> list[float]:
    """The priority of each group: the sum of |advantage| times the standard deviation of its rewards, as in axolotl."""
    from trl.trainer.utils import nanstd

    spread = nanstd(rewards_per_func.view(-1, group_size, rewards_per_func.shape[1]), dim=1).nan_to_num(0).sum(1)
    return (advantages.view(-1, group_size).abs().sum(1) * spread).tolist()
