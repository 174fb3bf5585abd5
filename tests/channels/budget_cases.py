"""What three connected channels cost a gateway that has nothing to do."""

import os
import time

import bed
import gateway
import irc
import matrix
import telegram

IDLE = 20
# Beyond what the same gateway takes without channels, in MiB.
MOST_MEMORY = 16
# Share of one processor while nothing happens, in per cent.
MOST_PROCESSOR = 2.0


def resident(pid):
    """Memory of its own. Pages of the program's file come and go with the host's needs."""
    with open(f"/proc/{pid}/status") as status:
        line = next(line for line in status if line.startswith("RssAnon:"))
    return int(line.split()[1]) / 1024


def spent(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Cases:
    def __init__(self, binary, homes, provider, python):
        self.binary, self.homes, self.provider = binary, homes, provider
        self.irc = irc.Server(homes.root)
        self.telegram = telegram.Server()
        self.synapse = matrix.Server(python, homes.root)
        self.synapse.register("clawbot", "bot-password")

    def measure(self, name, channels):
        began = time.monotonic()
        running = gateway.Gateway(self.binary, self.homes, name, self.provider, channels)
        try:
            ready = time.monotonic() - began
            for channel in channels:
                running.waits_connected(channel)
            time.sleep(3)
            pid, before = running.process.pid, spent(running.process.pid)
            time.sleep(IDLE)
            return ready, resident(pid), (spent(pid) - before) / IDLE * 100
        finally:
            running.stop()

    def costs(self):
        """Memory and processor time of an idle gateway, without and with channels."""
        alone = self.measure("alone", {})
        channels = {
            "irc": {"host": "127.0.0.1", "port": self.irc.port, "tls": False, "nick": "clawbot"},
            "telegram": {"botToken": telegram.TOKEN, "apiRoot": self.telegram.url},
            "matrix": {
                "homeserver": self.synapse.url,
                "userId": "clawbot",
                "password": "bot-password",
                "allowPrivateNetwork": True,
            },
        }
        three = self.measure("three", channels)
        for title, (ready, memory, processor) in (("without channels", alone), ("three channels", three)):
            print(f"     {title}: ready after {ready:.2f} s, {memory:.1f} MiB, {processor:.2f} % of a processor when idle")
        bed.check(three[1] - alone[1] < MOST_MEMORY, f"{three[1] - alone[1]:.1f} MiB more")
        bed.check(three[2] < MOST_PROCESSOR, f"{three[2]:.2f} % of a processor")

    def run(self, report):
        report.case("idle and start-up with three channels", self.costs)

    def close(self):
        self.irc.kill()
        self.telegram.stop()
        self.synapse.kill()
