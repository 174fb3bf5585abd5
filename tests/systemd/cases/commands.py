"""start, stop, restart and reload."""

import json
import time

from machine import (
    CONFIG, PATIENCE, PORT, SOCKET, UNIT, Client, case, contains, drop_in, equal, fresh, installed, knock, lab, main_pid,
    model_host, network, now, refused, serving, sh, shown, until, write_config
)


@case(guarantee=3)
def start_keeps_a_running_gateway():
    installed()
    before = main_pid()
    contains(sh("openclaw gateway start"), "already running")
    equal(main_pid(), before, "pid")
    envelope = json.loads(sh("openclaw gateway start --json"))
    equal((envelope["ok"], envelope["result"]), (True, "started"), "result")


@case(guarantee=4)
def stop_really_stops_and_says_so_once():
    installed()
    contains(sh("openclaw gateway stop"), "Stopped systemd service: openclaw-gateway.service")
    with network():
        equal(refused(), True, "connection refused")
    contains(sh("openclaw gateway stop"), "already stopped")
    equal(json.loads(sh("openclaw gateway stop --json"))["result"], "stopped", "result")
    sh("openclaw gateway status")
    equal(shown(SOCKET, "ActiveState")["ActiveState"], "inactive", "socket after a look")
    contains(sh("openclaw gateway start"), "Started systemd service")
    with network():
        knock()


@case()
def the_start_limit_is_cleared_by_start_and_restart():
    installed()
    drop_in("90-limit", "[Unit]\nStartLimitBurst=3\nStartLimitIntervalSec=300\n")
    for _ in range(6):
        sh("openclaw gateway restart")
    sh(f"for i in 1 2 3 4 5 6; do systemctl --user restart {UNIT}; done", check=False)
    equal(shown(UNIT, "ActiveState")["ActiveState"], "failed", "latched")
    sh("openclaw gateway start")
    with network():
        knock()
    return "6 restarts within the limit's window"


@case(guarantee=8)
def a_drop_in_stop_timeout_bounds_the_drain():
    installed()
    drop_in("90-stop", "[Service]\nTimeoutStopSec=20\n")
    since = now()
    sh("openclaw gateway restart")
    began = time.monotonic()
    sh("openclaw gateway stop")
    took = time.monotonic() - began
    equal(shown(UNIT, "Result")["Result"], "success", "result")
    look = lambda: lab("journal", "_SYSTEMD_USER_UNIT=" + UNIT, "-o", "cat", f"--since={since}").stdout
    until(lambda: "drain budget" in look(), PATIENCE, "the drain budget in the journal")
    return f"stop took {took:.1f} s"


@case(guarantee=18)
def an_unsupervised_gateway_is_found_stopped_and_restarted():
    fresh()
    sh("systemd-run --user -q --unit typed --setenv=PATH=$PATH bash -c "
       "'unset INVOCATION_ID JOURNAL_STREAM; openclaw gateway run; true'")
    with network():
        serving()
        pid = sh("pgrep -x openclaw").strip()
        contains(sh("openclaw gateway restart"), f"unmanaged process on port 18789: {pid}.")
        serving()
        equal(sh("pgrep -x openclaw").strip(), pid, "same process id")
        contains(sh("openclaw gateway stop"), f"unmanaged process on port 18789: {pid}.")
        until(refused, PATIENCE, "gone")


@case()
def reload_does_not_restart():
    installed()
    before = main_pid()
    sh(f"systemctl --user reload {UNIT}")
    until(lambda: shown(UNIT, "ActiveState")["ActiveState"] == "active", PATIENCE, "active after reload")
    equal(main_pid(), before, "pid")


@case()
def a_refused_configuration_fails_the_reload_and_is_shown():
    installed()
    pid, since, good = main_pid(), now(), sh(f"cat {CONFIG}")
    status = lambda: shown(UNIT, "StatusText")["StatusText"]
    write_config('{"gateway": {"port": "x"}}')
    done = sh(f"systemctl --user reload {UNIT}", check=False)
    equal(done.returncode != 0, True, "a refused configuration fails the reload")
    until(lambda: "degraded" in status(), PATIENCE, "the reason in the status")
    look = lambda: sh(f"journalctl --user -q -u {UNIT} --since={since} -o cat --no-pager")
    until(lambda: "reload failed: openclaw.json is refused" in look(), PATIENCE, "the reason in the journal")
    equal(main_pid(), pid, "pid")
    with network():
        knock()
    write_config(good)
    sh(f"systemctl --user reload {UNIT}")
    until(lambda: "degraded" not in status(), PATIENCE, "well again")
    equal(main_pid(), pid, "pid")


