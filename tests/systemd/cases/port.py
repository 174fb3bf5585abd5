"""The port is open from start to stop, whatever the process does."""

import asyncio
import base64
import os
import subprocess
import time

from machine import (
    LAB, PORT, SOCKET, UNIT, case, drop_in, equal, installed, knock, network, refused, sh, shown
)


@case(guarantee=1)
def the_socket_alone_starts_the_gateway():
    installed()
    sh(f"systemctl --user stop {UNIT} 2>/dev/null; systemctl --user is-active {SOCKET}")
    began = time.monotonic()
    with network():
        knock(10)
    took = time.monotonic() - began
    equal(shown(UNIT, "ActiveState")["ActiveState"], "active", "service")
    return f"first answer after {took * 1000:.0f} ms"


@case(guarantee=1)
def a_port_is_never_lost():
    installed()
    drop_in("90-quick", "[Service]\nRestartSec=1\n")
    sh("openclaw gateway restart")
    total, rate, sources = 10000, 200, 200
    outcome = {"ok": 0, "refused": 0, "lost": 0}
    slowest, told = 0.0, 0
    worst, losses = [], []

    async def one(n):
        nonlocal slowest, told
        began = time.monotonic()
        try:
            reader, writer = await asyncio.wait_for(
                asyncio.open_connection("127.0.0.1", PORT, local_addr=(f"127.0.1.{n % sources + 1}", 0)), 20)
        except OSError as err:
            outcome["refused"] += 1
            worst.append(repr(err))
            return
        try:
            key = base64.b64encode(os.urandom(16)).decode()
            writer.write(f"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                         f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
            got = b""
            # Accepted in the last moment of a process: told to come again.
            while b"connect.challenge" not in got and b"service restart" not in got:
                more = await asyncio.wait_for(reader.read(4096), 20)
                if not more:
                    raise ConnectionError(f"closed after {got[:80]!r}")
                got += more
            outcome["ok"] += 1
            told += b"service restart" in got
        except (OSError, asyncio.TimeoutError) as err:
            outcome["lost"] += 1
            losses.append(time.time())
            worst.append(repr(err))
        finally:
            writer.close()
            slowest = max(slowest, time.monotonic() - began)

    async def hammer():
        began, tasks = time.monotonic(), []
        for n in range(total):
            delay = began + n / rate - time.monotonic()
            if delay > 0:
                await asyncio.sleep(delay)
            tasks.append(asyncio.create_task(one(n)))
        await asyncio.gather(*tasks)

    script = f"""for i in $(seq 20); do openclaw gateway restart >/dev/null || echo restart failed; sleep 0.6
        if [ $((i % 4)) = 0 ]; then systemctl --user kill -s KILL --kill-who=main {UNIT}; date +%s.%N; sleep 2; fi; done; echo done"""
    restarts = subprocess.Popen([LAB, "exec", "--", "bash", "-c", script], stdout=subprocess.PIPE, text=True)
    with network():
        asyncio.run(hammer())
    said = restarts.communicate(timeout=120)[0]
    *kills, last = said.split()
    equal((last, len(kills)), ("done", 5), "restarts")
    # Nothing can save the one that the killed process was just answering.
    cut = [at for at in losses if any(abs(at - float(kill)) < 0.3 for kill in kills)]
    if outcome["refused"] or len(losses) != len(cut) or len(cut) > len(kills):
        raise AssertionError(f"{outcome}, for example {worst[:3]}")
    return (f"{outcome['ok']} handshakes over 20 restarts and 5 kill -9: 0 refused, 0 lost"
            f" ({told} told to come again, {len(cut)} cut by the kill itself), slowest {slowest:.1f} s")
