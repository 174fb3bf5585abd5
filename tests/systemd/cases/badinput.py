"""What people do to units and hosts: a clear message each, nothing half-written."""

import json

from machine import (
    SOCKET, UNIT, UNITS, case, contains, drop_in, equal, fresh, installed, knock, network, sh, shown,
    until
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
