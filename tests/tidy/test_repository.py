"""What a clone must hold: the files a reader looks for, a lock file, nothing machine-made."""

import re

from tests.tidy.sources import ROOT, tracked

EXPECTED = (
    "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md",
    "pyproject.toml", "requirements.lock", ".ci/run", "tools/setup.sh", "tools/download_model.sh",
)  # fmt: skip
BINARY = (".gguf", ".elf", ".o", ".so", ".whl", ".pyc")
FILE_BYTES_MAX = 2 << 20
# Split, so that this file does not hold what it looks for.
REGISTRIES = ("py" + "pi.org", "python" + "hosted.org", "npm" + "js.com", "crates" + ".io")
CODE = re.compile(r"^```.*?^```|^ {4}.*?$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")


def test_the_expected_files_are_there() -> None:
    assert [name for name in EXPECTED if name not in tracked()] == []


def test_nothing_machine_made_is_committed() -> None:
    wrong = [
        name
        for name in tracked()
        if name.endswith(BINARY) or (ROOT / name).stat().st_size > FILE_BYTES_MAX
    ]
    assert not wrong, wrong


def test_no_file_names_a_package_registry() -> None:
    wrong = []
    for name in tracked():
        text = (ROOT / name).read_bytes().decode(errors="replace")
        wrong += [f"{name}: {host}" for host in REGISTRIES if host in text]
    assert not wrong, wrong


def test_every_package_is_pinned_by_hash() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text
    pins = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    blocks = re.split(r"\n(?=\S)", text.strip())
    assert len(pins) == len(blocks)
    assert [block for block in blocks if "==" not in block or "--hash=sha256:" not in block] == []


def test_links_of_the_documents_lead_somewhere() -> None:
    broken = []
    for name in tracked():
        if not name.endswith(".md"):
            continue
        path = ROOT / name
        for target in LINK.findall(CODE.sub("", path.read_text("utf-8"))):
            if "://" in target or target.startswith("mailto:"):
                continue
            if not (path.parent / target).exists():
                broken.append(f"{name}: {target}")
    assert not broken, broken


def test_scripts_are_executable() -> None:
    for name in (".ci/run", "tools/setup.sh", "tools/download_model.sh"):
        assert (ROOT / name).stat().st_mode & 0o111, name
