"""Shell commands about the machine itself."""

from bare import Bytes, f64, u32, u64, usize
from bare.cpu import outl
from bare.simd import LEVEL_NAMES
from merlion.kernel import power, start
from merlion.kernel.arch.x86_64 import smp
from merlion.kernel.arch.x86_64.features import features, level_text
from merlion.kernel.boot.start_info import RegionKind, boot_info
from merlion.kernel.clock import clock, now_ns
from merlion.kernel.config import PageSize, PanicAction, config, parse_number
from merlion.kernel.console import console
from merlion.kernel.inference import backend, engine
from merlion.kernel.log import log
from merlion.kernel.memory import paging
from merlion.kernel.memory.ram import ram
from merlion.kernel.model import model, write_plain
from merlion.kernel.panic import QEMU_EXIT_PORT, state
from merlion.kernel.screen import screen
from merlion.kernel.serving import serving
from merlion.kernel.shell.network import write_address
from merlion.kernel.shell.refuse import refuse
from merlion.kernel.timeline import timeline

KIBIBYTE = 1 << 10
MEBIBYTE = 1 << 20
EXIT_CODE_MAX = 127  # 2 * code + 1 is a byte.
SHUTDOWN_USAGE = b"usage: shutdown [code], up to %d" % EXIT_CODE_MAX
REGION_TEXT = {
    RegionKind.RAM: b"RAM",
    RegionKind.RESERVED: b"reserved",
    RegionKind.ACPI_RECLAIMABLE: b"ACPI tables",
    RegionKind.ACPI_NVS: b"ACPI NVS",
    RegionKind.UNUSABLE: b"unusable",
}
PAGE_SIZE_TEXT = {
    PageSize.LARGEST: b"largest",
    PageSize.PAGES_4K: b"4k",
    PageSize.PAGES_2M: b"2m",
    PageSize.PAGES_1G: b"1g",
}
PANIC_TEXT = {
    PanicAction.HALT: b"halt",
    PanicAction.REBOOT: b"reboot",
    PanicAction.EXIT: b"exit",
}


def label(text: Bytes) -> None:
    """Start a line with a name, padded to a column."""
    out = console.out
    first = out.length
    out.text(text)
    while out.length < first + 12:
        out.byte(0x20)


