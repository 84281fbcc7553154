"""Gates and descriptors, bit by bit as the manual draws them."""

from typing import Any

from bare import static, u64
from bare.testing import implementations

impl = implementations("merlion.kernel.arch.x86_64.gates")


def test_gates(impl: Any) -> None:
    gates = static(u64, 128)
    impl.fill_idt(gates, 0x12_3456_7000)
    page_fault = gates[28]
    assert page_fault & 0xFFFF == 0x70E0
    assert page_fault >> 16 & 0xFFFF == 0x18
    assert page_fault >> 32 & 7 == 3
    assert page_fault >> 40 & 0xFF == 0x8E
    assert page_fault >> 48 == 0x3456
    assert gates[29] == 0x12
    assert gates[0] >> 32 & 7 == 0


def test_tss_descriptor(impl: Any) -> None:
    low = impl.tss_descriptor_low(0x89AB_CDEF)
    assert low & 0xFFFF == 103
    assert low >> 16 & 0xFFFFFF == 0xABCDEF
    assert low >> 40 & 0xFF == 0x89
    assert low >> 56 == 0x89
