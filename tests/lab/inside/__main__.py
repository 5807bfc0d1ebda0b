"""Call one function of this package: `python -m tests.lab.inside streams.echoes '[50, 100]'`; its result is printed as JSON."""

from __future__ import annotations

import importlib
import json
import sys

module, _, function = sys.argv[1].partition(".")
found = getattr(importlib.import_module(f"tests.lab.inside.{module}"), function)
sys.stdout.write(json.dumps(found(*json.loads(sys.argv[2]))))
