"""What the client tests stand on: homes of their own, a scripted model provider,
a gateway under test, and a report with one line per case."""

import http.client
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TOKEN = "client-tests-token"
PIECES = 5


class Failure(Exception):
    """A case that did not hold; the text says what was seen."""


def check(condition, message):
    if not condition:
        raise Failure(message)


def setup():
    """Installs what the tests drive, and says where it is."""
    printed = subprocess.run([Path(__file__).parent / "setup"], stdout=subprocess.PIPE, check=True, text=True).stdout
    return dict(word.split("=", 1) for word in shlex.split(printed))


class Report:
    """Runs cases and counts them."""

    def __init__(self):
        self.passed = 0
        self.failed = []

    def case(self, name, action, *args):
        began = time.monotonic()
        try:
            detail = action(*args)
        except (Failure, subprocess.TimeoutExpired, OSError, ValueError, KeyError, TypeError, IndexError) as err:
            self.failed.append(name)
            print(f"FAIL {name}: {type(err).__name__}: {err}", flush=True)
            return None
        self.passed += 1
        print(f"PASS {name} ({time.monotonic() - began:.1f} s)", flush=True)
        return detail

    def result(self, ok, name, detail=""):
        if ok:
            self.passed += 1
            print(f"PASS {name}", flush=True)
        else:
            self.failed.append(name)
            print(f"FAIL {name}: {detail}", flush=True)

    def finish(self, title):
        for name in self.failed:
            print(f"  failed: {name}")
        print(f"{title}: {self.passed} passed, {len(self.failed)} failed", flush=True)
        return 1 if self.failed or not self.passed else 0


def wait_for(what, condition, seconds):
    """Polls until `condition` returns something true, and returns it."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        check(time.monotonic() < deadline, f"no {what} within {seconds} s")
        time.sleep(0.02)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(home, **more):
    """An environment without any credential or setting of the caller's."""
    keep = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return {**keep, "HOME": str(home), "TERM": "xterm-256color", **more}


class Homes:
    """Scratch homes, removed at the end."""

    def __init__(self):
        self.root = Path(tempfile.mkdtemp(prefix="openclaw-clients-"))

    def new(self, name, config=None, state=".openclaw"):
        home = self.root / name
        (home / state).mkdir(parents=True, mode=0o700)
        if config is not None:
            path = home / state / "openclaw.json"
            path.write_text(json.dumps(config, indent=2) + "\n")
            path.chmod(0o600)
        return home

    def path(self, name):
        return self.root / name

    def remove(self):
        shutil.rmtree(self.root, ignore_errors=True)


def reply_to(messages):
    """`say WORD` is answered with a sentence about WORD, anything else with a greeting.
    `slowly` makes the second half wait for a POST to /release."""
    for message in reversed(messages):
        if message.get("role") != "user":
            continue
        content = message.get("content")
        if isinstance(content, list):
            content = " ".join(part.get("text", "") for part in content)
        found = re.findall(r"say (\w+)", content or "")
        if found:
            return f"The word is {found[-1]} today."
        break
    return "Hello from the scripted provider."


def commands_in(messages):
    """The commands of a last message `use tools: COMMAND; COMMAND`."""
    last = messages[-1] if messages else {}
    content = last.get("content") if last.get("role") == "user" else ""
    if isinstance(content, list):
        content = " ".join(part.get("text", "") for part in content)
    found = re.search(r"use tools: (.*)", content or "")
    return [command.strip() for command in found[1].split(";")] if found else []


def calls_of(commands):
    calls = [
        {
            "index": at,
            "id": f"call_{at}_{uuid.uuid4().hex[:8]}",
            "type": "function",
            "function": {"name": "exec", "arguments": json.dumps({"command": command})},
        }
        for at, command in enumerate(commands)
    ]
    return {"role": "assistant", "tool_calls": calls}


