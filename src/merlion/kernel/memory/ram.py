"""Physical memory: stretches of free RAM, handed out once.

Memory has phases. While booting, arenas are carved from the bottom of each stretch. `seal` ends
that phase: what was taken stays taken for ever, and from then on only the model (its file, its
KV cache, its scratch) is taken, and given back as a whole by `reset`.
"""

from bare import Array, Struct, array, u64, usize
from merlion.kernel.boot.start_info import BootInfo, RegionKind

STRETCH_MAX = 64
LOW_END = 1 << 20  # Below 1 MiB: firmware tables, the loader's data, the cores' trampoline.
HUGE_BYTES = 1 << 21
BELOW_4G = 1 << 32
ANYWHERE = 1 << 52


class Stretch(Struct):
    """RAM from `start` to `end`, free from `next` on."""

    start: u64
    end: u64
    next: u64
    sealed: u64  # Value of `next` when boot ended.


class Ram(Struct):
    """All stretches of free RAM, by address."""

    stretch_count: usize
    stretches: Array[Stretch] = array(STRETCH_MAX)
    is_sealed: bool = False

    def init(self, info: BootInfo, image_start: u64, image_end: u64) -> None:
        """Take over all RAM of the loader's map above 1 MiB, without the image."""
        self.stretch_count = 0
        self.is_sealed = False
        for region in info.regions[: info.region_count]:
            if region.kind != RegionKind.RAM:
                continue
            start = max(region.start, LOW_END)
            if image_start < region.end and start < image_end:
                self.add(start, min(region.end, image_start))
                start = image_end
            self.add(start, region.end)

    def add(self, start: u64, end: u64) -> None:
        """Add the whole pages of [start, end)."""
        first = (start + 4095) // 4096 * 4096
        last = end // 4096 * 4096
        if first >= last or self.stretch_count == STRETCH_MAX:
            return
        stretch = self.stretches[self.stretch_count]
        stretch.start = first
        stretch.end = last
        stretch.next = first
        stretch.sealed = first
        self.stretch_count += 1

    def free_in(self, index: usize, align: u64, limit: u64) -> u64:
        """Return how many bytes stretch `index` can give at this alignment, below `limit`."""
        stretch = self.stretches[index]
        start = (stretch.next + align - 1) // align * align
        end = min(stretch.end, limit)
        return end - start if end > start else 0

    def largest(self, align: u64) -> u64:
        """Return the size of the largest block that can be taken."""
        best: u64 = 0
        for index in range(self.stretch_count):
            best = max(best, self.free_in(usize(index), align, ANYWHERE))
        return best

    def take(self, byte_count: u64, align: u64, limit: u64) -> u64:
        """Take `byte_count` bytes below `limit`: the physical address, or 0 when there is no room.

        The smallest stretch with room is used, so that large blocks stay whole.
        """
        best_index: usize = 0
        best: u64 = 0
        for index in range(self.stretch_count):
            room = self.free_in(usize(index), align, limit)
            if room >= byte_count and (best == 0 or room < best):
                best = room
                best_index = usize(index)
        if best == 0 or byte_count == 0:
            return 0
        stretch = self.stretches[best_index]
        address = (stretch.next + align - 1) // align * align
        stretch.next = address + byte_count
        return address

    def shrink(self, address: u64, byte_count: u64, kept: u64) -> None:
        """Give back the end of the block that was taken last from its stretch."""
        for stretch in self.stretches[: self.stretch_count]:
            if stretch.next == address + byte_count:
                stretch.next = address + kept
                return

    def seal(self) -> None:
        """End the boot phase."""
        self.is_sealed = True
        for stretch in self.stretches[: self.stretch_count]:
            stretch.sealed = stretch.next

    def reset(self) -> None:
        """Give back everything taken since `seal`."""
        assert self.is_sealed, "reset before seal"
        for stretch in self.stretches[: self.stretch_count]:
            stretch.next = stretch.sealed

    def total_bytes(self) -> u64:
        """Return all RAM that was ever free."""
        total: u64 = 0
        for stretch in self.stretches[: self.stretch_count]:
            total += stretch.end - stretch.start
        return total

    def used_bytes(self) -> u64:
        """Return the RAM that has been taken."""
        total: u64 = 0
        for stretch in self.stretches[: self.stretch_count]:
            total += stretch.next - stretch.start
        return total


ram = Ram.zeroed()
