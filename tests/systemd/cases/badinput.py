"""What people do to units and hosts: a clear message each, nothing half-written."""

import json

from machine import (
    GOOD, PATIENCE, SOCKET, UNIT, UNITS, case, contains, drop_in, equal, fresh, installed, knock, lab, main_pid,
    network, now, serving, sh, shown, until, write_config, write_file
)

FILES = f"cd {UNITS} && find . -type f -o -type l | sort | xargs -r sha256sum 2>/dev/null; ls -A {UNITS}"


def says(command, *parts, status=1, root=False):
    """The command ends with `status` and says `parts`; it neither hangs nor breaks."""
    done = sh(f"timeout 120 {command} 2>&1; echo status $?", check=False, root=root)
    for part in (*parts, f"status {status}"):
        contains(done.stdout, part)
    for part in ("panicked", "status 124"):
        if part in done.stdout:
            raise AssertionError(done.stdout)
    return done.stdout


def edits(text):
    """Every line of a unit removed, doubled, mistyped in its name, its value and its form."""
    lines = text.splitlines()
    for n, line in enumerate(lines):
        key, mark, value = line.partition("=")
        if line:
            wrong = [[], [f"{key}x{mark}{value}"], [f"\udcff{line}"]]
            # A section may be begun twice.
            wrong += [[line, line], [f"{key}={value[::-1]}"]] if mark else [[line[:-1]]]
            for kind, changed in enumerate(wrong):
                yield f"{n + 1:02}-{kind}", "\n".join(lines[:n] + changed + lines[n + 1:]) + "\n"


# Looks at each edited unit as a person would: status, start and an install that
# changes nothing. What breaks or hangs is printed; so is how often what was said.
LOOKS = r"""
import collections, json, pathlib, subprocess, sys
units, unit = pathlib.Path(sys.argv[1]), sys.argv[2]
path, said = units / unit, collections.Counter()
good = path.read_bytes()
def run(*words):
    done = subprocess.run(words, capture_output=True, timeout=90)
    return done.returncode, done.stdout.decode(), done.stderr.decode()
for name, text in json.load(sys.stdin).items():
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    run("systemctl", "--user", "daemon-reload")
    for verb, codes in (("status", [0]), ("start", [0, 1]), ("install", [0, 1])):
        code, out, err = run("openclaw", "gateway", verb, "--json", *(["--no-probe"] if verb == "status" else []))
        try: answer = json.loads(out)
        except ValueError: answer = None
        if code not in codes or answer is None or "panicked" in err or (code == 1 and not answer.get("error")):
            print(f"{unit} {name}: {verb}: status {code}: {out[-300:]} {err[-300:]}")
        elif verb == "install" and code == 0:
            # It says what differs, or it has put the file right.
            changed = path.read_bytes() != good
            if changed and not answer.get("drift"): print(f"{unit} {name}: no drift reported: {out[-300:]}")
            said["drift reported" if changed else "written anew"] += 1
        elif code == 1: said[f"{verb} refused"] += 1
path.write_bytes(good)
run("systemctl", "--user", "daemon-reload")
print(json.dumps(said), file=sys.stderr)
"""


@case()
def a_unit_with_any_line_removed_doubled_or_mistyped_is_read_and_mended():
    installed()
    write_file("/home/claw/looks.py", LOOKS)
    told, count = [], 0
    for unit in (UNIT, SOCKET):
        changed = dict(edits(sh(f"cat {UNITS}/{unit}")))
        count += len(changed)
        done = lab("exec", "--", "python3", "looks.py", UNITS, unit, stdin=json.dumps(changed), timeout=1200)
        equal(done.stdout, "", "complaints")
        told.append(done.stderr.strip())
    sh("openclaw gateway install --force")
    with network():
        knock()
    return f"{count} edits: {', '.join(told)}"


