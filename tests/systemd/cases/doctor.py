"""doctor on hosts that are really broken, and on one that is not.

Every check of the table in docs/doctor.md is made to fire here by a real
breakage, healed by its own repair or by what it says to do, and seen quiet.
What only macOS has is broken in src/doctor/tests.
"""

import itertools
import json
import re
import shlex

from machine import (
    CONFIG, HERE, SOCKET, UNIT, UNITS, case, contains, drop_in, equal, installed, knock, lab, main_pid, network,
    refused, serving, sh, shown, write_config, write_file
)

HEALTHY = {
    "gateway": {"mode": "local", "port": 18789, "auth": {"mode": "token", "token": "t-1"}},
    "agents": {"defaults": {"model": {"primary": "openai/gpt-5.2"}}},
}
STATE = "~/.openclaw"
SESSIONS = f"{STATE}/agents/main/sessions"
COMPLETION = "~/.local/share/bash-completion/completions/openclaw"
# Modes that only look, in turn.
LOOKS = ("", "--non-interactive", "--json", "--lint", "--dry-run", "--dry-run --force")
USER = "systemctl --user"
NO_MANAGER = "env -u DBUS_SESSION_BUS_ADDRESS XDG_RUNTIME_DIR=/nowhere"
# As if systemd had not booted this machine.
NO_SYSTEMD = """unshare -m sh -c 'mount -t tmpfs none /run; exec "$@"' sh"""
# The host's files without what the gateway itself writes.
PICTURE = ("find /home/claw /etc /usr/local /opt /var/lib/systemd/linger -path '*/logs' -prune -o -name .watchdog -o "
           "-type d -printf '%p %m %u\\n' -o -printf '%p %m %u %s %T@ %C@ %l\\n' 2>/dev/null | sort")
MARK = "@@@ next @@@"


class Root(str):
    """A script for root."""


def run(script):
    return sh(script, root=isinstance(script, Root))


def config(**changes):
    """A script that writes the healthy configuration with sections replaced."""
    text = json.dumps({**HEALTHY, **changes})
    return f"printf %s {shlex.quote(text)} > {CONFIG}"


def gateway(**changes):
    return config(gateway={**HEALTHY["gateway"], **changes})


def unit(expression, name=UNIT):
    return f"sed -i {shlex.quote(expression)} {UNITS}/{name}; {USER} daemon-reload"


def beside(name, text, unit=UNIT, reload=True):
    """A script that writes a drop-in."""
    return (f"mkdir -p {UNITS}/{unit}.d; printf {shlex.quote(text)} > {UNITS}/{unit}.d/{name}.conf"
            + (f"; {USER} daemon-reload" if reload else ""))


def without(name, unit=UNIT):
    return f"rm {UNITS}/{unit}.d/{name}.conf; {USER} daemon-reload"


# Until somebody listens on the port, or nobody does.
LISTENS = "for i in $(seq 1800); do ss -ltnH 'sport = :18789' | grep -q . && break; sleep 0.05; done"
HOLD = ('import socket, time; s = socket.socket(); s.setsockopt(1, 2, 1); s.bind(("127.0.0.1", 18789)); s.listen(); time.sleep(6000)')
HOLDER = f"openclaw gateway stop; systemd-run --user -q --unit holder python3 -c {shlex.quote(HOLD)}; {LISTENS}"
QUICK = "[Service]\nWatchdogSec=3\nRestartSec=100ms\n"
# Until another process than $old serves.
REPLACED = (f"for i in $(seq 1800); do now=$({USER} show -P MainPID {UNIT}); test $now != 0 && test $now != $old && "
            f"test $({USER} show -P ActiveState {UNIT}) = active && break; sleep 0.05; done")

# Until the gateway has looked at the file, and has found it in order.
LOOKED = "for i in $(seq 900); do openclaw doctor --json --only config-standing | grep -q '\"findings\": \\[\\]' {0} break; sleep 0.1; done"
REFUSED, ACCEPTED = LOOKED.format("||"), LOOKED.format("&&")

