"""What the cases share: the throw-away machine, and how to look at it.

A case is a function in `cases/<area>.py` that raises AssertionError when the
sentence in its name is not true, and returns what it measured, if anything:

    @case(guarantee=4)                  which guarantee of docs/service.md it proves
    @case(machine="--no-linger")        words for `lab up`, if not the usual machine
    @case(binary=False)                 a machine without the binary in /usr/local

Before each case the gateway is as the case before left it: begin with `fresh()`
or `installed()`.
"""

import asyncio
import base64
import contextlib
import ctypes
import os
import pathlib
import shlex
import socket
import subprocess
import time

HERE = pathlib.Path(__file__).resolve().parent
LAB = str(HERE / "lab")
PORT = 18789
UNIT = "openclaw-gateway.service"
SOCKET = "openclaw-gateway.socket"
UNITS = "/home/claw/.config/systemd/user"
CONFIG = "/home/claw/.openclaw/openclaw.json"
GOOD = '{"gateway": {"mode": "local", "port": 18789}}'
os.environ["LAB"] = f"openclaw-test-{os.getpid()}"

CASES = []


def case(guarantee=None, machine="", binary=True):
    def register(function):
        function.guarantee, function.machine = guarantee, (machine, binary)
        CASES.append(function)
        return function
    return register


def lab(*words, check=True, stdin=None, timeout=180):
    done = subprocess.run([LAB, *words], capture_output=True, text=True, errors="replace", input=stdin, timeout=timeout)
    if check and done.returncode != 0:
        raise AssertionError(f"lab {shlex.join(words)}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def sh(script, check=True, root=False, timeout=180):
    """Runs a script as the user claw, as after ssh; returns what it printed."""
    words = ["exec"] + (["--root"] if root else []) + ["--", "bash", "-c", script]
    done = lab(*words, check=check, timeout=timeout)
    return done.stdout if check else done


def shown(unit, *names, system=False):
    scope = "" if system else "--user"
    text = sh(f"systemctl {scope} show {unit} -p {','.join(names)}", root=system)
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def main_pid():
    return shown(UNIT, "MainPID")["MainPID"]


def write_config(text):
    lab("exec", "--", "bash", "-c", f"mkdir -p ~/.openclaw && cat > {CONFIG}.part && mv {CONFIG}.part {CONFIG}", stdin=text)


def write_file(path, text, root=False):
    words = ["exec"] + (["--root"] if root else [])
    lab(*words, "--", "bash", "-c", f'mkdir -p "$(dirname {path})" && cat > {path}', stdin=text)


def drop_in(name, text):
    write_file(f"{UNITS}/{UNIT}.d/{name}.conf", text)
    sh("systemctl --user daemon-reload")


def fresh():
    """A host with a good configuration and no service."""
    sh(f"openclaw gateway uninstall; rm -rf {UNITS}/{UNIT}.d {UNITS}/*.bak* ~/.openclaw/boots.json; "
       "systemctl --user daemon-reload; systemctl --user reset-failed", check=False)
    write_config(GOOD)


def installed():
    fresh()
    sh("openclaw gateway install")


@contextlib.contextmanager
def network():
    """This thread's sockets in the lab's network."""
    libc = ctypes.CDLL(None, use_errno=True)
    leader = lab("leader").stdout.strip()
    with open("/proc/self/ns/net") as own, open(f"/proc/{leader}/ns/net") as theirs:
        if libc.setns(theirs.fileno(), 0x40000000) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        try:
            yield
        finally:
            libc.setns(own.fileno(), 0x40000000)


def knock(timeout=15, source="127.0.0.1"):
    """A WebSocket handshake up to the first frame; returns that frame."""
    with socket.create_connection(("127.0.0.1", PORT), timeout, (source, 0)) as wire:
        key = base64.b64encode(os.urandom(16)).decode()
        wire.sendall(f"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        got = b""
        while b"connect.challenge" not in got:
            more = wire.recv(4096)
            if not more:
                raise ConnectionError(f"closed after {got[:60]!r}")
            got += more
        return got


class Knocks:
    """WebSocket handshakes at a steady rate, each from one of 200 addresses."""

    def __init__(self, port=PORT, rate=200):
        self.port, self.rate = port, rate
        self.ok = self.refused = self.told = 0
        self.losses, self.worst, self.slowest = [], [], 0.0

    def run(self, more):
        """Knocks while `more(how many so far)`; to be called in the machine's network."""
        asyncio.run(self._all(more))

    async def _all(self, more):
        began, tasks = time.monotonic(), []
        while more(len(tasks)):
            delay = began + len(tasks) / self.rate - time.monotonic()
            await asyncio.sleep(max(0, delay))
            tasks.append(asyncio.create_task(self._one(len(tasks))))
        await asyncio.gather(*tasks)

    async def _one(self, n):
        began = time.monotonic()
        try:
            reader, writer = await asyncio.wait_for(
                asyncio.open_connection("127.0.0.1", self.port, local_addr=(f"127.0.1.{n % 200 + 1}", 0)), 20)
        except OSError as err:
            self.refused += 1
            self.worst.append(repr(err))
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
            self.ok += 1
            self.told += b"service restart" in got
        except (OSError, asyncio.TimeoutError) as err:
            self.losses.append(time.time())
            self.worst.append(repr(err))
        finally:
            writer.close()
            self.slowest = max(self.slowest, time.monotonic() - began)

    def __str__(self):
        return (f"{self.ok} handshakes, {self.refused} refused, {len(self.losses)} lost, {self.told} told to come again,"
                f" slowest {self.slowest:.1f} s")


def http(path="/healthz", timeout=15):
    with socket.create_connection(("127.0.0.1", PORT), timeout) as wire:
        wire.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        got = b""
        while more := wire.recv(4096):
            got += more
        return got.decode(errors="replace")


def refused():
    try:
        socket.create_connection(("127.0.0.1", PORT), 5).close()
        return False
    except ConnectionRefusedError:
        return True


def until(condition, limit, what):
    began = time.monotonic()
    while time.monotonic() - began < limit:
        try:
            if condition():
                return time.monotonic() - began
        except (OSError, AssertionError):
            pass
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {limit} s")


def equal(have, want, what):
    if have != want:
        raise AssertionError(f"{what}: {have!r}, not {want!r}")


def contains(text, part):
    if part not in text:
        raise AssertionError(f"{part!r} is not in:\n{text[-1500:]}")