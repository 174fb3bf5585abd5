"""doctor on generated damage: units and drop-ins as no operator would leave them,
under a real systemd. 50 LaunchAgents besides: src/doctor/tests/mutations.rs."""

import base64
import json
import pathlib
import random
import shlex
import subprocess
import tempfile

from cases.doctor import USER, outputs, ready, unit_text
from machine import SOCKET, UNIT, UNITS, case, equal, knock, network, sh

HOSTS = 200
# What only an operator writes; each line is found again byte for byte.
OPERATOR = ("# a remark of mine, ünïcödé", "; another one", "Nice=5", "  LimitNOFILE = 4096  ", "Environment=MINE=\"a b\" OTHER=2",
            "Environment=\"EDITOR=vi -u NONE\"", "After=my-vpn.service", "ExecStartPre=-/bin/sh -c 'echo %n; true'",
            "not an assignment at all", "", "X-Mine=1  ", "#")
VALUES = ("", "no", "30", "simple", '"open quote', "/usr/bin/env FOO=%n", "a=b=c")
# What systemd says of our keys; not what operators may add to (After=, Environment=).
IN_FORCE = {
    UNIT: "LoadState,Type,NotifyAccess,Restart,RestartUSec,RestartPreventExitStatus,SuccessExitStatus,TimeoutStartUSec,TimeoutStopUSec,"
          "WatchdogUSec,KillMode,OOMPolicy,UMask,SyslogIdentifier,Delegate,StartLimitIntervalUSec,StartLimitBurst,Requires,Wants,"
          "NeedDaemonReload",
    SOCKET: "LoadState,Listen,BindIPv6Only,FileDescriptorName,NoDelay,Backlog,NeedDaemonReload",
}




def damage(text, chance):
    """A text of lines with one to five edits."""
    lines = text.splitlines(keepends=True)
    for _ in range(chance.randint(1, 5)):
        at = chance.randrange(len(lines))
        line, kind = lines[at], chance.choice(("delete", "value", "duplicate", "insert", "swap", "return", "continue", "append"))
        # The command needs --force, and has breakages of its own in doctor.py.
        ours = "=" in line and not line.startswith(("#", ";", "Exec"))
        if kind == "delete":
            del lines[at]
        elif kind in ("value", "duplicate") and ours:
            key = line.split("=")[0]
            # An address of the operator's stays, and must be one that can be had.
            value = chance.choice(("", "127.0.0.1:18790") if key == "ListenStream" else VALUES)
            lines[at:at + 1] = [f"{key}={value}\n"] if kind == "value" else [line, f"{key}={value}\n"]
        elif kind == "insert":
            lines.insert(at, chance.choice(OPERATOR) + "\n")
        elif kind == "swap":
            other = chance.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        elif kind == "return":
            lines[at] = line.replace("\n", "\r\n")
        elif kind == "continue" and ours:
            lines[at] = line.replace("=", "=\\\n # in between\n ", 1)
        elif kind == "append":
            lines.append(chance.choice(OPERATOR) + "\n")
    return "".join(lines).rstrip("\n") + chance.choice(("", "\n", "\n\n"))


def foreign(text, clean):
    """The lines of a text that are neither headings nor assignments of ours."""
    ours = {line.split("=")[0] for line in clean.splitlines()}
    return [line for line in text.split("\n") if line in OPERATOR or line.strip() and line.split("=")[0].strip() not in ours]


def in_force(text):
    """What `systemctl show` says, whatever order it says it in."""
    return sorted(" ".join(sorted(line.split())) for line in text.replace("=", "= ").splitlines())


def lacks(parts, lines):
    """The first of these lines that is not among the others, after those before it."""
    lines = iter(lines)
    return next((part for part in parts if part not in lines), None)