FIX = "openclaw doctor --fix --json --only {check}"
FORCE = FIX + " --force"
RESTORE = config()

# Check, what breaks the host, a part of what is said, what heals it; and the
# environment or the words of a doctor that sees it.
FILES = (
    ("config-validity", config(bogus=1), "Unrecognized key", FIX),
    ("config-validity", f"printf '{{\"gateway\": {{' > {CONFIG}", "JSON5 parse failed", RESTORE),
    ("config-legacy-keys", gateway(bind="127.0.0.1"), "old spelling", FIX),
    ("config-location", "mkdir ~/.clawdbot; echo '{}' > ~/.clawdbot/clawdbot.json", "second state directory", "rm -r ~/.clawdbot"),
    ("config-inert", config(browser={"enabled": True}), "browser is accepted", RESTORE),
    ("gateway-config", config(gateway={"port": 18789}), "gateway.mode is unset", RESTORE),
    ("gateway-auth", config(gateway={"mode": "local"}), "missing a token", FIX),
    ("token-drift", f"echo OPENCLAW_GATEWAY_TOKEN=other >> {STATE}/.env", "in .env", f"sed -i /GATEWAY/d {STATE}/.env"),
    ("token-drift", "", "of this shell", "", "OPENCLAW_GATEWAY_TOKEN=other"),
    ("secret-refs", gateway(auth={"mode": "token", "token": {"source": "env", "provider": "default", "id": "NOPE_TOKEN"}}),
     "NOPE_TOKEN", f"echo NOPE_TOKEN=t-1 >> {STATE}/.env"),
    ("state-integrity", f"chmod 755 {STATE}", "too open", FIX),
    ("state-integrity", f"rm -r {SESSIONS}", "Session store dir missing", FIX),
    ("state-integrity", f"mv {STATE} ~/aside", "state directory missing", f"mv ~/aside {STATE}"),
    ("private-files", f"chmod 644 {CONFIG}", "Recommend chmod 600", FIX),
    ("state-files", f"echo '{{' > {STATE}/exec-approvals.json; chmod 600 {STATE}/exec-approvals.json", "not valid JSON",
     f"mv {STATE}/exec-approvals.json ~/broken"),
    ("config-backups", f"cp -p {CONFIG} {CONFIG}.bak", "holds secrets", FIX),
    ("session-transcripts", f"echo '{{' > {SESSIONS}/sessions.json", "session index", f"rm {SESSIONS}/sessions.json"),
    ("session-transcripts", f"echo '{{}}' > {SESSIONS}/sessions.json; echo '{{}}' > {SESSIONS}/left.jsonl", "that no session names",
     f"rm {SESSIONS}/*"),
    ("session-locks", f"echo '{{\"pid\": 99999999}}' > {SESSIONS}/s1.jsonl.lock", "process 99999999 is gone", FIX),
    ("disk-space", Root("mount -t tmpfs -o size=8m,uid=$(id -u claw),mode=700 small /home/claw/.openclaw"), "MiB are free",
     Root("umount /home/claw/.openclaw")),
    ("clock", config(meta={"lastTouchedAt": "2099-01-01T00:00:00.000Z"}), "behind what was written", RESTORE),
    ("security", gateway(bind="lan", auth={"mode": "none"}), "without authentication", RESTORE),
    ("channel-credentials", config(channels={"telegram": {"enabled": True}}), "telegram is enabled without botToken", RESTORE),
    ("auth-profiles", f"sed -i /OPENAI/d {STATE}/.env", "agent main, model openai/gpt-5.2", f"echo OPENAI_API_KEY=sk-1 >> {STATE}/.env"),
    ("workspace-status", f"touch {STATE}/workspace", "is not a directory", f"rm {STATE}/workspace"),
    ("workspace-suggestions", f"mkdir {STATE}/workspace", "not under version control", f"mkdir {STATE}/workspace/.git"),
    ("shell-completion", f"rm {COMPLETION}", "completion for bash is not installed", f"openclaw completion --shell bash > {COMPLETION}"),
)
UNIT_FILES = (
    ("service-manager", "", "XDG_RUNTIME_DIR is not set", "", "env -u XDG_RUNTIME_DIR -u DBUS_SESSION_BUS_ADDRESS"),
    ("service-manager", "", "systemctl --user unavailable", "", NO_MANAGER),
    ("service-manager", "", "WSL runs without systemd", "", Root(f"{NO_SYSTEMD} env WSL_DISTRO_NAME=Debian")),
    ("service-manager", Root("touch /.dockerenv"), "this container has no service manager", Root("rm /.dockerenv"), Root(NO_SYSTEMD)),
    ("service-manager", "", "called through sudo", "", Root("env SUDO_USER=claw")),
    ("service-duplicates",
     Root(f"sed 's/default.target/multi-user.target/; s/18789/18790/' {UNITS}/{UNIT} > /etc/systemd/system/{UNIT}; "
          f"sed 's/18789/18790/' {UNITS}/{SOCKET} > /etc/systemd/system/{SOCKET}; systemctl daemon-reload; systemctl enable {UNIT}"),
     "installed twice", Root(f"systemctl disable --now {SOCKET} {UNIT}")),
    ("gateway-services", f"printf '[Service]\\nExecStart=/bin/sleep 1000 clawdbot gateway\\n[Install]\\nWantedBy=default.target\\n' > "
     f"{UNITS}/clawdbot-gateway.service; {USER} daemon-reload; {USER} enable --now clawdbot-gateway", "of an older release", FIX),
    ("gateway-services", f"printf '[Service]\\nExecStart=/bin/sleep 1000 openclaw gateway\\n' > {UNITS}/mybot.service",
     "mybot.service (user, unit: ", f"{USER} disable --now mybot.service; rm {UNITS}/mybot.service; {USER} daemon-reload"),
    ("gateway-services", Root("printf '[Service]\\nExecStart=/bin/sleep 1000 openclaw gateway\\n' > /etc/systemd/system/mybot.service"),
     "mybot.service (system, unit: ", Root("rm /etc/systemd/system/mybot.service"), "", "--deep"),
    ("service-drift", unit("s/^RestartSec=5/RestartSec=30/"), 'ours changed: Service.RestartSec is "30", ours is "5"', FIX),
    ("service-drift", unit("/^WatchdogSec/d"), "ours missing: Service.WatchdogSec", FIX),
    ("service-drift", unit("s/^Backlog=.*/Backlog=5/", SOCKET), "ours changed: Socket.Backlog", FIX),
    ("service-drift", unit("s/^KillMode=/Nice=5\\nKillMode=/"), "operator addition: Service.Nice", unit("/^Nice/d")),
    ("service-drift", beside("mine", "[Service]\\nTimeoutStopSec=60\\n"), "operator override (respected): Service.TimeoutStopSec",
     without("mine")),
    ("service-drift", beside("mine", "[Service]\\nnonsense\\n"), "has no effect", without("mine")),
    ("service-command", unit("s/gateway run/gateway run --verbose/"), "Custom or unexpected service edits detected", FORCE),
    ("service-command", unit("s,^ExecStart=.*,ExecStart=/bin/sh -c 'exec sleep 1000',"), "does not include the gateway subcommand", FORCE),
    ("service-command", unit("s,^ExecStart=/usr/local/bin/openclaw,ExecStart=/opt/gone/openclaw,"), "which does not exist", FORCE),
    ("service-command", gateway(port=19999), "the service listens on port 18789, the configuration says 19999", RESTORE),
    ("socket-unit", f"{USER} disable {SOCKET}", "is not enabled", FIX),
    ("socket-unit", f"{USER} stop {SOCKET} {UNIT}; rm {UNITS}/{SOCKET}; sed -i /{SOCKET}/d {UNITS}/{UNIT}; {USER} daemon-reload; "
     f"{USER} start {UNIT}", "is not installed", FIX),
    ("socket-unit", beside("mine", "[Socket]\\nListenStream=\\nListenStream=127.0.0.1:18788\\n", SOCKET), "127.0.0.1:18788 instead of",
     without("mine", SOCKET)),
    ("socket-unit", f"{HOLDER}; {USER} start {SOCKET}; true", "has failed (resources); the port is closed",
     f"{USER} stop holder; {FIX}"),
    ("service-reload", beside("mine", "[Service]\\nTimeoutStopSec=60\\n", reload=False), "not reloaded", FIX),
    ("service-reload", beside("mine", "[Service]\\nWatchdogSec=50\\n") + "; openclaw gateway restart; " + without("mine"),
     'Service.WatchdogSec is "60" on disk and "50s" for the manager', FIX),
    ("service-secrets", beside("mine", "[Service]\\nEnvironment=MY_TOKEN=canary-7\\n"), "a drop-in embeds secrets: MY_TOKEN", without("mine")),
    ("service-secrets", unit("s/^KillMode=/Environment=CANARY_API_KEY=canary-7\\nKillMode=/"), "embeds secrets: CANARY_API_KEY", FIX),
    ("unit-backups", f"printf '[Service]\\nEnvironment=A_TOKEN=canary-7\\n' > {UNITS}/{UNIT}.bak", "holds secrets", FIX),
    ("service-files", f"chmod 666 {UNITS}/{UNIT}", "can be written by others", FIX),
    ("service-files", f"mkdir -p {UNITS}/graphical.target.wants; ln -s /nowhere/x.service {UNITS}/graphical.target.wants/{UNIT}",
     "enables a unit that is gone", FIX),
    ("systemd-linger", Root("loginctl disable-linger claw"), "Lingering is off", FIX),
)
PROCESSES = (
    ("start-limit", beside("mine", "[Unit]\\nStartLimitBurst=2\\nStartLimitIntervalSec=600\\n")
     + f"; for i in 1 2 3 4; do {USER} restart {UNIT}; done; true", "started too often", FIX),
    ("watchdog", without("mine") + "; " + beside("mine", QUICK.replace("\n", "\\n"))
     + f"; openclaw gateway restart; old=$({USER} show -P MainPID {UNIT}); kill -STOP $old; {REPLACED}",
     "the watchdog replaced a hung gateway", "openclaw gateway stop; openclaw gateway start"),
    ("unclean-boots", f"old=$({USER} show -P MainPID {UNIT}); kill -KILL $old; {REPLACED}", "did not end in order",
     f"openclaw gateway stop; rm {STATE}/boots.json; {without('mine')}; openclaw gateway start"),
    ("gateway-daemon", "openclaw gateway stop", "does not run", FIX),
    ("gateway-daemon", f"{USER} disable {UNIT}", "is not enabled", FIX),
    ("gateway-daemon", unit(f"s/^Also=.*/Also={SOCKET}Nice=5/"), f"Also={SOCKET}Nice=5 is no name of a unit", unit(f"s/^Also=.*/Also={SOCKET}/")),
    ("gateway-daemon", "openclaw gateway uninstall", "not installed", FIX),
    ("gateway-daemon", f"openclaw gateway stop; mv {UNITS}/{UNIT} ~/aside; {USER} mask {UNIT}", "is masked",
     f"{USER} unmask {UNIT}; mv ~/aside {UNITS}/{UNIT}; {USER} daemon-reload; {USER} enable {UNIT}; openclaw gateway start"),
    ("config-standing", f"printf '{{\"gateway\": {{' > {CONFIG}; {REFUSED}", "the configuration before it stays in force",
     f"{RESTORE}; {ACCEPTED}"),
    ("stale-program", Root("cd /usr/local/bin && cp openclaw .new && mv .new openclaw"), "was replaced", FIX),
    ("gateway-port", HOLDER, "held by another program", f"{USER} stop holder; openclaw gateway start"),
    ("listener-owner", f"openclaw gateway stop; systemd-run --user -q --unit beside openclaw gateway run --port 18789; {LISTENS}",
     "belongs to beside.service", f"{USER} stop beside; openclaw gateway start"),
    ("gateway-health", f"openclaw gateway stop; systemd-run --user -q --unit beside openclaw gateway run --port 18789 --token other; {LISTENS}",
     "refuses this host's client", f"{USER} stop beside; openclaw gateway start"),
    ("gateway-health", HOLDER, "does not answer as a gateway", f"{USER} stop holder; openclaw gateway start"),
    ("gateway-health", config(gateway={"port": 18789}) + "; openclaw gateway restart; true", "cannot serve",
     f"{RESTORE}; for i in $(seq 900); do openclaw gateway status --require-rpc >/dev/null && break; sleep 0.1; done"),
)


