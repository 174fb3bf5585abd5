"""The official command line (release 2026.4.2) on the same host reads our unit."""

import json
import re
import subprocess

from machine import HERE, PATIENCE, case, contains, equal, installed, sh, until


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
    # It gives its probe three seconds, which a busy host may need.
    text = []
    until(lambda: text.append(sh(f"{cli} gateway status 2>&1")) or "RPC probe: ok" in text[-1], PATIENCE, "its probe")
    contains(text[-1], "Runtime: running")
    if "Service config" in text[-1]:
        raise AssertionError(text[-1])
    done = sh(f"{cli} gateway status --json --deep", check=False)
    equal(done.returncode, 0, f"status of its gateway status: {done.stderr}")
    report = json.loads(done.stdout)
    equal(report["service"]["loaded"], True, "loaded")
    equal(report["service"]["runtime"]["status"], "running", "runtime")
    equal(report["service"]["configAudit"], {"ok": True, "issues": []}, "its audit of our unit")
    equal(report["extraServices"], [], "services it does not know")
    # Its doctor compares the program besides, and says what is true: the service runs another one.
    text = sh(f"{cli} doctor --non-interactive 2>&1 || true")
    contains(text, "Doctor complete.")
    panel = re.search(r"Gateway service config ─.*?\n├", text, re.S)
    if panel:
        found = re.findall(r"- .*", panel.group(0))
        equal([line.strip(" │") for line in found], ["- Gateway service entrypoint does not match the current install."], "what it says")
    for title in ("Other gateway-like services", "Gateway not running"):
        if title in text:
            raise AssertionError(f"{title}:\n{text[text.index(title):][:1500]}")
    return "its status says running and ok, its audit has no issue"