class Provider:
    """An OpenAI-compatible completions API on a free port."""

    def __init__(self):
        owner = self
        self.requests = []
        self.released = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                sent = self.rfile.read(int(self.headers.get("content-length") or 0))
                if self.path == "/release":
                    owner.released.set()
                    return self.whole({})
                body = json.loads(sent)
                owner.requests.append(body)
                text = reply_to(body.get("messages", []))
                usage = {"prompt_tokens": 120, "completion_tokens": 7, "total_tokens": 127}
                base = {"id": "chatcmpl-1", "created": 1700000000, "model": body.get("model", "")}
                if not body.get("stream"):
                    message = {"role": "assistant", "content": text}
                    choice = {"index": 0, "message": message, "finish_reason": "stop"}
                    return self.whole({**base, "object": "chat.completion", "choices": [choice], "usage": usage})
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                base["object"] = "chat.completion.chunk"
                commands = commands_in(body["messages"])
                if commands:
                    self.event({**base, "choices": [{"index": 0, "delta": calls_of(commands), "finish_reason": None}]})
                    self.event({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
                    self.event({**base, "choices": [], "usage": usage})
                    self.chunk(b"data: [DONE]\n\n")
                    return self.chunk(b"")
                step = -(-len(text) // PIECES)
                deltas = [{"role": "assistant", "content": ""}]
                deltas += [{"content": text[at : at + step]} for at in range(0, len(text), step)]
                slow = "slowly" in json.dumps(body["messages"][-1])
                for number, delta in enumerate(deltas):
                    if slow and number == len(deltas) // 2:
                        owner.released.wait(60)
                    self.event({**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
                self.event({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
                self.event({**base, "choices": [], "usage": usage})
                self.chunk(b"data: [DONE]\n\n")
                self.chunk(b"")

            def whole(self, value):
                data = json.dumps(value).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def event(self, value):
                self.chunk(f"data: {json.dumps(value)}\n\n".encode())

            def chunk(self, data):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                self.wfile.flush()

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


def config(port, provider=None, home=None):
    """A gateway's configuration; without a provider the model is left to the gateway.
    With a home nothing is shared with other gateways of the host or asked of the internet."""
    value = {
        "gateway": {
            "mode": "local",
            "port": port,
            "bind": "loopback",
            "auth": {"mode": "token", "token": TOKEN},
            "http": {"endpoints": {"chatCompletions": {"enabled": True}}},
        }
    }
    if provider:
        model = {"id": "scripted-1", "name": "Scripted", "contextWindow": 32768, "maxTokens": 4096}
        value["models"] = {
            "mode": "merge",
            "providers": {
                "scripted": {
                    "baseUrl": provider.url,
                    "api": "openai-completions",
                    "apiKey": "none",
                    "models": [model],
                }
            },
        }
        value["agents"] = {"defaults": {"model": {"primary": "scripted/scripted-1"}}}
    if home:
        value["logging"] = {"file": str(home / "gateway.jsonl")}
        value["update"] = {"checkOnStart": False}
        value["discovery"] = {"mdns": {"mode": "off"}}
    return value


class Gateway:
    """A gateway process; `command` is the program with its leading arguments."""

    def __init__(self, command, home, port, arguments=("gateway",), patience=90):
        self.home = home
        self.port = port
        self.log = open(home / "gateway.log", "wb")
        self.process = subprocess.Popen(
            [*command, *arguments, "--port", str(port)],
            env=environment(home),
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_for("answer of /readyz", self.ready, patience)
        except Failure:
            self.stop()
            raise

    def ready(self):
        check(self.process.poll() is None, f"the gateway ended with {self.process.returncode}:\n{self.tail()}")
        try:
            return self.get("/readyz") == 200
        except OSError:
            return False

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        finally:
            connection.close()

    def tail(self):
        lines = (self.home / "gateway.log").read_text(errors="replace").splitlines()
        return "\n".join(lines[-15:])

    def stop(self):
        """Asks it to stop; returns its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()
        return self.process.returncode
