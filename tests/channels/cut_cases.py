"""The network is cut: the gateway lives in a network namespace whose link goes down."""

import os
import subprocess
import threading
import time
from http.server import ThreadingHTTPServer

import bed
import gateway
import irc
import matrix
import matrix_cases

OUTSIDE, INSIDE = "10.203.77.1", "10.203.77.2"
CUT = 60


def ip(*words, check=True):
    return subprocess.run(["ip", *words], check=check, capture_output=True, text=True)


def unfit():
    """Why this machine cannot do it, if it cannot."""
    if os.geteuid() != 0:
        return "not root"
    name = f"oct{os.getpid()}"
    made = ip("netns", "add", name, check=False)
    if made.returncode:
        return f"no network namespaces ({made.stderr.strip()})"
    ip("netns", "del", name)
    return None


class Cases:
    def __init__(self, binary, homes, provider, python):
        self.space = f"oc{os.getpid()}"
        self.link = f"oc{os.getpid()}"[:14]
        ip("netns", "add", self.space)
        try:
            ip("link", "add", self.link, "type", "veth", "peer", "name", "inside0", "netns", self.space)
            ip("addr", "add", f"{OUTSIDE}/30", "dev", self.link)
            ip("link", "set", self.link, "up")
            for words in (["addr", "add", f"{INSIDE}/30", "dev", "inside0"], ["link", "set", "inside0", "up"], ["link", "set", "lo", "up"]):
                ip("-n", self.space, *words)
            # The provider's answers, where the gateway can reach them.
            self.http = ThreadingHTTPServer((OUTSIDE, 0), provider.server.RequestHandlerClass)
            self.http.daemon_threads = True
            threading.Thread(target=self.http.serve_forever, daemon=True).start()
            reachable = type("Provider", (), {"url": f"http://{OUTSIDE}:{self.http.server_address[1]}/v1"})
            self.server = irc.Server(homes.root, listen=OUTSIDE)
            self.synapse = matrix.Server(python, homes.root, listen=OUTSIDE)
            self.synapse.register("clawbot", "bot-password")
            self.alice = matrix.Person(self.synapse, "alice")
            settings = {
                "matrix": {
                    "homeserver": self.synapse.url,
                    "userId": "clawbot",
                    "password": "bot-password",
                    "allowPrivateNetwork": True,
                    "autoJoin": "always",
                    "dm": {"policy": "open", "allowFrom": ["*"]},
                },
                "irc": {
                    "host": OUTSIDE,
                    "port": self.server.port,
                    "tls": False,
                    "nick": "clawbot",
                    "dmPolicy": "open",
                    "allowFrom": ["*"],
                }
            }
            prefix = ["ip", "netns", "exec", self.space]
            self.gateway = gateway.Gateway(binary, homes, "cut", reachable, settings, prefix=prefix)
            self.gateway.waits_connected("irc")
            self.gateway.waits_connected("matrix")
            self.room = self.alice.room(matrix_cases.BOT, is_direct=True)
            self.alice.waits_member(self.room, matrix_cases.BOT)
        except BaseException:
            for part in ("synapse", "server"):
                if hasattr(self, part):
                    getattr(self, part).kill()
            self.remove()
            raise

    def cut(self):
        """A connection that died without a word is noticed and replaced."""
        person = irc.Person(self.server, "alice")
        person.say("clawbot", "say before")
        person.waits_for("The word is before today.")
        self.alice.say(self.room, "say before")
        self.alice.waits_for("The word is before today.", matrix_cases.BOT)
        first = self.gateway.status("irc")["lastConnectedAt"]
        ip("link", "set", self.link, "down")
        self.alice.say(self.room, "say meanwhile")
        time.sleep(CUT)
        row = self.gateway.status("irc")
        bed.check(row["connected"] is False and row["lastError"], row)
        ip("link", "set", self.link, "up")
        began = time.monotonic()
        took = {}

        def all_connected():
            for name in ("irc", "matrix"):
                if name not in took and self.gateway.is_connected(name):
                    took[name] = time.monotonic() - began
            return len(took) == 2

        bed.wait_for("new connections", all_connected, 60)
        bed.check(self.gateway.status("irc")["lastConnectedAt"] != first, "the same connection")
        self.alice.waits_for("The word is meanwhile today.", matrix_cases.BOT)
        self.alice.say(self.room, "say after")
        self.alice.waits_for("The word is after today.", matrix_cases.BOT)
        said = self.alice.texts(matrix_cases.BOT, self.room)
        bed.check(said == [f"The word is {word} today." for word in ("before", "meanwhile", "after")], said)
        again = irc.Person(self.server, "bert")
        # The server may still believe in the dead connection's nick.
        for nick in ("clawbot", "clawbot_"):
            again.say(nick, "say after")
        again.waits_for("The word is after today.")
        for name, seconds in took.items():
            print(f"     network cut for {CUT} s: {name} noticed, reconnected {seconds:.1f} s after it was back")

    def run(self, report):
        report.case("IRC and Matrix: the network is cut for a minute", self.cut)

    def remove(self):
        ip("link", "del", self.link, check=False)
        ip("netns", "del", self.space, check=False)

    def close(self):
        self.alice.going = False
        self.gateway.stop()
        self.synapse.kill()
        self.server.kill()
        self.http.shutdown()
        self.remove()