@case()
def a_unit_that_is_no_text_is_named_and_mended():
    installed()
    sh(f"printf '\\377\\376[Service]\\n\\0Type=\\200\\n' > {UNITS}/{UNIT}; systemctl --user daemon-reload", check=False)
    says("openclaw gateway status", "unit error: ", "line 1: not UTF-8", status=0)
    sh(f"systemctl --user stop {SOCKET} {UNIT}", check=False)
    says("openclaw gateway start", "Gateway start failed", "cannot be loaded", "line 1: not UTF-8", "install --force")
    says("openclaw gateway restart", "Gateway restart failed", "cannot be loaded")
    sh("openclaw gateway install --force")
    with network():
        knock()
    contains(sh(f"ls {UNITS}"), f"{UNIT}.bak-")


@case()
def a_mistyped_flag_in_the_unit_is_one_start_and_the_reason():
    installed()
    drop_in("90-typo", "[Service]\nExecStart=\nExecStart=/usr/local/bin/openclaw gateway run --prot 18789\n")
    says("openclaw gateway restart", "--prot")
    first = shown(UNIT, "InvocationID", "NRestarts")
    with network():
        for _ in range(50):
            knock()
    equal(shown(UNIT, "InvocationID", "NRestarts"), first, "one start")
    contains(sh("openclaw gateway status 2>&1"), "--prot")


@case()
def a_linked_or_read_only_unit_directory_is_left_as_it_was():
    fresh()
    # The directory may be a link; a link in place of the unit file is somebody's decision.
    sh(f"mv {UNITS} ~/units && ln -s ~/units {UNITS}; systemctl --user daemon-reload")
    sh("openclaw gateway install")
    with network():
        knock()
    sh(f"openclaw gateway uninstall; rm {UNITS} && mv ~/units {UNITS}; systemctl --user daemon-reload")
    sh(f"echo '[Service]' > ~/mine.service; ln -s ~/mine.service {UNITS}/{UNIT}")
    before = sh(FILES)
    says("openclaw gateway install --force", "is a symbolic link", UNIT)
    equal(sh(FILES), before, "files")
    sh(f"rm {UNITS}/{UNIT}; systemctl --user daemon-reload")
    sh(f"mount --bind {UNITS} {UNITS} && mount -o remount,ro,bind {UNITS}", root=True)
    try:
        says("openclaw gateway install", "Read-only file system", UNITS)
    finally:
        sh(f"umount {UNITS}", root=True)
    equal(sh(f"ls {UNITS}/{UNIT} {UNITS}/{SOCKET} 2>/dev/null | wc -l").strip(), "0", "units written")


@case()
def a_unit_of_another_user_is_not_touched():
    fresh()
    sh(f"install -d -o claw {UNITS}; echo '[Service]' > {UNITS}/{UNIT}", root=True)
    try:
        before = sh(FILES)
        says("openclaw gateway install --force", "belongs to another user", UNIT)
        equal(sh(FILES), before, "files")
    finally:
        sh(f"rm {UNITS}/{UNIT}", root=True)


@case()
def a_full_disk_during_install_leaves_nothing_half_written():
    fresh()
    sh(f"install -d -o claw {UNITS}; mount -t tmpfs -o size=16k,uid=$(id -u claw),mode=700 tmpfs {UNITS}", root=True)
    try:
        sh(f"head -c 1M /dev/zero > {UNITS}/filler", check=False)
        says("openclaw gateway install", "No space left on device")
        equal(sh(f"ls -A {UNITS}").split(), ["filler"], "files")
        # Room for one of the two files only.
        sh(f"truncate -s 8k {UNITS}/filler; mkdir -p {UNITS}/x; head -c 4096 /dev/urandom > {UNITS}/x/y", check=False)
        done = sh("openclaw gateway install 2>&1; echo status $?", check=False).stdout
        if "status 0" not in done:
            contains(done, "No space left on device")
            equal(sorted(sh(f"ls -A {UNITS}").split()), ["filler", "x"], "files after the second try")
    finally:
        sh("openclaw gateway uninstall", check=False)
        sh(f"umount {UNITS}", root=True)
        sh("systemctl --user daemon-reload")


