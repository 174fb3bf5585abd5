"""One state directory, two gateways: what ours wrote, the official one opens and goes on with, and back."""

import json
import subprocess
import uuid

import bed

# Turns of one conversation: words, a tool, two tools at once, words again.
TURNS = ["say apple", "use tools: echo pear", "use tools: echo plum; echo quince", "say fig"]


class Caller:
    """Calls methods of a gateway with our own command line."""

    def __init__(self, ours, home, port):
        self.words, self.home, self.port = ours, home, port

    def call(self, method, params, final=False):
        words = [*self.words, "gateway", "call", method, "--json", "--timeout", "60000", "--params", json.dumps(params)]
        words += ["--url", f"ws://127.0.0.1:{self.port}", "--token", bed.TOKEN] + (["--expect-final"] if final else [])
        done = subprocess.run(words, env=bed.environment(self.home), capture_output=True, text=True, timeout=120, check=False)
        bed.check(done.returncode == 0, f"{method}: {done.stdout}{done.stderr}")
        return json.loads(done.stdout)

    def answers(self):
        """Whether the gateway has time for a client; the official one is busy long after its start."""
        try:
            return self.call("health", {})
        except bed.Failure:
            return None

    def turn(self, text, key="agent:main:main"):
        params = {"message": text, "sessionKey": key, "agentId": "main", "idempotencyKey": str(uuid.uuid4())}
        answer = self.call("agent", params, final=True)
        bed.check(answer.get("status") == "ok", f"{text}: {answer}")

    def sessions(self):
        rows = self.call("sessions.list", {})["sessions"]
        return sorted((row["key"], row["sessionId"], row.get("model")) for row in rows)

    def history(self, key="agent:main:main"):
        return [said(message) for message in self.call("chat.history", {"sessionKey": key})["messages"]]


def said(message):
    """Who said what: texts, calls of tools, results."""
    content = message.get("content")
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    parts = []
    for block in blocks:
        if block["type"] == "text":
            # Each gateway puts a time before what a person wrote.
            parts.append(block["text"].split("] ", 1)[-1] if message["role"] == "user" else block["text"])
        elif block["type"] == "toolCall":
            parts.append([block["id"], block["name"], block["arguments"]])
    return [message["role"], message.get("toolName"), *parts]


def same(ours, theirs, what):
    bed.check(ours == theirs, f"{what} differ:\n  {json.dumps(ours)}\n  {json.dumps(theirs)}")


def run(report, homes, provider, ours, official):
    port = bed.free_port()
    home = homes.new("shared-state", bed.config(port, provider, homes.path("shared-state")))
    caller = Caller(ours, home, port)
    seen = {}

    def write():
        for text in TURNS:
            caller.turn(text)
        caller.turn("say other", key="agent:main:second")
        seen.update(sessions=caller.sessions(), history=caller.history())
        roles = [line[0] for line in seen["history"]]
        bed.check(roles.count("toolResult") == 3 and roles.count("user") == len(TURNS), f"history: {seen['history']}")

    def read():
        same(seen["sessions"], caller.sessions(), "the sessions")
        same(seen["history"], caller.history(), "the histories")

    def go_on():
        caller.turn("say grape")
        history = caller.history()
        same(seen["history"], history[: len(seen["history"])], "the first part of the histories")
        bed.check("grape" in json.dumps(history[-1]), f"the last answer: {history[-1]}")
        seen.update(sessions=caller.sessions(), history=history)

    steps = [
        ("ours", ours, [("a conversation with tools is written", write)]),
        ("the official gateway", official, [("shows the same sessions and history", read), ("goes on with the conversation", go_on)]),
        ("ours", ours, [("shows what the official gateway added", read)]),
    ]
    for who, program, cases in steps:
        gateway = report.case(f"one state directory: {who} starts over it", bed.Gateway, program, home, port)
        if not gateway:
            return
        try:
            report.case(f"one state directory: {who} answers", bed.wait_for, "answer", caller.answers, 120)
            for name, action in cases:
                report.case(f"one state directory: {who}: {name}", action)
        finally:
            gateway.stop()
