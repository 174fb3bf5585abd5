"""A real Synapse on a free port, and people who use it."""

import json
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import bed


class Server:
    def __init__(self, python, folder, listen="127.0.0.1"):
        self.python = python
        self.port = bed.free_port()
        self.folder = folder / f"synapse-{self.port}"
        self.folder.mkdir()
        self.url = f"http://{listen}:{self.port}"
        self.config = self.folder / "homeserver.yaml"
        made = subprocess.run(
            [python, "-m", "synapse.app.homeserver", "--server-name", "test.local", "--config-path", self.config]
            + ["--generate-config", "--report-stats=no", "--data-directory", self.folder],
            capture_output=True,
            text=True,
            cwd=self.folder,
        )
        bed.check(made.returncode == 0, made.stderr[-800:])
        self.secret = "registration-secret"
        fast = {"per_second": 10000, "burst_count": 10000}
        settings = {
            "server_name": "test.local",
            "pid_file": str(self.folder / "pid"),
            "listeners": [
                {"port": self.port, "type": "http", "bind_addresses": [listen], "resources": [{"names": ["client"]}]}
            ],
            "database": {"name": "sqlite3", "args": {"database": str(self.folder / "hs.db")}},
            "log_config": str(self.folder / "test.local.log.config"),
            "media_store_path": str(self.folder / "media"),
            "registration_shared_secret": self.secret,
            "report_stats": False,
            "macaroon_secret_key": "m",
            "form_secret": "f",
            "signing_key_path": str(self.folder / "test.local.signing.key"),
            "trusted_key_servers": [],
            "rc_message": fast,
            "rc_registration": fast,
            "rc_login": {"address": fast, "account": fast, "failed_attempts": fast},
            "rc_joins": {"local": fast, "remote": fast},
            "rc_invites": {"per_room": fast, "per_user": fast, "per_issuer": fast},
        }
        # JSON is YAML.
        self.config.write_text(json.dumps(settings))
        self.process = None
        self.start()

    def start(self):
        log = open(self.folder / "synapse.log", "ab")
        self.process = subprocess.Popen(
            [self.python, "-m", "synapse.app.homeserver", "--config-path", self.config],
            stdout=log,
            stderr=log,
            cwd=self.folder,
        )
        bed.wait_for("Synapse", self.answers, 240)

    def answers(self):
        bed.check(self.process.poll() is None, (self.folder / "synapse.log").read_text()[-800:])
        try:
            return urllib.request.urlopen(f"{self.url}/_matrix/client/versions", timeout=5).status == 200
        except OSError:
            return False

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def register(self, name, password):
        import hashlib
        import hmac

        path = f"{self.url}/_synapse/admin/v1/register"
        nonce = json.load(urllib.request.urlopen(path, timeout=20))["nonce"]
        text = "\0".join([nonce, name, password, "notadmin"])
        mac = hmac.new(self.secret.encode(), text.encode(), hashlib.sha1).hexdigest()
        body = {"nonce": nonce, "username": name, "password": password, "admin": False, "mac": mac}
        request = urllib.request.Request(path, json.dumps(body).encode(), {"content-type": "application/json"})
        return json.load(urllib.request.urlopen(request, timeout=30))


class Person:
    """Somebody with a client; keeps what he hears."""

    def __init__(self, server, name):
        self.server = server
        made = server.register(name, f"{name}-password")
        self.token, self.id = made["access_token"], made["user_id"]
        self.events = []
        self.transaction = 0
        self.since = self.call("GET", "sync?timeout=0")["next_batch"]
        self.going = True
        threading.Thread(target=self.listen, daemon=True).start()

    def call(self, method, path, body=None):
        request = urllib.request.Request(
            f"{self.server.url}/_matrix/client/v3/{path}",
            json.dumps(body).encode() if body is not None else None,
            {"authorization": f"Bearer {self.token}", "content-type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def listen(self):
        while self.going:
            try:
                answer = self.call("GET", f"sync?timeout=3000&since={self.since}")
            except (OSError, ValueError):
                time.sleep(0.2)
                continue
            self.since = answer["next_batch"]
            for room, update in answer.get("rooms", {}).get("join", {}).items():
                self.events += [(room, event) for event in update["timeline"]["events"]]

    def room(self, *people, **more):
        preset = {"preset": "private_chat", "invite": list(people), **more}
        return self.call("POST", "createRoom", preset)["room_id"]

    def say(self, room, text, **more):
        return self.send(room, "m.room.message", {"msgtype": "m.text", "body": text, **more})

    def send(self, room, kind, content):
        self.transaction += 1
        path = f"rooms/{urllib.parse.quote(room)}/send/{kind}/{self.id}{self.transaction}"
        return self.call("PUT", urllib.parse.quote(path, safe="/%"), content)

    def texts(self, of, room=None):
        said = [
            (event["origin_server_ts"], event["content"].get("body", ""))
            for where, event in list(self.events)
            if event["type"] == "m.room.message" and event["sender"] == of and room in (None, where)
        ]
        return [text for _, text in said]

    def waits_for(self, text, of, seconds=60):
        found = lambda: next((said for said in self.texts(of) if text in said), None)
        return bed.wait_for(f"{text!r} from {of}", found, seconds)

    def waits_member(self, room, user, seconds=60):
        path = f"rooms/{urllib.parse.quote(room)}/joined_members"
        return bed.wait_for(f"{user} in the room", lambda: user in self.call("GET", path)["joined"], seconds)
