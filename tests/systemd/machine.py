"""What the cases share: the throw-away machine, and how to look at it.

A case is a function in `cases/<area>.py` that raises AssertionError when the
sentence in its name is not true, and returns what it measured, if anything:

    @case(guarantee=4)                  which guarantee of docs/service.md it proves
    @case(machine="--no-linger")        words for `lab up`, if not the usual machine
    @case(binary=False)                 a machine without the binary in /usr/local

Before each case the gateway is as the case before left it: begin with `fresh()`
or `installed()`.

The host may be slow and busy: wait for conditions with `until()`, never for a
time. How long something took is returned and printed; only a limit that the
gateway itself promises, with room to spare, is a reason to fail.
"""

import asyncio
import base64
import contextlib
import ctypes
import json
import os
import pathlib
import shlex
import socket
import struct
import subprocess
import time

HERE = pathlib.Path(__file__).resolve().parent
LAB = str(HERE / "lab")
PORT = 18789
UNIT = "openclaw-gateway.service"
SOCKET = "openclaw-gateway.socket"
# Units that cases run beside the gateway.
HELPERS = ("holder", "typed", "first", "second", "late", "follower")
UNITS = "/home/claw/.config/systemd/user"
CONFIG = "/home/claw/.openclaw/openclaw.json"
GOOD = '{"gateway": {"mode": "local", "port": 18789}}'
os.environ["LAB"] = f"openclaw-test-{os.getpid()}"

# Longer than anything takes on a host that does other things besides.
PATIENCE = 90

CASES = []


def case(guarantee=None, machine="", binary=True):
    def register(function):
        function.guarantee, function.machine = guarantee, (machine, binary)
        CASES.append(function)
        return function
    return register