@case()
def a_full_state_directory_keeps_the_process_and_lets_clients_in():
    fresh()
    sh("mkdir -p /home/claw/.openclaw; mount -t tmpfs -o size=2m,uid=$(id -u claw),mode=700 tmpfs /home/claw/.openclaw", root=True)
    try:
        write_config(GOOD)
        drop_in("90-watchdog", "[Service]\nWatchdogSec=4\n")
        sh("openclaw gateway install; openclaw health")
        pid, since = main_pid(), now()
        sh("head -c 4M /dev/zero > ~/.openclaw/filler", check=False)
        # Devices that are known and one that is not.
        says("openclaw health", "Agents: main", status=0)
        says("rm -rf ~/.openclaw/devices; openclaw gateway call health", '"ok": true', status=0)
        says("openclaw config set gateway.reload.mode hot", "openclaw.json", "No space left on device")
        until(lambda: sh(f"journalctl --user -q -u {UNIT} --since={since} -o cat").count("state directory is full") > 1, PATIENCE,
              "the watchdog's probe says so")
        equal(main_pid(), pid, "pid")
        contains(sh("openclaw doctor --json --only disk-space"), "MiB are free")
        sh("rm ~/.openclaw/filler; openclaw config set gateway.reload.mode hot")
        contains(sh("openclaw devices list"), "Paired (")
    finally:
        sh("openclaw gateway uninstall", check=False)
        sh("umount /home/claw/.openclaw", root=True)


@case()
def a_masked_unit_says_how_to_unmask_it():
    fresh()
    for name in (UNIT, SOCKET):
        sh(f"systemctl --user mask -q {name}")
        says("openclaw gateway install", f"{name} is masked", f"systemctl --user unmask {name}")
        if name == UNIT:
            says("openclaw gateway start", f"systemctl --user unmask {name}")
        sh(f"systemctl --user unmask -q {name}")


@case()
def without_systemctl_or_with_one_that_hangs_commands_end_with_a_reason():
    installed()
    pid = main_pid()
    without = "mkdir -p ~/nothing && env PATH=$HOME/nothing /usr/local/bin/openclaw gateway"
    says(f"bash -c '{without} restart'", "systemctl not found", "Tip: ")
    contains(sh(f"bash -c '{without} status'"), "Runtime: running")
    equal(main_pid(), pid, "pid")
    # One that never returns: status does not ask it, and a look at a missing bus gives it up.
    write_file("/home/claw/hangs/systemctl", "#!/bin/sh\nsleep 1000\n")
    sh("chmod +x ~/hangs/systemctl")
    hangs = "env PATH=$HOME/hangs:$PATH openclaw gateway"
    contains(sh(f"{hangs} status"), "Runtime: running")
    says(f"bash -c 'XDG_RUNTIME_DIR=/nowhere DBUS_SESSION_BUS_ADDRESS= {hangs} start'", "did not finish within 10 s")
    equal(main_pid(), pid, "pid")


@case()
def a_manager_that_answers_slowly_is_given_up_in_time():
    installed()
    manager = sh("systemctl show -p MainPID --value user@$(id -u claw).service", root=True).strip()
    # Without a session: signing in would wait for the manager, too.
    ask = lambda verb: lab("exec", "--no-session", "--", "bash", "-c", f"timeout 120 openclaw gateway {verb} 2>&1; echo status $?").stdout
    sh(f"kill -STOP {manager}", root=True)
    try:
        text = ask("status")
        for part in ("did not answer within 5 s", "RPC probe: ok", "status 0"):
            contains(text, part)
        text = ask("stop")
        for part in ("gives no answer", "status 1"):
            contains(text, part)
    finally:
        sh(f"kill -CONT {manager}", root=True)
    with network():
        serving()


