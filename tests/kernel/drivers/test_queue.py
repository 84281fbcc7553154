"""The split ring alone, against the model's end of it, under CPython and compiled."""

import random
from typing import Any

import pytest
from devices.virtio import ModelQueue

from bare import Arena, Trap, static, u8
from bare.testing import implementations

impl = implementations("merlion.kernel.drivers.virtio.queue")


KEPT: list[Any] = []  # Compiled code holds addresses, which keep nothing alive.


def make(impl: Any, size: int, start: int = 0) -> tuple[Any, ModelQueue]:
    queue = impl.Queue.zeroed()
    arena = Arena(static(u8, 16384))
    KEPT.append(arena)
    queue.init(arena, 0, size)
    model = ModelQueue(size)
    model.size = size
    model.descriptors = queue.descriptors.address
    model.avail = queue.avail.address
    model.used = queue.used.address
    model.avail_idx = model.used_idx = start
    queue.avail_idx = queue.used_idx = start
    queue.avail[0].idx.store(start)
    queue.used[0].idx.store(start)
    return queue, model


@pytest.mark.parametrize("size", [1, 2, 8, 256])
def test_layout(impl: Any, size: int) -> None:
    """Alignment of section 2.7, and no part over another."""
    queue, _ = make(impl, size)
    desc, avail, used = (
        queue.descriptors.address,
        queue.avail.address,
        queue.used.address,
    )
    assert (desc % 16, avail % 2, used % 4) == (0, 0, 0)
    assert desc + 16 * size <= avail
    assert avail + 6 + 2 * size <= used
    assert used + 6 + 8 * size <= queue.storage.address + len(queue.storage)
    assert queue.avail_ring.address == avail + 4
    assert queue.used_ring.address == used + 4
    assert queue.avail[0].flags.load() == 1


@pytest.mark.parametrize("size", [1, 4, 64])
def test_any_order_across_the_wrap(impl: Any, size: int) -> None:
    """Offer, finish and take at random; the free-running index passes 65535."""
    rng = random.Random(size)
    queue, model = make(impl, size, start=65500)
    owned: dict[int, int] = {}
    finished: list[tuple[int, int]] = []
    for _ in range(600):
        action = rng.randrange(3)
        if action == 0:
            head = rng.randrange(size)
            if queue.in_flight[head]:
                continue
            queue.describe(head, 0x1000 + head, 64, 2, 0)
            queue.offer(head)
            owned[head] = 1
            assert queue.publish()
        elif action == 1 and (chain := model.take()) is not None:
            length = rng.randrange(65)
            model.finish(chain, length)
            finished.append((chain.head, length))
        elif action == 2:
            assert queue.ready_count() == len(finished)
            completion = queue.take()
            if completion is None:
                assert not finished
            else:
                assert (completion.head, completion.length) == finished.pop(0)
                del owned[completion.head]
        assert queue.in_flight_count == len(owned)


def test_offering_twice_is_our_bug(impl: Any) -> None:
    queue, _ = make(impl, 4)
    queue.offer(1)
    with pytest.raises((Trap, AssertionError)):
        queue.offer(1)


def test_size_must_be_a_power_of_two(impl: Any) -> None:
    for size in (0, 3, 100):
        with pytest.raises((Trap, AssertionError)):
            make(impl, size)


def test_nothing_is_seen_before_publish(impl: Any) -> None:
    queue, model = make(impl, 4)
    queue.describe(0, 0x1000, 8, 0, 0)
    queue.offer(0)
    assert model.take() is None
    queue.publish()
    assert model.take() is not None


def test_doorbell_only_when_wanted(impl: Any) -> None:
    queue, model = make(impl, 4)
    assert queue.publish()
    model.set_no_notify(True)
    assert not queue.publish()


@pytest.mark.parametrize(("id", "error"), [(2, "UNKNOWN_HEAD"), (4, "UNKNOWN_HEAD")])
def test_heads_that_were_not_offered(impl: Any, id: int, error: str) -> None:
    queue, model = make(impl, 4)
    queue.offer(1)
    queue.publish()
    model.put_used(id, 0)
    assert queue.take() == impl.RingError[error]


def test_more_given_back_than_offered(impl: Any) -> None:
    queue, model = make(impl, 4)
    model.used_idx = 4
    model.put_used(0, 0)
    assert queue.take() == impl.RingError.USED_INDEX


def test_clear_forgets(impl: Any) -> None:
    queue, _ = make(impl, 4)
    queue.offer(0)
    queue.publish()
    queue.clear()
    assert queue.in_flight_count == 0
    assert queue.avail[0].idx.load() == 0
    assert queue.avail[0].flags.load() == 1
    queue.offer(0)
