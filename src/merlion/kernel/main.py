"""The kernel's life: boot, in this order, then one loop for ever.

`kernel_main` is the table of contents. Each stage logs one line with its time since the first
instruction. Entered by boot/pvh.py on the boot core with 4 GiB mapped one to one, interrupts off.
"""

from bare import export, u64
from bare.cpu import pause
from merlion.kernel import start
from merlion.kernel.arch.x86_64 import smp
from merlion.kernel.clock import now_ns
from merlion.kernel.limits import IDLE_NS, NAP_TICKS
from merlion.kernel.model import step
from merlion.kernel.network import network
from merlion.kernel.screen import screen
from merlion.kernel.serving import serving
from merlion.kernel.shell.shell import shell
from merlion.kernel.timeline import timeline


@export("kernel_main")
def kernel_main(start_info: u64) -> None:
    """Boot, then serve for ever."""
    start.console(start_info)  # Serial line, command line, log.
    timeline.mark(b"console")
    start.exceptions()  # Descriptors: from here on a fault is reported.
    start.processor()  # Vector state, instruction set, clock.
    timeline.mark(b"processor")
    start.memory()  # RAM map, page tables with the rights they keep.
    timeline.mark(b"memory")
    start.devices()  # ACPI, PCI, virtio.
    timeline.mark(b"devices")
    start.cores()  # All other cores, halted until there is work.
    timeline.mark(b"cores")
    start.disk()
    timeline.mark(b"disk")
    start.network_device()
    timeline.mark(b"network")
    start.seal()  # Nothing is allocated after this but the model.
    start.load_model()  # If the command line says so.
    shell.start()
    timeline.mark(b"prompt")
    loop()


def loop() -> None:
    """Poll everything, for ever. After IDLE_NS without work, all cores halt between two rounds."""
    busy_ns = now_ns()
    while True:
        now = now_ns()
        active = network.receive(now)
        active = serving.poll(now) or active
        active = network.transmit(now) or active  # What was made leaves before more is computed.
        computing = step(now)
        active = shell.poll(now, computing) or computing or active
        active = screen.poll() or active
        if active:
            busy_ns = now_ns()
        elif now - busy_ns > IDLE_NS:
            smp.end_computing()
            smp.nap(NAP_TICKS)
        else:
            pause()