def ready():
    """A host that nothing is wrong with."""
    installed()
    write_config(json.dumps(HEALTHY))
    sh(f"rm -rf {STATE}/workspace {CONFIG}.bak* {STATE}/boots.json; mkdir -p {SESSIONS} $(dirname {COMPLETION}); touch {COMPLETION}; "
       f"(umask 077; echo OPENAI_API_KEY=sk-1 > {STATE}/.env); chmod 700 {STATE}; chmod 600 {CONFIG}; "
       "openclaw gateway restart; loginctl enable-linger")


def findings(words="", env=""):
    """What the doctor finds, notes included."""
    script = f"{env} openclaw doctor --json --severity-min info {words}"
    return json.loads(run(Root(script) if isinstance(env, Root) else script))["findings"]


def quiet(words=""):
    equal(findings(words), [], f"findings {words}")


def fix(words=""):
    repairs = json.loads(sh(f"openclaw doctor --fix --json {words}")).get("repairs", [])
    equal([one for one in repairs if one["status"] == "failed"], [], "failed repairs")
    return repairs


def unit_text(name=UNIT):
    return sh(f"cat {UNITS}/{name}")


def looks_at(check, env, words, mode):
    """A script that runs the doctor in a mode that only looks, and says what that changed.

    What the gateway writes by itself at that moment it does not write three times.
    """
    return type(env)(f"for i in 1 2 3; do before=$({PICTURE}); {env} openclaw doctor --only {check} {words} {mode} >/dev/null; "
                     f"left=$(diff <(echo \"$before\") <({PICTURE})) && break; done; printf %s \"$left\"")


