"""doctor on hosts that are really broken, and on one that is not.

Each case breaks the host, sees the check fire, and sees it quiet again.
"""

import json
import random
import time

from machine import (
    SOCKET, UNIT, UNITS, case, contains, equal, fresh, installed, knock, lab, main_pid, network,
    refused, sh, shown, until, write_config, write_file
)

SERVICE_CHECKS = (
    "service-manager service-duplicates gateway-services service-drift service-command socket-unit "
    "service-reload service-secrets unit-backups service-files systemd-linger start-limit watchdog "
    "gateway-daemon stale-program gateway-port listener-owner gateway-health gateway-auth token-drift"
).split()


def ready():
    """A host that nothing is wrong with."""
    installed()
    write_config('{"gateway": {"mode": "local", "port": 18789, "auth": {"mode": "token", "token": "t-1"}}}')
    sh("chmod 700 ~/.openclaw; chmod 600 ~/.openclaw/openclaw.json; mkdir -p ~/.openclaw/agents/main/sessions; "
       "rm -f ~/.openclaw/.env; openclaw gateway restart")


def findings(*only, words="", root=False):
    ids = " ".join(f"--only {one}" for one in only or SERVICE_CHECKS)
    report = json.loads(sh(f"openclaw doctor --json --severity-min info {ids} {words}", root=root))
    return report["findings"]


def fires(check, part, words=""):
    texts = [one["message"] for one in findings(check, words=words)]
    contains("\n".join(texts), part)


def quiet(*checks):
    equal(findings(*checks), [], f"findings of {', '.join(checks) or 'all'}")


def fix(words=""):
    ids = " ".join(f"--only {one}" for one in SERVICE_CHECKS)
    report = json.loads(sh(f"openclaw doctor --fix --json {ids} {words}"))
    bad = [one for one in report.get("repairs", []) if one["status"] == "failed"]
    equal(bad, [], "failed repairs")
    return report.get("repairs", [])


def unit_text(name=UNIT):
    return sh(f"cat {UNITS}/{name}")


def edit(expression, name=UNIT, reload=True):
    sh(f"sed -i {expression!r} {UNITS}/{name}" + ("; systemctl --user daemon-reload" if reload else ""))


@case(guarantee=13)
def doctor_finds_nothing_on_a_healthy_host_and_is_quick():
    ready()
    quiet()
    equal(sh("openclaw doctor --lint " + " ".join(f"--only {one}" for one in SERVICE_CHECKS)
             + " >/dev/null; echo $?").strip(), "0", "status")
    times = sh("TIMEFORMAT=%R; for i in 1 2 3 4 5; do { time openclaw doctor >/dev/null; } 2>&1; done")
    best = min(float(one) for one in times.split())
    return f"doctor takes {best * 1000:.0f} ms"


@case(guarantee=14)
def doctor_restores_keys_keeps_additions_and_restarts_only_when_needed():
    ready()
    edit("s/^RestartSec=5/RestartSec=30/; s/^KillMode=mixed/# mine\\nNice=5\\nKillMode=process/")
    sh(f"mkdir -p {UNITS}/{UNIT}.d; printf '[Service]\\nTimeoutStopSec=60\\n' > {UNITS}/{UNIT}.d/50-mine.conf; "
       "systemctl --user daemon-reload")
    fires("service-drift", 'ours changed: Service.RestartSec is "30", ours is "5"')
    fires("service-drift", "operator addition: Service.Nice")
    fires("service-drift", "operator override (respected): Service.TimeoutStopSec")
    before, pid = unit_text(), main_pid()
    diff = sh("openclaw doctor --dry-run --only service-drift")
    contains(diff, "-RestartSec=30\n+RestartSec=5")
    equal(unit_text(), before, "unit after --dry-run")
    fix()
    after = unit_text()
    contains(after, "# mine\nNice=5\nKillMode=mixed")
    equal(main_pid(), pid, "pid after a repair that needs no restart")
    equal(shown(UNIT, "NeedDaemonReload", "RestartUSec"), {"NeedDaemonReload": "no", "RestartUSec": "5s"}, "in force")
    equal(fix(), [], "second run")
    write_file("/tmp/diff", diff.split("# then")[0])
    write_file("/tmp/before", before)
    equal(sh("cd /tmp && patch -s -o after before < diff; cat after"), after, "what the preview said")
    sh("openclaw doctor --undo")
    equal(unit_text(), before, "after --undo")
    edit("s/^WatchdogSec=60/WatchdogSec=50/")
    fix()
    if main_pid() == pid:
        raise AssertionError("the watchdog's time needs a restart")


