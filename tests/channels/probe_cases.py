"""Accounts in every state at once: each row says what is wrong and what to do."""

import http.client
import socket
import statistics
import subprocess
import time

import bed
import gateway
import irc
import telegram


class Cases:
    def __init__(self, binary, homes, provider):
        self.irc = irc.Server(homes.root)
        self.locked = irc.Server(homes.root, password="secret")
        self.telegram = telegram.Server()
        # Accepts and says nothing.
        self.mute = socket.create_server(("127.0.0.1", 0))
        account = lambda **keys: {"tls": False, "host": "127.0.0.1", "nick": "clawbot", **keys}
        channels = {
            "irc": {
                "accounts": {
                    "healthy": account(port=self.irc.port),
                    "locked": account(port=self.locked.port, password="wrong"),
                    "closed": account(port=bed.free_port()),
                    "mute": account(port=self.mute.getsockname()[1]),
                    "nameless": {"host": "127.0.0.1"},
                    "off": account(port=self.irc.port, enabled=False),
                }
            },
            "telegram": {
                "apiRoot": self.telegram.url,
                "accounts": {
                    "healthy": {"botToken": telegram.TOKEN},
                    "expired": {"botToken": "999:expired"},
                    "mistyped": {"botToken": "no token at all"},
                },
            },
            "discord": {"token": "x.y.z"},
        }
        self.gateway = gateway.Gateway(binary, homes, "probe", provider, channels)
        self.gateway.waits_connected("irc", "healthy")
        self.gateway.waits_connected("telegram", "healthy")

    def rows(self):
        """`channels status --probe` answers in time and names each trouble with its place."""
        began = time.monotonic()
        answer = self.gateway.json("channels", "status", "--probe", "--timeout", "5000")
        took = time.monotonic() - began
        row = lambda channel, account: next(r for r in answer["channelAccounts"][channel] if r["accountId"] == account)
        told = lambda channel, account: str(row(channel, account).get("probe", {}).get("error")) + str(row(channel, account)["lastError"])
        bed.check(row("irc", "healthy")["probe"]["ok"] is True, row("irc", "healthy"))
        bed.check(row("telegram", "healthy")["probe"]["bot"]["username"] == "claw_bot", row("telegram", "healthy"))
        for channel, account, what in [
            ("irc", "locked", "channels.irc.accounts.locked.password"),
            ("irc", "closed", "channels.irc.accounts.closed.host"),
            ("irc", "mute", "no answer"),
            ("irc", "nameless", "channels.irc.accounts.nameless.nick"),
            ("irc", "off", "disabled"),
            ("telegram", "expired", "channels.telegram.accounts.expired.botToken"),
            ("telegram", "mistyped", "channels.telegram.accounts.mistyped.botToken"),
            ("discord", "default", "not supported by this gateway"),
        ]:
            bed.check(what in told(channel, account), f"{channel} {account}: {told(channel, account)}")
        bed.check(took < 30, f"{took} s")
        text = self.gateway.cli("channels", "status", "--probe", "--timeout", "5000")
        bed.check("IRC healthy: enabled, configured, running, connected" in text and "works" in text, text)
        bed.check(text.count("probe failed") >= 4, text)
        for line in text.splitlines():
            if line.startswith("- "):
                print(f"     {line[:150]}")
        print(f"     probe of nine accounts, --timeout 5000: answered in {took:.1f} s")

    def undisturbed(self):
        """A probe does not touch the live connection, and health stays good."""
        before = self.gateway.status("irc", "healthy")
        self.gateway.status("irc", "healthy", probe=True)
        after = self.gateway.status("irc", "healthy")
        bed.check(before["lastConnectedAt"] == after["lastConnectedAt"] and after["connected"], after)
        for path in ("/healthz", "/readyz"):
            connection = http.client.HTTPConnection("127.0.0.1", self.gateway.port, timeout=20)
            connection.request("GET", path)
            bed.check(connection.getresponse().status == 200, path)
        bed.check(self.gateway.json("health")["ok"] is True, "health")

    def reload(self):
        """A changed account is replaced, the others are not touched."""
        healthy = self.gateway.status("telegram", "healthy")["lastConnectedAt"]
        self.gateway.cli("config", "set", "channels.irc.accounts.locked.password", "secret")
        self.gateway.waits_connected("irc", "locked", 60)
        self.gateway.cli("channels", "remove", "--channel", "irc", "--account", "closed", "--delete")
        gone = lambda: not self.gateway.status("irc", "closed")
        bed.wait_for("end of the removed account", gone, 30)
        added = ["--host", "127.0.0.1", "--port", str(self.irc.port), "--nick", "second", "--no-tls"]
        self.gateway.cli("channels", "add", "--channel", "irc", "--account", "added", *added)
        self.gateway.waits_connected("irc", "added", 60)
        bed.check(self.gateway.status("telegram", "healthy")["lastConnectedAt"] == healthy, "undisturbed")
        listed = self.gateway.cli("channels", "list", "--no-usage")
        bed.check("discord default: not supported by this gateway" in listed and "IRC added" in listed, listed)

    def run(self, report):
        report.case("status --probe: healthy, misconfigured, unauthorised, unreachable together", self.rows)
        report.case("status --probe: live connections and health are left alone", self.undisturbed)
        report.case("hot reload per account; add, remove, list", self.reload)

    def close(self):
        self.gateway.stop()
        self.mute.close()
        self.telegram.stop()
        self.irc.kill()
        self.locked.kill()
