"""The port is open from start to stop, whatever the process does."""

import time

from machine import SOCKET, UNIT, Knocks, case, drop_in, equal, installed, knock, network, sh, shown


@case(guarantee=1)
def the_socket_alone_starts_the_gateway():
    installed()
    sh(f"systemctl --user stop {UNIT} 2>/dev/null; systemctl --user is-active {SOCKET}")
    began = time.monotonic()
    with network():
        knock()
    took = time.monotonic() - began
    equal(shown(UNIT, "ActiveState")["ActiveState"], "active", "service")
    with network():
        knock(host="::1")
    return f"first answer after {took * 1000:.0f} ms"


@case(guarantee=1)
def a_port_is_never_lost():
    installed()
    drop_in("90-quick", "[Service]\nRestartSec=1\n")
    sh("openclaw gateway restart")
    knocks = Knocks()
    *kills, last = knocks.beside(
        f"""for i in $(seq 20); do openclaw gateway restart >/dev/null || echo restart failed; sleep 0.6
        if [ $((i % 4)) = 0 ]; then date +%s.%N; systemctl --user kill -s KILL --kill-who=main {UNIT}; sleep 2; fi; done; echo done""",
        count=10000)
    equal((last, len(kills)), ("done", 5), "restarts")
    return f"20 restarts and 5 kill -9: {knocks.verdict()}"
