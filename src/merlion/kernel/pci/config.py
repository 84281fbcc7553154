"""Configuration space of PCI functions, through ECAM where the machine has it, else through ports.

A function is named by its address: bus * 256 + device * 8 + function (16 bits). ECAM (PCIe 5.0,
section 7.2.2) puts 4 KiB of each function at base + address * 4096; the ports 0xCF8 and 0xCFC reach
the first 256 bytes and need two exits of a virtual machine where ECAM needs one.

All accesses are 32-bit and aligned: every bridge and every hypervisor supports those.
"""

from bare import Struct, u8, u16, u32, u64
from bare.cpu import inl, outl
from bare.mmio import ReadWrite, Registers, at
from bare.unsafe import registers_at
from merlion.kernel.pci.registers import (
    CAPABILITIES,
    COMMAND,
    CONFIG_ADDRESS_PORT,
    CONFIG_DATA_PORT,
    CONFIG_ENABLE,
    STATUS_CAPABILITIES,
)

FUNCTION_BYTES = 4096
CAPABILITIES_MAX = 48  # 192 bytes of 4 each: a longer list has a loop in it.


class ConfigWord(Registers):
    """Four bytes of configuration space."""

    value: ReadWrite[u32] = at(0)


def has_ports() -> bool:
    """Say whether the machine has the two ports: what is written to the first can be read back."""
    outl(CONFIG_ADDRESS_PORT, CONFIG_ENABLE)
    return inl(CONFIG_ADDRESS_PORT) == CONFIG_ENABLE


class ConfigSpace(Struct):
    """The way to configuration space. `ecam` is a physical address, 0 for the ports."""

    ecam: u64

    def read_u32(self, address: u16, offset: u32) -> u32:
        """Read the aligned word that holds `offset`."""
        word = offset & 0xFFC
        if self.ecam != 0:
            place = self.ecam + address * FUNCTION_BYTES + word
            return registers_at(ConfigWord, place).value.read()
        outl(CONFIG_ADDRESS_PORT, u32(CONFIG_ENABLE | address << 8 | word))
        return inl(CONFIG_DATA_PORT)

    def write_u32(self, address: u16, offset: u32, value: u32) -> None:
        """Write an aligned word."""
        assert offset % 4 == 0, "configuration space is written in words"
        if self.ecam != 0:
            place = self.ecam + address * FUNCTION_BYTES + offset
            registers_at(ConfigWord, place).value.write(value)
            return
        outl(CONFIG_ADDRESS_PORT, u32(CONFIG_ENABLE | address << 8 | offset))
        outl(CONFIG_DATA_PORT, value)

    def read_u8(self, address: u16, offset: u32) -> u8:
        """Read a byte."""
        return self.read_u32(address, offset) >> (offset & 3) * 8 & 0xFF

    def set_command(self, address: u16, command: u16) -> None:
        """Write the command register. Status bits are cleared by writing 1, so 0 leaves them."""
        self.write_u32(address, COMMAND, command)

    def find_capability(self, address: u16, id: u8, after: u16) -> u16:
        """Return the offset of the next capability `id` behind `after` (0 to begin), or 0."""
        offset: u16 = 0
        if after == 0:
            if self.read_u32(address, COMMAND) >> 16 & STATUS_CAPABILITIES == 0:
                return 0
            offset = self.read_u8(address, CAPABILITIES) & 0xFC
        else:
            offset = self.read_u8(address, u32(after + 1)) & 0xFC
        for _ in range(CAPABILITIES_MAX):
            if offset == 0:
                return 0
            header = self.read_u32(address, offset)
            if header & 0xFF == id:
                return offset
            offset = header >> 8 & 0xFC
        return 0