@case(guarantee=14)
def doctor_mends_generated_damage():
    ready()
    clean = {name: unit_text(name) for name in (UNIT, SOCKET)}
    chance = random.Random(20260402)
    for _ in range(8):
        for name, text in clean.items():
            lines = text.splitlines()
            for _ in range(chance.randint(1, 4)):
                at = chance.randrange(1, len(lines))
                if "ExecStart" in lines[at] or lines[at].startswith("["):
                    continue
                kind = chance.choice(["drop", "value", "insert"])
                if kind == "drop":
                    del lines[at]
                elif kind == "value" and "=" in lines[at]:
                    lines[at] = lines[at].split("=")[0] + "=" + chance.choice(["", "no", "x y", "\"open"])
                else:
                    lines.insert(at, chance.choice(["# mine", "X-Mine=1", "Documentation=man:mine(1)"]))
            write_file(f"{UNITS}/{name}", "\n".join(lines) + "\n")
        damaged = {name: unit_text(name) for name in clean}
        sh("systemctl --user daemon-reload")
        fix()
        left = [one for one in findings("service-drift", "service-reload") if one["message"].startswith(("ours", "not"))]
        equal(left, [], "second look")
        equal(shown(UNIT, "ActiveState", "NeedDaemonReload"), {"ActiveState": "active", "NeedDaemonReload": "no"}, "service")
        if damaged != {name: unit_text(name) for name in clean}:
            sh("openclaw doctor --undo")
            equal({name: unit_text(name) for name in clean}, damaged, "after --undo")
        for name, text in clean.items():
            write_file(f"{UNITS}/{name}", text)
        sh("systemctl --user daemon-reload; openclaw gateway restart")
    return "8 damaged hosts"


@case(guarantee=11)
def doctor_leaves_hand_edited_commands_to_force():
    ready()
    edit("s/gateway run/gateway run --verbose/")
    fires("service-command", "Custom or unexpected service edits detected")
    fix()
    contains(unit_text(), "gateway run --verbose")
    fix("--force")
    quiet("service-command", "service-drift", "service-reload")
    edit("s,^ExecStart=.*,ExecStart=/bin/sh -c 'exec sleep 1000',")
    fires("service-command", "does not include the gateway subcommand")
    fix("--force")
    with network():
        knock(5)


@case()
def doctor_knows_units_that_were_not_reloaded():
    ready()
    edit("s/^TimeoutStopSec=330/TimeoutStopSec=300/", reload=False)
    fires("service-reload", "not reloaded: Service.TimeoutStopSec")
    sh("systemctl --user daemon-reload")
    quiet("service-reload")


@case()
def doctor_brings_the_socket_unit_back():
    ready()
    sh(f"systemctl --user disable {SOCKET}")
    fires("socket-unit", "is not enabled")
    fix()
    quiet("socket-unit")
    sh(f"systemctl --user stop {SOCKET} {UNIT}; rm {UNITS}/{SOCKET}; "
       f"sed -i '/{SOCKET}/d' {UNITS}/{UNIT}; systemctl --user daemon-reload; systemctl --user start {UNIT}")
    fires("socket-unit", "is not installed")
    fix()
    quiet("socket-unit", "service-drift")
    equal(shown(SOCKET, "ActiveState")["ActiveState"], "active", "socket")
    write_file(f"{UNITS}/{SOCKET}.d/50-mine.conf", "[Socket]\nListenStream=\nListenStream=127.0.0.1:18788\n")
    sh("systemctl --user daemon-reload")
    fires("socket-unit", "127.0.0.1:18788 instead of")
    sh(f"rm -r {UNITS}/{SOCKET}.d; systemctl --user daemon-reload")


