"""The processor's energy counter: what the whole package has used.

Intel SDM volume 4 (RAPL: IA32_RAPL_POWER_UNIT 606h, PKG_ENERGY_STATUS 611h); AMD PPR for family
17h and later (C001_0299h, C001_029Bh). The counter has 32 bits, counts in units of 1/2^ESU joules
(bits 12:8 of the unit register) and is updated every millisecond; it wraps after minutes at the
earliest, so a measurement must be shorter. CPUID does not say whether an Intel processor has it,
and a hypervisor that hides it may fault or answer 0: both count as "there is none".
"""

from bare import Bytes, Struct, f64, u32, u64
from merlion.kernel.arch.x86_64.stubs import probe_msr

INTEL_UNIT = 0x606
INTEL_PACKAGE = 0x611
AMD_UNIT = 0xC001_0299
AMD_PACKAGE = 0xC001_029B
UNIT_SHIFT = 8
UNIT_MASK = 0x1F
COUNTER_MASK = 0xFFFF_FFFF


class Energy(Struct):
    """The counter of this core's package; `register` is 0 where none can be read."""

    register: u32 = 0
    unit: u32 = 0  # The exponent.

    def find(self, vendor: Bytes) -> None:
        """Look for it, by who made the processor (CPUID leaf 0)."""
        self.register = 0
        if vendor == b"GenuineIntel":
            self.try_registers(INTEL_UNIT, INTEL_PACKAGE)
        elif vendor == b"AuthenticAMD" or vendor == b"HygonGenuine":
            self.try_registers(AMD_UNIT, AMD_PACKAGE)

    def try_registers(self, unit: u32, package: u32) -> None:
        """Use these registers if both hold something."""
        exponent = probe_msr(unit) >> UNIT_SHIFT & UNIT_MASK
        if exponent != 0 and probe_msr(package) != 0:
            self.register = package
            self.unit = u32(exponent)

    def read(self) -> u64:
        """Return the counter, 0 where there is none."""
        return probe_msr(self.register) & COUNTER_MASK if self.register != 0 else 0

    def joules(self, before: u64, after: u64) -> f64:
        """Return the energy between two readings; 0 where there is no counter."""
        used = after - before if after >= before else after + (COUNTER_MASK + 1) - before
        return f64(used) / f64(u64(1) << self.unit)


energy = Energy()
