"""Text into a fixed buffer: what does not fit is dropped and remembered in `truncated`."""

from bare import Bytes, Slice, Struct, f64, i64, stack, u8, u32, u64, usize
from bare.math import fabs, floor

HEX_DIGITS = b"0123456789abcdef"
POWERS_OF_TEN = tuple(10**n for n in range(19))
FIXED_DIGITS_MAX = 18
FIXED_LIMIT = 9.0e18  # Magnitudes are scaled into an i64.


class Writer(Struct):
    """Appends to `storage`; `written()` is what there is so far."""

    storage: Slice[u8]
    length: usize = 0
    truncated: bool = False

    def written(self) -> Bytes:
        """Everything appended since `clear`."""
        return self.storage[: self.length]

    def clear(self) -> None:
        """Start again."""
        self.length = 0
        self.truncated = False

    def byte(self, value: u8) -> None:
        """Append one byte."""
        if self.length == len(self.storage):
            self.truncated = True
            return
        self.storage[self.length] = value
        self.length += 1

    def text(self, value: Bytes) -> None:
        """Append bytes, as many as fit."""
        room = len(self.storage) - self.length
        count = min(len(value), room)
        if count < len(value):
            self.truncated = True
        self.storage[self.length : self.length + count].copy_from(value[:count])
        self.length += count

    def decimal(self, value: i64) -> None:
        """Append a signed number."""
        if value < 0:
            self.byte(0x2D)
            self.unsigned(u64(-(value + 1)) + 1)  # -value may not fit in an i64.
            return
        self.unsigned(u64(value))

    def unsigned(self, value: u64) -> None:
        """Append an unsigned number."""
        digits = stack(u8, 20)
        first: usize = 20
        rest: u64 = value
        while rest > 0 or first == 20:
            first -= 1
            digits[first] = u8(0x30 + rest % 10)
            rest //= 10
        self.text(digits[first:])

    def hex(self, value: u64, digits: u32) -> None:
        """Append exactly `digits` lower-case hexadecimal digits, the low ones."""
        for i in range(digits):
            shift = (digits - 1 - i) * 4
            nibble: u64 = 0
            if shift < 64:
                nibble = (value >> shift) & 0xF
            self.byte(HEX_DIGITS[usize(nibble)])

    def fixed(self, value: f64, digits: u32) -> None:
        """Append `value` rounded half up to `digits` decimals (fewer where it is huge)."""
        if value != value:
            self.text(b"nan")
            return
        if value < 0.0:
            self.byte(0x2D)
        magnitude = fabs(value)
        if magnitude >= FIXED_LIMIT:
            self.text(b"inf")
            return
        places: u32 = min(digits, FIXED_DIGITS_MAX)
        while magnitude * f64(POWERS_OF_TEN[places]) >= FIXED_LIMIT:
            places -= 1
        power = POWERS_OF_TEN[places]
        scaled = i64(floor(magnitude * f64(power) + 0.5))
        self.unsigned(u64(scaled // power))
        if places == 0:
            return
        self.byte(0x2E)
        fraction = scaled % power
        while places > 0:
            places -= 1
            self.byte(u8(0x30 + fraction // POWERS_OF_TEN[places] % 10))
