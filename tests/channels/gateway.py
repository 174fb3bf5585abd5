"""The gateway under test with channels: starts, is killed, is asked."""

import json
import re
import signal
import subprocess
import time

import bed


def reply_to(messages):
    """As the clients' provider, and `recite N` gets N numbered lines."""
    text = json.dumps(messages[-1].get("content")) if messages else ""
    found = re.findall(r"recite (\d+)", text)
    if found:
        return "\n".join(f"Line number {n} of the recital." for n in range(1, int(found[-1]) + 1))
    found = re.findall(r"prose (\d+)", text)
    if found:
        return " ".join(f"word{n}" for n in range(1, int(found[-1]) + 1))
    return plain_reply(messages)


plain_reply = bed.reply_to
bed.reply_to = reply_to


def calls_of(commands):
    """As the clients' provider, and `message {json}` calls the tool of that name."""
    calls = plain_calls(commands)
    for command, call in zip(commands, calls["tool_calls"]):
        name, _, arguments = command.partition(" ")
        if name == "message":
            call["function"] = {"name": name, "arguments": arguments}
    return calls


plain_calls = bed.calls_of
bed.calls_of = calls_of


def config(port, provider, channels, **more):
    value = bed.config(port, provider)
    value["channels"] = channels
    value["models"]["providers"]["scripted"]["models"][0]["input"] = ["text", "image"]
    # Every message gets an answer of its own, so that they can be counted.
    value["messages"] = {"queue": {"mode": "followup", "cap": 1000}}
    value["agents"]["defaults"]["heartbeat"] = {"every": "0m"}
    # What else reaches out is none of these tests' business.
    value.update(more)
    return value


class Gateway:
    def __init__(self, binary, homes, name, provider, channels, prefix=(), env=None, **more):
        self.binary = str(binary)
        self.env = env or {}
        self.port = bed.free_port()
        self.home = homes.new(name, config(self.port, provider, channels, **more))
        self.state = self.home / ".openclaw"
        self.prefix = list(prefix)
        self.process = None
        self.starts = 0
        self.start()

    def start(self, wait=True):
        self.starts += 1
        # Killed boots in a row mean safe mode, which leaves channels off: not what is tested.
        (self.state / "boots.json").unlink(missing_ok=True)
        log = open(self.home / "gateway.log", "ab")
        self.process = subprocess.Popen(
            [*self.prefix, self.binary, "gateway"],
            env=bed.environment(self.home, RUST_BACKTRACE="1", **self.env),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        log.close()
        if wait:
            bed.wait_for("ready gateway", self.is_ready, 60)

    def is_ready(self):
        bed.check(self.process.poll() is None, f"the gateway ended: {self.log()[-800:]}")
        return " listening on " in self.log() or "listening on ws" in self.log()

    def log(self):
        return (self.home / "gateway.log").read_text(errors="replace")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                return self.process.wait(90)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise
        return self.process.returncode

    def cli(self, *arguments, code=0, timeout=120):
        return self.run_cli(*arguments, code=code, timeout=timeout).stdout

    def fails(self, *arguments):
        """What a command that fails says."""
        return self.run_cli(*arguments, code=1, timeout=120).stderr

    def run_cli(self, *arguments, code, timeout):
        done = subprocess.run(
            [*self.prefix, self.binary, *arguments],
            env=bed.environment(self.home),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        said = f"{' '.join(arguments)} ended with {done.returncode}: {done.stdout}{done.stderr}"
        bed.check(done.returncode == code, said[-1500:])
        return done

    def json(self, *arguments, **more):
        return json.loads(self.cli(*arguments, "--json", **more))

    def status(self, channel, account="default", probe=False):
        """One account's row of `channels status`."""
        answer = self.json("channels", "status", *(["--probe"] if probe else []))
        rows = answer["channelAccounts"].get(channel, [])
        return next((row for row in rows if row["accountId"] == account), {})

    def is_connected(self, channel, account="default"):
        return self.status(channel, account).get("connected") is True

    def waits_connected(self, channel, account="default", seconds=60):
        began = time.monotonic()
        bed.wait_for(f"connection of {channel}", lambda: self.is_connected(channel, account), seconds)
        return time.monotonic() - began

    def approve(self, channel, text):
        """Approves the code of a pairing prompt."""
        code = re.search(r"pairing approve \w+ ([A-Z2-9]{8})", text)
        bed.check(code, f"no command in the pairing prompt: {text!r}")
        said = self.cli("pairing", "approve", channel, code.group(1))
        bed.check(f"Approved {channel} sender" in said, said)

    def set_aside(self):
        """Deliveries whose end is unknown or that failed."""
        folder = self.state / "delivery-queue" / "failed"
        return [json.loads(path.read_text()) for path in folder.glob("*.json")] if folder.is_dir() else []

    def waiting(self):
        folder = self.state / "delivery-queue"
        inbox = self.state / "channels" / "inbox"
        count = lambda path: len(list(path.glob("*.json"))) if path.is_dir() else 0
        return count(folder) + count(inbox)
