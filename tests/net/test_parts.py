"""The parts below the protocols: checksum, SipHash, sequence numbers, rings, ranges, timers."""

import random
import struct
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bare import Arena, Trap, static, u8, u32
from bare.testing import implementations
from merlion.net.flow_table import FlowTable
from merlion.net.intervals import Intervals
from merlion.net.limits import INTERVALS, NEVER, NO_SLOT
from merlion.net.rate_limit import RateLimit
from merlion.net.ring import ByteRing, SlotRing
from merlion.net.timer_queue import TimerQueue
from tests.net.peer import internet_checksum

impl = implementations(
    "merlion.net.checksum",
    "merlion.net.siphash",
    "merlion.net.sequence",
    "merlion.net.ring",
    "merlion.net.intervals",
    "merlion.net.timer_queue",
    "merlion.net.flow_table",
    "merlion.net.rate_limit",
)


def test_checksum_of_rfc_1071(impl: Any) -> None:
    assert impl.checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xDDF2 ^ 0xFFFF


def test_checksum_equals_the_definition(impl: Any) -> None:
    rng = random.Random(1)
    for length in (0, 1, 2, 3, 20, 31, 32, 33, 63, 64, 65, 1459, 1460):
        data = rng.randbytes(length)
        assert impl.checksum(data) == internet_checksum(data)
        assert impl.checksum(b"\xff" * length) == internet_checksum(b"\xff" * length)


def test_pseudo_header(impl: Any) -> None:
    source, to, segment = 0x0A000001, 0xC0A80102, b"\x12\x34\x56\x78\x9a"
    pseudo = struct.pack(">IIHH", source, to, 6, len(segment))
    total = impl.partial(segment, impl.pseudo_header(source, to, 6, len(segment)))
    assert impl.fold(total) ^ 0xFFFF == internet_checksum(pseudo + segment)


def test_siphash_vector(impl: Any) -> None:
    """vectors_sip64[12] of the reference implementation: key 00..0f, message 00..0b."""
    key0, key1 = struct.unpack("<QQ", bytes(range(16)))
    a, b, c = struct.unpack("<III", bytes(range(12)))
    assert impl.siphash(key0, key1, a, b, c) == int.from_bytes(
        bytes.fromhex("fbe50e86bc8f1e75"), "little"
    )


def test_sequence_comparisons_wrap(impl: Any) -> None:
    for base in (0, 5, 0x7FFF_FFF0, 0xFFFF_FFF0):
        later = (base + 100) & 0xFFFF_FFFF
        assert impl.seq_lt(base, later)
        assert not impl.seq_lt(later, base)
        assert impl.seq_le(base, base)
        assert impl.seq_diff(later, base) == 100
        assert impl.seq_max(base, later) == later
        assert impl.seq_min(base, later) == base
        assert impl.in_window(later, base, 101)
        assert not impl.in_window(later, base, 100)


def test_slot_ring(impl: Any) -> None:
    ring = SlotRing(storage=static(u32, 3))
    assert [ring.push(i) for i in range(4)] == [True, True, True, False]
    assert [ring.pop() for _ in range(4)] == [0, 1, 2, NO_SLOT]


def test_byte_ring_follows_a_model(impl: Any) -> None:
    rng = random.Random(2)
    ring = ByteRing(storage=static(u8, 37))
    model = b""
    for _ in range(300):
        data = rng.randbytes(rng.randrange(20))
        n = ring.write(data)
        assert n == min(len(data), 37 - len(model))
        model += data[:n]
        out = static(u8, max(1, len(model)))[: len(model)]
        ring.copy_out(0, out)
        assert out == model
        part = ring.readable()
        assert model.startswith(part.tobytes())
        taken = rng.randrange(len(model) + 1)
        ring.consume(taken)
        model = model[taken:]


def test_byte_ring_refuses_to_overrun(impl: Any) -> None:
    ring = ByteRing(storage=static(u8, 4))
    for act in (lambda: ring.consume(1), lambda: ring.extend(5), lambda: ring.place(3, b"ab")):
        try:
            act()
        except (Trap, AssertionError):
            continue
        raise AssertionError("did not trap")


def test_intervals_follow_a_model(impl: Any) -> None:
    rng = random.Random(3)
    base = 0xFFFF_FFC0  # So that the ranges cross zero.
    for _ in range(40):
        ranges = Intervals()
        model: set[int] = set()
        low = 0
        for _ in range(30):
            start = low + rng.randrange(100)
            end = start + 1 + rng.randrange(12)
            if ranges.add((base + start) % 2**32, (base + end) % 2**32):
                model |= set(range(start, end))
            else:
                assert ranges.count == INTERVALS
            if rng.random() < 0.1:
                low += rng.randrange(20)
                ranges.trim((base + low) % 2**32)
                model = {x for x in model if x >= low}
            found: set[int] = set()
            previous = -2
            for i in range(ranges.count):
                s = (ranges.start[i] - base) % 2**32
                e = (ranges.end[i] - base) % 2**32
                assert previous < s < e
                previous = e
                found |= set(range(s, e))
            assert found == model
            assert ranges.total() == len(model)


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 50)), max_size=40))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_timer_queue_follows_a_model(impl: Any, steps: list[tuple[int, int]]) -> None:
    queue = TimerQueue()
    arena = Arena(static(u8, 1024))  # Named: compiled code does not keep the storage alive.
    queue.start(arena, 8)
    model: dict[int, int] = {}
    for slot, deadline in steps:
        if deadline == 50:
            queue.arm(slot, NEVER)
            model.pop(slot, None)
        else:
            queue.arm(slot, deadline)
            model[slot] = deadline
        assert queue.next_deadline() == min(model.values(), default=NEVER)
        assert queue.of(slot) == model.get(slot, NEVER)
    order = []
    while (slot := queue.pop_expired(49)) != NO_SLOT:
        order.append(model.pop(slot))
    assert order == sorted(order)
    assert model == {}


def test_flow_table_follows_a_model(impl: Any) -> None:
    rng = random.Random(4)
    table = FlowTable()
    arena = Arena(static(u8, 4096))
    table.start(arena, 16, 1, 2)
    model: dict[tuple[int, int, int], int] = {}
    for _ in range(400):
        flow = (rng.randrange(4), rng.randrange(4), rng.randrange(4))
        slot = table.find(*flow)
        assert slot == model.get(flow, NO_SLOT)
        if slot != NO_SLOT:
            table.remove(slot)
            del model[flow]
        else:
            slot = table.insert(*flow)
            assert (slot == NO_SLOT) == (len(model) == 16)
            if slot != NO_SLOT:
                model[flow] = slot
        assert table.count == len(model)


def test_rate_limit(impl: Any) -> None:
    limit = RateLimit(per_second=100)
    assert sum(limit.allow(10**9) for _ in range(50)) == 10
    assert sum(limit.allow(10**9 + i * 10**6) for i in range(1000)) == 99
