"""Reboots, lingering, the system service, several gateways on one host."""

import json

from machine import (
    GOOD, UNIT, case, contains, equal, fresh, installed, knock, lab, network, refused, sh, shown,
    until, write_config
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
        until(lambda: knock(5), 20, "after a reboot")
    lab("reboot", "--hard")
    with network():
        until(lambda: knock(5), 20, "after a power cut")


@case(guarantee=16)
def the_system_service_runs_as_the_user_and_survives_a_reboot():
    fresh()
    home = "HOME=/home/claw "
    done = sh("openclaw gateway install --system --user claw; echo status $?", check=False)
    contains(done.stdout + done.stderr, "sudo")
    sh(home + "openclaw gateway install --system --user claw", root=True)
    equal(sh(f"ps -o user= -p {shown(UNIT, 'MainPID', system=True)['MainPID']}").strip(), "claw", "account")
    with network():
        knock(5)
        lab("reboot")
    with network():
        until(lambda: knock(5), 20, "after a reboot")
    sh(home + "openclaw gateway uninstall --system", root=True)
    with network():
        equal(refused(), True, "gone")


@case(guarantee=16, machine="--no-linger")
def without_lingering_install_switches_it_on():
    write_config(GOOD)
    report = json.loads(sh("openclaw gateway install --json"))
    equal(report["linger"], "yes", "linger")
    lab("reboot")
    with network():
        until(lambda: knock(5), 20, "after a reboot without a login")
