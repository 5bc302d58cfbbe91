"""What holds for all tests."""

from __future__ import annotations

import gc


def pytest_collection_finish() -> None:
    """Everything that is imported stays: the collector need not look at it again for each of thousands of tests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)
