"""A server that answers as the Bot API does: updates by offset, messages, files.

What it answers was recorded from a gateway of the Node release talking to the
real API's shapes; what it checks (tokens, offsets, markup) is what the service
checks.
"""

import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "123456:TEST-token_abc"
BOT = {
    "id": 123456,
    "is_bot": True,
    "first_name": "Claw",
    "username": "claw_bot",
    "can_join_groups": True,
    "can_read_all_group_messages": False,
    "supports_inline_queries": False,
}
TAGS = {"b", "i", "s", "u", "code", "pre", "a", "blockquote", "tg-spoiler"}


def markup_error(text):
    """What the service says to markup that it cannot read."""
    open_tags = []
    for close, name in re.findall(r"<(/?)([a-z-]+)[^>]*>", text):
        if name not in TAGS:
            return f"unsupported start tag \"{name}\""
        if not close:
            open_tags.append(name)
        elif not open_tags or open_tags.pop() != name:
            return f"unexpected end tag \"{name}\""
    return "can't find end tag" if open_tags else None


class Server:
    def __init__(self):
        self.lock = threading.Condition()
        self.updates = []
        self.next_update = 1
        self.next_message = 100
        self.sent = []
        self.calls = []
        self.pollers = 0
        self.webhook = {"url": ""}
        self.files = {}
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                found = re.match(r"/file/bot([^/]+)/(.+)", self.path)
                data = owner.files.get(found.group(2)) if found and found.group(1) == TOKEN else None
                self.reply(200 if data is not None else 404, data or b"", "application/octet-stream")

            def do_POST(self):
                raw = self.rfile.read(int(self.headers.get("content-length") or 0))
                kind = self.headers.get("content-type", "")
                body = owner.form(raw, kind) if kind.startswith("multipart/") else json.loads(raw or b"{}")
                found = re.match(r"/bot([^/]+)/(\w+)$", self.path)
                if not found or found.group(1) != TOKEN:
                    return self.fail(401, "Unauthorized")
                method = found.group(2)
                with owner.lock:
                    owner.calls.append((method, body))
                action = getattr(owner, method, None)
                if action is None:
                    return self.fail(404, "Not Found")
                try:
                    self.succeed(action(body))
                except Refused as refused:
                    self.fail(refused.code, str(refused), refused.more)

            def succeed(self, result):
                self.reply(200, json.dumps({"ok": True, "result": result}).encode())

            def fail(self, code, text, more=None):
                answer = {"ok": False, "error_code": code, "description": text, **({"parameters": more} if more else {})}
                self.reply(code, json.dumps(answer).encode())

            def reply(self, status, data, kind="application/json"):
                try:
                    self.send_response(status)
                    self.send_header("content-type", kind)
                    self.send_header("content-length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                except OSError:
                    pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @staticmethod
    def form(raw, kind):
        """The fields of an upload; files as their size."""
        mark = kind.split("boundary=")[1].encode()
        fields = {}
        for part in raw.split(b"--" + mark)[1:-1]:
            head, _, data = part.partition(b"\r\n\r\n")
            name = re.search(rb'name="([^"]+)"', head).group(1).decode()
            data = data.removesuffix(b"\r\n")
            fields[name] = {"bytes": len(data)} if b"filename=" in head else data.decode()
        return fields

    # What bots call.

    def getMe(self, _):
        return BOT

    def getWebhookInfo(self, _):
        return {"url": self.webhook["url"], "has_custom_certificate": False, "pending_update_count": 0}

    def setWebhook(self, body):
        self.webhook = body
        return True

    def deleteWebhook(self, _):
        self.webhook = {"url": ""}
        return True

    def setMyCommands(self, _):
        return True

    def sendChatAction(self, _):
        return True

    def setMessageReaction(self, body):
        if any(given["emoji"] == "🦀" for given in body["reaction"]):
            raise Refused(400, "Bad Request: REACTION_INVALID")
        return True

    def deleteMessage(self, body):
        if body["message_id"] > self.next_message:
            raise Refused(400, "Bad Request: message to delete not found")
        return True

    def editMessageText(self, body):
        return {"message_id": body["message_id"], "chat": {"id": int(body["chat_id"])}, "text": body["text"]}

    def sendPoll(self, body):
        return {**self.accept(body), "poll": {"id": "poll-1", "options": body["options"]}}

    def sendSticker(self, body):
        return self.accept(body)

    def createForumTopic(self, body):
        return {"message_thread_id": 5, "name": body["name"], "icon_color": 7322096}

    def getChat(self, body):
        if str(body["chat_id"]).startswith("@nobody"):
            raise Refused(400, "Bad Request: chat not found")
        return {"id": -100123, "type": "supergroup", "title": "Grp"}

    def getFile(self, body):
        return {"file_id": body["file_id"], "file_path": body["file_id"]}

    def getUpdates(self, body):
        offset, deadline = body.get("offset", 0), time.monotonic() + min(body.get("timeout", 0), 25)
        with self.lock:
            self.pollers += 1
            mine = self.pollers
            self.lock.notify_all()
            # What comes before the offset was received: it is never sent again.
            self.updates = [update for update in self.updates if update["update_id"] >= offset]
            while not self.updates and time.monotonic() < deadline:
                if self.pollers != mine:
                    raise Refused(409, "Conflict: terminated by other getUpdates request")
                self.lock.wait(0.5)
            return self.updates[: body.get("limit", 100)]

    def sendMessage(self, body):
        if body.get("parse_mode") == "HTML":
            wrong = markup_error(body["text"])
            if wrong:
                raise Refused(400, f"Bad Request: can't parse entities: {wrong}")
        if len(body["text"]) > 4096 + 1000:
            raise Refused(400, "Bad Request: message is too long")
        return self.accept(body)

    def sendPhoto(self, body):
        return self.accept(body)

    def sendDocument(self, body):
        return self.accept(body)

    def accept(self, body):
        chat = int(body["chat_id"])
        if chat == 403:
            raise Refused(403, "Forbidden: bot was blocked by the user")
        with self.lock:
            self.next_message += 1
            self.sent.append(body)
            self.lock.notify_all()
            return {"message_id": self.next_message, "date": int(time.time()), "chat": {"id": chat, "type": "private"}}

    # What people do.

    def says(self, text, user=777, chat=None, **more):
        """Somebody writes to the bot, or into a group."""
        with self.lock:
            self.next_message += 1
            where = {"id": user, "type": "private"} if chat is None else {"id": chat, "type": "supergroup", "title": "Grp"}
            message = {
                "message_id": self.next_message,
                "date": int(time.time()),
                "from": {"id": user, "is_bot": False, "first_name": f"User{user}", "username": f"user{user}"},
                "chat": where,
                "text": text,
                **more,
            }
            update = {"update_id": self.next_update, "message": message}
            self.next_update += 1
            self.updates.append(update)
            self.lock.notify_all()
            return update

    def texts(self, chat=777):
        with self.lock:
            return [body.get("text", body.get("caption", "")) for body in self.sent if int(body["chat_id"]) == chat]

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class Refused(Exception):
    def __init__(self, code, text, more=None):
        super().__init__(text)
        self.code = code
        self.more = more
