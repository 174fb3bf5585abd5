"""What `gateway status` says, and how fast."""

import json

from machine import case, contains, equal, installed, sh


@case(guarantee=17)
def status_says_running_and_probe_ok():
    installed()
    text = sh("openclaw gateway status")
    contains(text, "Runtime: running")
    contains(text, "RPC probe: ok")
    report = json.loads(sh("openclaw gateway status --json"))
    equal(report["service"]["loaded"], True, "loaded")
    equal(report["service"]["configAudit"], {"ok": True, "issues": []}, "audit")
    took = float(sh("TIMEFORMAT=%R; { time openclaw gateway status >/dev/null; } 2>&1").strip())
    return f"status takes {took * 1000:.0f} ms"
