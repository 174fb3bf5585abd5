"""The official command lines on the same host read our unit and find our beacon."""

import json
import re
import subprocess

from machine import HERE, PATIENCE, case, contains, equal, fresh, installed, sh, until, write_config


def official():
    """How the two official command lines are called in the machine, and where Avahi is."""
    printed = subprocess.run([HERE.parent / "clients/setup"], capture_output=True, text=True, check=True).stdout
    tools = dict(re.findall(r"^(\w+)='(.*)'$", printed, re.M))
    # They lie in the home of whoever runs the tests; the machine has a copy of its own to look into.
    places = "/ ".join(str(part) for part in reversed(HERE.parent.joinpath(tools["REFERENCE"]).parents))
    sh(f"chmod o+x {places}", root=True)
    return (f"OPENCLAW_HIDE_BANNER=1 {tools['NODE']} {tools['REFERENCE']}",
            f"OPENCLAW_HIDE_BANNER=1 {tools['NODE_NEWEST']} {tools['NEWEST']}", tools["AVAHI"])


@case()
def the_official_command_line_finds_the_service_in_order():
    installed()
    cli, _, _ = official()
    # It gives its probe three seconds, which a busy host may need.
    text = []
    until(lambda: text.append(sh(f"{cli} gateway status 2>&1")) or "RPC probe: ok" in text[-1], PATIENCE, "its probe")
    contains(text[-1], "Runtime: running")
    if "Service config" in text[-1]:
        raise AssertionError(text[-1])
    done = sh(f"{cli} gateway status --json --deep", check=False)
    equal(done.returncode, 0, f"status of its gateway status: {done.stderr}")
    report = json.loads(done.stdout)
    equal(report["service"]["loaded"], True, "loaded")
    equal(report["service"]["runtime"]["status"], "running", "runtime")
    equal(report["service"]["configAudit"], {"ok": True, "issues": []}, "its audit of our unit")
    equal(report["extraServices"], [], "services it does not know")
    # Its doctor compares the program besides, and says what is true: the service runs another one.
    text = sh(f"{cli} doctor --non-interactive 2>&1 || true")
    contains(text, "Doctor complete.")
    panel = re.search(r"Gateway service config ─.*?\n├", text, re.S)
    if panel:
        found = re.findall(r"- .*", panel.group(0))
        equal([line.strip(" │") for line in found], ["- Gateway service entrypoint does not match the current install."], "what it says")
    for title in ("Other gateway-like services", "Gateway not running"):
        if title in text:
            raise AssertionError(f"{title}:\n{text[text.index(title):][:1500]}")
    return "its status says running and ok, its audit has no issue"


@case()
def both_official_command_lines_discover_the_gateway():
    fresh()
    write_config('{"gateway": {"mode": "local", "port": 18789, "bind": "lan", "auth": {"mode": "token", "token": "long-enough-a-token"},'
                 ' "controlUi": {"allowedOrigins": ["https://ui.example.com"]}}}')
    cli, newest, avahi = official()
    own = f"LD_LIBRARY_PATH=$(echo {avahi}/usr/lib/*-linux-gnu) PATH={avahi}/usr/bin:{avahi}/usr/sbin:$PATH"
    # A network of two, one of which is this host; and Avahi, whom they ask.
    sh(f"""set -e; ip link add net0 type veth peer name net1; ip addr add 10.9.9.1/24 dev net0
        ip link set net1 up; ip link set net0 up
        id -u avahi >/dev/null 2>&1 || useradd -r avahi; mkdir -p /etc/dbus-1/system.d
        [ ! -d {avahi}/etc ] || cp -rn {avahi}/etc/avahi /etc/; [ ! -d {avahi}/usr ] || cp {avahi}/usr/share/dbus-1/system.d/* /etc/dbus-1/system.d/
        systemctl reload dbus; {own} && export LD_LIBRARY_PATH
        systemd-run -q --unit=network-neighbour -E LD_LIBRARY_PATH $(command -v avahi-daemon) --no-drop-root --no-chroot --no-rlimits""", root=True)
    try:
        sh("openclaw gateway install")
        for program in (cli, newest):
            found = []
            def seen():
                found[:] = json.loads(sh(f"{own} {program} gateway discover --json --timeout 5000"))["beacons"]
                return found
            until(seen, PATIENCE, "a beacon")
            equal((found[0]["wsUrl"], found[0]["role"]), (f"ws://{found[0]['lanHost']}:18789", "gateway"), "what was found")
    finally:
        sh("systemctl stop network-neighbour; ip link del net0", root=True, check=False)
    return found[0]["wsUrl"]
