"""Every event of a gateway's life, under its message id."""

import json
import re

from machine import (
    GOOD, HERE, PATIENCE, SOCKET, UNIT, UNITS, Client, case, drop_in, equal, http, installed, main_pid, model_host, network,
    now, sh, shown, until, write_config
)

QUIET = {"gateway": {"mode": "local", "port": 18789}, "agents": {"defaults": {"heartbeat": {"every": "0m"}}}}


def documented():
    text = (HERE.parent.parent / "docs/service.md").read_text()
    return dict(re.findall(r"\| `([\w-]+)` \| `([0-9a-f]{32})` \|", text))


@case()
def every_event_of_a_life_has_its_message_id():
    installed()
    ids, seen, since = documented(), [], [now()]

    def told(*events):
        """Waits for an entry of each, since the last time this was asked."""
        for event in events:
            ask = f"journalctl --user -q --since={since[0]} MESSAGE_ID={ids[event]} -o json -n 1 --no-pager"
            until(lambda: sh(ask).strip(), PATIENCE, f"an entry for {event}")
            equal(json.loads(sh(ask))["OPENCLAW_EVENT"], event, "the event's name")
            seen.append(event)
        since[0] = now()

    sh("openclaw gateway restart")
    told("starting", "listening", "ready")
    sh(f"systemctl --user reload {UNIT}")
    told("reloading")
    until(lambda: shown(UNIT, "ActiveState")["ActiveState"] == "active", PATIENCE, "reloaded")
    drop_in("90-life", "[Service]\nRestartSec=100ms\nTimeoutStopSec=16\nWatchdogSec=30\n")
    sh(f"kill -USR1 {main_pid()}")
    told("restarting", "ready")

    # A start that is refused, and its fix.
    sh("openclaw gateway stop")
    told("stopping", "stopped")
    write_config('{"gateway": {"mode": "remote"}}')
    sh("openclaw gateway start", check=False)
    told("blocked")
    entry = json.loads(sh(f"journalctl --user -q MESSAGE_ID={ids['blocked']} -o json -n 1 --no-pager"))
    equal(entry["PRIORITY"], "3", "priority")
    write_config(GOOD)
    with network():
        until(lambda: "200" in http()[:15], PATIENCE, "serving after the fix")

    # Starts that nobody can be told about.
    other = ("systemd-run --user -q --unit {} -p RestartPreventExitStatus=78 --setenv=OPENCLAW_SERVICE_MARKER=openclaw {} "
             "/usr/local/bin/openclaw gateway run --port 18999")
    sh(other.format("second", ""))
    told("refused")
    sh(other.format("late", "--setenv=OPENCLAW_STATE_DIR=/nowhere/state"))
    told("waiting")
    sh("systemctl --user stop late second; systemctl --user reset-failed late second", check=False)

    # Addresses that differ.
    drop_in("90-life", "[Socket]\nListenStream=\nListenStream=127.0.0.1:18791\n", SOCKET)
    sh("openclaw gateway stop; openclaw gateway start")
    told("socket-mismatch")
    sh(f"rm -r {UNITS}/{SOCKET}.d; systemctl --user daemon-reload; openclaw gateway stop; openclaw gateway start")

    # A state directory that takes no write for a while.
    sh("chmod 500 ~/.openclaw")
    told("unhealthy")
    sh("chmod 700 ~/.openclaw")
    told("healthy")

    # Crashes in a row.
    for _ in range(3):
        before = main_pid()
        sh(f"kill -9 {before}")
        until(lambda: main_pid() not in ("0", before) and "listening" in shown(UNIT, "StatusText")["StatusText"],
              PATIENCE, "next start")
    told("safe-mode")

    # A run that does not end in time: a second of grace is left.
    config = model_host()
    write_config(json.dumps(config))
    sh("openclaw gateway restart")
    with network():
        client = Client(config["gateway"]["auth"]["token"])
        client.send({"type": "req", "id": "2", "method": "agent", "params": {
            "message": "think for ever", "sessionKey": "agent:main:life", "idempotencyKey": "life"}})
        until(lambda: sh("ss -Htn state established '( sport = :18080 )'").strip(), PATIENCE, "a run")
        sh("openclaw gateway stop")
    told("cut-off")

    # Nobody talks.
    write_config(json.dumps(QUIET))
    drop_in("90-life", "[Service]\nEnvironment=OPENCLAW_IDLE_EXIT=2s\n")
    # It may be gone before the command has looked.
    sh("openclaw gateway start", check=False)
    told("idle")
    write_config(GOOD)
    equal(set(ids) - set(seen), set(), "events that were not seen")
    return f"{len(set(seen))} of {len(ids)} events: {', '.join(dict.fromkeys(seen))}"