@case(guarantee=8)
def a_stop_under_load_tells_every_client_and_kills_nobody():
    installed()
    config = model_host()
    write_config(json.dumps(config))
    drop_in("90-stop", "[Service]\nTimeoutStopSec=20\n")
    sh("openclaw gateway restart")
    count, token = 50, config["gateway"]["auth"]["token"]
    with network():
        clients = [Client(token) for _ in range(count)]
        for n, client in enumerate(clients):
            client.send({"type": "req", "id": "2", "method": "agent", "params": {
                "message": "think for ever", "sessionKey": f"agent:main:{n}", "idempotencyKey": f"r{n}"}})
        until(lambda: running_turns() == count, 2 * PATIENCE, f"{count} runs under way")
        began, since = time.monotonic(), now()
        sh("openclaw gateway stop")
        took = time.monotonic() - began
        endings = [(client.last_events(), client.closed) for client in clients]
    silent = [events for events, _ in endings if "shutdown" not in events]
    equal((len(silent), {code for _, code in endings}), (0, {1012}), "clients without a shutdown event, close codes")
    equal(shown(UNIT, "Result")["Result"], "success", "result")
    journal = lab("journal", "USER_UNIT=" + UNIT, "+", "_SYSTEMD_USER_UNIT=" + UNIT, "-o", "cat", f"--since={since}").stdout
    if "SIGKILL" in journal:
        raise AssertionError("something was killed")
    equal(sh("pgrep -x openclaw || true").strip(), "", "processes left")
    return f"{count} runs, {count} clients told, stop took {took:.1f} s (TimeoutStopSec=20)"


def running_turns():
    """Connections that the model host serves just now."""
    return int(sh("ss -Htn state established '( sport = :18080 )' | wc -l").strip())


@case(guarantee=21)
def force_ends_only_a_gateway_of_the_same_user():
    fresh()
    sh(f"systemd-run --user -q --unit holder /usr/bin/python3 -m http.server --bind 127.0.0.1 {PORT}")
    start = "systemd-run --user -q --unit {} --setenv=PATH=$PATH bash -c 'unset INVOCATION_ID JOURNAL_STREAM; exec openclaw gateway run --force{}'"
    with network():
        until(lambda: not refused(), PATIENCE, "holder")
        done = sh("timeout 120 openclaw gateway run --force; echo status $?", check=False)
        contains(done.stdout + done.stderr, "is not an OpenClaw gateway of this user; --force=any")
        contains(done.stdout, "status 1")
        equal(refused(), False, "the holder is gone")
        sh(start.format("first", "=any"))
        serving()
        first = sh("pgrep -x openclaw").split()
        equal(len(first), 1, "gateways")
        sh(start.format("second", ""))
        until(lambda: first[0] not in sh("pgrep -x openclaw || true").split() and knock(10), PATIENCE, "the other gateway took over")
    sh("systemctl --user stop first second holder; systemctl --user reset-failed", check=False)


@case()
def restarts_at_the_same_time_are_one():
    installed()
    # A slow start, so that the others come while it is under way.
    drop_in("90-slow", "[Service]\nExecStartPre=/bin/sleep 4\n")
    began = now()
    sh("for n in 1 2 3 4 5 6 7 8; do openclaw gateway restart & done; wait")
    starts = sh(f"journalctl --user -q -u {UNIT} --since={began} -o cat --no-pager | grep -c '^starting '").strip()
    with network():
        knock()
    # One under way, one for those that came when it was nearly over.
    if int(starts) > 3:
        raise AssertionError(f"8 requests made {starts} restarts")
    return f"8 requests, {starts} restarts"


@case()
def envelopes_have_the_recorded_keys_in_the_recorded_order():
    fresh()
    absent, hinted = ["action", "ok", "result", "message", "service"], ["action", "ok", "result", "message", "hints", "service", "hintItems"]
    plain = ["action", "ok", "result", "service"]
    steps = [
        ("start", "not-loaded", False, hinted), ("restart", "not-loaded", False, hinted), ("stop", "not-loaded", False, absent),
        ("uninstall", "uninstalled", False, plain), ("install", "installed", True, [*plain, "linger"]),
        ("install", "already-installed", True, [*absent, "linger"]), ("install --force", "installed", True, [*plain, "linger"]),
        ("start", "started", True, plain), ("restart", "restarted", True, plain), ("stop", "stopped", True, plain),
        ("stop", "stopped", True, plain), ("uninstall", "uninstalled", False, plain),
    ]
    for verb, result, loaded, keys in steps:
        envelope = json.loads(sh(f"openclaw gateway {verb} --json"))
        equal((envelope["action"], envelope["ok"], envelope["result"]), (verb.split()[0], True, result), verb)
        equal(list(envelope), keys, f"keys of {verb}")
        service = {"label": "systemd", "loaded": loaded, "loadedText": "enabled", "notLoadedText": "disabled"}
        equal(envelope["service"], service, f"service of {verb}")
        equal([item["kind"] for item in envelope.get("hintItems", [])], ["install", "generic", "generic"] if keys == hinted else [], "hints")
