"""What the CPU is and can do, and switching its vector state on.

CPUID: Intel SDM volume 2, AMD APM volume 3 appendix E. XCR0: SDM volume 1, section 13.3. Without
CR4.OSXSAVE and the bits of XCR0 the first AVX instruction is #UD, whatever CPUID says.
"""

from enum import IntFlag

from bare import Array, Bytes, Slice, Struct, array, u8, u32, u64, usize
from bare.cpu import cpuid, read_cr4, write_cr4, xgetbv, xsetbv
from bare.simd import Level, set_level

CR4_OSXSAVE = 1 << 18
BRAND_BYTES = 48
LEVELS = tuple(Level)
LEVEL_TEXT = (b"SSE4.2", b"AVX2", b"AVX-VNNI", b"AVX-512", b"AVX-512 BF16")


class Leaf1(IntFlag):
    """CPUID.1:ECX."""

    FMA = 1 << 12
    SSE4_2 = 1 << 20
    X2APIC = 1 << 21
    MOVBE = 1 << 22
    XSAVE = 1 << 26
    AVX = 1 << 28
    F16C = 1 << 29
    RDRAND = 1 << 30
    HYPERVISOR = 1 << 31


class Leaf7(IntFlag):
    """CPUID.7.0:EBX."""

    BMI1 = 1 << 3
    AVX2 = 1 << 5
    BMI2 = 1 << 8
    AVX512F = 1 << 16
    AVX512DQ = 1 << 17
    AVX512BW = 1 << 30
    AVX512VL = 1 << 31


class Leaf7Sub1(IntFlag):
    """CPUID.7.1:EAX."""

    AVX_VNNI = 1 << 4
    AVX512_BF16 = 1 << 5


AVX512VNNI = 1 << 11  # CPUID.7.0:ECX.
LZCNT = 1 << 5  # CPUID.8000_0001h:ECX.
PAGES_1G = 1 << 26  # CPUID.8000_0001h:EDX.


class State(IntFlag):
    """XCR0."""

    X87 = 1 << 0
    SSE = 1 << 1
    AVX = 1 << 2
    OPMASK = 1 << 5
    ZMM_HIGH = 1 << 6
    ZMM_16_31 = 1 << 7


STATE_AVX = State.X87 | State.SSE | State.AVX
STATE_AVX512 = STATE_AVX | State.OPMASK | State.ZMM_HIGH | State.ZMM_16_31
NEED_AVX2_1 = Leaf1.FMA | Leaf1.MOVBE | Leaf1.XSAVE | Leaf1.AVX | Leaf1.F16C
NEED_AVX2_7 = Leaf7.BMI1 | Leaf7.AVX2 | Leaf7.BMI2
NEED_AVX512_7 = Leaf7.AVX512F | Leaf7.AVX512DQ | Leaf7.AVX512BW | Leaf7.AVX512VL


