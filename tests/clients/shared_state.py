"""One state directory, two gateways: what ours wrote, the official one opens and goes on with, and back."""

import json
import subprocess
import uuid

import bed
import dialects

# Turns of one conversation: words, a tool, two tools at once, words again.
TURNS = ["say apple", "use tools: echo pear", "use tools: echo plum; echo quince", "say fig"]


class Caller:
    """Calls methods of a gateway with our own command line."""

    def __init__(self, ours, home, port):
        self.words, self.home, self.port = ours, home, port

    def call(self, method, params, final=False):
        words = [*self.words, "gateway", "call", method, "--json", "--timeout", "120000", "--params", json.dumps(params)]
        words += ["--url", f"ws://127.0.0.1:{self.port}", "--token", bed.TOKEN] + (["--expect-final"] if final else [])
        done = subprocess.run(words, env=bed.environment(self.home), capture_output=True, text=True, timeout=240, check=False)
        bed.check(done.returncode == 0, f"{method} {params}: {done.stdout}{done.stderr}")
        return json.loads(done.stdout)

    def answers(self):
        """Whether the gateway has time for a client; the official one is busy long after its start."""
        try:
            return self.call("health", {})
        except bed.Failure:
            return None

    def turn(self, text, key="agent:main:main"):
        agent = key.split(":")[1]
        params = {"message": text, "sessionKey": key, "agentId": agent, "idempotencyKey": str(uuid.uuid4())}
        answer = self.call("agent", params, final=True)
        bed.check(answer.get("status") == "ok", f"{text}: {answer}")

    def aborted_turn(self, text, key, models):
        """A turn that is ended when the first half of its answer is there."""
        run, halves = str(uuid.uuid4()), models.halves
        self.call("chat.send", {"message": text, "sessionKey": key, "idempotencyKey": run})
        bed.wait_for("half an answer", lambda: models.halves > halves, 60)
        aborted = self.call("chat.abort", {"sessionKey": key, "runId": run})
        bed.check(aborted["aborted"], f"{key}: {aborted}")
        ended = lambda: self.call("agent.wait", {"runId": run, "timeoutMs": 30000}).get("status") != "timeout"
        bed.wait_for("the end of the aborted turn", ended, 60)

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
        elif block["type"] == "thinking":
            parts.append(["thinking", block["thinking"]])
    return [message["role"], message.get("toolName"), *parts]


def same(ours, theirs, what):
    bed.check(ours == theirs, f"{what} differ:\n  {json.dumps(ours)}\n  {json.dumps(theirs)}")


def run(report, homes, provider, ours, official):
    models = dialects.Server()
    try:
        visit(report, homes, provider, ours, official, models)
    finally:
        models.stop()


def visit(report, homes, provider, ours, official, models):
    port = bed.free_port()
    config = models.configure(bed.config(port, provider, homes.path("shared-state")))
    home = homes.new("shared-state", config)
    caller = Caller(ours, home, port)
    seen = {}
    keys = [f"agent:{agent}:main" for agent in (*dialects.APIS, "fallen")]

    def write():
        for text in TURNS:
            caller.turn(text)
        caller.turn("say other", key="agent:main:second")
        for key in keys:
            caller.turn("say apple", key)
            caller.turn("use tools: echo plum; echo quince", key)
            caller.aborted_turn("slowly say fig", key, models)
            caller.turn("say grape", key)
            others = caller.history(key)
            roles = [line[0] for line in others]
            bed.check(roles.count("toolResult") == 2 and roles.count("user") == 4, f"history of {key}: {others}")
            seen[key] = others
        seen.update(sessions=caller.sessions(), history=caller.history())
        roles = [line[0] for line in seen["history"]]
        bed.check(roles.count("toolResult") == 3 and roles.count("user") == len(TURNS), f"history: {seen['history']}")

    def read():
        same(seen["sessions"], caller.sessions(), "the sessions")
        same(seen["history"], caller.history(), "the histories")
        for key in keys:
            same(seen[key], caller.history(key), f"the histories of {key}")

    def go_on():
        # Signed thoughts and parallel tools of Anthropic's API have to be replayed whole.
        anthropic = "agent:anthropic-messages:main"
        for name, key in (("history", "agent:main:main"), (anthropic, anthropic)):
            caller.turn("say melon", key)
            history = caller.history(key)
            same(seen[name], history[: len(seen[name])], f"the first parts of the histories of {key}")
            bed.check("melon" in json.dumps(history[-1]), f"the last answer in {key}: {history[-1]}")
            seen[name] = history
        seen["sessions"] = caller.sessions()

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
            report.case(f"one state directory: {who} answers", bed.wait_for, "answer", caller.answers, 300)
            for name, action in cases:
                report.case(f"one state directory: {who}: {name}", action)
        finally:
            gateway.stop()
