"""The machine's page tables: what is mapped how, and the switch to them.

All RAM is mapped one to one, writable, never executable. The image is mapped by segment: code
executable, constants read-only, data writable. Below every stack lies an unmapped guard page, and
so does page 0. Everything else below 4 GiB is device space (uncached); device memory above is
mapped on request. On a PVM host: U bit everywhere, no 1 GiB pages (docs/hardware/pvm.md).
"""

from bare import u32, u64, usize
from bare.cpu import write_cr3
from bare.unsafe import slice_at, symbol_address
from merlion.kernel.arch.x86_64.features import Features
from merlion.kernel.boot.pvh import GUARD_BYTES
from merlion.kernel.boot.start_info import BootInfo, RegionKind
from merlion.kernel.config import Config, PageSize
from merlion.kernel.limits import CPU_MAX, STACK_BYTES
from merlion.kernel.memory.page_tables import (
    BELOW_4G,
    HUGE_BYTES,
    PAGE_BYTES,
    Access,
    PageTables,
)
from merlion.kernel.memory.ram import Ram

# Tables beside those for RAM: device space, split pages, large BARs.
SPARE_TABLES = 64
LEVEL_4K = 0
LEVEL_2M = 1
LEVEL_1G = 2

page_tables = PageTables.zeroed()


def largest_level(features: Features, config: Config) -> u32:
    """Return the level of the largest page that may be used."""
    level: u32 = LEVEL_2M
    if features.has_1g_pages() and not config.pvm:
        level = LEVEL_1G
    match config.page_size:
        case PageSize.PAGES_4K:
            return LEVEL_4K
        case PageSize.PAGES_2M:
            return LEVEL_2M
        case PageSize.PAGES_1G:
            return level
        case PageSize.LARGEST:
            return level


def table_count(info: BootInfo, level: u32) -> u64:
    """Return how many tables the pool must hold."""
    end: u64 = 1 << 32
    for region in info.regions[: info.region_count]:
        if region.kind == RegionKind.RAM:
            end = max(end, region.end)
    count = SPARE_TABLES + (end >> 39) + (end >> 30) + CPU_MAX * STACK_BYTES // HUGE_BYTES
    if level == LEVEL_4K:
        count += end >> 21
    return count


def round_up(address: u64) -> u64:
    """Return the next page boundary."""
    return (address + PAGE_BYTES - 1) // PAGE_BYTES * PAGE_BYTES


def map_image() -> None:
    """Map the image's segments with just the rights they need."""
    start = symbol_address("image_start")
    page_tables.map(start, round_up(symbol_address("image_end")), Access.WRITE)
    page_tables.map(
        symbol_address("text_start"), round_up(symbol_address("text_end")), Access.EXECUTE
    )
    page_tables.map(
        symbol_address("rodata_start"), round_up(symbol_address("rodata_end")), Access.READ
    )
    guard = symbol_address("boot_stack_guard")
    page_tables.map(guard, guard + GUARD_BYTES, Access.NONE)


def init(info: BootInfo, ram: Ram, features: Features, config: Config) -> None:
    """Build the tables and switch the boot core to them."""
    level = largest_level(features, config)
    tables = table_count(info, level)
    base = ram.take(tables * PAGE_BYTES, PAGE_BYTES, BELOW_4G)
    assert base != 0, "no memory for page tables"
    page_tables.base = base
    page_tables.pool = slice_at(u64, base, usize(tables * 512))
    page_tables.pool.fill(0)
    page_tables.level_max = level
    page_tables.user = config.pvm

    page_tables.map(0, BELOW_4G, Access.DEVICE)
    for region in info.regions[: info.region_count]:
        start = region.start // PAGE_BYTES * PAGE_BYTES
        end = round_up(region.end)
        if region.kind != RegionKind.RESERVED and region.kind != RegionKind.UNUSABLE:
            page_tables.map(start, end, Access.WRITE)
    map_image()
    page_tables.map(0, PAGE_BYTES, Access.NONE)
    activate()


def activate() -> None:
    """Load CR3 (again): after this nothing stale is cached."""
    write_cr3(page_tables.root())


def protect_stack(bottom: u64) -> None:
    """Make the page at `bottom` a guard page. Takes effect with the next `activate`."""
    page_tables.map(bottom, bottom + PAGE_BYTES, Access.NONE)


def map_device(physical_address: u64, byte_count: u64) -> bool:
    """Map device memory one to one, uncached. Returns False when it cannot be addressed."""
    if byte_count == 0 or physical_address >= 1 << 46 or byte_count > 1 << 44:
        return False
    start = physical_address // PAGE_BYTES * PAGE_BYTES
    end = round_up(physical_address + byte_count)
    if end <= BELOW_4G:
        return True  # All device space below 4 GiB is mapped from the start.
    page_tables.map(max(start, BELOW_4G), end, Access.DEVICE)
    activate()
    return True
