"""Face models: packs on disk, how they are fetched and tried, and a module for each library that runs them.

Importing this package forbids ONNX Runtime to report: its official builds from 1.29 on send a device's identifier and
what is run on it to Microsoft unless the environment says otherwise before they are loaded (its Privacy.md).
"""

from __future__ import annotations

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