def patched(before, diff, path):
    """What `patch` makes of a file with its part of a unified difference."""
    part = next((part for part in ("\n" + diff.split("\n# then")[0]).split("\n--- ") if part.startswith(path)), None)
    if part is None:
        return before
    with tempfile.TemporaryDirectory() as place:
        old = pathlib.Path(place, "old")
        old.write_bytes(before.encode())
        subprocess.run(["patch", "-s", "--binary", "-o", "new", "old"], cwd=place, check=True, input=f"--- {part}\n".encode())
        return pathlib.Path(place, "new").read_bytes().decode()


CHECKS = " ".join(f"--only {name}" for name in ("service-drift", "service-reload", "service-command", "socket-unit", "gateway-daemon"))
LOOK = f"openclaw doctor --json --severity-min info {CHECKS}"
# --force is for commands that were edited by hand.
FORCE = f"force=; {LOOK} | grep -q core/doctor/service-command && force=--force"


@case(guarantee=14)
def doctor_mends_generated_damage_and_leaves_what_is_the_operators():
    ready()
    clean = {name: unit_text(name) for name in (UNIT, SOCKET)}
    files = [f"{UNITS}/{name}" for name in clean]
    texts = [f"base64 -w0 {path}" for path in files]
    shows = [f"{USER} show {name} -p {names}" for name, names in IN_FORCE.items()]
    sh(f"mkdir -p {UNITS}/{UNIT}.d")
    wanted = [in_force(text) for text in outputs(shows)]
    chance = random.Random(20260402)
    forced = restarts = 0
    wrong = []
    for number in range(HOSTS):
        damaged = [damage(text, chance) for text in clean.values()]
        beside = "\n".join(("[Service]", *chance.sample(OPERATOR, chance.randrange(4)), ""))
        write = "".join(f"printf %s {shlex.quote(text)} > {path}; " for path, text in zip(files, damaged))
        preview, fixed, again, unit, socket, *shown, undone_unit, undone_socket, process, _ = outputs([
            f"{write} printf %s {shlex.quote(beside)} > {UNITS}/{UNIT}.d/mine.conf; {USER} daemon-reload; "
            f"{FORCE}; openclaw doctor --dry-run $force {CHECKS} | base64 -w0",
            f"{FORCE}; {USER} show -P MainPID {UNIT}; echo $force; openclaw doctor --fix --json $force {CHECKS}",
            LOOK, *texts, *shows,
            f"{USER} show -P MainPID {UNIT} >/tmp/pid; openclaw doctor --undo >/dev/null; {texts[0]}", texts[1],
            "cat /tmp/pid",
            "".join(f"printf %s {shlex.quote(text)} > {path}; " for path, text in zip(files, clean.values())) + f"{USER} daemon-reload",
        ])
        # A carriage return does not come through as it is.
        preview, *contents = [base64.b64decode(text).decode() for text in (preview, unit, socket, undone_unit, undone_socket)]
        mended, undone = contents[:2], contents[2:]
        try:
            pid, force, fixed = fixed.split("\n", 2)
            restarts += pid != process.strip()
            forced += force != ""
            repairs = json.loads(fixed).get("repairs", [])
            equal([one for one in repairs if one["status"] != "repaired"], [], "repairs that did not work")
            left = json.loads(again)["findings"]
            equal([one for one in left if one["message"].startswith(("ours", "not"))], [], "second look")
            equal([lacks(*pair) for pair in zip(wanted, map(in_force, shown))], [None, None], "not in force")
            for path, name, before, after in zip(files, clean, damaged, mended):
                equal(lacks(foreign(before, clean[name]), after.split("\n")), None, f"a line of the operator's in {name}")
                equal(patched(before, preview, path), after, f"{name} and what the preview said")
            equal(undone, damaged if repairs else mended, "after --undo")
        except (AssertionError, ValueError, subprocess.CalledProcessError) as err:
            wrong.append(f"host {number}: {err}")
    sh(f"rm {UNITS}/{UNIT}.d/mine.conf; {USER} daemon-reload; openclaw gateway restart")
    equal(wrong, [], "damaged hosts")
    with network():
        knock()
    return f"{HOSTS} damaged hosts mended, {forced} of them with --force, {restarts} with a restart"
