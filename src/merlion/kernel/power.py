"""Power-off and reboot, by what ACPI says, then by what PCs have always had.

Both return when nothing worked: the caller then halts.

S5 is entered by writing the sleep type of `_S5_` and the enable bit to the sleep control register
(hardware-reduced machines such as microvm, ACPI 6.5, 4.8.3.7) or to PM1 control (4.8.3.2).
"""

from bare import u8, u16
from bare.cpu import inw, outb, outw, pause
from bare.mmio import ReadWrite, Registers, at
from bare.unsafe import registers_at
from merlion.kernel.acpi import Acpi, Place
from merlion.kernel.clock import wait_us
from merlion.kernel.hardware import hardware

SLEEP_KIND_SHIFT = 2
SLEEP_ENABLE = 1 << 5
PM1_SCI_ENABLED = 1 << 0
PM1_KIND_SHIFT = 10
PM1_KIND_CLEAR = 0xC3FF  # A mask: everything but type and enable.
PM1_ENABLE = 1 << 13
ENABLE_POLLS_MAX = 100_000
PORTS_END = 0x1_0000
EFFECT_US = 1_000_000  # How long a machine, or its hypervisor, may take to do as it is told.

RESET_CONTROL_PORT = 0xCF9  # Intel ICH and later; QEMU's q35 and pc.
RESET_CONTROL_HARD = 0x06
KEYBOARD_PORT = 0x64
KEYBOARD_PULSE_RESET = 0xFE


class ByteRegister(Registers):
    """Eight bits in memory."""

    value: ReadWrite[u8] = at(0)


def write_place(place: Place, value: u8) -> bool:
    """Write a register that ACPI named. False when there is none."""
    if place.address == 0:
        return False
    if place.is_port:
        if place.address >= PORTS_END:
            return False
        outb(u16(place.address), value)
    else:
        registers_at(ByteRegister, place.address).value.write(value)
    return True


def enable_acpi(acpi: Acpi, control: u16) -> None:
    """Take the PM1 registers over from the firmware (4.8.2.5), where it has them."""
    if inw(control) & PM1_SCI_ENABLED or acpi.smi_command == 0 or acpi.acpi_enable == 0:
        return
    outb(u16(acpi.smi_command & 0xFFFF), acpi.acpi_enable)
    for _ in range(ENABLE_POLLS_MAX):
        if inw(control) & PM1_SCI_ENABLED:
            return
        pause()


def power_off() -> None:
    """Turn the machine off. Returns only if that did not work."""
    if hardware.acpi.present and hardware.acpi.has_s5 and enter_s5(hardware.acpi):
        wait_us(EFFECT_US)


def enter_s5(acpi: Acpi) -> bool:
    """Write what turns the machine off. False when there is nowhere to write it."""
    if acpi.sleep_control.address != 0:
        kind = u8(acpi.s5_kind_a << SLEEP_KIND_SHIFT | SLEEP_ENABLE)
        return write_place(acpi.sleep_control, kind)
    if acpi.pm1a_control == 0 or acpi.pm1a_control >= PORTS_END:
        return False
    control_a = u16(acpi.pm1a_control)
    enable_acpi(acpi, control_a)
    kept = inw(control_a) & PM1_KIND_CLEAR
    outw(control_a, u16(kept | acpi.s5_kind_a << PM1_KIND_SHIFT | PM1_ENABLE))
    if acpi.pm1b_control != 0 and acpi.pm1b_control < PORTS_END:
        outw(u16(acpi.pm1b_control), u16(kept | acpi.s5_kind_b << PM1_KIND_SHIFT | PM1_ENABLE))
    return True


def reboot() -> None:
    """Reset the machine. Returns only if that did not work."""
    if hardware.acpi.present:
        if write_place(hardware.acpi.reset, hardware.acpi.reset_value):
            wait_us(EFFECT_US)
        if hardware.acpi.hardware_reduced:
            return  # No other ports are known to be there.
    outb(RESET_CONTROL_PORT, RESET_CONTROL_HARD)
    outb(KEYBOARD_PORT, KEYBOARD_PULSE_RESET)
    wait_us(EFFECT_US)
