"""The kernel command line: words and `key=value` pairs, separated by spaces.

Every word that is not understood is reported, those beyond UNKNOWN_MAX by their number: a misspelt
option must not be silent. A wrong value is reported with what its key takes. A secret is taken out
of the line while it is read, so that whoever shows the line cannot tell it.
Settings and their defaults are the fields of `Config`; docs/hardware/command-line.md lists them.
"""

from dataclasses import dataclass
from enum import IntEnum

from bare import Array, Bytes, Slice, Struct, array, u8, u16, u32, u64, usize
from bare.simd import LEVEL_NAMES, Level
from merlion.engine.limits import SEQUENCE_COUNT_MAX
from merlion.kernel.limits import CONTEXT_DEFAULT, SEQUENCES_DEFAULT

UNKNOWN_MAX = 8
NUMBER_MAX = 1 << 52  # Numbers are sizes and addresses.
API_KEY_BYTES_MAX = 256
CORES_MAX = 4096
CONTEXT_MAX = 1 << 24
MASK = 0x2A  # What stands in the line where a secret was.


class PageSize(IntEnum):
    """Largest page used for RAM."""

    LARGEST = 0
    PAGES_4K = 1
    PAGES_2M = 2
    PAGES_1G = 3


class PanicAction(IntEnum):
    """What follows the report of a bug."""

    HALT = 0
    REBOOT = 1
    EXIT = 2  # Leave QEMU with a failing exit code.


@dataclass(frozen=True, slots=True)
class Key:
    """What `key=` takes, to be told whoever writes something else."""

    start: bytes
    takes: bytes


KEYS = (
    Key(b"pages=", b"4k, 2m or 1g"),
    Key(b"simd=", b", ".join(LEVEL_NAMES)),
    Key(b"cores=", b"0 (all) to %d" % CORES_MAX),
    Key(b"ctx=", b"up to 16M positions"),
    Key(b"parallel=", b"1 to %d" % SEQUENCE_COUNT_MAX),
    Key(b"ip=", b"dhcp, off or ADDRESS/PREFIX[,GATEWAY]"),
    Key(b"time=", b"seconds since 1970"),
    Key(b"api-key=", b"1 to %d bytes" % API_KEY_BYTES_MAX),
    Key(b"serve=", b"a port, 1 to 65535"),
    Key(b"panic=", b"halt, reboot or exit"),
)


class Word(Struct):
    """A piece of the command line."""

    start: usize
    length: usize