def outputs(scripts):
    """Runs scripts one after the other, neighbours of one user together; what each printed."""
    texts, at = [], 0
    while at < len(scripts):
        kind = type(scripts[at])
        some = [script for script in itertools.takewhile(lambda script: type(script) is kind, scripts[at:])]
        text = run(kind(f"\necho; echo '{MARK}'\n".join(script or "true" for script in some)))
        texts += text.split(f"\n{MARK}\n")
        at += len(some)
    return texts


def try_all(rows, tidy):
    """Breaks the host row by row; each breakage is found, healed and not found any more."""
    wrong = []
    for number, (check, spoil, says, heal, *more) in enumerate(rows):
        env, words = (*more, "", "")[:2]
        ask = f"openclaw doctor --json --severity-min info --only {check} {words}"
        mode = LOOKS[number % len(LOOKS)]
        heal = type(heal)(heal.replace("{check}", check))
        try:
            _, found, changed, healed, left, _ = outputs(
                [spoil, type(env)(f"{env} {ask}"), looks_at(check, env, words, mode), heal, ask, tidy])
            contains("\n".join(one["message"] for one in json.loads(found)["findings"]), says)
            equal(changed, "", f"what doctor {mode} changed")
            if "--fix" in heal:
                repairs = json.loads(healed[healed.index("{\n"):]).get("repairs", [])
                equal({one["status"] for one in repairs}, {"repaired"}, f"repairs {repairs}")
            equal(json.loads(left)["findings"], [], "findings of the mended host")
        except (AssertionError, ValueError) as err:
            wrong.append(f"{check} ({says}): {err}")
    equal(wrong, [], "breakages")


