"""lockless_cached_property: a value is computed once, also when the computation yields in the middle."""

from __future__ import annotations

import threading

import pytest

from app.engine.cooperative import run_cooperatively, yield_point
from app.engine.job import Job
from app.engine.lockless_property import lockless_cached_property
from tests.support import drain_generator


class InstanceWithCachedProperty:
    def __init__(self, yields: bool):
        self.yields, self.compute_count = yields, 0

    @lockless_cached_property
    def computed(self) -> int:
        self.compute_count += 1
        if self.yields:
            yield_point("Counting", 1, 2)
        return 7


def test_the_property_is_computed_once_and_can_be_assigned() -> None:
    instance = InstanceWithCachedProperty(yields=False)
    assert (instance.computed, instance.computed, instance.compute_count) == (7, 7, 1)
    instance.computed = 8
    assert (instance.computed, instance.compute_count) == (8, 1)


@pytest.mark.timeout(60)  # with the lock of functools.cached_property it would wait forever
def test_a_computation_that_yields_does_not_block_other_threads() -> None:
    computation = run_cooperatively(lambda: InstanceWithCachedProperty(yields=True).computed)
    assert next(computation)["what"] == "Counting"  # it is suspended inside the property
    other_thread = threading.Thread(target=lambda: InstanceWithCachedProperty(yields=False).computed, daemon=True)
    other_thread.start()
    other_thread.join(10)
    assert not other_thread.is_alive()
    assert drain_generator(computation)[1] == 7


def test_job_data_is_a_lockless_cached_property() -> None:
    assert isinstance(Job.__dict__["data"], lockless_cached_property)  # loading the data yields
