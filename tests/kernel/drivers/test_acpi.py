"""ACPI tables, power-off and reboot."""

from typing import Any

import pytest
from devices.acpi import (
    MICROVM_S5,
    Firmware,
    fadt,
    lapic_override,
    local_apic,
    local_x2apic,
    madt,
    table,
)
from devices.machine import Machine, load, store

from bare import static, u8
from bare.testing import implementations
from merlion.kernel import acpi as acpi_module
from merlion.kernel import power
from merlion.kernel.acpi import Acpi
from merlion.kernel.hardware import hardware

impl = implementations("merlion.kernel.acpi")


@pytest.fixture(autouse=True)
def _both(impl: Any) -> None:
    """Run every test on both implementations: the tables are real memory."""


def read(rsdp: int) -> Acpi:
    acpi = Acpi.zeroed()
    assert acpi.read(rsdp)
    return acpi


def test_microvm() -> None:
    acpi = read(Firmware().microvm())
    assert acpi.hardware_reduced
    assert acpi.table_count == 2
    assert list(acpi.mmio_slots[: acpi.mmio_slot_count]) == [0xFEB0_2E00, 0xFEB0_2C00]
    assert (acpi.has_s5, acpi.s5_kind_a, acpi.s5_kind_b) == (True, 5, 0)
    assert (acpi.sleep_control.address, acpi.sleep_control.is_port) == (0xFEA0_0200, False)
    assert (acpi.reset.address, acpi.reset_value) == (0xFEA0_0202, 0x42)
    assert acpi.ecam == 0
    assert not acpi.has_pcie_root
    assert read(Firmware().microvm(pcie=True)).has_pcie_root
    assert list(acpi.apic_ids[: acpi.cpu_count]) == [0, 1]
    assert acpi.lapic_address == 0xFEE0_0000


def test_q35() -> None:
    acpi = read(Firmware().q35(cores=3))
    assert not acpi.hardware_reduced
    assert acpi.ecam == 0xB000_0000
    assert acpi.pm1a_control == 0x604
    assert (acpi.has_s5, acpi.s5_kind_a) == (True, 0)
    assert (acpi.reset.address, acpi.reset.is_port, acpi.reset_value) == (0xCF9, True, 15)
    assert acpi.cpu_count == 3


def test_cores() -> None:
    firmware = Firmware()
    entries = [
        local_apic(0, 0),
        local_apic(1, 2, flags=0),  # Disabled.
        local_apic(2, 4, flags=2),  # Can be brought online.
        b"\1\x0c" + bytes(10),  # An I/O APIC.
        local_x2apic(4),  # Known already.
        local_x2apic(300),
        lapic_override(0xFEE1_0000),
    ]
    acpi = read(firmware.root([firmware.put(madt(entries))]))
    assert list(acpi.apic_ids[: acpi.cpu_count]) == [0, 4, 300]
    assert acpi.lapic_address == 0xFEE1_0000
    many = [local_x2apic(i) for i in range(300)]
    firmware = Firmware()
    assert read(firmware.root([firmware.put(madt(many))])).cpu_count == 256


@pytest.mark.parametrize("tail", [b"\0\0", b"\0\1", b"\0\xff\0\0", b"\0", b"\x09\x08" + bytes(6)])
def test_broken_madt_ends(tail: bytes) -> None:
    firmware = Firmware()
    acpi = read(firmware.root([firmware.put(madt([local_apic(0, 7), tail]))]))
    assert list(acpi.apic_ids[: acpi.cpu_count]) == [7]


def test_tables_that_are_not() -> None:
    assert not Acpi.zeroed().read(Firmware().put(b"RSD PTR " + bytes(28)))
    assert not Acpi.zeroed().read(Firmware().put(bytes(64)))
    firmware = Firmware()
    bad = bytearray(fadt(dsdt=0))
    bad[100] ^= 1
    acpi = read(firmware.root([firmware.put(bytes(bad)), 0, firmware.put(b"APIC" + bytes(60))]))
    assert acpi.table_count == 0


