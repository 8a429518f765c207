"""What every process of the gateway has loaded, and what it must do without."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from serving.deployment import preload
import pyarrow as pa
assert pa.Table.from_pylist([{"a": 1}], schema=pa.schema([("a", pa.int64())])).num_rows == 1
try:
    import pandas
except ImportError:
    assert "pandas" not in sys.modules
    print("without pandas")
"""


@pytest.mark.slow
def test_parquet_is_written_without_pandas() -> None:
    """Where pandas is installed all the same: Ray Serve and pyarrow take it for missing, and work."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)

    assert done.stdout.strip() == "without pandas", done.stderr
