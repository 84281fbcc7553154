"""The time-stamp counter's frequency, from the first source that knows it.

In order: the PVM MSR, CPUID 15h (SDM volume 3, section 20.7.3), the hypervisor's timing leaf
4000_0010h, kvmclock, and at last measuring against the PIT for 10 ms. `-M microvm` need not have
a PIT, so one that does not count is noticed and the guess of clock.py stays.
"""

from enum import IntEnum

from bare import Bytes, static, u32, u64
from bare.cpu import cpuid, inb, outb, rdmsr, rdtsc, wrmsr
from bare.unsafe import address_of
from merlion.kernel.arch.x86_64.features import Features, Leaf1
from merlion.kernel.clock import GUESS_KHZ

PVM_TSC_KHZ_MSR = 0x4B56_4D13
KVM_FEATURES_LEAF = 0x4000_0001
KVM_CLOCK2 = 1 << 3
KVM_SYSTEM_TIME_MSR = 0x4B56_4D01
TIMING_LEAF = 0x4000_0010

PIT_CHANNEL_0 = 0x40
PIT_COMMAND = 0x43
PIT_MODE_0 = 0x30  # Channel 0, low byte then high byte, mode 0: count down once.
PIT_LATCH = 0x00  # Channel 0.
PIT_HZ = 1_193_182
PIT_START = 0xFFFF
PIT_COUNTS = 11_932  # 10 ms.
PIT_POLLS_MAX = 100_000  # A PIT that has not counted 10 ms by then does not count.


class Source(IntEnum):
    """Who said what the frequency is."""

    GUESS = 0
    PVM = 1
    CPUID_15 = 2
    HYPERVISOR = 3
    KVMCLOCK = 4
    PIT = 5


SOURCE_TEXT = {
    Source.GUESS: b"guessed",
    Source.PVM: b"PVM",
    Source.CPUID_15: b"CPUID",
    Source.HYPERVISOR: b"hypervisor",
    Source.KVMCLOCK: b"kvmclock",
    Source.PIT: b"PIT",
}

# pvclock_vcpu_time_info (Linux: Documentation/virt/kvm/x86/msr.rst), 32 bytes, here 4-aligned.
time_info = static(u32, 16)


def from_cpuid_15(leaf_max: u32) -> u64:
    """Return kHz from the crystal's frequency and ratio, 0 when not given."""
    if leaf_max < 0x15:
        return 0
    denominator, numerator, crystal_hz, _ = cpuid(0x15, 0)
    if denominator == 0 or numerator == 0 or crystal_hz == 0:
        return 0
    return u64(crystal_hz) * numerator // denominator // 1000


def from_hypervisor(leaf_max: u32) -> u64:
    """Return kHz from the hypervisor's timing leaf, 0 when there is none."""
    if leaf_max < TIMING_LEAF:
        return 0
    khz, _b, _c, _d = cpuid(TIMING_LEAF, 0)
    return khz


def scale_to_khz(multiplier: u32, shift: u32) -> u64:
    """Return kHz from kvmclock's scale: ns = (ticks << shift) * multiplier >> 32, shift as i8."""
    if multiplier == 0:
        return 0
    khz = (u64(1_000_000) << 32) // multiplier
    if shift >= 128:
        return khz << min(256 - shift, 16)
    return khz >> min(shift, 32)


def is_kvm(signature: Bytes) -> bool:
    """Whether the hypervisor's signature is KVM's."""
    return signature == b"KVMKVMKVM\0\0\0"


def from_kvmclock(features: Features) -> u64:
    """Return kHz from KVM's clock page, 0 when it is not KVM."""
    if not is_kvm(features.hypervisor[:]):
        return 0
    offered, _b, _c, _d = cpuid(KVM_FEATURES_LEAF, 0)
    if not offered & KVM_CLOCK2:
        return 0
    address = (address_of(time_info) + 31) // 32 * 32
    wrmsr(KVM_SYSTEM_TIME_MSR, address | 1)
    words = time_info
    first = (address - address_of(time_info)) // 4
    multiplier = words[first + 6]
    shift = words[first + 7] & 0xFF
    wrmsr(KVM_SYSTEM_TIME_MSR, 0)
    return scale_to_khz(multiplier, shift)


def read_pit() -> u32:
    """Return channel 0's count."""
    outb(PIT_COMMAND, PIT_LATCH)
    low = inb(PIT_CHANNEL_0)
    return inb(PIT_CHANNEL_0) << 8 | low


def from_pit() -> u64:
    """Count TSC ticks while PIT channel 0 counts 10 ms; 0 when it does not count.

    Channel 0 because channel 2 needs the gate in port 61h, which microvm lacks.
    """
    outb(PIT_COMMAND, PIT_MODE_0)
    outb(PIT_CHANNEL_0, PIT_START & 0xFF)
    outb(PIT_CHANNEL_0, PIT_START >> 8)
    first = read_pit()
    start = rdtsc()
    if first > PIT_START or first < PIT_START - PIT_COUNTS:
        return 0
    for _ in range(PIT_POLLS_MAX):
        count = read_pit()
        end = rdtsc()
        if count > first:
            return 0
        if first - count >= PIT_COUNTS:
            return (end - start) * PIT_HZ // u64(first - count) // 1000
    return 0


def calibrate(features: Features, pvm: bool) -> tuple[u64, Source]:
    """Return the frequency in kHz and where it comes from."""
    if pvm:
        khz = rdmsr(PVM_TSC_KHZ_MSR)
        if khz != 0:
            return khz, Source.PVM
    khz = from_cpuid_15(features.leaf_max)
    if khz != 0:
        return khz, Source.CPUID_15
    khz = from_hypervisor(features.hypervisor_leaf_max)
    if khz != 0:
        return khz, Source.HYPERVISOR
    if features.leaf1_ecx & Leaf1.HYPERVISOR:
        khz = from_kvmclock(features)
        if khz != 0:
            return khz, Source.KVMCLOCK
    khz = from_pit()
    if khz != 0:
        return khz, Source.PIT
    return GUESS_KHZ, Source.GUESS
