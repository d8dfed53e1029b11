"""Memo: what is worked out once, also by work that gives way in the middle of it."""

from __future__ import annotations

import threading

import pytest

from app.engine.cooperative import run_cooperatively, yield_point
from app.engine.job import Job
from app.engine.lockless_property import lockless_cached_property
from tests.support import run_to_end


class Thing:
    def __init__(self, patient: bool):
        self.patient, self.count = patient, 0

    @lockless_cached_property
    def value(self) -> int:
        self.count += 1
        if self.patient:
            yield_point("Counting", 1, 2)
        return 7


def test_it_is_worked_out_once_and_can_be_put_in_its_place() -> None:
    thing = Thing(patient=False)
    assert (thing.value, thing.value, thing.count) == (7, 7, 1)
    thing.value = 8
    assert (thing.value, thing.count) == (8, 1)


@pytest.mark.timeout(60)  # with the lock it would wait for ever
def test_work_that_gives_way_in_the_middle_of_it_keeps_nobody_waiting() -> None:
    work = run_cooperatively(lambda: Thing(patient=True).value)
    assert next(work)["what"] == "Counting"  # it rests within the property
    other = threading.Thread(target=lambda: Thing(patient=False).value, daemon=True)
    other.start()
    other.join(10)
    assert not other.is_alive()
    assert run_to_end(work)[1] == 7


def test_a_jobs_rows_are_read_so() -> None:
    assert isinstance(Job.__dict__["data"], lockless_cached_property)  # reading them gives way
