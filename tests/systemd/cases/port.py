"""The port is open from start to stop, whatever the process does."""

import subprocess
import time

from machine import (
    LAB, SOCKET, UNIT, Knocks, case, drop_in, equal, installed, knock, network, refused, sh, shown
)


# How many clients the gateway accepts before it has answered them (src/gateway/listen.rs).
GREETED_AT_ONCE = 4


@case(guarantee=1)
def the_socket_alone_starts_the_gateway():
    installed()
    sh(f"systemctl --user stop {UNIT} 2>/dev/null; systemctl --user is-active {SOCKET}")
    began = time.monotonic()
    with network():
        knock()
    took = time.monotonic() - began
    equal(shown(UNIT, "ActiveState")["ActiveState"], "active", "service")
    return f"first answer after {took * 1000:.0f} ms"


@case(guarantee=1)
def a_port_is_never_lost():
    installed()
    drop_in("90-quick", "[Service]\nRestartSec=1\n")
    sh("openclaw gateway restart")
    knocks = Knocks()
    script = f"""for i in $(seq 20); do openclaw gateway restart >/dev/null || echo restart failed; sleep 0.6
        if [ $((i % 4)) = 0 ]; then date +%s.%N; systemctl --user kill -s KILL --kill-who=main {UNIT}; sleep 2; fi; done; echo done"""
    restarts = subprocess.Popen([LAB, "exec", "--", "bash", "-c", script], stdout=subprocess.PIPE, text=True)
    with network():
        knocks.run(lambda n: n < 10000)
    said = restarts.communicate(timeout=600)[0]
    *kills, last = said.split()
    equal((last, len(kills)), ("done", 5), "restarts")
    # Nothing can save those that the killed process had accepted and was just answering.
    since = sorted(min((at - float(kill) for kill in kills), key=abs) for at in knocks.losses)
    cut = [distance for distance in since if -0.1 < distance < 2]
    if knocks.refused or len(knocks.losses) != len(cut) or len(cut) > GREETED_AT_ONCE * len(kills):
        distances = ", ".join(f"{distance:+.2f}" for distance in since)
        raise AssertionError(f"{knocks}; seconds from a kill: {distances}; for example {knocks.worst[:3]}")
    return f"20 restarts and 5 kill -9: {knocks} ({len(cut)} cut by the kills themselves)"
