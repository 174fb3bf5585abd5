"""What cannot be served, what hangs and what crashes."""

import os
import time

from machine import (
    GOOD, PATIENCE, UNIT, case, contains, drop_in, equal, http, installed, knock, main_pid, network, now, serving,
    sh, shown, until, write_config
)


@case(guarantee=5)
def a_permanent_error_is_one_start_however_often_clients_knock():
    installed()
    sh("openclaw gateway stop")
    write_config('{"gateway": {"mode": "remote"}}')
    done = sh("openclaw gateway start; echo status $?", check=False)
    contains(done.stdout + done.stderr, "status 1")
    contains(done.stdout + done.stderr, "set gateway.mode=local")
    first = shown(UNIT, "InvocationID", "NRestarts")
    with network():
        for n in range(500):
            knock()
            contains(http(), "503")
        contains(http(), "set gateway.mode=local")
    equal(shown(UNIT, "InvocationID", "NRestarts"), first, "one start")
    contains(shown(UNIT, "StatusText")["StatusText"], "blocked: ")
    contains(sh("openclaw gateway status"), "set gateway.mode=local")
    # The time of the writing command counts too.
    began = time.monotonic()
    write_config(GOOD)
    with network():
        until(lambda: "200" in http()[:15], PATIENCE, "serving after the fix")
    took = time.monotonic() - began
    equal(shown(UNIT, "InvocationID")["InvocationID"], first["InvocationID"], "same process")
    # Looked at three times a second; the other reason to try again comes after a minute.
    if took > 20:
        raise AssertionError(f"serving {took:.1f} s after the fix")
    return f"1,000 knocks, one start, serving {took * 1000:.0f} ms after the fix"


def ended_by_the_watchdog(since):
    look = lambda: sh(f"journalctl --user -q -u {UNIT} --since={since} -o cat --no-pager")
    until(lambda: "Failed with result 'watchdog'" in look(), PATIENCE, "the watchdog in the journal")


@case(guarantee=7)
def a_stopped_process_is_restarted_by_the_watchdog():
    installed()
    drop_in("90-watchdog", "[Service]\nWatchdogSec=4\nRestartSec=100ms\n")
    sh("openclaw gateway restart")
    before, since = main_pid(), now()
    sh(f"kill -STOP {before}")
    with network():
        began = time.monotonic()
        knock()
        took = time.monotonic() - began
    if main_pid() == before:
        raise AssertionError(f"answered after {took:.1f} s by the same process")
    ended_by_the_watchdog(since)
    return f"serving {took:.1f} s after SIGSTOP (2 x WatchdogSec = 8 s)"


@case(guarantee=7)
def blocked_workers_are_noticed_by_the_watchdog():
    installed()
    drop_in("90-watchdog", "[Service]\nWatchdogSec=4\nRestartSec=100ms\n")
    sh("openclaw gateway restart")
    before, since = main_pid(), now()
    # The process runs on, but no thread that serves makes progress.
    held, began = sh(f"""python3 - <<'P'
import ctypes, os, time
libc = ctypes.CDLL(None, use_errno=True)
pid = {before}
tids = [int(t) for t in os.listdir(f'/proc/{{pid}}/task') if int(t) != pid]
count = 0
for tid in tids:
    if libc.ptrace(0x4206, tid, None, None) == 0 and libc.ptrace(0x4207, tid, None, None) == 0: count += 1
print(count, time.clock_gettime(time.CLOCK_MONOTONIC), flush=True)
end = time.time() + 60
while time.time() < end and os.path.exists(f'/proc/{{pid}}'):
    try: os.waitpid(-1, os.WNOHANG | 0x40000000)
    except ChildProcessError: pass
    time.sleep(0.1)
P""", root=True).split()
    with network():
        until(lambda: main_pid() not in ("0", before) and knock(10), PATIENCE, "serving")
    ended_by_the_watchdog(since)
    ready = int(shown(UNIT, "ActiveEnterTimestampMonotonic")["ActiveEnterTimestampMonotonic"]) / 1e6
    return f"{held} threads held; serving {ready - float(began):.1f} s later (2 x WatchdogSec = 8 s)"


@case(guarantee=20)
def an_invalid_configuration_takes_no_command_down():
    installed()
    write_config('{"gateway": {"mode": 7, "nonsense": true}')
    for command in ("gateway status", "health", "logs --limit 5 --plain"):
        done = sh(f"timeout 90 openclaw {command}; echo status $?", check=False)
        text = done.stdout + done.stderr
        if "panicked" in text or "status 124" in text or "status 101" in text:
            raise AssertionError(f"{command}: {text[-500:]}")
    before = main_pid()
    done = sh("openclaw gateway restart; echo status $?", check=False)
    contains(done.stdout + done.stderr, "status 1")
    equal(main_pid(), before, "a bad configuration stopped a healthy gateway")
    write_config(GOOD)


@case(guarantee=22)
def three_crashes_lead_to_safe_mode():
    installed()
    drop_in("90-quick", "[Service]\nRestartSec=100ms\n")
    sh("openclaw gateway restart; rm -f ~/.openclaw/boots.json; openclaw gateway restart")
    for _ in range(3):
        before = main_pid()
        sh(f"kill -9 {before}")
        until(lambda: main_pid() not in ("0", before) and
              "listening" in shown(UNIT, "StatusText")["StatusText"], PATIENCE, "next start")
    contains(shown(UNIT, "StatusText")["StatusText"], "safe mode")
    sh("openclaw gateway restart")
    if "safe mode" in shown(UNIT, "StatusText")["StatusText"]:
        raise AssertionError("safe mode stayed after an orderly restart")