@case(guarantee=15)
def doctor_sees_a_gateway_installed_twice():
    ready()
    sh(f"cp {UNITS}/{UNIT} /etc/systemd/system/{UNIT}; sed -i 's/default.target/multi-user.target/' /etc/systemd/system/{UNIT}; "
       "systemctl daemon-reload", root=True)
    fires("service-duplicates", "installed twice")
    advice = findings("service-duplicates")[0]["fixHint"]
    contains(advice, f"sudo systemctl disable --now {SOCKET} {UNIT}")
    sh(f"rm /etc/systemd/system/{UNIT}; systemctl daemon-reload", root=True)
    quiet("service-duplicates")


@case(guarantee=16)
def doctor_switches_lingering_on():
    ready()
    sh("loginctl disable-linger claw", root=True)
    fires("systemd-linger", "Lingering is off")
    fix()
    equal(sh("test -e /var/lib/systemd/linger/claw && echo yes").strip(), "yes", "linger")
    quiet("systemd-linger")


@case()
def doctor_clears_a_start_limit():
    ready()
    write_file(f"{UNITS}/{UNIT}.d/90-limit.conf", "[Unit]\nStartLimitBurst=3\nStartLimitIntervalSec=300\n")
    sh(f"systemctl --user daemon-reload; for i in 1 2 3 4 5 6; do systemctl --user restart {UNIT}; done", check=False)
    equal(shown(UNIT, "ActiveState")["ActiveState"], "failed", "latched")
    fires("start-limit", "has failed")
    fix()
    with network():
        knock(5)
    quiet("start-limit", "gateway-daemon")


@case()
def doctor_counts_restarts_of_the_watchdog():
    ready()
    write_file(f"{UNITS}/{UNIT}.d/90-watchdog.conf", "[Service]\nWatchdogSec=3\nRestartSec=100ms\n")
    sh("systemctl --user daemon-reload; openclaw gateway restart")
    before = main_pid()
    sh(f"kill -STOP {before}")
    with network():
        knock(20)
    fires("watchdog", "replaced a hung gateway")
    sh(f"rm {UNITS}/{UNIT}.d/90-watchdog.conf; systemctl --user daemon-reload; openclaw gateway stop; openclaw gateway start")
    quiet("watchdog")


@case()
def doctor_sees_a_gateway_beside_its_service_and_a_foreign_listener():
    ready()
    sh("openclaw gateway stop")
    sh("systemd-run --user -q --unit beside openclaw gateway run --port 18789")
    with network():
        until(lambda: not refused(), 20, "the gateway beside")
    fires("listener-owner", "belongs to beside.service")
    sh("systemctl --user stop beside")
    sh("systemd-run --user -q --unit holder python3 -c "
       "'import socket,time;s=socket.socket();s.setsockopt(1,2,1);s.bind((\"127.0.0.1\",18789));s.listen();time.sleep(60)'")
    with network():
        until(lambda: not refused(), 5, "the holder")
    fires("gateway-port", "held by another program")
    sh("systemctl --user stop holder; openclaw gateway start")
    quiet("listener-owner", "gateway-port", "gateway-health")


