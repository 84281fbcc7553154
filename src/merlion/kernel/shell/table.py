"""All commands, in the order `help` lists them.

A command gives whether it succeeded, and has said why where it did not. A list that is empty is no
failure; a thing that is asked for and is not there is one.
"""

from collections.abc import Callable

from bare import Bytes
from merlion.kernel.console import console
from merlion.kernel.shell import bench, crash, hardware, model, network, noise, ping, system


class Command:
    """A name, what to type after it, what it does. Exists at import time only."""

    def __init__(
        self, name: bytes, usage: bytes, summary: bytes, run: Callable[[Bytes], bool]
    ) -> None:
        self.name = name
        self.usage = usage
        self.summary = summary
        self.run = run


def show_help(arguments: Bytes) -> bool:
    """List the commands."""
    for command in COMMANDS:
        start = console.out.length
        console.write(b"  ")
        console.write(command.name)
        console.write(command.usage)
        while console.out.length < start + 20:
            console.out.byte(0x20)
        console.line(command.summary)
    return True


COMMANDS = (
    Command(b"help", b"", b"this list", show_help),
    Command(b"info", b"", b"the machine, the model and the server at a glance", system.info),
    Command(b"free", b"", b"memory: total, used, free", system.free),
    Command(b"uptime", b"", b"time since the first instruction", system.uptime),
    Command(b"boot", b"", b"when each stage of boot and load was over", system.boot),
    Command(b"cpuid", b"", b"the processor and what of it is used", system.show_cpuid),
    Command(b"memmap", b"", b"physical memory as the firmware gave it", system.memmap),
    Command(b"lspci", b"", b"PCI devices", hardware.lspci),
    Command(b"lsblk", b"", b"disks", hardware.lsblk),
    Command(b"dmesg", b"", b"the kernel log", system.dmesg),
    Command(b"config", b"", b"the command line and every setting", system.show_config),
    Command(b"top", b"", b"cores and what they do", system.top),
    Command(b"ip", b"", b"address and frame counters", network.ip),
    Command(b"ss", b"", b"TCP connections", network.ss),
    Command(b"ai", b" TEXT", b"ask the model; Ctrl-C stops it", model.ask),
    Command(b"ai-load", b"", b"load the model on the disk", model.load),
    Command(b"ai-unload", b"", b"forget the model", model.unload),
    Command(b"ai-info", b"", b"the model and its memory", model.show_info),
    Command(b"ai-bench", b" [tokens ...]", b"speed, latency by token, limits; --json", bench.run),
    Command(b"noise", b" [seconds]", b"time that others take from the cores", noise.run),
    Command(b"ping", b" ADDRESS", b"echo requests", ping.run),
    Command(b"ai-serve", b" [port]", b"serve the OpenAI API", network.serve),
    Command(b"ai-stop", b"", b"stop serving", network.stop),
    Command(b"clear", b"", b"clear the screen", system.clear),
    Command(b"crash", b" KIND", b"fail on purpose, to see the report", crash.crash),
    Command(b"reboot", b"", b"restart the machine", system.reboot),
    Command(b"shutdown", b" [code]", b"power off (code: exit code under QEMU)", system.shutdown),
)
