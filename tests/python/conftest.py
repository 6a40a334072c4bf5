"""Puts `tests/` on the path, so that these tests can `import servers`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
