"""The network is cut: the gateway lives in a network namespace whose link goes down."""

import os
import subprocess
import threading
import time
from http.server import ThreadingHTTPServer

import bed
import gateway
import irc

OUTSIDE, INSIDE = "10.203.77.1", "10.203.77.2"
CUT = 50


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
    def __init__(self, binary, homes, provider):
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
            settings = {
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
        except BaseException:
            self.remove()
            raise

    def cut(self):
        """A connection that died without a word is noticed and replaced."""
        person = irc.Person(self.server, "alice")
        person.say("clawbot", "say before")
        person.waits_for("The word is before today.")
        first = self.gateway.status("irc")["lastConnectedAt"]
        ip("link", "set", self.link, "down")
        time.sleep(CUT)
        row = self.gateway.status("irc")
        bed.check(row["connected"] is False and row["lastError"], row)
        ip("link", "set", self.link, "up")
        began = time.monotonic()
        bed.wait_for("new connection", lambda: self.gateway.is_connected("irc"), 60)
        took = time.monotonic() - began
        bed.check(self.gateway.status("irc")["lastConnectedAt"] != first, "the same connection")
        again = irc.Person(self.server, "bert")
        # The server may still believe in the dead connection's nick.
        nicks = ["clawbot", "clawbot_"]
        for nick in nicks:
            again.say(nick, "say after")
        again.waits_for("The word is after today.")
        print(f"     network cut for {CUT} s: noticed within it, reconnected {took:.1f} s after it was back")

    def run(self, report):
        report.case("IRC: the network is cut", self.cut)

    def remove(self):
        ip("link", "del", self.link, check=False)
        ip("netns", "del", self.space, check=False)

    def close(self):
        self.gateway.stop()
        self.server.kill()
        self.http.shutdown()
        self.remove()
