"""The Debian package's whole life, on a machine that has never seen the gateway.

$OPENCLAW_DEB names the package; without it these cases are left out.
"""

import json
import os
import re
import subprocess

from cases.hosts import runs_a_tool
from machine import (
    CONFIG, GOOD, LAB, SOCKET, UNIT, UNITS, Client, Knocks, case, contains, equal, knock, lab, model_host, network, refused, sh,
    shown, until, write_config
)

APT = "apt-get -qy -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-unsafe-io --no-install-recommends"
# A busy host unpacks slowly; nothing here is about how fast that is.
PATIENCE = 900
DROP_INS = "/etc/systemd/system/openclaw-gateway.service.d"


def higher(version):
    """The same files as a package with another version, in the machine."""
    sh(f"cd /var/tmp && rm -rf higher && dpkg-deb -R openclaw.deb higher && "
       f"sed -i 's/^Version: .*/Version: {version}/' higher/DEBIAN/control && dpkg-deb -Znone -b higher higher.deb", root=True, timeout=PATIENCE)


def install():
    sh("systemctl --user disable --now openclaw-gateway.socket openclaw-gateway.service; rm -rf ~/.openclaw", check=False)
    lab("cp", os.environ["OPENCLAW_DEB"], "/var/tmp/openclaw.deb", "644")
    # The index of all manual pages is none of our business.
    sh("dpkg --purge openclaw; rm -rf /var/lib/openclaw /etc/openclaw /var/lib/man-db/auto-update " + DROP_INS,
       check=False, root=True, timeout=PATIENCE)
    sh(f"{APT} install /var/tmp/openclaw.deb", root=True, timeout=PATIENCE)


def runs_installed(system):
    """Whether the service's process runs the file that is installed now."""
    pid = shown(UNIT, "MainPID", system=system)["MainPID"]
    return pid != "0" and sh(f"test /proc/{pid}/exe -ef /usr/bin/openclaw", check=False, root=True).returncode == 0


