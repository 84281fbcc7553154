"""Who owns which physical memory."""

from typing import Any

from bare.testing import implementations
from merlion.kernel.boot.start_info import BootInfo
from merlion.kernel.memory.ram import ANYWHERE, BELOW_4G, Ram

impl = implementations("merlion.kernel.memory.ram", "merlion.kernel.boot.start_info")

MIB = 1 << 20
GIB = 1 << 30


def machine() -> Ram:
    """QEMU's q35 with 4 GiB, entries out of order."""
    info = BootInfo.zeroed()
    info.add_region(4 * GIB, 2 * GIB, 1)
    info.add_region(0, 0x9FC00, 1)
    info.add_region(0x9FC00, 0x400, 2)
    info.add_region(MIB, 2 * GIB - MIB, 1)
    info.add_region(2 * GIB, 0, 1)
    ram = Ram.zeroed()
    ram.init(info, 2 * MIB, 3 * MIB)
    return ram


def test_regions_are_sorted(impl: Any) -> None:
    info = BootInfo.zeroed()
    for start in (5, 1, 3):
        info.add_region(start * MIB, MIB, 1)
    assert [region.start // MIB for region in info.regions[:3]] == [1, 3, 5]
    assert info.ram_bytes() == 3 * MIB


def test_image_and_low_memory_are_left_out(impl: Any) -> None:
    ram = machine()
    assert ram.stretch_count == 3
    assert [(s.start, s.end) for s in ram.stretches[:3]] == [
        (MIB, 2 * MIB),
        (3 * MIB, 2 * GIB),
        (4 * GIB, 6 * GIB),
    ]


def test_take_prefers_the_tightest(impl: Any) -> None:
    ram = machine()
    assert ram.take(4096, 4096, ANYWHERE) == MIB
    assert ram.take(2 * MIB, 2 * MIB, BELOW_4G) == 4 * MIB
    assert ram.take(2 * GIB, 2 * MIB, BELOW_4G) == 0
    assert ram.take(2 * GIB, 2 * MIB, ANYWHERE) == 4 * GIB
    assert ram.used_bytes() == 4096 + 3 * MIB + 2 * GIB


def test_reset_gives_back_what_came_after_seal(impl: Any) -> None:
    ram = machine()
    first = ram.take(MIB, 4096, BELOW_4G)
    used = ram.used_bytes()
    ram.seal()
    big = ram.take(GIB, 2 * MIB, ANYWHERE)
    assert big not in (0, first)
    ram.reset()
    assert ram.used_bytes() == used
    assert ram.take(GIB, 2 * MIB, ANYWHERE) == big


def test_shrink_gives_back_the_end(impl: Any) -> None:
    ram = machine()
    size = ram.largest(2 * MIB)
    address = ram.take(size, 2 * MIB, ANYWHERE)
    ram.shrink(address, size, 4 * MIB)
    assert ram.take(MIB, 2 * MIB, ANYWHERE) != 0
    assert ram.largest(2 * MIB) > GIB