@case(guarantee=13)
def doctor_finds_nothing_on_a_healthy_host_and_is_quick():
    ready()
    quiet()
    equal(sh("openclaw doctor --lint --severity-min info").split(", ")[1].strip(), "0 finding(s)", "lint")
    times = sh("TIMEFORMAT='%R %U %S'; for i in 1 2 3 4 5; do { time openclaw doctor >/dev/null; } 2>&1; done")
    best, user, system = min([float(part) for part in line.split()] for line in times.splitlines())
    checks = json.loads(sh("openclaw doctor --json"))["checksRun"]
    return f"{checks} checks take {best * 1000:.0f} ms, {(user + system) * 1000:.0f} ms of them on a processor"


@case(guarantee=13)
def every_check_fires_on_a_broken_host_and_is_quiet_on_a_mended_one():
    page = (HERE.parent.parent / "docs/doctor.md").read_text()
    known = set(re.findall(r"^\*\*`core/doctor/([a-z-]+)`\*\* \((?!on macOS)", page, re.M))
    equal({row[0] for row in FILES + UNIT_FILES + PROCESSES}, known, "checks with a breakage")
    ready()
    # A running gateway would take some of these configurations up.
    sh("openclaw gateway stop")
    try_all(FILES, f"{RESTORE}; chmod 600 {CONFIG}; rm -f {CONFIG}.bak*; sed -i /NOPE/d {STATE}/.env")
    sh(f"rm -rf {STATE}/workspace; openclaw gateway start")
    try_all(UNIT_FILES, f"rm -rf {UNITS}/*.d {UNITS}/*.bak*; sed -i /CANARY/d {STATE}/.env; {USER} daemon-reload")
    sh(f"rm -f /etc/systemd/system/{UNIT} /etc/systemd/system/{SOCKET}; systemctl daemon-reload", root=True)
    try_all(PROCESSES, "")
    quiet()
    return f"{len(FILES + UNIT_FILES + PROCESSES)} breakages of {len(known)} checks"