def upgraded(version, system):
    """Upgrades while clients knock; what they saw."""
    higher(version)
    before = shown(UNIT, "MainPID", system=system)["MainPID"]
    knocks, rest = Knocks(config="/var/lib/openclaw/openclaw.json" if system else CONFIG), []
    apt = subprocess.Popen([LAB, "exec", "--root", "--", "bash", "-c", f"{APT} install /var/tmp/higher.deb"],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def more(n):
        if apt.poll() is not None and not rest:
            rest.append(n + 3 * knocks.rate)
        return not rest or n < rest[0]

    with network():
        knocks.run(more)
    equal((apt.returncode, sh("dpkg-query -W -f '${Version}' openclaw")), (0, version), apt.stdout.read())
    until(lambda: runs_installed(system), 90, "the new binary runs")
    if shown(UNIT, "MainPID", system=system)["MainPID"] == before:
        raise AssertionError("the upgrade did not restart the service")
    if knocks.refused or knocks.losses:
        raise AssertionError(f"{knocks}, for example {knocks.worst[:3]}")
    return str(knocks)


def removed(data):
    """Takes the package away in two steps; nothing runs, `data` stays."""
    before = sh(f"find {data} -type f -name '*.json' ! -name boots.json | sort | xargs sha256sum", root=True)
    sh(f"{APT} remove openclaw", root=True, timeout=PATIENCE)
    with network():
        equal(refused(), True, "connection refused after remove")
    equal(sh("ls -l /proc/[0-9]*/exe 2>/dev/null | grep -c '[/]openclaw' || true", root=True).strip(), "0", "processes left")
    sh(f"{APT} purge openclaw", root=True, timeout=PATIENCE)
    equal(sh(f"find {data} -type f -name '*.json' ! -name boots.json | sort | xargs sha256sum", root=True), before, "data")
    contains(before, "openclaw.json")
    left = sh("dpkg -L openclaw 2>/dev/null; find /usr /etc /lib -xdev -path '*openclaw*' -not -name 'openclaw-lab' 2>/dev/null || true", root=True)
    equal(left.strip(), "", "files left")


def complaints():
    """What the doctor finds and notes; nobody can guess a model's key."""
    report = json.loads(sh("openclaw doctor --json --severity-min info --skip auth-profiles"))
    return report["findings"]


@case(guarantee=16, binary=False)
def the_package_is_a_users_whole_installation():
    install()
    equal(sh("systemctl --user is-enabled openclaw-gateway.service openclaw-gateway.socket || true").split(), ["disabled"] * 2, "enabled")
    equal(sh("find /etc -name '*openclaw-gateway*'", root=True), "", "enabled for everybody")
    sh("systemctl --user enable --now openclaw-gateway.service")
    text = sh("openclaw gateway status")
    contains(text, "Runtime: running")
    contains(text, "RPC probe: ok")
    contains(text, "bind=loopback (127.0.0.1), port=18789")
    stored = json.loads(sh("cat ~/.openclaw/openclaw.json"))["gateway"]["auth"]
    equal((stored["mode"], len(stored["token"])), ("token", 48), "generated token")
    equal(sh("stat -c %a ~/.openclaw/openclaw.json ~/.openclaw").split(), ["600", "700"], "modes")
    sh("loginctl enable-linger")
    equal(complaints(), [], "the doctor's complaints after an installation without any configuration")
    lab("reboot")
    with network():
        until(lambda: knock(10), 90, "after a reboot without a login")
    seen = upgraded("9999:1", system=False)
    contains(sh("openclaw gateway status"), "RPC probe: ok")
    removed("/home/claw/.openclaw")
    return f"upgrade under 200 connects/s: {seen}"


@case(guarantee=16, binary=False)
def the_package_is_the_hosts_whole_installation():
    install()
    equal(sh("systemctl is-enabled openclaw-gateway.service openclaw-gateway.socket || true", root=True).split(), ["disabled"] * 2, "enabled")
    sh("systemctl enable --now openclaw-gateway.service openclaw-gateway@18791.service", root=True)
    with network():
        knock(5)
    pid = shown(UNIT, "MainPID", system=True)["MainPID"]
    equal(sh(f"ps -o user= -p {pid}").strip(), "openclaw", "account")
    equal(sh("stat -c '%a %U' /var/lib/openclaw /var/lib/openclaw/openclaw.json", root=True).split(),
          ["700", "openclaw", "600", "openclaw"], "modes")
    lab("reboot")
    with network():
        until(lambda: knock(10), 90, "after a reboot")
    instance = shown("openclaw-gateway@18791.service", "MainPID", system=True)["MainPID"]
    seen = upgraded("9999:1", system=True)
    until(lambda: shown("openclaw-gateway@18791.service", "MainPID", system=True)["MainPID"] not in ("0", instance), 90, "instance restarted")
    removed("/var/lib/openclaw")
    return f"upgrade under 200 connects/s: {seen}"


@case(binary=False)
def the_packaged_units_are_sound_and_tight():
    install()
    units = sh("dpkg -L openclaw | grep '/systemd/system/.*gateway' | sed 's/@\\./@18791./'", root=True).split()
    equal(sh(f"systemd-analyze verify {' '.join(units)} 2>&1 || true", root=True), "", "systemd-analyze verify")
    users = sh("dpkg -L openclaw | grep '/systemd/user/.*gateway' | sed 's/@\\./@18791./'").split()
    equal(sh(f"systemd-analyze --user verify {' '.join(users)} 2>&1 || true"), "", "systemd-analyze --user verify")
    equal((len(units), len(users)), (4, 4), "units")
    scores = []
    for unit in (UNIT, "openclaw-gateway@18791.service"):
        text = sh(f"systemctl start {unit}; systemd-analyze security --no-pager {unit} | tail -1", root=True)
        scores.append(float(re.search(r": ([0-9.]+) ", text).group(1)))
    if max(scores) > 2.0:
        raise AssertionError(f"exposure {scores}")
    return f"systemd-analyze security: {scores[0]} (template {scores[1]})"


def settle(config):
    """The host's gateway with that configuration."""
    lab("exec", "--root", "--", "bash", "-c",
        "umask 077; cat > /var/lib/openclaw/openclaw.json; chown openclaw: /var/lib/openclaw/openclaw.json; "
        f"systemctl restart {UNIT} || {{ journalctl -u {UNIT} -n 20 --no-pager; exit 1; }}", stdin=json.dumps(config))


@case(binary=False)
def the_sandbox_leaves_agents_their_tools():
    install()
    # What the unit runs beside the gateway lives under the same rules as its tools.
    probe = r"""set -e
cd "$HOME"; mkdir -p workspace; cd workspace
printf 'one\ntwo\n' >notes.txt && sed -i s/two/three/ notes.txt && grep -q three notes.txt
python3 -c 'import json, os, subprocess, tempfile, threading
with tempfile.NamedTemporaryFile() as f: f.write(b"x")
assert subprocess.run(["sh", "-c", "seq 3 | wc -l"], capture_output=True, text=True).stdout.strip() == "3"
t = threading.Thread(target=print); t.start(); t.join()'
if command -v git >/dev/null; then git init -q . && git add . && git -c user.name=a -c user.email=a@b commit -qm x; fi
if command -v perl >/dev/null; then perl -e 'print 1' >/dev/null; fi
! touch /etc/no /usr/no /var/lib/no 2>/dev/null
! ls /home/claw 2>/dev/null
"""
    lab("exec", "--root", "--", "bash", "-c", f"mkdir -p {DROP_INS} && cat > /usr/local/bin/probe && chmod 755 /usr/local/bin/probe && "
        f"printf '[Service]\nExecStartPost=/bin/bash /usr/local/bin/probe\n' > {DROP_INS}/probe.conf", stdin=probe)
    try:
        sh(f"systemctl daemon-reload && systemctl start {UNIT} || {{ journalctl -u {UNIT} -n 20 --no-pager; exit 1; }}", root=True)
        equal(sh("stat -c %U /var/lib/openclaw/workspace/notes.txt", root=True).strip(), "openclaw", "owner")
        sh(f"rm {DROP_INS}/probe.conf; systemctl daemon-reload", root=True)
        config = {**model_host(), "tools": {"exec": {"security": "full", "ask": "off"}}}
        settle(config)
        said = runs_a_tool("", config["gateway"]["auth"]["token"],
                           "exec 2>/dev/null; echo made > proof.txt; touch /etc/x || echo shut; ls /home/claw || echo shut")
        contains(said, "shut\\\\nshut")
        equal(sh("find /var/lib/openclaw -name proof.txt -user openclaw | xargs cat", root=True).strip(), "made", "what an agent's tool wrote")
        # Every example is accepted as it is, where what it names exists.
        sh("groupadd -f docker; install -d -o openclaw /srv/projects; umask 077; echo secret > /etc/openclaw/credentials/model-key", root=True)
        for example in ("projects", "proc", "sandboxes", "docker", "devices", "credentials", "home"):
            sh(f"rm -f {DROP_INS}/*; cp /usr/share/doc/openclaw/examples/{example}.conf {DROP_INS}/; systemctl daemon-reload; "
               f"systemctl stop {UNIT} {SOCKET}; systemctl reset-failed; rm -rf /var/lib/openclaw/*; "
               f"test {example} != home || chown claw: /var/lib/openclaw; "
               f"systemctl start {UNIT} || {{ journalctl -u {UNIT} -n 20 --no-pager; exit 1; }}", root=True)
            equal(shown(UNIT, "ActiveState", "NeedDaemonReload", system=True), {"ActiveState": "active", "NeedDaemonReload": "no"}, example)
            with network():
                knock(5)
            if example == "credentials":
                pid = shown(UNIT, "MainPID", system=True)["MainPID"]
                equal(sh(f"nsenter -t {pid} -m cat /run/credentials/{UNIT}/model-key", root=True), "secret\n", "credential")
                # As the drop-in says it is referred to.
                provider = {"source": "file", "mode": "singleValue", "path": f"/run/credentials/{UNIT}/model-key"}
                settle({"gateway": {"mode": "local", "port": 18789, "auth": {
                    "mode": "token", "token": {"source": "file", "provider": "model-key", "id": "value"}}},
                    "secrets": {"providers": {"model-key": provider}}})
                with network():
                    Client("secret").wire.close()
    finally:
        sh(f"rm -rf {DROP_INS}; systemctl stop {UNIT} {SOCKET}; systemctl daemon-reload", root=True, check=False)
    return "git, python, pipes and temporary files work; /etc, /usr and homes are closed; 7 example drop-ins start"


@case(binary=False)
def install_on_a_packaged_host_writes_only_what_differs():
    install()
    write_config(GOOD)
    files = f"find {UNITS} -type f ! -name '*.bak-*' | sort"
    contains(sh("openclaw gateway install"), "Installed systemd service: /usr/lib/systemd/user/openclaw-gateway.service")
    equal(sh(files), "", "files written")
    with network():
        knock(5)
    sh("openclaw gateway install --force --port 18790")
    equal(sh(files).split(), [f"{UNITS}/{UNIT}.d/50-openclaw.conf", f"{UNITS}/{SOCKET}.d/50-openclaw.conf"], "drop-ins")
    text = sh("openclaw gateway status")
    contains(text, "Service file: /usr/lib/systemd/user/openclaw-gateway.service")
    contains(text, "RPC probe: ok")
    contains(text, "port=18790")
    with network():
        equal(refused(), True, "the old port is closed")
    # What install wrote beside the package's unit is no override of the operator's.
    service = " ".join(f"--only {one}" for one in ("service-drift", "service-command", "service-reload", "socket-unit", "gateway-daemon"))
    look = lambda: [one["message"] for one in json.loads(sh(f"openclaw doctor --json --severity-min info {service}"))["findings"]]
    equal(look(), [], "findings beside the package's unit")
    sh(f"printf '[Service]\\nKillMode=process\\n' > {UNITS}/{UNIT}.d/override.conf; cd {UNITS}/{UNIT}.d; cp 50-openclaw.conf /tmp/before; "
       "sed -i s/GATEWAY_PORT=18790/GATEWAY_PORT=1/ 50-openclaw.conf; systemctl --user daemon-reload")
    equal(sorted(look()), ["operator override (respected): Service.KillMode is decided by a drop-in",
                           'ours changed: Service.Environment OPENCLAW_GATEWAY_PORT is "1", ours is "18790"'], "findings after edits")
    sh(f"openclaw doctor --fix {service}; cmp /tmp/before {UNITS}/{UNIT}.d/50-openclaw.conf; rm {UNITS}/{UNIT}.d/override.conf; "
       "systemctl --user daemon-reload")
    equal(look(), [], "findings after the repair")
    sh("openclaw gateway install --force --port 18789")
    with network():
        knock(5)
    contains(sh("openclaw gateway uninstall"), "Disabled systemd service: openclaw-gateway.service")
    equal(sh(files), "", "files left")
    with network():
        equal(refused(), True, "gone")


@case(binary=False)
def an_instance_of_the_packages_template_is_a_profile_of_its_own():
    install()
    write_config(GOOD)
    sh("systemctl --user enable --now openclaw-gateway.service")
    pid = shown(UNIT, "MainPID")["MainPID"]
    own, socket = "openclaw-gateway@18791.service", "openclaw-gateway@18791.socket"
    command = "openclaw --profile 18791"
    # The first client starts it, and knows the token that it makes up.
    sh(f"rm -rf ~/.openclaw-18791; systemctl --user enable --now {socket}")
    contains(sh(f"{command} health"), "Agents: main")
    contains(sh(f"{command} doctor --json --severity-min info --only gateway-daemon"), "it starts with the first client")
    sh(f"{command} doctor --fix --only gateway-daemon")
    equal(json.loads(sh(f"{command} doctor --json --severity-min info --skip auth-profiles"))["findings"], [], "findings")
    text = sh(f"{command} gateway status")
    contains(text, "Service: systemd (enabled)")
    contains(text, "port=18791")
    contains(text, "RPC probe: ok")
    for verb, says in (("restart", "Restarted"), ("stop", "Stopped"), ("start", "Started")):
        contains(sh(f"{command} gateway {verb}"), f"{says} systemd service: {own}")
    contains(sh(f"{command} gateway install --force --port 18792"), "/usr/lib/systemd/user/openclaw-gateway@.service")
    with network():
        knock(5, port=18792)
    contains(sh(f"{command} gateway uninstall"), f"Disabled systemd service: {own}")
    equal(sh(f"find {UNITS} -type f -path '*18791*' ! -name '*.bak-*'"), "", "files left")
    # Another profile's gateway is never taken for one that nobody looks after.
    for verb in ("stop", "restart", "start"):
        contains(sh(f"openclaw --profile other gateway {verb} 2>&1"), "Gateway service disabled.")
    contains(sh("openclaw --profile other gateway stop 2>&1"), f"Port 18789 is served by {UNIT}, the gateway of another profile")
    equal(shown(UNIT, "MainPID")["MainPID"], pid, "the gateway beside it")
