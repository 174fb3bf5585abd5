"""doctor on a host that nothing is wrong with. Broken hosts are made of real
files and a manager of values in src/doctor/tests.
"""

import json

from machine import case, equal, installed, sh, write_config

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


def findings():
    ids = " ".join(f"--only {one}" for one in SERVICE_CHECKS)
    return json.loads(sh(f"openclaw doctor --json --severity-min info {ids}"))["findings"]


@case(guarantee=13)
def doctor_finds_nothing_on_a_healthy_host_and_is_quick():
    ready()
    equal(findings(), [], "findings")
    equal(sh("openclaw doctor --lint " + " ".join(f"--only {one}" for one in SERVICE_CHECKS)
             + " >/dev/null; echo $?").strip(), "0", "status")
    times = sh("TIMEFORMAT=%R; for i in 1 2 3 4 5; do { time openclaw doctor >/dev/null; } 2>&1; done")
    best = min(float(one) for one in times.split())
    return f"doctor takes {best * 1000:.0f} ms"
