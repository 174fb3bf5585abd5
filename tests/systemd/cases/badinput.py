"""What people do to units and hosts: a clear message each, nothing half-written."""

import json

from machine import (
    GOOD, SOCKET, UNIT, UNITS, case, contains, drop_in, equal, fresh, installed, knock, lab, main_pid,
    network,
    refused, sh, shown, until, write_config, write_file
)

FILES = f"cd {UNITS} && find . -type f -o -type l | sort | xargs -r sha256sum 2>/dev/null; ls -A {UNITS}"


def says(command, *parts, status=1, root=False):
    """The command ends with `status` and says `parts`; it neither hangs nor breaks."""
    done = sh(f"timeout 60 {command} 2>&1; echo status $?", check=False, root=root)
    for part in (*parts, f"status {status}"):
        contains(done.stdout, part)
    for part in ("panicked", "status 124"):
        if part in done.stdout:
            raise AssertionError(done.stdout)
    return done.stdout


@case()
def a_unit_with_anything_removed_doubled_or_mistyped_is_read_and_mended():
    installed()
    lines = sh(f"cat {UNITS}/{UNIT}").splitlines()
    edited = 0
    for n, line in enumerate(lines):
        if "=" not in line or line.startswith("#"):
            continue
        key = line.split("=")[0]
        for variant in ([], [line, line], [f"{key}x={line}"], [f"{key}"]):
            edited += 1
            text = "\n".join(lines[:n] + variant + lines[n + 1:]) + "\n"
            write_file(f"/home/claw/variants/{edited:03}/{UNIT}", text)
    # One look at each, with the manager's view of the good unit: reading must never fail.
    script = f"""for dir in ~/variants/*; do cp $dir/{UNIT} {UNITS}/{UNIT}
      timeout 20 openclaw gateway status --json --no-probe >/tmp/out 2>/tmp/err || echo "$dir: $(head -c 300 /tmp/err)"
      timeout 20 openclaw gateway install --json >/tmp/out 2>/tmp/err || echo "$dir: install: $(head -c 300 /tmp/err)"
      grep -q '"drift"' /tmp/out || cmp -s {UNITS}/{UNIT} ~/good.unit || echo "$dir: no drift reported: $(cat /tmp/out)"
      done; rm -rf ~/variants; cp ~/good.unit {UNITS}/{UNIT}"""
    write_file("/home/claw/good.unit", "\n".join(lines) + "\n")
    equal(sh(script, timeout=600), "", "complaints")
    # A serious one, known to the manager: it says what is wrong, and install --force mends it.
    sh(f"sed -i s/^ExecStart=.*// {UNITS}/{UNIT}; systemctl --user daemon-reload; systemctl --user stop {SOCKET} {UNIT}", check=False)
    says("openclaw gateway start", "start")
    contains(sh("openclaw gateway status 2>&1"), "bad-setting")
    sh("openclaw gateway install --force")
    with network():
        knock(5)
    contains(sh(f"ls {UNITS}"), f"{UNIT}.bak-")
    return f"{edited} edits"


@case()
def a_unit_that_is_no_text_is_named_and_mended():
    installed()
    sh(f"printf '\\377\\376[Service]\\n\\0Type=\\200\\n' > {UNITS}/{UNIT}; systemctl --user daemon-reload", check=False)
    says("openclaw gateway status", status=0)
    says("openclaw gateway start", "Gateway start failed")
    sh("openclaw gateway install --force")
    with network():
        knock(5)


@case()
def a_mistyped_flag_in_the_unit_is_one_start_and_the_reason():
    installed()
    drop_in("90-typo", "[Service]\nExecStart=\nExecStart=/usr/local/bin/openclaw gateway run --prot 18789\n")
    says("openclaw gateway restart", "--prot")
    first = shown(UNIT, "InvocationID", "NRestarts")
    with network():
        for _ in range(50):
            knock(5)
    equal(shown(UNIT, "InvocationID", "NRestarts"), first, "one start")
    contains(sh("openclaw gateway status 2>&1"), "--prot")


