"""Which model a path names."""

from typing import Any

import pytest

from bare.testing import implementations

impl = implementations("merlion.serve.router")


@pytest.mark.parametrize(
    ("path", "names"),
    [
        (b"/v1/models/my%20model", True),
        (b"/models/my model", True),
        (b"/v1/models/%6dy%20model", True),
        (b"/v1/models/%6Dy%20model", True),
        (b"/v1/models/my%20mode", False),
        (b"/v1/models/my%20model%20", False),
        (b"/v1/models/my%2", False),
        (b"/v1/models/%", False),
        (b"/v1/models/%zzmy model", False),
    ],
)
def test_an_id_may_be_percent_encoded(impl: Any, path: bytes, names: bool) -> None:
    assert impl.names_model(path, b"my model") == names


def test_a_percent_sign_that_encodes_nothing_stands_for_itself(impl: Any) -> None:
    assert impl.names_model(b"/v1/models/50%", b"50%")
    assert impl.names_model(b"/v1/models/50%25", b"50%")
