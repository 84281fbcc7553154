"""`merlion run`: boots the machine in QEMU, with a console to type at or commands to execute."""

import os
import re
import selectors
import signal
import socket
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from merlion.cli.accelerator import choose
from merlion.cli.build import build_image
from merlion.cli.errors import UserError
from merlion.cli.guest import Guest, print_raw
from merlion.cli.paths import IMAGE, find_model
from merlion.cli.qemu import GUEST_PORT, MACHINES, MEBIBYTE, Machine, memory_for, parse_size
from merlion.cli.terminal import note
from merlion.engine.limits import SEQUENCE_COUNT_MAX

LEAVE_KEY = 0x1D  # Ctrl-], as telnet's.
CORES_MAX = 64
BOOT_SECONDS = 120.0
COMMAND_SECONDS = 3600.0
POWER_OFF_SECONDS = 30.0
COMMAND_FAILED = 1
KEYS_READ = 256
PARALLEL_HELP = "Answers computed together; 0: as many as the machine does by itself."


def run(
    model: Annotated[
        str | None, typer.Argument(help="The disk: a GGUF file, or a name `model get` knows.")
    ] = None,
    serve: Annotated[
        int | None,
        typer.Option("--serve", min=1, max=65535, help="Serve the API on this port of the host."),
    ] = None,
    execute: Annotated[
        list[str] | None,
        typer.Option("--exec", help="Type this at the prompt (repeatable); status 1 if one fails."),
    ] = None,
    leave: Annotated[
        bool, typer.Option("--exit", help="Power off after the --exec commands.")
    ] = False,
    cores: Annotated[
        int, typer.Option("--cores", min=0, max=CORES_MAX, help="0: as many as here.")
    ] = 0,
    memory: Annotated[str, typer.Option("--memory", help="2G, 512M; auto: by the model.")] = "auto",
    accel: Annotated[str, typer.Option("--accel", help="auto, kvm, pvm or tcg.")] = "auto",
    log: Annotated[Path | None, typer.Option("--log", help="Copy the console there.")] = None,
    machine: Annotated[str, typer.Option("--machine", help="microvm or q35.")] = "microvm",
    api_key: Annotated[
        str,
        typer.Option(
            "--api-key", envvar="MERLION_API_KEY", help="Clients must send it. Empty: anybody may."
        ),
    ] = "",
    parallel: Annotated[
        int, typer.Option("--parallel", "-np", min=0, max=SEQUENCE_COUNT_MAX, help=PARALLEL_HELP)
    ] = 0,
    append: Annotated[
        list[str] | None, typer.Option("--append", help="A word of the kernel command line.")
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", help="Seconds that one --exec command may take.")
    ] = COMMAND_SECONDS,
) -> None:
    """Boot the machine in QEMU. Ctrl-] leaves its console and powers it off."""
    if machine not in MACHINES:
        raise UserError(f"--machine {machine}: no such machine", " or ".join(MACHINES))
    disk = find_model(model) if model is not None else None
    if serve is not None and disk is None:
        raise UserError("--serve needs a model", "merlion run smollm2-135m --serve 8080")
    if serve is not None:
        check_port(serve)
    build_image()
    choice = choose(accel)
    words = [*(append or []), *key_words(api_key)]
    words += [f"parallel={parallel}"] if parallel else []
    words += [f"serve={GUEST_PORT}"] if serve is not None else []
    words += ["panic=exit"] if leave else []
    wanted = Machine(
        kernel=IMAGE,
        accelerator=choice.accelerator,
        machine=machine,
        cores=cores or min(os.cpu_count() or 1, CORES_MAX),
        memory=memory_for(disk) if memory == "auto" else parse_size(memory),
        disk=disk,
        host_port=serve,
        words=words,
    )
    note(f"accelerator: {choice.accelerator.upper()} ({choice.reason})")
    describe(wanted)
    raise typer.Exit(boot(wanted, execute or [], leave, log, timeout))


def describe(machine: Machine) -> None:
    """Say what is about to be booted."""
    what = f", disk {machine.disk.name}" if machine.disk is not None else ""
    note(f"{machine.machine}, {machine.cores} cores, {machine.memory // MEBIBYTE} MiB{what}")
    if machine.host_port is not None:
        note(f"API: http://127.0.0.1:{machine.host_port}/v1")


def key_words(api_key: str) -> list[str]:
    """The API key as words of the kernel command line. Errors do not show it."""
    from merlion.kernel.config import API_KEY_BYTES_MAX

    if not api_key:
        return []
    if not re.fullmatch(f"[!-~]{{1,{API_KEY_BYTES_MAX}}}", api_key):
        raise UserError(
            "--api-key: not a word",
            f"up to {API_KEY_BYTES_MAX} letters, digits and signs of ASCII, without spaces",
        )
    return [f"api-key={api_key}"]


def check_port(port: int) -> None:
    """Refuse a port that is taken before anything is built and booted."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        raise UserError(
            f"--serve {port}: cannot listen on 127.0.0.1 port {port}: {error.strerror}",
            "give another port, or end what listens there",
        ) from error


def boot(
    machine: Machine, commands: list[str], leave: bool, log: Path | None, timeout: float
) -> int:
    """Boot it and do what was asked; gives the exit status."""
    with ExitStack() as stack:
        show: Callable[[bytes], object] = print_raw
        if log is not None:
            try:
                file = stack.enter_context(log.open("wb", buffering=0))
            except OSError as error:
                raise UserError(f"--log {log}: {error.strerror}") from error

            def show_and_log(data: bytes) -> None:
                print_raw(data)
                file.write(data)

            show = show_and_log
        stack.enter_context(terminated_as_interrupt())
        guest = stack.enter_context(Guest(machine.command(), show))
        if commands or leave:
            guest.wait_for_prompt(BOOT_SECONDS + timeout)
        failed = execute_all(guest, commands, timeout)
        if leave:
            guest.type(b"shutdown\r")
            status = guest.own_status(POWER_OFF_SECONDS)
            print()
        else:
            status = converse(guest)
    for command in failed:
        note(f"failed: {command}")
    return status or (COMMAND_FAILED if failed else 0)


def execute_all(guest: Guest, commands: list[str], timeout: float) -> list[str]:
    """Type the commands, one after the other; gives those that failed."""
    failed = []
    for command in commands:
        guest.execute(command, timeout)
        if not guest.succeeded:
            failed.append(command)
    return failed


@contextmanager
def terminated_as_interrupt() -> "Iterator[None]":
    """SIGTERM unwinds as Ctrl-C does, so that QEMU never stays behind."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def raw_terminal(descriptor: int) -> "Iterator[None]":
    """Keys one by one, Ctrl-C included; nothing when it is no terminal."""
    if not os.isatty(descriptor):
        yield
        return
    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def converse(guest: Guest) -> int:
    """Join the terminal and the console until one of them ends; gives the exit status."""
    keys = sys.stdin.fileno()
    if os.isatty(keys):
        note("Ctrl-] leaves and powers off")
    with raw_terminal(keys), selectors.DefaultSelector() as selector:
        selector.register(guest.output, selectors.EVENT_READ)
        # A file or /dev/null cannot be waited for: then there are no keys.
        with suppress(PermissionError):
            selector.register(keys, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd == guest.output:
                    if guest.read(0) is None:
                        return guest.own_status(POWER_OFF_SECONDS)
                    continue
                data = os.read(keys, KEYS_READ)
                if not data:
                    selector.unregister(keys)
                    continue
                before, separator, _ = data.partition(bytes([LEAVE_KEY]))
                guest.type(before.replace(b"\n", b"\r"))
                if separator:
                    return 0