@case(guarantee=14)
def doctor_restores_keys_keeps_additions_and_restarts_only_when_needed():
    ready()
    sh(unit("s/^RestartSec=5/RestartSec=30/; s/^KillMode=mixed/# mine\\nNice=5\\nKillMode=process/"))
    drop_in("mine", "[Service]\nTimeoutStopSec=60\n")
    before, pid = unit_text(), main_pid()
    diff = sh("openclaw doctor --dry-run --only service-drift")
    contains(diff, "-RestartSec=30\n+RestartSec=5")
    equal(unit_text(), before, "unit after --dry-run")
    fix()
    after = unit_text()
    contains(after, "# mine\nNice=5\nKillMode=mixed")
    equal(main_pid(), pid, "pid after a repair that needs no restart")
    equal(shown(UNIT, "NeedDaemonReload", "RestartUSec", "TimeoutStopUSec"),
          {"NeedDaemonReload": "no", "RestartUSec": "5s", "TimeoutStopUSec": "1min"}, "in force")
    equal(fix(), [], "second run")
    write_file("/tmp/diff", diff.split("# then")[0])
    write_file("/tmp/before", before)
    equal(sh("cd /tmp && patch -s -o after before < diff; cat after"), after, "what the preview said")
    sh("openclaw doctor --undo")
    equal(unit_text(), before, "after --undo")
    sh(unit("s/^WatchdogSec=60/WatchdogSec=50/"))
    fix()
    if main_pid() == pid:
        raise AssertionError("the watchdog's time needs a restart")


