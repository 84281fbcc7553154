"""The image itself."""

import pytest

from merlion.cli.paths import DEBUG_IMAGE, IMAGE

pytestmark = pytest.mark.qemu
IMAGE_BYTES_MAX = 2_000_000


def test_image_is_small_and_its_debug_information_apart() -> None:
    assert IMAGE.stat().st_size < IMAGE_BYTES_MAX
    assert b".debug_line" not in IMAGE.read_bytes()
    assert b".debug_line" in DEBUG_IMAGE.read_bytes()