class Config(Struct):
    """The machine's settings."""

    pvm: bool = False
    quiet: bool = False  # Log lines go to the ring only.
    network: bool = True
    dhcp: bool = True
    page_size: PageSize = PageSize.LARGEST
    panic: PanicAction = PanicAction.HALT
    simd: u8 = max(Level)  # Highest instruction set used, whatever the CPU has.
    cores: u32 = 0  # 0: all.
    context: u32 = CONTEXT_DEFAULT  # Positions of a sequence; the model may have fewer.
    parallel: u32 = SEQUENCES_DEFAULT  # Sequences decoded together.
    address: u32 = 0
    netmask: u32 = 0
    gateway: u32 = 0
    serve_port: u16 = 0  # Not 0: load the model and serve right after boot.
    load: bool = False  # Load the model right after boot.
    boot_unix_s: u64 = 0  # Unix time at start; 0: unknown, clocks count from boot.
    api_key_length: usize = 0  # 0: anybody may ask.
    api_key_bytes: Array[u8] = array(API_KEY_BYTES_MAX)
    command_line: Bytes = b""
    unknown_count: usize = 0  # Words, those beyond UNKNOWN_MAX included.
    unknown: Array[Word] = array(UNKNOWN_MAX)

    @property
    def api_key(self) -> Bytes:
        """What clients of the API must send."""
        return self.api_key_bytes[: self.api_key_length]

    def parse(self, text: Slice[u8]) -> None:
        """Read the command line `text`, which must stay in memory. Secrets in it are masked."""
        self.command_line = text
        at: usize = 0
        while at < len(text):
            if text[at] == 0x20:
                at += 1
                continue
            end = at
            while end < len(text) and text[end] != 0x20:
                end += 1
            if not self.parse_word(text[at:end]):
                self.add_unknown(at, end - at)
            at = end

    def add_unknown(self, start: usize, length: usize) -> None:
        """Remember a word that means nothing to us."""
        if self.unknown_count < UNKNOWN_MAX:
            word = self.unknown[self.unknown_count]
            word.start = start
            word.length = length
        self.unknown_count += 1

    @property
    def unknown_kept(self) -> usize:
        """How many of the unknown words can be told."""
        return min(self.unknown_count, UNKNOWN_MAX)

    def unknown_word(self, index: usize) -> Bytes:
        """Return the `index`-th word that was not understood."""
        word = self.unknown[index]
        return self.command_line[word.start : word.start + word.length]

    def wanted(self, index: usize) -> Bytes:
        """What the key of the `index`-th unknown word takes; empty when there is no such key."""
        word = self.unknown_word(index)
        for key in KEYS:
            if word.startswith(key.start):
                return key.takes
        return b""

    def parse_word(self, word: Slice[u8]) -> bool:
        """Take one word. Returns False when it is unknown or its value is wrong."""
        equals = word.find(b"=")
        if equals >= 0:
            return self.parse_pair(word[: usize(equals)], word[usize(equals) + 1 :])
        if word == b"pvm":
            self.pvm = True
        elif word == b"quiet":
            self.quiet = True
        elif word == b"load":
            self.load = True
        else:
            return False
        return True

    def parse_pair(self, key: Bytes, value: Slice[u8]) -> bool:
        """Take `key=value`."""
        if key == b"api-key":
            return self.take_api_key(value)
        if key == b"pages":
            return self.parse_pages(value)
        if key == b"panic":
            return self.parse_panic(value)
        if key == b"simd":
            return self.parse_simd(value)
        if key == b"ip":
            return self.parse_ip(value)
        if key == b"virtio_mmio.device" or key == b"pci":
            return True  # hardware.py reads these itself.
        number = parse_number(value)
        return number is not None and self.take_number(key, number)

    def take_number(self, key: Bytes, number: u64) -> bool:
        """Take `key=value` whose value is a number."""
        if key == b"cores" and number <= CORES_MAX:
            self.cores = u32(number)
        elif key == b"ctx" and number <= CONTEXT_MAX:
            self.context = u32(number) if number > 0 else CONTEXT_DEFAULT
        elif key == b"parallel" and 0 < number <= SEQUENCE_COUNT_MAX:
            self.parallel = u32(number)
        elif key == b"serve" and 0 < number < 65536:
            self.serve_port = u16(number)
        elif key == b"time":
            self.boot_unix_s = number
        else:
            return False
        return True

    def take_api_key(self, value: Slice[u8]) -> bool:
        """Take `api-key=KEY` out of the line. An empty key would let everybody in."""
        length = len(value)
        fits = 0 < length <= API_KEY_BYTES_MAX
        if fits:
            self.api_key_bytes[:length].copy_from(value)
            self.api_key_length = length
        value.fill(MASK)
        return fits

    def parse_pages(self, value: Bytes) -> bool:
        """Take `pages=4k|2m|1g`."""
        if value == b"4k":
            self.page_size = PageSize.PAGES_4K
        elif value == b"2m":
            self.page_size = PageSize.PAGES_2M
        elif value == b"1g":
            self.page_size = PageSize.PAGES_1G
        else:
            return False
        return True

    def parse_panic(self, value: Bytes) -> bool:
        """Take `panic=halt|reboot|exit`."""
        if value == b"halt":
            self.panic = PanicAction.HALT
        elif value == b"reboot":
            self.panic = PanicAction.REBOOT
        elif value == b"exit":
            self.panic = PanicAction.EXIT
        else:
            return False
        return True

    def parse_simd(self, value: Bytes) -> bool:
        """Take `simd=` and the name of a level."""
        for level in range(len(LEVEL_NAMES)):
            if value == LEVEL_NAMES[level]:
                self.simd = u8(level)
                return True
        return False

    def parse_ip(self, value: Bytes) -> bool:
        """Take `ip=off`, `ip=dhcp` or `ip=ADDRESS/PREFIX[,GATEWAY]`."""
        if value == b"off":
            self.network = False
            return True
        if value == b"dhcp":
            self.dhcp = True
            return True
        slash = value.find(b"/")
        if slash < 0:
            return False
        comma = value.find(b",")
        end = usize(comma) if comma >= 0 else len(value)
        if end < usize(slash):
            return False
        address = parse_ipv4(value[: usize(slash)])
        prefix = parse_number(value[usize(slash) + 1 : end])
        if address is None or prefix is None or prefix > 32:
            return False
        gateway: u32 = 0
        if comma >= 0:
            parsed = parse_ipv4(value[end + 1 :])
            if parsed is None:
                return False
            gateway = parsed
        self.dhcp = False
        self.address = address
        self.netmask = u32(0xFFFF_FFFF - (u64(0xFFFF_FFFF) >> prefix))
        self.gateway = gateway
        return True


def digit_value(byte: u8) -> u32:
    """Return the value of a hexadecimal digit, 255 when it is none."""
    if 0x30 <= byte <= 0x39:
        return byte - 0x30
    lower = byte | 0x20
    if 0x61 <= lower <= 0x66:
        return lower - 0x61 + 10
    return 255


def scale_of(suffix: u8) -> u64:
    """Return what a suffix multiplies by: K, M or G; 1 for any other byte."""
    match suffix | 0x20:
        case 0x6B:
            return 1 << 10
        case 0x6D:
            return 1 << 20
        case 0x67:
            return 1 << 30
        case _:
            return 1


def parse_digits(text: Bytes, base: u32) -> u64 | None:
    """Return the number whose digits are `text`. None if it is none, or above NUMBER_MAX."""
    if len(text) == 0:
        return None
    value: u64 = 0
    for byte in text:
        digit = digit_value(byte)
        if digit >= base:
            return None
        value = value * base + digit
        if value > NUMBER_MAX:
            return None
    return value


def parse_number(text: Bytes) -> u64 | None:
    """Return the number `text`: decimal or 0x hexadecimal, perhaps ending in K, M or G."""
    end = len(text)
    if end == 0:
        return None
    scale = scale_of(text[end - 1])
    if scale != 1:
        end -= 1
    value = (
        parse_digits(text[2:end], 16) if text.startswith(b"0x") else parse_digits(text[:end], 10)
    )
    if value is None or value > NUMBER_MAX // scale:
        return None
    return value * scale


def parse_ipv4(text: Bytes) -> u32 | None:
    """Return the address `a.b.c.d` in host order, None when it is none."""
    address: u32 = 0
    part: u32 = 0
    digits: u32 = 0
    dots: u32 = 0
    for byte in text:
        if byte == 0x2E:
            if digits == 0 or dots == 3:
                return None
            address = address << 8 | part
            part = 0
            digits = 0
            dots += 1
            continue
        if not 0x30 <= byte <= 0x39:
            return None
        part = part * 10 + (byte - 0x30)
        digits += 1
        if part > 255 or digits > 3:
            return None
    if dots != 3 or digits == 0:
        return None
    return address << 8 | part


config = Config()
