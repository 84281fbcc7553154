"""What can go wrong with a disk or a network device, by name, and in words for the console.

These are failures of the device or of the machine's configuration, never of our code: those are
asserts.
"""

from enum import Enum, auto


class DiskError(Enum):
    """Why a disk cannot be used or a read failed."""

    NONE_FOUND = auto()  # The machine has no disk that we can drive.
    EMPTY = auto()  # A disk of no sectors.
    SHORT_DISK = auto()  # The read goes beyond the end.
    MISALIGNED = auto()  # The read does not begin at a block of the device.
    IO_ERROR = auto()  # The device reports that it could not read.
    UNSUPPORTED = auto()  # The device does not know the request.
    TIMEOUT = auto()  # It stopped answering during a read; it has been reset.
    NO_ANSWER = auto()  # It does not even reset.
    STOPPED = auto()  # A read after a failure that stopped the device.
    ABANDONED = auto()  # The reader wants no more of it.
    PROTOCOL = auto()  # It gave back what it was not given.
    LEGACY = auto()  # It speaks virtio 0.9 only.
    FEATURES_REFUSED = auto()
    NO_QUEUE = auto()  # Its queue is missing or too small for one request.
    BLOCK_SIZE = auto()  # Its limits leave no request that we could make.
    NO_MEMORY = auto()


DISK_ERROR_TEXT = {
    DiskError.NONE_FOUND: b"no disk",
    DiskError.EMPTY: b"the disk is empty",
    DiskError.SHORT_DISK: b"the read goes beyond the end of the disk",
    DiskError.MISALIGNED: b"the read does not begin at a block of the disk",
    DiskError.IO_ERROR: b"the disk could not read (I/O error)",
    DiskError.UNSUPPORTED: b"the disk does not support the request",
    DiskError.TIMEOUT: b"the disk stopped answering and was reset",
    DiskError.NO_ANSWER: b"the disk does not answer",
    DiskError.STOPPED: b"the disk was stopped after an earlier failure",
    DiskError.ABANDONED: b"the read was given up",
    DiskError.PROTOCOL: b"the disk broke the virtio protocol",
    DiskError.LEGACY: b"the disk speaks legacy virtio only",
    DiskError.FEATURES_REFUSED: b"the disk refused our features",
    DiskError.NO_QUEUE: b"the disk has no usable queue",
    DiskError.BLOCK_SIZE: b"the disk's block or segment size cannot be used",
    DiskError.NO_MEMORY: b"no memory for the disk's queue",
}


class NicError(Enum):
    """Why a network device cannot be used."""

    NONE_FOUND = auto()
    TIMEOUT = auto()  # It has not sent anything for too long.
    NO_ANSWER = auto()
    PROTOCOL = auto()
    LEGACY = auto()
    FEATURES_REFUSED = auto()
    NO_QUEUE = auto()
    NO_MEMORY = auto()


NIC_ERROR_TEXT = {
    NicError.NONE_FOUND: b"no network device",
    NicError.TIMEOUT: b"the network device stopped sending",
    NicError.NO_ANSWER: b"the network device does not answer",
    NicError.PROTOCOL: b"the network device broke the virtio protocol",
    NicError.LEGACY: b"the network device speaks legacy virtio only",
    NicError.FEATURES_REFUSED: b"the network device refused our features",
    NicError.NO_QUEUE: b"the network device lacks a queue",
    NicError.NO_MEMORY: b"no memory for the network device's queues",
}
