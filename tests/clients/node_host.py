"""The official node host, unmodified: it pairs with a gateway, is listed, approved,
invoked and revoked, all of it by the official command line of the same release."""

import json
import subprocess

from bed import Failure, check, environment, wait_for
from official_cli import Cli

NAME = "Test node"


class NodeHost:
    """A running node host with a home of its own, where it may run anything."""

    def __init__(self, command, home, port, token):
        policy = home / "policy.json"
        policy.write_text(json.dumps({"version": 1, "defaults": {"security": "full", "ask": "off"}, "agents": {}}))
        Cli(command, home).run("approvals", "set", "--file", str(policy))
        self.log = open(home / "node.log", "w+b")
        self.process = subprocess.Popen(
            [*command, "node", "run", "--host", "127.0.0.1", "--port", str(port), "--display-name", NAME],
            env=environment(home, OPENCLAW_GATEWAY_TOKEN=token),
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )

    def said(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")[-500:]

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def run(report, title, cli, start):
    """`cli` is an operator at the gateway; `start` starts a node host."""
    node = report.case(f"{title}: starts", start)
    if not node:
        return
    seen = {}

    def listed():
        rows = [row for row in cli.json("nodes", "status", "--json")["nodes"] if row.get("displayName") == NAME]
        return rows[0] if rows else None

    def pairs():
        def connected():
            check(node.process.poll() is None, f"the node host ended: {node.said()}")
            row = listed()
            return row if row and row["connected"] else None

        seen.update(wait_for("connected node", connected, 240))
        check(seen["paired"] is True, f"row {seen}")
        check({"system.run", "system.which"} <= set(seen["commands"]), f"commands {seen['commands']}")

    def approved():
        pending = [row for row in cli.json("nodes", "pending", "--json") if row["nodeId"] == seen["nodeId"]]
        check(pending, "nothing to approve")
        cli.run("nodes", "approve", pending[0]["requestId"], "--json")
        lists = cli.json("nodes", "list", "--json")
        check(any(row["nodeId"] == seen["nodeId"] for row in lists["paired"]), f"lists {lists}")
        check(not lists["pending"], f"still pending: {lists['pending']}")

    def described():
        row = cli.json("nodes", "describe", "--node", NAME, "--json")
        check(row["nodeId"] == seen["nodeId"] and row["connected"] is True, f"row {row}")

    def asked():
        answer = cli.json("nodes", "invoke", "--node", NAME, "--command", "system.which", "--params", '{"bins":["sh","no-such"]}', "--json")
        bins = answer["payload"]["bins"]
        check(bins.get("sh", "").endswith("/sh") and "no-such" not in bins, f"bins {bins}")

    def runs():
        call = {
            "nodeId": seen["nodeId"],
            "command": "system.run",
            "params": {"command": ["/bin/echo", "hello from the node"]},
            "idempotencyKey": f"{title}-echo",
        }
        answer = cli.json("gateway", "call", "node.invoke", "--params", json.dumps(call), "--json")
        check(answer["payload"]["stdout"] == "hello from the node\n", f"payload {answer['payload']}")
        check(answer["payload"]["exitCode"] == 0, f"payload {answer['payload']}")

    def standing_answers():
        before = cli.json("approvals", "get", "--node", NAME, "--json")
        check(before["file"]["defaults"]["security"] == "full", f"file {before['file']}")
        after = cli.json("approvals", "allowlist", "add", "--node", NAME, "--agent", "*", "/usr/bin/uname", "--json")
        patterns = [entry["pattern"] for entry in after["file"]["agents"]["*"]["allowlist"]]
        check(patterns == ["/usr/bin/uname"] and after["hash"] != before["hash"], f"file {after['file']}")

    def refused():
        try:
            cli.run("nodes", "invoke", "--node", NAME, "--command", "camera.snap", "--json")
        except Failure as err:
            check("camera.snap" in str(err), f"said {err}")
            return
        raise Failure("a command that the node does not offer was taken")

    def revoked():
        cli.run("devices", "revoke", "--device", seen["nodeId"], "--role", "node", "--json")
        wait_for("disconnected node", lambda: not (listed() or {"connected": False})["connected"], 240)
        cli.run("devices", "remove", seen["nodeId"], "--json")
        devices = cli.json("devices", "list", "--json")["paired"]
        check(all(device["deviceId"] != seen["nodeId"] for device in devices), f"still paired: {devices}")

    try:
        for name, action in {
            "pairs and connects": pairs,
            "its commands are approved": approved,
            "is described": described,
            "is asked for programs": asked,
            "runs a command": runs,
            "its standing approvals are read and changed": standing_answers,
            "is not asked for what it lacks": refused,
            "is revoked and removed": revoked,
        }.items():
            report.case(f"{title}: {name}", action)
            if not seen:
                print(node.said(), flush=True)
                return
    finally:
        node.stop()