@case(guarantee=9)
def doctor_leaves_no_secret_in_sight():
    ready()
    sh(unit("s/^KillMode=/Environment=CANARY_API_KEY=canary-7\\nKillMode=/") + f"; cp {UNITS}/{UNIT} {UNITS}/{UNIT}.bak")
    for mode in LOOKS:
        if "canary-7" in sh(f"openclaw doctor {mode} 2>&1", check=False).stdout:
            raise AssertionError(f"doctor {mode} shows a secret")
    fix()
    contains(sh(f"cat {STATE}/.env"), "CANARY_API_KEY='canary-7'")
    equal(sh(f"stat -c %a {STATE}/.env").strip(), "600", "permissions")
    equal(sh(f"grep -rl canary-7 {UNITS}; {USER} show {UNIT} | grep -c canary-7", check=False).stdout.strip(), "0", "left")
    with network():
        knock()


@case()
def doctor_only_reads_and_talks_to_nobody_but_this_hosts_gateway():
    ready()
    sh(f"chmod 755 {STATE}; " + unit("s/^RestartSec=5/RestartSec=30/"))
    calls = "open,openat,creat,connect,sendto,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,chmod,fchmodat,truncate,symlink,symlinkat,link,linkat"
    for mode in LOOKS:
        text = sh(f"strace -f -qq -e trace={calls} -e signal=none -o /tmp/calls openclaw doctor --deep {mode} >/dev/null; cat /tmp/calls; rm /tmp/calls")
        contains(text, "openat(")
        for line in text.splitlines():
            changes = not re.search(r" (open|openat|connect|sendto)\(", line) and "(" in line and "resumed" not in line
            writes = re.search(r"O_WRONLY|O_RDWR|O_CREAT", line) and not re.search(r'"/dev/|"/proc/self|"/tmp/calls', line)
            far = "AF_INET" in line and not re.search(r'htons\((18789|0)\).*("127\.0\.0\.1"|"::1")', line)
            if changes or writes or far:
                raise AssertionError(f"doctor {mode}: {line}")
    sh(f"chmod 700 {STATE}; " + unit("s/^RestartSec=30/RestartSec=5/"))


TERMINAL = r"""
import os, pty, re, select, sys, time
answers, words = sys.argv[1].split(","), sys.argv[2:]
pid, terminal = pty.fork()
if pid == 0:
    os.execvp("openclaw", ["openclaw", "doctor", *words])
said, asked, end = b"", 0, time.monotonic() + 240
while time.monotonic() < end:
    if not select.select([terminal], [], [], 1)[0]:
        continue
    try:
        more = os.read(terminal, 65536)
    except OSError:
        break
    if not more:
        break
    said += more
    while len(re.findall(rb"\? \[(?:Y/n|y/N)\] ", said)) > asked:
        answer = answers[min(asked, len(answers) - 1)]
        os.write(terminal, {"^C": b"\x03", "^D": b"\x04"}.get(answer, answer.encode() + b"\n"))
        asked += 1
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print(said.decode(errors="replace"))
print("asked", asked, "status", status)
"""


def on_terminal(answers, *words):
    """The doctor on a terminal, its questions answered in turn; what it said, how often it asked, its status."""
    text = sh(shlex.join(["python3", "/opt/terminal.py", answers, *words]))
    said, asked, status = re.search(r"(.*)\nasked (\d+) status (-?\d+)\n$", text, re.S).groups()
    return said, int(asked), int(status)