@case(guarantee=9)
def doctor_moves_secrets_out_of_the_unit():
    ready()
    edit("s/^\\[Install\\]/Environment=OPENAI_API_KEY=canary-7\\n\\n[Install]/")
    sh(f"sed -i '/^Environment=OPENAI/{{H;d}}' {UNITS}/{UNIT}; "
       f"sed -i 's/^KillMode=/Environment=OPENAI_API_KEY=canary-7\\nKillMode=/' {UNITS}/{UNIT}; "
       f"cp {UNITS}/{UNIT} {UNITS}/{UNIT}.bak; systemctl --user daemon-reload")
    fires("service-secrets", "embeds secrets: OPENAI_API_KEY")
    fires("unit-backups", "holds secrets")
    text = sh("openclaw doctor --dry-run")
    if "canary-7" in text:
        raise AssertionError("the preview shows a secret")
    fix()
    quiet("service-secrets", "unit-backups")
    contains(sh("cat ~/.openclaw/.env"), "OPENAI_API_KEY='canary-7'")
    equal(sh("stat -c %a ~/.openclaw/.env").strip(), "600", "permissions")
    equal(sh(f"grep -rl canary-7 {UNITS}; systemctl --user show {UNIT} | grep -c canary-7", check=False).stdout.strip(), "0", "left")


@case()
def doctor_works_without_a_bus_and_with_a_masked_unit():
    ready()
    words = ["exec", "--no-session", "--", "env", "-u", "XDG_RUNTIME_DIR", "-u", "DBUS_SESSION_BUS_ADDRESS"]
    plain = lab(*words, "openclaw", "doctor", "--json", "--severity-min", "info", "--only", "service-manager")
    contains(plain.stdout, "XDG_RUNTIME_DIR is not set")
    none = lab(*words, "XDG_RUNTIME_DIR=/nowhere", "openclaw", "doctor")
    contains(none.stdout, "systemctl --user unavailable")
    contains(none.stdout, "Doctor complete.")
    sh(f"openclaw gateway stop; rm {UNITS}/{UNIT}; systemctl --user mask {UNIT}")
    fires("gateway-daemon", "is masked")
    contains(sh("openclaw doctor --fix"), "Doctor complete.")
    sh(f"systemctl --user unmask {UNIT}")
    fresh()


@case()
def doctor_finds_old_services_dead_links_and_replaced_programs():
    ready()
    write_file(f"{UNITS}/clawdbot-gateway.service",
               "[Service]\nExecStart=/bin/sleep 1000 clawdbot gateway\n[Install]\nWantedBy=default.target\n")
    write_file(f"{UNITS}/mybot.service", "[Service]\nExecStart=/bin/sleep 1000 openclaw gateway\n")
    sh("systemctl --user daemon-reload; systemctl --user enable --now clawdbot-gateway")
    fires("gateway-services", "clawdbot-gateway.service")
    fires("gateway-services", "mybot.service")
    fix()
    equal(sh("systemctl --user is-active clawdbot-gateway", check=False).stdout.strip(), "inactive", "old service")
    sh(f"rm {UNITS}/mybot.service")
    quiet("gateway-services")
    sh(f"mkdir -p {UNITS}/graphical.target.wants; ln -s /nowhere/x.service {UNITS}/graphical.target.wants/{UNIT}")
    fires("service-files", "enables a unit that is gone")
    fix()
    quiet("service-files")
    sh("cp /usr/local/bin/openclaw /usr/local/bin/.new && mv /usr/local/bin/.new /usr/local/bin/openclaw", root=True)
    fires("stale-program", "was replaced")
    before = main_pid()
    fix()
    if main_pid() == before:
        raise AssertionError("the old program still runs")
    quiet("stale-program")


@case()
def doctor_installs_and_starts_the_service():
    fresh()
    write_config('{"gateway": {"mode": "local", "port": 18789, "auth": {"mode": "token", "token": "t-1"}}}')
    fires("gateway-daemon", "not installed")
    began = time.monotonic()
    fix()
    took = time.monotonic() - began
    with network():
        knock(2)
    quiet("gateway-daemon", "gateway-health")
    sh("openclaw gateway stop")
    fires("gateway-daemon", "does not run")
    fix()
    with network():
        knock(2)
    return f"installed in {took:.2f} s"
