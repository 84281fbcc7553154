"""The network device: one type for every driver, and how the machine's first one is found."""

from bare import Arena
from merlion.kernel.drivers.errors import NIC_ERROR_TEXT, NicError
from merlion.kernel.drivers.virtio.net import VirtioNet
from merlion.kernel.drivers.virtio.registers import DeviceKind
from merlion.kernel.hardware import hardware

__all__ = ["NIC_ERROR_TEXT", "Nic", "NicError", "find_nic"]

type Nic = VirtioNet

virtio_nic = VirtioNet.zeroed()


def find_nic(memory: Arena) -> Nic | NicError:
    """Start the first network device that works. Of several failures the last is reported."""
    error = NicError.NONE_FOUND
    if hardware.virtio.has_legacy(DeviceKind.NET):
        error = NicError.LEGACY
    index = hardware.virtio.find(DeviceKind.NET, 0)
    while index is not None:
        failure = virtio_nic.init(hardware.virtio.transport(index), memory)
        if failure is None:
            return virtio_nic
        error = failure
        index = hardware.virtio.find(DeviceKind.NET, index + 1)
    return error