def show_mebibytes(byte_count: u64) -> None:
    """Write a size in MiB."""
    console.out.unsigned(byte_count // MEBIBYTE)
    console.out.text(b" MiB")


def info(arguments: Bytes) -> bool:
    """Show the machine at a glance."""
    out = console.out
    label(b"machine")
    out.text(features.name())
    out.text(b", ")
    out.unsigned(smp.cores.count)
    out.text(b" core, " if smp.cores.count == 1 else b" cores, ")
    out.text(level_text(features.level))
    console.line(b"")
    label(b"memory")
    show_mebibytes(ram.total_bytes())
    out.text(b", used ")
    show_mebibytes(ram.used_bytes())
    console.line(b"")
    label(b"model")
    if model.loaded:
        write_plain(out, backend.model_name())
        console.line(b"")
    else:
        console.line(b"none: ai-load")
    label(b"API")
    if serving.port == 0:
        console.line(b"not served: ai-serve")
    else:
        out.text(b"port ")
        out.unsigned(serving.port)
        console.line(b"")
    return uptime(arguments)


def free(arguments: Bytes) -> bool:
    """Show memory and the pages it is mapped with."""
    out = console.out
    label(b"total")
    show_mebibytes(ram.total_bytes())
    console.line(b"")
    label(b"used")
    show_mebibytes(ram.used_bytes())
    console.line(b"")
    label(b"free")
    show_mebibytes(ram.total_bytes() - ram.used_bytes())
    console.line(b"")
    label(b"boot arena")
    out.unsigned(start.boot_arena.used // KIBIBYTE)
    out.text(b" of ")
    out.unsigned(len(start.boot_arena.storage) // KIBIBYTE)
    console.line(b" KiB")
    label(b"pages")
    tables = paging.page_tables
    out.unsigned(tables.pages_1g)
    out.text(b" of 1 GiB, ")
    out.unsigned(tables.pages_2m)
    out.text(b" of 2 MiB, ")
    out.unsigned(tables.pages_4k)
    console.line(b" of 4 KiB")
    label(b"page faults")
    out.unsigned(state.page_faults)
    console.line(b"")
    return True


def uptime(arguments: Bytes) -> bool:
    """Show the time since the first instruction."""
    label(b"up")
    milliseconds = now_ns() // 1_000_000
    console.out.unsigned(milliseconds // 1000)
    console.out.byte(0x2E)
    console.out.unsigned(milliseconds // 100 % 10)
    console.line(b" s")
    return True


def boot(arguments: Bytes) -> bool:
    """Show when each stage of boot and load was over, and how long it took."""
    before: u64 = 0
    for mark in timeline.marks[: timeline.count]:
        label(mark.name)
        time = clock.nanoseconds(mark.ticks)
        console.out.fixed(f64(time) / 1e6, 2)
        console.out.text(b" ms  +")
        console.out.fixed(f64(time - before) / 1e6, 2)
        console.line(b"")
        before = time
    return True


def show_cpuid(arguments: Bytes) -> bool:
    """Show the processor."""
    out = console.out
    label(b"name")
    console.line(features.name())
    label(b"vendor")
    console.line(features.vendor[:])
    label(b"signature")
    out.hex(features.signature, 8)
    console.line(b"")
    if features.hypervisor_leaf_max != 0:
        label(b"hypervisor")
        console.line(features.hypervisor[:])
    label(b"XCR0")
    out.hex(features.xcr0, 8)
    console.line(b"")
    label(b"leaf 1 ecx")
    out.hex(features.leaf1_ecx, 8)
    console.line(b"")
    label(b"leaf 7")
    out.hex(features.leaf7_ebx, 8)
    out.byte(0x20)
    out.hex(features.leaf7_ecx, 8)
    out.byte(0x20)
    out.hex(features.leaf7_1_eax, 8)
    console.line(b"")
    label(b"kernels")
    console.line(level_text(features.level))
    label(b"TSC")
    out.unsigned(clock.khz)
    console.line(b" kHz")
    return True


def memmap(arguments: Bytes) -> bool:
    """Show the firmware's memory map."""
    out = console.out
    for region in boot_info.regions[: boot_info.region_count]:
        out.hex(region.start, 12)
        out.text(b" - ")
        out.hex(region.end, 12)
        out.text(b"  ")
        out.text(REGION_TEXT[region.kind])
        console.line(b"")
    return True


def dmesg(arguments: Bytes) -> bool:
    """Show the kernel log."""
    position = log.oldest()
    while position < log.written:
        if console.out.length > 4096:
            console.flush()
        console.out.byte(log.byte_at(position))
        position += 1
    console.flush()
    return True


def yes_no(flag: bool) -> Bytes:
    """The word for a flag."""
    return b"yes" if flag else b"no"


def show_word(name: Bytes, value: Bytes) -> None:
    """One setting that is a word."""
    label(name)
    console.line(value)


def show_number(name: Bytes, value: u64, zero: Bytes) -> None:
    """One setting that is a number; `zero` says what 0 means, where it means something."""
    label(name)
    if value == 0 and len(zero) > 0:
        console.line(zero)
        return
    console.out.unsigned(value)
    console.line(b"")


def show_config(arguments: Bytes) -> bool:
    """Show the command line and what came of it."""
    show_word(b"words", config.command_line)
    show_word(b"pvm", yes_no(config.pvm))
    show_word(b"pages", PAGE_SIZE_TEXT[config.page_size])
    show_word(b"simd", LEVEL_NAMES[config.simd])
    show_number(b"cores", config.cores, b"all")
    show_number(b"ctx", config.context, b"")
    show_number(b"parallel", config.parallel, b"")
    if not config.network:
        show_word(b"ip", b"off")
    elif config.dhcp:
        show_word(b"ip", b"dhcp")
    else:
        show_static_address()
    show_word(b"load", yes_no(config.load or config.serve_port != 0))
    show_number(b"serve", config.serve_port, b"no")
    show_word(b"api key", b"none" if len(config.api_key) == 0 else b"set")
    show_number(b"time", config.boot_unix_s, b"unknown")
    show_word(b"panic", PANIC_TEXT[config.panic])
    show_word(b"quiet", yes_no(config.quiet))
    for index in range(config.unknown_kept):
        show_word(b"unknown", config.unknown_word(usize(index)))
    if config.unknown_count > config.unknown_kept:
        show_number(b"more such", config.unknown_count - config.unknown_kept, b"")
    return True


def show_static_address() -> None:
    """The address of `ip=`."""
    label(b"ip")
    write_address(config.address)
    console.out.text(b" netmask ")
    write_address(config.netmask)
    console.out.text(b" gateway ")
    write_address(config.gateway)
    console.line(b"")


def top(arguments: Bytes) -> bool:
    """Show each core: its APIC id, whether it sleeps, and its share of what was computed."""
    out = console.out
    for index in range(smp.cores.count):
        core = smp.cores.all[usize(index)]
        out.text(b"core ")
        out.unsigned(index)
        out.text(b"  apic ")
        out.unsigned(core.apic_id)
        if index == 0:
            out.text(b"  polls devices, computes")
        else:
            out.text(b"  asleep" if core.asleep.load() != 0 else b"  awake")
            out.text(b", slept ")
            out.unsigned(core.sleeps)
            out.text(b" times")
        out.text(b"; naps at work ")
        out.unsigned(core.naps)
        if model.loaded and index < len(engine.team.members):
            member = engine.team.members[usize(index)]
            out.text(b"; computed ")
            out.unsigned(member.chunks)
            out.text(b" chunks, ")
            out.unsigned(member.steals)
            out.text(b" stolen")
        console.line(b"")
    return True


def clear(arguments: Bytes) -> bool:
    """Clear the screen."""
    console.write(b"\x1b[2J\x1b[H")
    console.flush()
    return True


def reboot(arguments: Bytes) -> bool:
    """Restart."""
    console.line(b"rebooting")
    screen.drain()
    power.reboot()
    return refuse(b"reboot did not work")


def shutdown(arguments: Bytes) -> bool:
    """Power off; with a code, leave QEMU with exit status 2 * code + 1."""
    code: u64 = 0
    if len(arguments) > 0:
        number = parse_number(arguments)
        if number is None or number > EXIT_CODE_MAX:
            return refuse(SHUTDOWN_USAGE)
        code = number
    console.line(b"power off")
    screen.drain()
    if code != 0:
        outl(QEMU_EXIT_PORT, u32(code))
    power.power_off()
    return refuse(b"power-off did not work: it is safe to switch off")
