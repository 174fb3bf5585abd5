"""The official command line (release 2026.4.2) on the same host reads our unit."""

import json
import re
import subprocess

from machine import HERE, case, contains, equal, installed, sh


def official():
    """How the official command line is called in the machine."""
    printed = subprocess.run([HERE.parent / "clients/setup"], capture_output=True, text=True, check=True).stdout
    tools = dict(re.findall(r"^(\w+)='(.*)'$", printed, re.M))
    # It lies in the home of whoever runs the tests; the machine has a copy of its own to look into.
    places = "/ ".join(str(part) for part in reversed(HERE.parent.joinpath(tools["REFERENCE"]).parents))
    sh(f"chmod o+x {places}", root=True)
    return f"OPENCLAW_HIDE_BANNER=1 {tools['NODE']} {tools['REFERENCE']}"


@case()
def the_official_command_line_finds_the_service_in_order():
    installed()
    cli = official()
    text = sh(f"{cli} gateway status 2>&1", timeout=120)
    contains(text, "Runtime: running")
    contains(text, "RPC probe: ok")
    if "Service config" in text:
        raise AssertionError(text)
    report = json.loads(sh(f"{cli} gateway status --json --deep 2>/dev/null", timeout=120))
    equal(report["service"]["loaded"], True, "loaded")
    equal(report["service"]["runtime"]["status"], "running", "runtime")
    equal(report["service"]["configAudit"]["issues"], [], "its audit of our unit")
    equal(report["extraServices"], [], "services it does not know")
    return "its status says running and ok, its audit has no issue"


@case()
def the_official_doctor_has_nothing_against_our_unit():
    installed()
    cli = official()
    text = sh(f"{cli} doctor --non-interactive 2>&1 || true", timeout=180)
    contains(text, "Doctor complete.")
    for title in ("Gateway service config", "Other gateway-like services", "Gateway not running"):
        if title in text:
            raise AssertionError(f"{title}:\n{text[text.index(title):][:1500]}")