def lab(*words, check=True, stdin=None, timeout=300):
    done = subprocess.run([LAB, *words], capture_output=True, text=True, errors="replace", input=stdin, timeout=timeout)
    if check and done.returncode != 0:
        raise AssertionError(f"lab {shlex.join(words)}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def sh(script, check=True, root=False, timeout=300):
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


def drop_in(name, text, unit=UNIT):
    write_file(f"{UNITS}/{unit}.d/{name}.conf", text)
    sh("systemctl --user daemon-reload")


def now():
    """This moment, for `journalctl --since=`; what was logged before is not meant."""
    return "@" + sh("date +%s.%6N").strip()


def fresh():
    """A host with a good configuration and no service, whatever the case before left."""
    sh("openclaw gateway uninstall --system; systemctl daemon-reload", check=False, root=True)
    sh(f"systemctl --user unmask -q {UNIT} {SOCKET}; openclaw gateway uninstall; systemctl --user stop {' '.join(HELPERS)}; "
       f"rm -rf {UNITS}/{UNIT} {UNITS}/{SOCKET} {UNITS}/{UNIT}.d {UNITS}/{SOCKET}.d {UNITS}/*.bak* ~/.openclaw/boots.json; "
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


def knock(timeout=PATIENCE, port=PORT, host="127.0.0.1"):
    """A WebSocket handshake up to the first frame; returns that frame."""
    with socket.create_connection((host, port), timeout) as wire:
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


def sign_in(config):
    """A `connect` with the secret in that file, as a frame (masked with zeros)."""
    token = json.loads(sh(f"cat {config}", root=True))["gateway"]["auth"]["token"]
    params = {"minProtocol": 3, "maxProtocol": 4, "auth": {"token": token},
              "client": {"id": "cli", "version": "1", "platform": "linux", "mode": "cli"}}
    text = json.dumps({"type": "req", "id": "1", "method": "connect", "params": params}).encode()
    return struct.pack("!BBHI", 0x81, 0xfe, len(text), 0) + text


class Knocks:
    """WebSocket handshakes at a steady rate, each from one of 200 addresses. One in ten
    signs in as well; a debug build on a busy host could not keep up with more."""

    def __init__(self, port=PORT, rate=200, config=CONFIG):
        self.port, self.rate, self.sign_in = port, rate, sign_in(config)
        self.ok = self.refused = self.told = self.waiting = 0
        self.losses, self.worst, self.slowest = 0, [], 0.0

    def beside(self, script, count, root=False):
        """Knocks while the script runs in the machine, `count` times at least; what the script said."""
        words = ["exec"] + (["--root"] if root else []) + ["--", "bash", "-c", script]
        with subprocess.Popen([LAB, *words], stdout=subprocess.PIPE, text=True) as process:
            with network():
                self.run(lambda n: n < count or process.poll() is None)
            return process.communicate(timeout=600)[0].split()

    def verdict(self):
        """Nothing was refused and nothing lost, at whatever moment the process was restarted or killed."""
        if self.refused or self.losses:
            raise AssertionError(f"{self}; for example {self.worst[:3]}")
        return str(self)

    def run(self, more):
        """Knocks while `more(how many so far)`; to be called in the machine's network."""
        asyncio.run(self._all(more))

    async def _all(self, more):
        due, tasks = time.monotonic(), []
        while more(len(tasks)):
            # On a slow host fewer knock: who waits stays within the queue of the port.
            due = max(due + 1 / self.rate, time.monotonic())
            await asyncio.sleep(due - time.monotonic())
            while self.waiting > 800:
                await asyncio.sleep(0.02)
            self.waiting += 1
            tasks.append(asyncio.create_task(self._one(len(tasks))))
            tasks[-1].add_done_callback(self._answered)
        await asyncio.gather(*tasks)

    def _answered(self, _task):
        self.waiting -= 1

    async def _one(self, n):
        began = time.monotonic()
        try:
            reader, writer = await asyncio.wait_for(
                asyncio.open_connection("127.0.0.1", self.port, local_addr=(f"127.0.1.{n % 200 + 1}", 0)), PATIENCE)
        except OSError as err:
            self.refused += 1
            self.worst.insert(0, f"refused: {err!r}")
            return
        try:
            key = base64.b64encode(os.urandom(16)).decode()
            writer.write(f"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                         f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
            got = b""
            # Accepted in the last moment of a process: told to come again.
            stages = [(b"connect.challenge", self.sign_in), (b"hello-ok", b"")] if n % 10 == 0 else [(b"connect.challenge", b"")]
            for awaited, answer in stages:
                while awaited not in got and b"service restart" not in got:
                    more = await asyncio.wait_for(reader.read(4096), PATIENCE)
                    if not more:
                        raise ConnectionError(f"closed after {got[:400]!r}")
                    got += more
                writer.write(answer)
            self.ok += 1
            self.told += b"service restart" in got
        except (OSError, asyncio.TimeoutError) as err:
            self.losses += 1
            self.worst.append(repr(err))
        finally:
            writer.close()
            self.slowest = max(self.slowest, time.monotonic() - began)

    def __str__(self):
        return (f"{self.ok} handshakes, {self.refused} refused, {self.losses} lost, {self.told} told to come again,"
                f" slowest {self.slowest:.1f} s")


def http(path="/healthz", timeout=PATIENCE):
    with socket.create_connection(("127.0.0.1", PORT), timeout) as wire:
        wire.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        got = b""
        while more := wire.recv(4096):
            got += more
        return got.decode(errors="replace")


def refused():
    try:
        socket.create_connection(("127.0.0.1", PORT), PATIENCE).close()
        return False
    except ConnectionRefusedError:
        return True


def until(condition, limit, what):
    """Waits for the condition; returns for how long."""
    began, last = time.monotonic(), ""
    while time.monotonic() - began < limit:
        try:
            if condition():
                return time.monotonic() - began
        except (OSError, AssertionError) as err:
            last = f" ({err})"
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {limit} s{last}")


def serving():
    """Waits until a client is answered."""
    return until(lambda: knock(10), PATIENCE, "serving")


def equal(have, want, what):
    if have != want:
        raise AssertionError(f"{what}: {have!r}, not {want!r}")


def contains(text, part):
    if part not in text:
        raise AssertionError(f"{part!r} is not in:\n{text[-1500:]}")

class Client:
    """A WebSocket client of this host without a device."""

    def __init__(self, token, timeout=2 * PATIENCE):
        self.wire = socket.create_connection(("127.0.0.1", PORT), timeout)
        key = base64.b64encode(os.urandom(16)).decode()
        self.wire.sendall(f"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        self.file = self.wire.makefile("rb")
        while self.file.readline() not in (b"\r\n", b""):
            pass
        self.closed = None
        contains(str(self.next()), "connect.challenge")
        client = {"id": "gateway-client", "version": "1", "platform": "linux", "mode": "backend"}
        params = {"minProtocol": 3, "maxProtocol": 4, "client": client, "role": "operator",
                  "scopes": ["operator.read", "operator.write"], "auth": {"token": token}}
        self.send({"type": "req", "id": "1", "method": "connect", "params": params})
        answer = self.next()
        equal(answer.get("ok"), True, f"connect: {answer}")

    def send(self, value):
        text = json.dumps(value).encode()
        mask = os.urandom(4)
        length = bytes([0x80 | len(text)]) if len(text) < 126 else b"\xfe" + len(text).to_bytes(2, "big")
        self.wire.sendall(b"\x81" + length + mask + bytes(byte ^ mask[n % 4] for n, byte in enumerate(text)))

    def next(self):
        """The next message; None after a close, whose code is then in `closed`."""
        while True:
            head = self.file.read(2)
            if len(head) < 2:
                raise ConnectionError("gone without a close")
            length = head[1] & 127
            if length > 125:
                length = int.from_bytes(self.file.read(2 if length == 126 else 8), "big")
            body = self.file.read(length)
            if head[0] & 15 == 8:
                self.closed = int.from_bytes(body[:2], "big")
                return None
            if head[0] & 15 == 1:
                return json.loads(body)

    def last_events(self):
        """Names of the events up to the close."""
        names = []
        while (message := self.next()) is not None:
            names.append(message.get("event"))
        return names


PROVIDER = r'''
import json, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    """A model that never ends, or that calls one tool: `exec` with what it was asked to run."""
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def chunk(self, value):
        data = value if isinstance(value, bytes) else f"data: {json.dumps(value)}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data)); self.wfile.flush()
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200); self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked"); self.end_headers()
        base = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
        def delta(delta, end=None): self.chunk({**base, "choices": [{"index": 0, "delta": delta, "finish_reason": end}]})
        text = json.dumps(body["messages"])
        if "think for ever" in text:
            delta({"role": "assistant", "content": "well"})
            try:
                while True: time.sleep(1); self.chunk(b": still thinking\n\n")
            except OSError: return
        asked_at = max(n for n, m in enumerate(body["messages"]) if m["role"] == "user")
        results = [m for m in body["messages"][asked_at:] if m["role"] == "tool"]
        if results:
            delta({"role": "assistant", "content": "tool said: " + json.dumps(results[-1]["content"])[:400]})
            delta({}, "stop")
        else:
            ask = text.split("RUN[")[-1].split("]RUN")[0]
            call = {"index": 0, "id": "t1", "type": "function",
                    "function": {"name": "exec", "arguments": json.dumps({"command": ask})}}
            delta({"role": "assistant", "tool_calls": [call]}); delta({}, "tool_calls")
        self.chunk({**base, "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}})
        self.chunk(b"data: [DONE]\n\n"); self.chunk(b"")
ThreadingHTTPServer.request_queue_size = 256
ThreadingHTTPServer(("127.0.0.1", 18080), Handler).serve_forever()
'''


def model_host():
    """Starts PROVIDER in the machine; returns the configuration that uses it."""
    write_file("/opt/provider.py", PROVIDER, root=True)
    sh("systemctl reset-failed provider 2>/dev/null; systemctl is-active -q provider || systemd-run -q --unit provider -p User=claw /usr/bin/python3 /opt/provider.py", root=True)
    with network():
        until(lambda: socket.create_connection(("127.0.0.1", 18080), 5).close() is None, PATIENCE, "model host")
    model = {"id": "m", "name": "m", "contextWindow": 128000, "maxTokens": 4096, "reasoning": False,
             "input": ["text"], "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0}}
    return {
        "gateway": {"mode": "local", "port": PORT, "auth": {"mode": "token", "token": "known-to-the-tests"}},
        "models": {"providers": {"lab": {"baseUrl": "http://127.0.0.1:18080/v1", "apiKey": "none",
                                         "api": "openai-completions", "models": [model]}}},
        "agents": {"defaults": {"model": {"primary": "lab/m"}, "maxConcurrent": 60}},
    }


def runs_a_tool(prefix, token, command, root=False):
    """What an agent's `exec` tool printed."""
    params = json.dumps({"message": f"RUN[{command}]RUN", "agentId": "main", "sessionKey": "agent:main:tool",
                         "idempotencyKey": str(time.monotonic())})
    call = (f"{prefix} openclaw gateway call agent --expect-final --timeout 60000 --json --token {token} "
            f"--url ws://127.0.0.1:18789 --params {shlex.quote(params)}")
    return sh(call, root=root)
