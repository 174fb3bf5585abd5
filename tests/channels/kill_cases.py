"""The gateway is killed at random points of two hundred exchanges on three networks.

Nothing may be lost that the network replays, and nothing may be answered twice.
What the gateway cannot know (whether a piece left in the moment it died) it has
to report in `delivery-queue/failed`, not to guess.
"""

import random
import time

import bed
import gateway
import irc
import matrix
import matrix_cases
import telegram

ROUNDS = 67
SEED = 20261128


class Cases:
    def __init__(self, binary, homes, provider, python):
        self.irc = irc.Server(homes.root)
        self.telegram = telegram.Server()
        self.synapse = matrix.Server(python, homes.root)
        self.synapse.register("clawbot", "bot-password")
        self.alice = matrix.Person(self.synapse, "alice")
        self.person = irc.Person(self.irc, "alice", join="#claw")
        channels = {
            "irc": {
                "host": "127.0.0.1",
                "port": self.irc.port,
                "tls": False,
                "nick": "clawbot",
                "channels": ["#claw"],
                "dmPolicy": "allowlist",
                "allowFrom": ["alice!~alice@127.0.0.1"],
            },
            "telegram": {
                "botToken": telegram.TOKEN,
                "apiRoot": self.telegram.url,
                "dmPolicy": "allowlist",
                "allowFrom": ["777"],
            },
            "matrix": {
                "homeserver": self.synapse.url,
                "userId": "clawbot",
                "password": "bot-password",
                "allowPrivateNetwork": True,
                "autoJoin": "always",
                "dm": {"policy": "allowlist", "allowFrom": [self.alice.id]},
            },
        }
        # A session per network, so that they do not wait for each other.
        scope = {"dmScope": "per-channel-peer"}
        self.gateway = gateway.Gateway(binary, homes, "kill", provider, channels, session=scope)
        for name in channels:
            self.gateway.waits_connected(name)
        self.room = self.alice.room(matrix_cases.BOT, is_direct=True)
        self.alice.waits_member(self.room, matrix_cases.BOT)

    def answers(self, network):
        if network == "irc":
            return self.person.texts()
        if network == "telegram":
            return self.telegram.texts()
        return self.alice.texts(matrix_cases.BOT)

    def count(self, network, word):
        return sum(f"The word is {word} today." in text for text in self.answers(network))

    def reported(self, word):
        """Whether the gateway says that it does not know what became of the answer."""
        return any(
            word in str(entry["payloads"]) and "unknown" in entry.get("lastError", "") for entry in self.gateway.set_aside()
        )

    def settled(self, words):
        return all(self.count(network, word) or self.reported(word) for network, word in words.items() if network != "irc")

    def exchanges(self):
        chance = random.Random(SEED)
        kills = 0
        asked = {"irc": [], "telegram": [], "matrix": []}
        for number in range(ROUNDS):
            words = {network: f"{network}{number}x" for network in asked}
            # IRC keeps nothing for those who are away.
            self.person.sees("clawbot", "#claw")
            self.telegram.says(f"say {words['telegram']}")
            self.alice.say(self.room, f"say {words['matrix']}")
            self.person.say("clawbot", f"say {words['irc']}")
            for network, word in words.items():
                asked[network].append(word)
            if chance.random() < 0.4:
                time.sleep(chance.random() * 0.8)
                self.gateway.kill()
                kills += 1
                self.gateway.start(wait=False)
            bed.wait_for(f"answers of round {number}", lambda: self.settled(words), 90)
            deadline = time.monotonic() + 5
            while not self.count("irc", words["irc"]) and time.monotonic() < deadline:
                time.sleep(0.05)
        bed.wait_for("an empty queue", lambda: self.gateway.waiting() == 0, 60)
        time.sleep(2)
        lines = []
        for network, words in asked.items():
            counts = [self.count(network, word) for word in words]
            # One that was reported may have arrived all the same.
            unknown = sum(c == 0 and self.reported(word) for c, word in zip(counts, words))
            lines.append(
                f"{network}: {len(words)} asked, {sum(c == 1 for c in counts)} answered once, "
                f"{sum(c > 1 for c in counts)} twice, {unknown} missing and reported as unknown, "
                f"{sum(c == 0 for c in counts) - unknown} not answered"
            )
            bed.check(max(counts) <= 1, f"answered twice: {lines[-1]}")
            if network != "irc":
                bed.check(sum(c == 0 for c in counts) == unknown, f"lost: {lines[-1]}")
        bed.check(kills >= 15, f"{kills} kills")
        for line in lines:
            print(f"     kill -9 at {kills} random points: {line}")

    def run(self, report):
        report.case("kill -9 at random points of 200 exchanges on IRC, Telegram and Matrix", self.exchanges)

    def close(self):
        self.alice.going = False
        self.gateway.stop()
        self.irc.kill()
        self.telegram.stop()
        self.synapse.kill()
