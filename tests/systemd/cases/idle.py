"""A gateway that leaves when nobody talks, and comes back with the next client."""

import json
import time

from machine import (
    PATIENCE, SOCKET, UNIT, case, contains, drop_in, equal, http, installed, knock, lab, network, sh, shown,
    until, write_config
)

QUIET = {
    "gateway": {"mode": "local", "port": 18789},
    "agents": {"defaults": {"heartbeat": {"every": "0m"}}},
}
# How long the official clients wait for the first frame.
HANDSHAKE_LIMIT = 10


@case()
def an_idle_gateway_leaves_and_the_next_client_brings_it_back():
    installed()
    write_config(json.dumps(QUIET))
    drop_in("90-idle", "[Service]\nEnvironment=OPENCLAW_IDLE_EXIT=6s\n")
    sh("openclaw gateway restart")
    until(lambda: shown(UNIT, "ActiveState")["ActiveState"] == "inactive", PATIENCE, "leaves")
    state = shown(UNIT, "MainPID", "Result", "ExecMainStatus", "NRestarts", "ControlGroup")
    equal((state["MainPID"], state["Result"], state["ExecMainStatus"]), ("0", "success", "79"), "state")
    equal(sh("pgrep -x openclaw || true"), "", "processes left")
    equal(shown(SOCKET, "SubState")["SubState"], "listening", "socket")
    # A look does not wake it.
    text = sh("openclaw gateway status")
    contains(text, "RPC probe: skipped")
    equal(shown(UNIT, "ActiveState")["ActiveState"], "inactive", "after a look")
    with network():
        began = time.monotonic()
        knock(HANDSHAKE_LIMIT)
        took = time.monotonic() - began
    until(lambda: shown(UNIT, "ActiveState")["ActiveState"] == "inactive", PATIENCE, "leaves again")
    with network():
        contains(http("/healthz"), "200 OK")
    return f"no process while idle, first answer {took * 1000:.0f} ms after the knock (limit {HANDSHAKE_LIMIT} s)"


@case()
def a_gateway_that_is_needed_stays_and_says_for_what():
    installed()
    drop_in("90-idle", "[Service]\nEnvironment=OPENCLAW_IDLE_EXIT=1s\n")
    sh("openclaw gateway restart")
    look = lambda: lab("journal", "_SYSTEMD_USER_UNIT=" + UNIT, "-o", "cat", "-n", "300").stdout
    until(lambda: "idle exit is ignored: the process is needed for heartbeats" in look(), PATIENCE, "the reason")
    equal(shown(UNIT, "ActiveState")["ActiveState"], "active", "state")
    drop_in("90-idle", "[Service]\nEnvironment=OPENCLAW_IDLE_EXIT=soon\n")
    done = sh("openclaw gateway restart; echo status $?", check=False)
    contains(done.stdout + done.stderr, 'Invalid --idle-exit "soon"')
    contains(done.stdout + done.stderr, "status 1")
