"""What `gateway status` says, and how fast."""

import json
import re

from machine import GOOD, HERE, case, contains, equal, installed, sh, write_config


@case(guarantee=17)
def status_says_running_and_probe_ok():
    installed()
    text = sh("openclaw gateway status")
    contains(text, "Runtime: running")
    contains(text, "RPC probe: ok")
    report = json.loads(sh("openclaw gateway status --json"))
    equal(report["service"]["loaded"], True, "loaded")
    equal(report["service"]["configAudit"], {"ok": True, "issues": []}, "audit")


@case(guarantee=17)
def status_is_quick_and_starts_no_process():
    installed()
    calls = sh("strace -f -qq -e trace=execve,fork,vfork,clone,clone3 -o /tmp/calls openclaw gateway status >/dev/null; cat /tmp/calls")
    started = [line for line in calls.splitlines() if "fork(" in line or "execve(" in line]
    equal(len(started), 1, f"programs started: {started}")
    # Threads share their memory, processes do not.
    forked = [line for line in calls.splitlines() if re.search(r"clone3?\(", line) and "CLONE_THREAD" not in line]
    equal(forked, [], "processes started")
    lines = sh("TIMEFORMAT='%R %U %S'; for n in $(seq 15); do { time openclaw gateway status >/dev/null; } 2>&1; done").splitlines()
    took = sorted(tuple(float(part) * 1000 for part in line.split()) for line in lines)
    processor = sorted(user + system for _, user, system in took)[len(took) // 2]
    return f"status takes {took[len(took) // 2][0]:.0f} ms (median of 15, fastest {took[0][0]:.0f} ms), {processor:.0f} ms of it processor time"


@case(guarantee=17)
def the_exit_code_tells_the_state():
    installed()
    code = lambda: sh("openclaw gateway status --exit-code >/dev/null 2>&1; echo $?").strip()
    codes = [code()]
    write_config('{"gateway": {"mode": "remote"}}')
    sh("systemctl --user restart openclaw-gateway")
    codes.append(code())
    sh("openclaw gateway stop", check=False)
    codes.append(code())
    sh("openclaw gateway uninstall", check=False)
    codes.append(code())
    write_config(GOOD)
    equal(codes, ["0", "1", "3", "4"], "running, blocked, stopped, no service")


@case(guarantee=23)
def exit_codes_are_in_the_help_and_in_the_manual_page():
    page = sh("d=$(mktemp -d) && openclaw __man $d && cat $d/openclaw-gateway.1")
    for text in (sh("openclaw gateway run --help"), page, (HERE.parent.parent / "docs/service.md").read_text()):
        for code in ("75", "78", "79"):
            contains(text, code)
