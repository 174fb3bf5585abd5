"""A tool that runs away is ended whole, and the gateway does not notice."""

import json
import time

from machine import PATIENCE, UNIT, case, contains, fresh, http, main_pid, model_host, network, runs_a_tool, sh, shown, until, write_config

# Seconds until a command is killed.
LIMIT = 5
# What one command may cost the gateway itself, in KiB: its buffers are bounded.
MOST_GROWTH = 20 * 1024

RUNAWAYS = {
    "a fork bomb": "bomb() { bomb | bomb & }; bomb; sleep 600",
    "ten gigabytes of output": "yes | head -c 10G",
    "children that ignore SIGTERM and leave": "trap : TERM; setsid sh -c 'trap : TERM; while :; do sleep 1; done' & while :; do sleep 1; done",
}


def resident(pid):
    status = sh(f"cat /proc/{pid}/status")
    return int(status.split("VmRSS:")[1].split()[0])


def left_over(pid):
    """Processes of the service beside the gateway."""
    group = shown(UNIT, "ControlGroup")["ControlGroup"]
    listed = sh(f"find /sys/fs/cgroup{group} -name cgroup.procs -exec cat {{}} + 2>/dev/null || true").split()
    return [it for it in listed if it != pid]


@case()
def a_tool_that_runs_away_is_killed_and_the_gateway_stays_small_and_quick():
    fresh()
    config = model_host()
    config["tools"] = {"exec": {"security": "full", "ask": "off", "timeoutSec": LIMIT}}
    write_config(json.dumps(config))
    sh("openclaw gateway install")
    pid, token = main_pid(), config["gateway"]["auth"]["token"]
    runs_a_tool("", token, "echo warm")
    figures = []
    for name, command in RUNAWAYS.items():
        before, slowest = resident(pid), 0.0
        began = time.monotonic()
        sh(f"openclaw gateway call agent --timeout 30000 --token {token} --url ws://127.0.0.1:18789 --params '{asked(command)}'")
        with network():
            while time.monotonic() - began < LIMIT + 1:
                asked_at = time.monotonic()
                contains(http("/readyz").split("\r\n")[0], "200")
                slowest = max(slowest, time.monotonic() - asked_at)
                time.sleep(0.1)
        after = resident(pid)
        until(lambda: not left_over(pid), PATIENCE, f"the end of {name}")
        if main_pid() != pid:
            raise AssertionError(f"{name} took the gateway with it")
        if after - before > MOST_GROWTH:
            raise AssertionError(f"{name}: the gateway grew from {before} to {after} KiB")
        figures.append(f"{name}: answers within {slowest * 1000:.0f} ms, {after - before:+} KiB")
    told = runs_a_tool("", token, "sleep 600")
    contains(told, "timed out after")
    return "; ".join(figures)


def asked(command):
    """Parameters of `agent` that make the model run `command`, for single quotes."""
    text = json.dumps({"message": f"RUN[{command}]RUN", "agentId": "main", "sessionKey": "agent:main:runaway",
                       "idempotencyKey": str(time.monotonic())})
    return text.replace("'", "'\\''")
