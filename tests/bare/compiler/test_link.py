"""The linker: files that other tools read, and an image that boots."""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from bare.compiler.codegen import compile_object
from bare.compiler.elf import HEADER, PROGRAM_HEADER, LinkError
from bare.compiler.link import IMAGE_BASE, PAGE, Image, build_image, link, memory_size

KERNEL = Path(__file__).parent / "data" / "kernel.ll"
EXIT_STATUS = 41 << 1 | 1  # isa-debug-exit: the value written, shifted, or 1.


@pytest.fixture(scope="module")
def image() -> Image:
    return build_image(KERNEL.read_text())


def needs(tool: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is not installed")


def test_segments_do_not_mix_rights(image: Image) -> None:
    header = HEADER.unpack_from(image.stripped)
    rights = []
    for i in range(header[10]):
        kind, flags, offset, address, _, in_file, in_memory, align = PROGRAM_HEADER.unpack_from(
            image.stripped, HEADER.size + i * PROGRAM_HEADER.size
        )
        assert offset % align == address % align
        assert in_file <= in_memory
        if kind == 1:
            rights.append(flags)
    assert rights == [5, 4, 6]  # R-X, R--, RW-
    assert all(start >= IMAGE_BASE for start, _ in image.spans.values())
    assert image.spans["text"][1] <= image.spans["rodata"][0]
    assert image.spans["rodata"][0] % PAGE == image.spans["data"][0] % PAGE == 0
    assert memory_size(image) % PAGE == 0


def test_linker_symbols_bound_the_image(image: Image) -> None:
    names = image.symbols
    order = ["image_start", "text_start", "text_end", "rodata_start", "rodata_end"]
    order += ["data_start", "data_end", "bss_start", "image_end"]
    values = [names[name] for name in order]
    assert values == sorted(values)
    assert names["bss_start"] <= names["buffer"] < names["image_end"]
    assert names["rodata_start"] <= names["hello"] < names["rodata_end"]


def test_symbol_table_finds_functions_by_address(image: Image) -> None:
    start = image.symbols["bare_symbol_table"] - image.spans["rodata"][0]
    data = image.debug
    header = HEADER.unpack_from(data)
    offset = next(
        fields[2]
        for fields in (
            PROGRAM_HEADER.unpack_from(data, HEADER.size + i * PROGRAM_HEADER.size)
            for i in range(header[10])
        )
        if fields[3] == image.spans["rodata"][0]
    )
    blob = data[offset + start :]
    (count,) = struct.unpack_from("<I", blob)
    entries = [struct.unpack_from("<II", blob, 4 + 8 * i) for i in range(count)]
    names = {blob[at : blob.index(b"\0", at)].decode(): address for address, at in entries}
    assert [address for address, _ in entries] == sorted(address for address, _ in entries)
    assert names["main"] == image.symbols["main"]
    assert {"pvh_start", "memcpy", "memset", "out"} <= names.keys()


def test_stripped_image_is_smaller_and_the_same_code(image: Image) -> None:
    size = image.spans["text"][1] - image.spans["text"][0]
    assert image.stripped[PAGE : PAGE + size] == image.debug[PAGE : PAGE + size]
    assert b".symtab" in image.debug
    assert b".symtab" not in image.stripped


def test_undefined_symbols_are_named() -> None:
    ir = "declare void @missing()\ndefine void @start() { call void @missing() ret void }\n"
    with pytest.raises(LinkError, match="undefined: missing"):
        link(compile_object(ir, "image"), "start")


def test_entry_must_exist() -> None:
    with pytest.raises(LinkError, match="pvh_start is not defined"):
        link(compile_object("define void @start() { ret void }\n", "image"))


@needs("readelf")
def test_readelf_accepts_both_files(image: Image, tmp_path: Path) -> None:
    for name, data in (("image", image.stripped), ("debug", image.debug)):
        path = tmp_path / name
        path.write_bytes(data)
        done = subprocess.run(
            ["readelf", "-aW", path], capture_output=True, text=True, check=True, timeout=60
        )
        assert not done.stderr
        assert "Xen" in done.stdout


@needs("gdb")
def test_gdb_finds_lines_and_functions(image: Image, tmp_path: Path) -> None:
    path = tmp_path / "kernel.debug"
    path.write_bytes(image.debug)
    commands = ["info line hello.py:13", "info address main", "info symbol memcpy"]
    done = subprocess.run(
        ["gdb", "-nx", "-batch", *(part for c in commands for part in ("-ex", c)), path],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert 'Line 13 of "hello.py" starts at address' in done.stdout
    assert f"{image.symbols['main']:#x}" in done.stdout
    assert "in section .text" in done.stdout


@pytest.mark.qemu
@needs("qemu-system-x86_64")
@pytest.mark.parametrize("machine", ["microvm", "q35"])
def test_image_boots(image: Image, tmp_path: Path, machine: str) -> None:
    path = tmp_path / "kernel.elf"
    path.write_bytes(image.stripped)
    command = ["qemu-system-x86_64", "-M", machine, "-accel", "tcg", "-m", "64", "-nodefaults"]
    command += ["-display", "none", "-no-reboot", "-serial", "stdio", "-kernel", str(path)]
    command += ["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
    )
    assert b"hello from image" in done.stdout
    assert done.returncode == EXIT_STATUS
