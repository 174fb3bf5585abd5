"""Reboots, lingering, the system service, several gateways on one host."""

import json
import shlex
import time

from machine import (
    GOOD, HERE, UNIT, UNITS, Knocks, case, contains, equal, fresh, installed, knock, lab, model_host, network, refused,
    runs_a_tool, serving, sh, shown, write_config, write_file
)


@case()
def profiles_live_side_by_side():
    installed()
    sh("mkdir -p ~/.openclaw-work; echo '{\"gateway\": {\"mode\": \"local\", \"port\": 18999}}' > ~/.openclaw-work/openclaw.json; "
       "openclaw --profile work gateway install")
    contains(sh("openclaw --profile work gateway status"), "RPC probe: ok")
    contains(sh("openclaw gateway status"), "RPC probe: ok")
    contains(sh("openclaw --profile work gateway uninstall"), "openclaw-gateway-work.service")
    contains(sh("openclaw gateway status"), "RPC probe: ok")


@case(guarantee=16)
def it_survives_reboots_without_a_login():
    installed()
    lab("reboot")
    with network():
        serving()
    lab("reboot", "--hard")
    with network():
        serving()


@case(guarantee=16)
def the_system_service_runs_as_the_user_and_survives_a_reboot():
    fresh()
    home = "HOME=/home/claw "
    done = sh("openclaw gateway install --system --user claw; echo status $?", check=False)
    contains(done.stdout + done.stderr, "sudo")
    # As after sudo: the home directory is root's, the files are the account's.
    sh("SUDO_USER=claw openclaw gateway install --system --user claw", root=True)
    contains(sh(f"cat /etc/systemd/system/{UNIT}"), "OPENCLAW_STATE_DIR=/home/claw/.openclaw")
    equal(sh(f"ps -o user= -p {shown(UNIT, 'MainPID', system=True)['MainPID']}").strip(), "claw", "account")
    knocks = Knocks()
    kills = knocks.beside(
        f"""for i in 1 2 3; do {home} openclaw gateway restart --system >/dev/null || echo restart failed; sleep 0.6; done
        date +%s.%N; systemctl kill -s KILL --kill-who=main {UNIT}; until systemctl is-active -q {UNIT}; do sleep 0.1; done; sleep 1""",
        count=1000, root=True)
    seen = knocks.verdict()
    lab("reboot")
    with network():
        serving()
    sh(home + "openclaw gateway uninstall --system", root=True)
    with network():
        equal(refused(), True, "gone")
    return f"3 restarts and a kill -9: {seen}"


@case(guarantee=16, machine="--no-linger")
def without_lingering_install_switches_it_on():
    write_config(GOOD)
    # Where it cannot be switched on, install says so and names the command.
    sh("mkdir -p ~/few && ln -sf $(command -v systemctl) ~/few/systemctl")
    report = json.loads(sh("PATH=$HOME/few /usr/local/bin/openclaw gateway install --json"))
    equal((report["result"], report["linger"]), ("installed", "no"), "result, linger")
    contains(" ".join(report["warnings"]), "sudo loginctl enable-linger claw")
    report = json.loads(sh("openclaw gateway install --force --json"))
    equal(report["linger"], "yes", "linger")
    lab("reboot")
    with network():
        serving()


def exposure(unit):
    """What `systemd-analyze security` thinks of a system unit."""
    text = sh(f"systemd-analyze security --no-pager {unit} | tail -n 1", root=True)
    return float(text.split(":")[1].split()[0])


def verified(unit):
    """Nothing that `systemd-analyze verify` says concerns our unit."""
    done = sh(f"systemd-analyze verify {unit} 2>&1 | grep openclaw || true", root=True)
    equal(done.strip(), "", f"systemd-analyze verify {unit}")


