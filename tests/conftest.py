"""What the tests share: the format written down a second time."""

from __future__ import annotations

from types import ModuleType

import hypothesis
import pytest
import support_format

# How long an example takes depends on what else the machine does.
hypothesis.settings.register_profile("dcz", deadline=None)
hypothesis.settings.load_profile("dcz")


@pytest.fixture(scope="session")
def dczformat() -> ModuleType:
    """The independent decoder and builder of `.dcz` files."""
    return support_format