@case()
def doctor_asks_on_a_terminal_and_only_there():
    ready()
    write_file("/opt/terminal.py", TERMINAL, root=True)
    hurt = f"chmod 755 {STATE}; " + unit("s/^RestartSec=5/RestartSec=30/; s/gateway run --port/gateway run --verbose --port/")
    hurts = {"drift": ("grep -c RestartSec=30", "1"), "command": ("grep -c verbose", "1")}

    def left():
        found = {name for name, (grep, _) in hurts.items() if sh(f"{grep} {UNITS}/{UNIT} || true").strip() != "0"}
        return found | ({"mode"} if sh(f"stat -c %a {STATE}").strip() == "755" else set())

    sh(hurt)
    everything = {"drift", "command", "mode"}
    # Nobody is asked without a terminal, and not where that was said.
    for words in (("--non-interactive",), ("--lint",), ("--json",), ("--dry-run",), ("--non-interactive", "--force")):
        said, asked, _ = on_terminal("y", *words)
        equal((asked, left()), (0, everything), f"doctor {words} on a terminal")
    contains(sh("yes | openclaw doctor"), "Doctor complete.")
    contains(sh("openclaw doctor --force </dev/null"), "Doctor complete.")
    equal(left(), everything, "without a terminal")
    # An empty answer takes the usual: no to what replaces edits, yes to the rest.
    said, asked, status = on_terminal("^D")
    equal((left(), status), (everything, 0), "an end of input")
    said, asked, status = on_terminal("^C")
    equal((left(), asked, status), (everything, 1, -2), "an interrupt")
    said, asked, status = on_terminal("n")
    equal((left(), asked, status), (everything, 3, 0), "no to all")
    contains(said, "replacing what was edited by hand? [y/N]")
    contains(said, "Set the permissions of ~/.openclaw to 0700? [Y/n]")
    contains(said, "Checking gateway-health…")
    said, asked, status = on_terminal("n,n,y")
    equal((len(left()), asked, status), (2, 3, 0), "yes to the last")
    contains(said, "repaired: ")
    sh("openclaw doctor --undo")
    equal(left(), everything, "after --undo")
    said, asked, status = on_terminal("")
    equal((left(), asked, status), ({"command"}, 3, 0), "empty answers")
    said, asked, status = on_terminal("", "--force")
    equal((left(), asked, status), (set(), 1, 0), "empty answers with --force")
    # Words instead of answers.
    for words, stays in ((("--yes",), {"command"}), (("--repair",), {"command"}), (("--fix", "--non-interactive"), {"command"}),
                         (("--fix", "--force"), set())):
        sh(hurt)
        said, asked, status = on_terminal("n", *words)
        equal((left(), asked, status), (stays, 0, 0), f"doctor {words} on a terminal")
        sh(unit("s/ --verbose//"))
    quiet("--only service-command --only service-drift --only state-integrity")


@case()
def doctor_during_an_update_leaves_the_service_to_it():
    ready()
    sh("openclaw gateway stop")
    for variable in ("OPENCLAW_UPDATE_IN_PROGRESS=1", "OPENCLAW_SERVICE_REPAIR_POLICY=external"):
        done = sh(f"{variable} openclaw doctor --fix --only gateway-daemon 2>&1")
        contains(done, "left to do: start the gateway")
        with network():
            equal(refused(), True, f"{variable}: stopped")
    fix("--only gateway-daemon")
    with network():
        serving()


@case()
def doctor_works_where_nothing_else_does():
    ready()
    words = ["exec", "--no-session", "--", "env", "-u", "XDG_RUNTIME_DIR", "-u", "DBUS_SESSION_BUS_ADDRESS"]
    plain = lab(*words, "openclaw", "doctor", "--json", "--severity-min", "info", "--only", "service-manager")
    contains(plain.stdout, "XDG_RUNTIME_DIR is not set")
    none = lab(*words, "XDG_RUNTIME_DIR=/nowhere", "openclaw", "doctor")
    contains(none.stdout, "systemctl --user unavailable")
    contains(none.stdout, "Doctor complete.")
    contains(sh(f"printf '{{' > {CONFIG}; openclaw doctor"), "JSON5 parse failed")
