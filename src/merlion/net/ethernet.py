"""Ethernet II frames (IEEE 802.3). A MAC address is a number of 48 bits, first byte on top."""

from bare import Slice, Wire, be16, be32, u8, u16, u32, u64, wrap

ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_ARP = 0x0806
BROADCAST = 0xFFFF_FFFF_FFFF


class EthernetHeader(Wire):
    """Addresses are split so that plain integers can read them."""

    destination_high: be16
    destination_low: be32
    source_high: be16
    source_low: be32
    ethertype: be16

    @property
    def destination(self) -> u64:
        """Where the frame goes."""
        return u64(self.destination_high) << 32 | self.destination_low

    @property
    def source(self) -> u64:
        """Where the frame comes from."""
        return u64(self.source_high) << 32 | self.source_low


def is_group(mac: u64) -> bool:
    """Multicast or broadcast: the lowest bit of the first byte."""
    return (mac >> 40) & 1 == 1


def emit(frame: Slice[u8], destination: u64, source: u64, ethertype: u16) -> None:
    """Write the header."""
    header = EthernetHeader.view(frame)
    assert header is not None, "no room for an Ethernet header"
    header.destination_high = u16(destination >> 32)
    header.destination_low = wrap(u32, destination)
    header.source_high = u16(source >> 32)
    header.source_low = wrap(u32, source)
    header.ethertype = ethertype