@case()
def the_unit_for_the_host_is_shut_and_agents_run_tools_in_their_workspace():
    fresh()
    config = model_host()
    config["tools"] = {"exec": {"security": "full", "ask": "off"}}
    write_config(json.dumps(config))
    sh("openclaw gateway install --system --user claw", root=True)
    verified(UNIT)
    score = exposure(UNIT)
    said = runs_a_tool("", config["gateway"]["auth"]["token"],
                       "exec 2>/dev/null; echo made > proof.txt; pwd; touch /etc/x || echo shut; touch /usr/x || echo shut")
    contains(said, "shut\\\\nshut")
    equal(sh("cat ~/.openclaw/workspace/proof.txt").strip(), "made", "what the tool wrote")
    sh("openclaw gateway uninstall --system", root=True)
    if score > 2.0:
        raise AssertionError(f"exposure {score}")
    return f"exposure {score}"


@case()
def the_templates_start_for_a_user_and_for_the_host():
    fresh()
    sh("openclaw gateway uninstall", check=False)
    lab("exec", "--root", "--", "ln", "-sf", "/usr/local/bin/openclaw", "/usr/bin/openclaw")
    for scope in ("user", "system"):
        for file in sorted((HERE.parent.parent / "systemd" / scope).iterdir()):
            write_file(f"/etc/systemd/{scope}/{file.name}", file.read_text(), root=True)
    sh("id openclaw || useradd --system --home-dir /var/lib/openclaw --shell /usr/sbin/nologin openclaw; systemctl daemon-reload",
       root=True)
    sh("systemctl --user daemon-reload; mkdir -p ~/.openclaw-19001; systemctl --user enable -q --now openclaw-gateway@19001.socket")
    with network():
        knock(port=19001)
    equal(shown("openclaw-gateway@19001.service", "ActiveState")["ActiveState"], "active", "user template")
    contains(sh("ls ~/.openclaw-19001"), "gateway.lock")
    sh("systemctl --user disable -q --now openclaw-gateway@19001.socket openclaw-gateway@19001.service")

    sh("systemctl enable -q --now openclaw-gateway@19002.socket", root=True)
    with network():
        knock(port=19002)
    template = "openclaw-gateway@19002.service"
    equal(shown(template, "ActiveState", system=True)["ActiveState"], "active", "system template")
    contains(sh("ls /var/lib/openclaw/19002", root=True), "gateway.lock")
    verified(template)
    score = exposure(template)
    sh("systemctl disable -q --now openclaw-gateway@19002.socket openclaw-gateway@19002.service", root=True)

    sh("rm -rf /var/lib/openclaw /usr/bin/openclaw /etc/systemd/*/openclaw-gateway*; "
       "systemctl daemon-reload", root=True)
    sh("systemctl --user daemon-reload")
    if score > 2.0:
        raise AssertionError(f"exposure {score}")
    return f"exposure of the template {score}"


@case(guarantee=15)
def a_service_in_both_scopes_is_shown_and_refused():
    installed()
    done = sh("openclaw gateway install --system --user claw; echo status $?", root=True, check=False)
    contains(done.stdout + done.stderr, "runs this gateway already")
    contains(done.stdout, "status 1")
    sh(f"cp {UNITS}/{UNIT} /etc/systemd/system/{UNIT}; systemctl daemon-reload", root=True)
    try:
        text = sh("openclaw gateway status 2>&1")
        contains(text, "Other gateway-like services detected")
        contains(text, f"unit: /etc/systemd/system/{UNIT}")
        extra = json.loads(sh("openclaw gateway status --json"))["extraServices"]
        equal([(one["label"], one["scope"]) for one in extra], [(UNIT, "system")], "extraServices")
        # One of the two goes, and the other is the only one again.
        sh("openclaw gateway uninstall --system", root=True)
        equal(json.loads(sh("openclaw gateway status --json"))["extraServices"], [], "after one was removed")
        contains(sh("openclaw gateway status"), "RPC probe: ok")
    finally:
        sh(f"rm -f /etc/systemd/system/{UNIT}; systemctl daemon-reload", root=True)
