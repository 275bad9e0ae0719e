"""What the tests share: the format written down a second time."""

from __future__ import annotations

from types import ModuleType

import pytest
import support_format


@pytest.fixture(scope="session")
def dczformat() -> ModuleType:
    """The independent decoder and builder of `.dcz` files."""
    return support_format