@case()
def a_file_system_that_comes_late_is_waited_for():
    fresh()
    sh("mkdir -p /mnt/late", root=True)
    late = "late.service"
    try:
        sh("systemd-run --user -q --unit late -p Type=notify -p Restart=always -p RestartSec=1 -p RestartPreventExitStatus=78 "
           "--no-block --setenv=OPENCLAW_STATE_DIR=/mnt/late/state --setenv=OPENCLAW_CONFIG_PATH=/home/claw/.openclaw/openclaw.json "
           "--setenv=OPENCLAW_SERVICE_MARKER=openclaw /usr/local/bin/openclaw gateway run")
        until(lambda: shown(late, "StatusText")["StatusText"].startswith("waiting: "), PATIENCE, "says that it waits")
        # Thirty seconds of patience, then status 75 and another start by the manager.
        until(lambda: shown(late, "NRestarts")["NRestarts"] != "0", 2 * PATIENCE, "leaves after its patience")
        until(lambda: "status=75" in sh("journalctl --user -u late -o cat --no-pager"), PATIENCE, "status 75 in the journal")
        sh("mount -t tmpfs -o uid=$(id -u claw),mode=700 tmpfs /mnt/late", root=True)
        with network():
            serving()
    finally:
        sh("systemctl --user stop late; systemctl --user reset-failed late", check=False)
        sh("umount /mnt/late", root=True, check=False)


@case()
def another_gateway_on_the_same_state_is_status_78():
    installed()
    sh("systemd-run --user -q --unit second -p Restart=always -p RestartSec=1 -p RestartPreventExitStatus=78 "
       "--setenv=OPENCLAW_SERVICE_MARKER=openclaw /usr/local/bin/openclaw gateway run --port 18999")
    until(lambda: shown("second.service", "ActiveState")["ActiveState"] == "failed", PATIENCE, "leaves")
    state = shown("second.service", "ExecMainStatus", "NRestarts")
    equal((state["ExecMainStatus"], state["NRestarts"]), ("78", "0"), "status, restarts")
    contains(sh("journalctl --user -u second -o cat --no-pager"), "gateway already running (pid ")
    sh("systemctl --user reset-failed second")


@case()
def sudo_without_system_says_whom_to_be():
    fresh()
    for verb in ("install", "start", "stop", "restart", "uninstall"):
        says(f"env SUDO_USER=claw openclaw gateway {verb}", "run this as claw, or add --system", root=True)


@case()
def sockets_that_differ_from_the_configuration_are_named_everywhere():
    installed()
    since = now()
    drop_in("90-elsewhere", "[Socket]\nListenStream=\nListenStream=127.0.0.1:18791\n", SOCKET)
    sh("openclaw gateway stop; openclaw gateway start")
    words = "the service manager's sockets are 127.0.0.1:18791"
    contains(shown(UNIT, "StatusText")["StatusText"], words)
    contains(sh("openclaw gateway status 2>&1"), words)
    until(lambda: words in sh(f"journalctl --user -q -u {UNIT} --since={since} -o cat --no-pager"), PATIENCE, "the journal")
    with network():
        knock(port=18791)


@case()
def a_container_and_wsl_explain_themselves():
    fresh()
    away = "XDG_RUNTIME_DIR=/nowhere DBUS_SESSION_BUS_ADDRESS="
    says(f"env {away} container=docker openclaw gateway install", "run the gateway in the foreground")
    says(f"env {away} WSL_DISTRO_NAME=Debian openclaw gateway install", "/etc/wsl.conf", "wsl --shutdown")
    text = sh(f"env {away} container= openclaw gateway install --json", check=False).stdout
    answer = json.loads(text)
    equal((answer["ok"], answer["action"]), (False, "install"), "envelope")
    kinds = {item["kind"] for item in answer["hintItems"]}
    if not kinds & {"systemd-unavailable", "systemd-headless", "container-foreground"}:
        raise AssertionError(answer)
