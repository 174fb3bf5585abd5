"""IRC on a real ngircd: pairing, groups, long answers, a dead server, a burst."""

import json
import time

import bed
import gateway
import irc


def channel(server, **more):
    return {"irc": {"host": server.host, "port": server.port, "tls": False, "nick": "clawbot", **more}}


class Cases:
    def __init__(self, binary, homes, provider):
        self.binary, self.homes, self.provider = binary, homes, provider
        self.server = irc.Server(homes.root)
        settings = channel(
            self.server,
            channels=["#claw", "#closed"],
            groupPolicy="allowlist",
            groups={"#claw": {"allowFrom": ["alice!~alice@127.0.0.1"]}},
        )
        self.gateway = gateway.Gateway(binary, homes, "irc", provider, settings)
        self.gateway.waits_connected("irc")
        self.alice = irc.Person(self.server, "alice", join="#claw")

    def pairing(self):
        """A stranger is told how to be let in, once, and is answered when he is."""
        self.alice.say("clawbot", "say nothing")
        self.alice.waits_for("access not configured")
        self.alice.say("clawbot", "say again")
        prompt = self.alice.waits_for("pairing approve irc")
        time.sleep(0.5)
        prompts = [text for text in self.alice.texts() if "access not configured" in text]
        bed.check(len(prompts) == 1, f"{len(prompts)} prompts")
        bed.check("The word is" not in " ".join(self.alice.texts()), "a stranger was answered")
        pending = self.gateway.json("pairing", "list", "irc")
        bed.check(pending["requests"][0]["id"] == "alice!~alice@127.0.0.1", pending)
        self.gateway.approve("irc", prompt)
        self.alice.say("clawbot", "say pearl")
        self.alice.waits_for("The word is pearl today.")

    def group(self):
        """In a group only listed senders who name the bot are answered."""
        bob = irc.Person(self.server, "bob", join="#claw")
        self.alice.say("#claw", "say silence")
        bob.say("#claw", "clawbot: say intruder")
        self.alice.say("#claw", "clawbot: say group")
        self.alice.waits_for("The word is group today.")
        bed.check(self.alice.heard[-1][1] == "#claw", f"answered in {self.alice.heard[-1][1]}")
        said = " ".join(self.alice.texts("clawbot") + bob.texts("clawbot"))
        bed.check("silence" not in said and "intruder" not in said, said)
        bob.leave()

    def long_answer(self):
        """A long answer comes in pieces that fit, in order, complete."""
        self.alice.heard.clear()
        self.alice.say("clawbot", "prose 300")
        self.alice.waits_for("word300")
        texts = self.alice.texts("clawbot")
        words = " ".join(texts).split()
        bed.check(words == [f"word{n}" for n in range(1, 301)], f"{len(words)} words")
        bed.check(len(texts) > 4 and max(map(len, texts)) <= 350, [len(text) for text in texts])
        self.alice.heard.clear()
        self.alice.say("clawbot", "recite 5")
        self.alice.waits_for("Line number 5")
        bed.check(len(self.alice.texts("clawbot")) == 5, self.alice.texts())

    def commands(self):
        """A command is answered by the gateway itself."""
        self.alice.heard.clear()
        self.alice.say("clawbot", "/whoami")
        self.alice.waits_for("alice!~alice@127.0.0.1")

    def actions(self):
        """Lines that were said can be neither changed nor pinned: each command says so."""
        at = ["--channel", "irc", "--target", "alice"]
        for action in ["edit -m x", "delete", "react --emoji x", "pin"]:
            name, *rest = action.split()
            said = self.gateway.fails("message", name, *at, "--message-id", "1", *rest)
            bed.check(f"Message action {name} not supported for channel irc." in said, said)
        poll = ["--poll-question", "?", "--poll-option", "a", "--poll-option", "b"]
        bed.check("not supported for channel irc" in self.gateway.fails("message", "poll", *at, *poll), "a poll")

    def burst(self):
        """A hundred messages get a hundred answers, in order, once."""
        self.alice.heard.clear()
        for n in range(100):
            self.alice.say("clawbot", f"say burst{n}")
        began = time.monotonic()
        self.alice.waits_for("The word is burst99 today.", 240)
        time.sleep(1)
        answers = self.alice.texts("clawbot")
        expected = [f"The word is burst{n} today." for n in range(100)]
        bed.check(answers == expected, f"{len(answers)} answers, in order: {answers == sorted(answers)}: {answers[:5]}")
        print(f"     100 messages in a burst: {len(answers)} answers in order in {time.monotonic() - began:.1f} s")

    def server_restart(self):
        """A killed server is noticed, and found again when it is back."""
        self.server.kill()
        gone = lambda: self.gateway.status("irc").get("connected") is False
        bed.wait_for("notice of the dead server", gone, 60)
        row = self.gateway.status("irc")
        bed.check(row["lastError"] and row["restartPending"], row)
        time.sleep(3)
        self.server.start()
        took = self.gateway.waits_connected("irc", seconds=60)
        self.alice = irc.Person(self.server, "alice", join="#claw")
        self.alice.say("clawbot", "say back")
        self.alice.waits_for("The word is back today.")
        print(f"     IRC server killed and restarted: reconnected {took:.1f} s after it was back")

    def send(self):
        """`message send` reaches a person and a channel over the live connection."""
        self.gateway.cli("message", "send", "--channel", "irc", "--target", "alice", "-m", "hello alice")
        self.alice.waits_for("hello alice")
        self.gateway.cli("message", "send", "--target", "#claw", "-m", "hello all")
        self.alice.waits_for("hello all")

    def renamed(self):
        """An account gets another name while it runs: the nick is the same, and nothing is lost."""
        dan = irc.Person(self.server, "dan")
        settings = channel(self.server, nick="mover", dmPolicy="open", allowFrom=["*"])["irc"]
        moving = gateway.Gateway(self.binary, self.homes, "irc-moving", self.provider, {"irc": {"accounts": {"one": settings}}})
        try:
            moving.waits_connected("irc", "one")
            dan.say("mover", "say before")
            dan.waits_for("The word is before today.")
            path = moving.state / "openclaw.json"
            config = json.loads(path.read_text())
            config["channels"]["irc"]["accounts"] = {"two": settings}
            beside = path.with_suffix(".new")
            beside.write_text(json.dumps(config))
            beside.replace(path)
            moving.waits_connected("irc", "two")
            bed.check(not moving.status("irc", "one"), "the old name is gone")

            def answered():
                # The server may not have let the nick go yet; it is asked for again then.
                dan.say("mover", "say after")
                time.sleep(0.5)
                return "The word is after today." in dan.texts()

            bed.wait_for("an answer under the new name", answered, 90)
        finally:
            moving.stop()
            dan.leave()

    def encrypted(self):
        """Over TLS a server is spoken to only if the host trusts its certificate."""
        server = irc.Server(self.homes.root, tls=True)
        channels = channel(server, port=server.tls_port, host="localhost", tls=True, dmPolicy="open", allowFrom=["*"])
        trusting = {"SSL_CERT_FILE": str(server.certificate)}
        one = gateway.Gateway(self.binary, self.homes, "irc-trusting", self.provider, channels, env=trusting)
        try:
            one.waits_connected("irc")
            carol = irc.Person(server, "carol")
            carol.say("clawbot", "say secret")
            carol.waits_for("The word is secret today.")
        finally:
            one.stop()
        channels["irc"]["nick"] = "other"
        wary = gateway.Gateway(self.binary, self.homes, "irc-wary", self.provider, channels)
        try:
            refused = lambda: "certificate" in (wary.status("irc").get("lastError") or "").lower()
            bed.wait_for("complaint about the certificate", refused, 60)
            bed.check(not wary.is_connected("irc"), "connected without trust")
        finally:
            wary.stop()
            server.kill()

    def run(self, report):
        report.case("IRC: over TLS", self.encrypted)
        report.case("IRC: a stranger pairs", self.pairing)
        report.case("IRC: an allowlisted group with a mention", self.group)
        report.case("IRC: a long answer in pieces", self.long_answer)
        report.case("IRC: a command", self.commands)
        report.case("IRC: message send", self.send)
        report.case("IRC: what it cannot do", self.actions)
        report.case("IRC: an account is renamed while it runs", self.renamed)
        report.case("IRC: a burst of 100", self.burst)
        report.case("IRC: the server is killed and comes back", self.server_restart)

    def close(self):
        self.gateway.stop()
        self.server.kill()