@case()
def a_linked_or_read_only_unit_directory_is_left_as_it_was():
    fresh()
    # The directory may be a link; a link in place of the unit file is somebody's decision.
    sh(f"mv {UNITS} ~/units && ln -s ~/units {UNITS}; systemctl --user daemon-reload")
    sh("openclaw gateway install")
    with network():
        knock(5)
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
    before = sh(FILES)
    says("openclaw gateway install --force", "belongs to another user", UNIT)
    equal(sh(FILES), before, "files")
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
    says(f"bash -c '{without} restart'", "systemctl not found", "systemd user services are unavailable")
    contains(sh(f"bash -c '{without} status'"), "Runtime: running")
    equal(main_pid(), pid, "pid")
    # One that never returns: status does not ask it, and a look at a missing bus gives it up.
    write_file("/home/claw/hangs/systemctl", "#!/bin/sh\nsleep 1000\n")
    sh("chmod +x ~/hangs/systemctl")
    hangs = "env PATH=$HOME/hangs:$PATH openclaw gateway"
    contains(sh(f"{hangs} status"), "Runtime: running")
    says(f"bash -c 'XDG_RUNTIME_DIR=/nowhere DBUS_SESSION_BUS_ADDRESS= {hangs} start'", "did not finish within 10 s")


@case()
def a_manager_that_answers_slowly_is_given_up_in_time():
    installed()
    manager = sh("systemctl show -p MainPID --value user@$(id -u claw).service", root=True).strip()
    sh(f"kill -STOP {manager}", root=True)
    try:
        # Without a session: signing in would wait for the manager, too.
        script = "timeout 60 openclaw gateway status 2>&1; echo status $?"
        text = lab("exec", "--no-session", "--", "bash", "-c", script).stdout
        contains(text, "did not answer within 5 s")
        contains(text, "RPC probe: ok")
        contains(text, "status 0")
        text = lab("exec", "--no-session", "--", "bash", "-c",
                   "timeout 60 openclaw gateway stop 2>&1; echo status $?", check=False).stdout
        contains(text, "gives no answer")
        contains(text, "status 1")
    finally:
        sh(f"kill -CONT {manager}", root=True)
    with network():
        knock(5)


@case()
def a_file_system_that_comes_late_is_waited_for():
    fresh()
    sh("mkdir -p /mnt/late", root=True)
    sh("systemd-run --user -q --unit late -p Type=notify -p Restart=always -p RestartSec=1 -p RestartPreventExitStatus=78 "
       "--no-block --setenv=OPENCLAW_STATE_DIR=/mnt/late/state --setenv=OPENCLAW_CONFIG_PATH=/home/claw/.openclaw/openclaw.json "
       "--setenv=OPENCLAW_SERVICE_MARKER=openclaw /usr/local/bin/openclaw gateway run")
    late = "late.service"
    until(lambda: shown(late, "StatusText")["StatusText"].startswith("waiting: "), 20, "says that it waits")
    until(lambda: shown(late, "NRestarts")["NRestarts"] == "1", 60, "leaves after its patience")
    journal = sh("journalctl --user -u late -o cat --no-pager")
    contains(journal, "status=75")
    sh("mount -t tmpfs -o uid=$(id -u claw),mode=700 tmpfs /mnt/late", root=True)
    with network():
        until(lambda: knock(2), 20, "serving once it is there")
    sh("systemctl --user stop late; systemctl --user reset-failed late", check=False)
    sh("umount /mnt/late", root=True)


@case()
def another_gateway_on_the_same_state_is_status_78():
    installed()
    sh("systemd-run --user -q --unit second -p Restart=always -p RestartSec=1 -p RestartPreventExitStatus=78 "
       "--setenv=OPENCLAW_SERVICE_MARKER=openclaw /usr/local/bin/openclaw gateway run --port 18999")
    until(lambda: shown("second.service", "ActiveState")["ActiveState"] == "failed", 20, "leaves")
    state = shown("second.service", "ExecMainStatus", "NRestarts")
    equal((state["ExecMainStatus"], state["NRestarts"]), ("78", "0"), "status, restarts")
    contains(sh("journalctl --user -u second -o cat --no-pager"), "gateway already running (pid ")
    sh("systemctl --user reset-failed second")


@case()
def sudo_without_system_says_whom_to_be():
    fresh()
    says("SUDO_USER=claw openclaw gateway install", "run this as claw, or add --system", root=True)


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
