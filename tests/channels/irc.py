"""A real IRC server on a free port, and people who use it."""

import collections
import socket
import subprocess
import threading
import time

import bed

CONFIG = """[Global]
 Name = irc.test.local
 Info = test
 Listen = {listen}
 Ports = {port}
 MotdPhrase = "hi"
 {password}
[Limits]
 MaxConnectionsIP = 0
 MaxJoins = 0
 MaxPenaltyTime = 0
 PingTimeout = 60
[Options]
 DNS = no
 Ident = no
 PAM = no
 SyslogFacility = local1
"""


ENCRYPTED = """[SSL]
 CertFile = {certificate}
 KeyFile = {key}
 Ports = {port}
"""


def certificate(folder):
    """A certificate that speaks for itself, and its key."""
    made = folder / "irc-certificate.pem", folder / "irc-key.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    words += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    words += ["-addext", "basicConstraints=critical,CA:FALSE", "-out", made[0], "-keyout", made[1]]
    subprocess.run(words, check=True, capture_output=True)
    return made


class Server:
    def __init__(self, folder, listen="127.0.0.1", port=None, password=None, prefix=(), tls=False):
        self.host = listen
        self.port = port or bed.free_port()
        self.prefix = list(prefix)
        self.file = folder / f"ngircd-{self.port}.conf"
        line = f"Password = {password}" if password else ""
        config = CONFIG.format(listen=listen, port=self.port, password=line)
        if tls:
            self.tls_port = bed.free_port()
            self.certificate, key = certificate(folder)
            config += ENCRYPTED.format(certificate=self.certificate, key=key, port=self.tls_port)
        self.file.write_text(config)
        self.process = None
        self.start()

    def start(self):
        command = [*self.prefix, "/usr/sbin/ngircd", "-n", "-f", str(self.file)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if not self.prefix:
            bed.wait_for("IRC server", self.answers, 20)

    def answers(self):
        with socket.socket() as probe:
            return probe.connect_ex((self.host, self.port)) == 0

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


class Person:
    """Somebody with a client; keeps what he hears."""

    def __init__(self, server, nick, join=None):
        self.nick = nick
        self.heard = collections.deque()
        self.joined = threading.Event()
        self.ready = threading.Event()
        self.socket = socket.create_connection((server.host, server.port), timeout=20)
        self.socket.settimeout(None)
        self.lock = threading.Lock()
        self.send(f"NICK {nick}", f"USER {nick} 0 * :{nick}")
        threading.Thread(target=self.listen, daemon=True).start()
        bed.check(self.ready.wait(20), f"{nick} did not get into the server")
        if join:
            self.send(f"JOIN {join}")
            bed.check(self.joined.wait(20), f"{nick} did not get into {join}")

    def send(self, *lines):
        with self.lock:
            self.socket.sendall("".join(f"{line}\r\n" for line in lines).encode())

    def say(self, to, text):
        self.send(f"PRIVMSG {to} :{text}")

    def listen(self):
        buffer = b""
        while True:
            try:
                data = self.socket.recv(65536)
            except OSError:
                return
            if not data:
                return
            buffer += data
            *lines, buffer = buffer.split(b"\r\n")
            for raw in lines:
                self.on_line(raw.decode("utf-8", "replace"))

    def on_line(self, line):
        if line.startswith("PING"):
            self.send("PONG" + line[4:])
            return
        prefix, _, rest = line[1:].partition(" ")
        command, _, rest = rest.partition(" ")
        if command == "001":
            self.ready.set()
        elif command == "366":
            self.joined.set()
        elif command == "353":
            self.names = rest
        elif command == "PRIVMSG":
            target, _, text = rest.partition(" :")
            self.heard.append((prefix.split("!")[0], target, text))

    def texts(self, of=None):
        return [text for sender, _, text in list(self.heard) if of is None or sender == of]

    def waits_for(self, text, seconds=60):
        """The first message that holds `text`."""
        found = lambda: next((said for said in self.texts() if text in said), None)
        return bed.wait_for(f"message with {text!r} for {self.nick}", found, seconds)

    def sees(self, nick, channel=None, seconds=60):
        """Waits until `nick` is on the server, or in the channel."""

        def there():
            if channel:
                self.names = ""
                self.send(f"NAMES {channel}")
                time.sleep(0.2)
                return nick in self.names.replace("@", " ").replace(":", " ").split()
            return False

        return bed.wait_for(f"{nick} in {channel}", there, seconds)

    def leave(self):
        try:
            self.send("QUIT :bye")
        finally:
            self.socket.close()
