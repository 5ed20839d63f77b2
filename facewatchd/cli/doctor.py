"""``facewatchd doctor``: checks of this machine."""

from __future__ import annotations

import argparse
import sys

from facewatchd.console.streams import takes_colour, write, write_json


def diagnose(options: argparse.Namespace) -> int:
    """Print the findings as they come; status 1 where one of them is a failure."""
    from facewatchd.doctor import checks

    flags = {name: getattr(options, name) for name in ("model", "data_dir", "socket")}
    findings = []
    for finding in checks.examine(options.config, **flags):
        findings.append(finding)
        if not options.json and not write(checks.line(finding, colour=takes_colour(sys.stdout))):
            break
    if options.json:
        write_json([finding.document() for finding in findings])
    return 1 if any(finding.status == "fail" for finding in findings) else 0
