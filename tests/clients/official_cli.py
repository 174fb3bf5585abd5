"""The official command line of release 2026.4.2, unmodified, against a gateway:
every command of the list, in several orders, and a chat in its terminal interface."""

import json
import subprocess

from bed import Failure, check, environment, wait_for

ECHO = "dev/echo"


class Cli:
    """The official command line with a home of its own."""

    def __init__(self, command, home, **settings):
        self.command = command
        self.home = home
        self.settings = settings

    def run(self, *arguments, timeout=90):
        done = subprocess.run(
            [*self.command, *arguments],
            env=environment(self.home, NO_COLOR="1", **self.settings),
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
            text=True,
            errors="replace",
        )
        if done.returncode != 0:
            said = (done.stderr.strip() or done.stdout.strip())[-700:]
            raise Failure(f"exit {done.returncode}: {said}")
        return done.stdout

    def json(self, *arguments):
        return first_json(self.run(*arguments))


def first_json(text):
    """The first JSON value that starts a line; notices may stand before it."""
    decoder = json.JSONDecoder()
    for at, character in enumerate(text):
        if character in "{[" and (at == 0 or text[at - 1] == "\n"):
            try:
                return decoder.raw_decode(text, at)[0]
            except ValueError:
                continue
    raise Failure(f"no JSON in the output: {text[-300:]!r}")


def health(cli, _expect):
    answer = cli.json("health", "--json")
    check(answer["ok"] is True, f"ok is {answer['ok']!r}")
    check(answer["defaultAgentId"] == "main", f"default agent {answer['defaultAgentId']!r}")
    check(answer["agents"][0]["agentId"] == "main", "no agent main")


def status(cli, _expect):
    answer = cli.json("status", "--json")
    check(answer["gateway"]["reachable"] is True, f"not reachable: {answer['gateway'].get('error')}")
    check(answer["gateway"]["self"]["version"] == "2026.4.2", f"self is {answer['gateway']['self']}")


def gateway_status(cli, _expect):
    answer = cli.json("gateway", "status", "--json")
    check(answer["rpc"]["ok"] is True, f"rpc is {answer['rpc']}")
    check(answer["port"]["status"] == "busy", f"port is {answer['port']}")


def gateway_probe(cli, _expect):
    answer = cli.json("gateway", "probe", "--json")
    check(answer["ok"] is True and answer["degraded"] is False, f"ok {answer['ok']}, degraded {answer['degraded']}")
    target = answer["targets"][0]
    check(target["connect"]["ok"] and target["connect"]["rpcOk"], f"connect is {target['connect']}")
    check(target["health"]["ok"] is True, "no health")
    check(target["config"]["valid"] is True, f"config is {target['config']}")


def gateway_call(cli, _expect):
    answer = cli.json("gateway", "call", "health", "--json")
    check(answer["ok"] is True, f"ok is {answer['ok']!r}")


def logs(cli, _expect):
    rows = [json.loads(line) for line in cli.run("logs", "--json", "--limit", "20").splitlines() if line.startswith("{")]
    check(rows and rows[0]["type"] == "meta" and rows[0]["cursor"] > 0, f"first row {rows[:1]}")
    lines = [row for row in rows if row["type"] == "log"]
    check(lines, "no log line")
    check(all("time" in row and "level" in row and "message" in row for row in lines), f"odd line {lines[0]}")


def channels_status(cli, _expect):
    answer = cli.json("channels", "status", "--probe", "--json")
    check(isinstance(answer["channels"], dict) and answer["ts"] > 0, f"answer {answer}")


def presence(cli, _expect):
    answer = cli.json("system", "presence", "--json")
    check(any(entry.get("mode") == "gateway" for entry in answer), f"no gateway in {answer}")


def event(cli, _expect):
    cli.run("system", "event", "--text", "a note from the tests", "--mode", "next-heartbeat")


def agent(cli, expect):
    answer = cli.json("agent", "--agent", "main", "--message", "Please say pineapple", "--json")
    check(answer["status"] == "ok", f"status {answer['status']!r}")
    texts = [payload.get("text") or "" for payload in answer["result"]["payloads"]]
    check(any(expect("pineapple", text) for text in texts), f"payloads {texts}")


COMMANDS = {
    "health": health,
    "status": status,
    "gateway status": gateway_status,
    "gateway probe": gateway_probe,
    "gateway call health": gateway_call,
    "logs": logs,
    "channels status --probe": channels_status,
    "system presence": presence,
    "system event": event,
    "agent --message": agent,
}

# The first command of a home decides with which scopes its device is paired:
# each kind of first command is followed by one that asks for more.
ORDERS = {
    "as listed": list(COMMANDS),
    "status before logs": ["status", "logs", "gateway probe", "system presence", "health", "agent --message"],
    "least scopes first": ["gateway status", "channels status --probe", "agent --message", "status", "system event", "logs"],
    "all scopes first": ["agent --message", "gateway call health", "gateway status", "logs", "status", "health"],
}


def expects_word(word, text):
    """The scripted provider answers with a sentence around the word."""
    return f"The word is {word} today." in text


def expects_echo(word, text):
    """The built-in model says who it is and repeats the message."""
    return word in text and ECHO in text


def run_order(report, cli, name, order, expect=expects_word):
    for command in order:
        report.case(f"{name}: {command}", COMMANDS[command], cli, expect)


def tui_chat(cli, expect):
    """Types a message into the terminal interface and waits for the answer on the screen."""
    socket = str(cli.home / "tmux.sock")

    def tmux(*arguments):
        return subprocess.run(
            ["tmux", "-S", socket, *arguments],
            env=environment(cli.home),
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )

    def screen():
        return tmux("capture-pane", "-p", "-t", "chat").stdout

    def shows(*words):
        return lambda: all(word in screen() for word in words)

    tmux("-f", "/dev/null", "new-session", "-d", "-x", "140", "-y", "50", "-s", "chat", "-c", str(cli.home), *cli.command, "tui")
    try:
        try:
            wait_for("connected terminal interface", shows("connected"), 60)
            for word in ("apricot", "walnut"):
                tmux("send-keys", "-t", "chat", "-l", f"Please say {word}")
                tmux("send-keys", "-t", "chat", "Enter")
                wait_for(f"answer about {word}", lambda word=word: expect(word, screen()), 60)
        except Failure as err:
            raise Failure(f"{err}; the screen shows:\n{screen().strip()}") from None
    finally:
        tmux("kill-server")