def test_an_old_fadt_is_short() -> None:
    firmware = Firmware()
    dsdt = firmware.put(table(b"DSDT", MICROVM_S5))
    place = firmware.put(fadt(dsdt=dsdt, extended=False, pm1a=0x404))
    acpi = read(firmware.root([place], revision=0))
    assert acpi.pm1a_control == 0x404
    assert acpi.has_s5
    assert acpi.reset.address == 0
    assert acpi.sleep_control.address == 0


@pytest.mark.parametrize(
    ("aml", "kinds"),
    [
        (b"\x08_S5_\x12\x06\x04\x00\x00\x00\x00", (0, 0)),
        (b"\x08_S5_\x12\x08\x04\x0a\x07\x0a\x06\x00\x00", (7, 6)),
        (b"\x08_S5_\x12\x06\x02\x01\x01\x00\x00", (1, 1)),
        (b"\x14_S5_\x12\x06\x02\x01\x01\x00\x00", None),
        (b"\x08_S5_\x11\x06\x02\x01\x01\x00\x00", None),
        (b"_S5_", None),
    ],
)
def test_s5_package(aml: bytes, kinds: tuple[int, int] | None) -> None:
    firmware = Firmware()
    dsdt = firmware.put(table(b"DSDT", aml))
    acpi = read(firmware.root([firmware.put(fadt(dsdt=dsdt))]))
    assert acpi.has_s5 == (kinds is not None)
    if kinds is not None:
        assert (acpi.s5_kind_a, acpi.s5_kind_b) == kinds


def test_rsdp_is_searched_with_its_checksum(impl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if impl is not acpi_module:
        pytest.skip("the place of the BIOS area is compiled in")
    firmware = Firmware()
    real = firmware.microvm()
    area = static(u8, 0x20000)
    monkeypatch.setattr(acpi_module, "BIOS_AREA", area.address)
    decoy = b"RSD PTR " + bytes(12)
    store(area.address + 0x31A4, decoy)  # QEMU's firmware has it as a string.
    store(area.address + 0x3200, decoy)
    assert not Acpi.zeroed().read(0)
    store(area.address + 0x3490, load(real, 36))
    assert read(0).hardware_reduced


class Log:
    """A device that keeps what is written, and reads as zero."""

    def __init__(self) -> None:
        self.written: list[tuple[int, int, int]] = []
        self.value = 0

    def read(self, offset: int, size: int) -> int:
        return self.value

    def write(self, offset: int, size: int, value: int) -> None:
        self.written.append((offset, size, value))


def test_power_off_and_reboot_of_microvm(machine: Machine) -> None:
    ged = Log()
    machine.add(0xFEA0_0200, 4, ged)
    assert hardware.acpi.read(Firmware().microvm())
    power.power_off()
    assert ged.written == [(0, 1, 5 << 2 | 1 << 5)]
    power.reboot()
    assert ged.written[1:] == [(2, 1, 0x42)]
    assert machine.accesses == 2


def test_power_off_and_reboot_of_q35(machine: Machine) -> None:
    pm1, reset, smi = Log(), Log(), Log()
    machine.add_ports(0x604, 2, pm1)
    machine.add_ports(0xCF9, 1, reset)
    machine.add_ports(0xB2, 1, smi)
    assert hardware.acpi.read(Firmware().q35())
    pm1.value = 1  # ACPI is on.
    power.power_off()
    assert pm1.written == [(0, 2, 1 << 13 | 1)]
    assert smi.written == []
    power.reboot()
    assert reset.written[0] == (0, 1, 15)
    pm1.value = 0  # Off, and does not come on.
    power.power_off()
    assert smi.written == [(0, 1, 2)]
    assert pm1.written[1] == (0, 2, 1 << 13)


def test_power_off_without_acpi_returns(machine: Machine) -> None:
    hardware.acpi.present = False
    power.power_off()
    power.reboot()
    assert machine.accesses == 2  # 0xCF9 and the keyboard controller.