class Features(Struct):
    """The boot core's CPUID; the others are taken to be equal, and checked when they start."""

    leaf1_ecx: u32
    leaf7_ebx: u32
    leaf7_ecx: u32
    leaf7_1_eax: u32
    extended_ecx: u32
    extended_edx: u32
    leaf_max: u32
    hypervisor_leaf_max: u32
    signature: u32
    xcr0: u64
    level: u8
    brand_length: usize
    brand: Array[u8] = array(BRAND_BYTES)
    vendor: Array[u8] = array(12)
    hypervisor: Array[u8] = array(12)

    def detect(self) -> None:
        """Read CPUID."""
        leaf_max, vendor_0, vendor_2, vendor_1 = cpuid(0, 0)
        self.leaf_max = leaf_max
        put(self.vendor[:], 0, vendor_0)
        put(self.vendor[:], 4, vendor_1)
        put(self.vendor[:], 8, vendor_2)
        signature, _b1, leaf1_ecx, _d1 = cpuid(1, 0)
        self.signature = signature
        self.leaf1_ecx = leaf1_ecx
        if leaf_max >= 7:
            sub_max, leaf7_ebx, leaf7_ecx, _d7 = cpuid(7, 0)
            self.leaf7_ebx = leaf7_ebx
            self.leaf7_ecx = leaf7_ecx
            if sub_max >= 1:
                leaf7_1_eax, _b71, _c71, _d71 = cpuid(7, 1)
                self.leaf7_1_eax = leaf7_1_eax
        if leaf1_ecx & Leaf1.HYPERVISOR:
            hypervisor_max, name_0, name_1, name_2 = cpuid(0x4000_0000, 0)
            self.hypervisor_leaf_max = hypervisor_max
            put(self.hypervisor[:], 0, name_0)
            put(self.hypervisor[:], 4, name_1)
            put(self.hypervisor[:], 8, name_2)
        extended_max, _b8, _c8, _d8 = cpuid(0x8000_0000, 0)
        if extended_max >= 0x8000_0001:
            _a9, _b9, extended_ecx, extended_edx = cpuid(0x8000_0001, 0)
            self.extended_ecx = extended_ecx
            self.extended_edx = extended_edx
        if extended_max >= 0x8000_0004:
            self.read_brand()

    def read_brand(self) -> None:
        """Read the processor's name and cut its padding."""
        for part in range(3):
            a, b, c, d = cpuid(u32(0x8000_0002 + part), 0)
            put(self.brand[:], usize(part * 16), a)
            put(self.brand[:], usize(part * 16 + 4), b)
            put(self.brand[:], usize(part * 16 + 8), c)
            put(self.brand[:], usize(part * 16 + 12), d)
        length: usize = 0
        for index in range(BRAND_BYTES):
            if self.brand[index] == 0:
                break
            if self.brand[index] != 0x20:
                length = usize(index + 1)
        self.brand_length = length

    def name(self) -> Bytes:
        """Return the processor's name."""
        start: usize = 0
        while start < self.brand_length and self.brand[start] == 0x20:
            start += 1
        return self.brand[start : self.brand_length]

    def has_1g_pages(self) -> bool:
        """Whether 1 GiB pages exist."""
        return self.extended_edx & PAGES_1G != 0

    def wanted_state(self) -> u64:
        """Return what XCR0 should be."""
        if not self.leaf1_ecx & Leaf1.XSAVE:
            return 0
        supported, _b, _c, _d = cpuid(0xD, 0)
        if supported & STATE_AVX512 == STATE_AVX512 and self.leaf7_ebx & Leaf7.AVX512F:
            return STATE_AVX512
        if supported & STATE_AVX == STATE_AVX:
            return STATE_AVX
        return State.X87 | State.SSE

    def has_avx2(self) -> bool:
        """Whether every feature of x86-64-v3 is there and switched on."""
        return (
            self.xcr0 & STATE_AVX == STATE_AVX
            and self.leaf1_ecx & NEED_AVX2_1 == NEED_AVX2_1
            and self.leaf7_ebx & NEED_AVX2_7 == NEED_AVX2_7
            and self.extended_ecx & LZCNT != 0
        )

    def has_avx512(self) -> bool:
        """Whether every feature of x86-64-v4, and VNNI, is there and switched on."""
        return (
            self.has_avx2()
            and self.xcr0 & STATE_AVX512 == STATE_AVX512
            and self.leaf7_ebx & NEED_AVX512_7 == NEED_AVX512_7
            and self.leaf7_ecx & AVX512VNNI != 0
        )

    def has_level(self, level: Level) -> bool:
        """Whether code compiled for the level can run."""
        match level:
            case Level.BASELINE:
                return True
            case Level.AVX2:
                return self.has_avx2()
            case Level.AVXVNNI:
                return self.has_avx2() and self.leaf7_1_eax & Leaf7Sub1.AVX_VNNI != 0
            case Level.AVX512:
                return self.has_avx512()
            case Level.AVX512BF16:
                return self.has_avx512() and self.leaf7_1_eax & Leaf7Sub1.AVX512_BF16 != 0

    def best_level(self, highest: u8) -> u8:
        """Return the highest level of `bare.simd`, at most `highest`, that can run."""
        best: u8 = Level.BASELINE
        for level in LEVELS:
            if level <= highest and self.has_level(level):
                best = level
        return best


def put(out: Slice[u8], at: usize, value: u32) -> None:
    """Store the four characters of a register."""
    for index in range(4):
        out[at + index] = u8(value >> 8 * index & 0xFF)


features = Features.zeroed()


def enable_vector_state() -> None:
    """Switch on this core's vector registers. Every core must do it."""
    wanted = features.wanted_state()
    if wanted == 0:
        return
    write_cr4(read_cr4() | CR4_OSXSAVE)
    xsetbv(0, wanted)
    features.xcr0 = xgetbv(0)


def choose_level(highest: u8) -> None:
    """Choose the instruction set for all `multiversion` code, at most `highest`."""
    features.level = features.best_level(highest)
    set_level(features.level)


def level_text(level: u8) -> Bytes:
    """Return the name of an instruction set level."""
    return LEVEL_TEXT[level]
