"""Telegram against a server of our own: pairing, groups, markup, files, webhook."""

import http.client
import json
import time

import bed
import gateway
import telegram

GROUP = -100123


def channel(server, **more):
    return {"telegram": {"botToken": telegram.TOKEN, "apiRoot": server.url, **more}}


class Cases:
    def __init__(self, binary, homes, provider):
        self.binary, self.homes, self.provider = binary, homes, provider
        self.server = telegram.Server()
        # More than the service takes: its own limit holds.
        settings = channel(self.server, groups={str(GROUP): {}}, groupAllowFrom=[777], textChunkLimit=9000)
        self.gateway = gateway.Gateway(binary, homes, "telegram", provider, settings)
        self.gateway.waits_connected("telegram")

    def waits_for(self, text, chat=777, seconds=60):
        found = lambda: next((said for said in self.server.texts(chat) if text in said), None)
        return bed.wait_for(f"{text!r} in chat {chat}", found, seconds)

    def pairing(self):
        """A stranger is told a code once and is answered when it was approved."""
        self.server.says("say nothing")
        prompt = self.waits_for("access not configured")
        bed.check("Your Telegram user id: 777" in prompt, prompt)
        self.server.says("say again")
        time.sleep(1)
        bed.check(len(self.server.texts()) == 1, self.server.texts())
        self.gateway.approve("telegram", prompt)
        self.server.says("say pearl")
        self.waits_for("The word is pearl today.")
        typing = [body for method, body in self.server.calls if method == "sendChatAction"]
        bed.check(typing and typing[0] == {"chat_id": 777, "action": "typing"}, typing)

    def group(self):
        """A group answers listed people who mention the bot, in the topic they wrote in."""
        mention = {"entities": [{"type": "mention", "offset": 0, "length": 9}]}
        self.server.says("say silence", chat=GROUP)
        self.server.says("@claw_bot say intruder", user=666, chat=GROUP, **mention)
        topic = {"message_thread_id": 7, "is_topic_message": True}
        self.server.says("@claw_bot say group", chat=GROUP, **mention, **topic)
        self.waits_for("The word is group today.", GROUP)
        sent = [body for body in self.server.sent if int(body["chat_id"]) == GROUP]
        bed.check(len(sent) == 1 and sent[0]["message_thread_id"] == 7, sent)
        seen = [body for method, body in self.server.calls if method == "setMessageReaction"]
        bed.check(seen and seen[0]["reaction"][0]["emoji"] == "👀", seen)

    def long_answer(self):
        """A long answer comes in pieces below the limit, in order."""
        before = len(self.server.texts())
        self.server.says("prose 2000")
        self.waits_for("word2000")
        pieces = self.server.texts()[before:]
        bed.check(" ".join(pieces).split() == [f"word{n}" for n in range(1, 2001)], len(pieces))
        bed.check(len(pieces) > 2 and max(map(len, pieces)) <= 4096, [len(piece) for piece in pieces])

    def files(self):
        """A file of this host is uploaded, an inbound photo reaches the model."""
        picture = self.gateway.home / "picture.png"
        picture.write_bytes(b"\x89PNG" + bytes(100))
        self.gateway.cli(
            "message", "send", "--channel", "telegram", "--target", "777", "-m", "look", "--media", str(picture)
        )
        sent = self.server.sent[-1]
        bed.check(sent.get("photo") == {"bytes": 104} and sent.get("caption") == "look", sent)
        # A text too long to stand below a file comes after it, whole.
        long = "word " * 500
        self.gateway.cli(
            "message", "send", "--channel", "telegram", "--target", "777", "-m", long, "--media", str(picture)
        )
        below, text = self.server.sent[-2:]
        bed.check("photo" in below and "caption" not in below and text.get("text") == long.strip(), [below, text])
        self.server.files["large"] = b"\xff\xd8\xff" + bytes(50)
        photo = [{"file_id": "small"}, {"file_id": "large", "file_size": 53}]
        self.server.says(None, caption="say photo", photo=photo)
        self.waits_for("The word is photo today.")
        content = self.provider.requests[-1]["messages"][-1]["content"]
        bed.check(any(part.get("type") == "image_url" for part in content), str(content)[:300])

    def told(self):
        """What the agent writes here by itself is not followed by a reply; what it writes elsewhere is."""
        before = len(self.server.texts())
        tell = lambda **more: "use tools: message " + json.dumps({"action": "send", **more})
        self.server.says(tell(message="Told by hand."))
        self.waits_for("Told by hand.")
        self.server.says("say between")
        self.waits_for("The word is between today.")
        self.server.says(tell(message="Told elsewhere.", target="778"))
        self.waits_for("Told elsewhere.", 778)
        self.server.says("say last")
        self.waits_for("The word is last today.")
        told = self.server.texts()[before:]
        bed.check(told[:2] == ["Told by hand.", "The word is between today."], told)
        bed.check(len(told) == 4 and told[3] == "The word is last today.", told)

    def actions(self):
        """What the service offers beyond sending is done; the rest says so."""
        at = ["--channel", "telegram", "--target", "777"]
        sent = self.gateway.json("message", "send", *at, "-m", "to be changed")["payload"]
        one = [*at, "--message-id", sent["messageId"]]
        last = lambda method: [body for called, body in self.server.calls if called == method][-1]

        done = self.gateway.json("message", "edit", *one, "-m", "now **bold**")
        expected = {"ok": True, "messageId": sent["messageId"], "chatId": "777"}
        bed.check(done["action"] == "edit" and done["payload"] == expected, done)
        bed.check(last("editMessageText")["text"] == "now <b>bold</b>", last("editMessageText"))
        done = self.gateway.json("message", "react", *one, "--emoji", "👍")
        bed.check(done["payload"] == {"ok": True, "added": "👍"}, done)
        bed.check(last("setMessageReaction")["reaction"] == [{"type": "emoji", "emoji": "👍"}], "the reaction")
        bed.check("REACTION_INVALID" in self.gateway.fails("message", "react", *one, "--emoji", "🦀"), "no crab")
        self.gateway.cli("message", "react", *one)
        bed.check(last("setMessageReaction")["reaction"] == [], "taken away")
        said = self.gateway.cli("message", "delete", *one)
        bed.check("✅ delete via Telegram." in said, said)
        said = self.gateway.fails("message", "delete", *at, "--message-id", "99999999")
        bed.check("message to delete not found" in said, said)

        options = ["--poll-question", "Lunch?", "--poll-option", "Pizza", "--poll-option", "Sushi"]
        said = self.gateway.cli("message", "poll", *at, *options, "--poll-duration-seconds", "60", "--poll-public")
        bed.check("✅ Poll sent via Telegram. Message ID: " in said and "Poll id: poll-1" in said, said)
        poll = last("sendPoll")
        bed.check(poll["open_period"] == 60 and poll["is_anonymous"] is False, poll)
        bed.check(poll["options"] == [{"text": "Pizza"}, {"text": "Sushi"}], poll)
        said = self.gateway.fails("message", "poll", *at, *options, "--poll-duration-seconds", "4")
        bed.check("between 5 and 600" in said, said)
        topic = ["--channel", "telegram", "--target", str(GROUP), "--thread-name", "News"]
        done = self.gateway.json("message", "thread", "create", *topic)
        bed.check(done["payload"]["topicId"] == 5 and done["action"] == "topic-create", done)
        said = self.gateway.fails("message", "sticker", "send", *at, "--sticker-id", "CAAC")
        bed.check("channels.telegram.actions.sticker" in said, said)
        said = self.gateway.fails("message", "pin", *one)
        bed.check("Message action pin not supported for channel telegram." in said, said)

        targets = ["--targets", "777", "403"]
        sent = self.gateway.json("message", "broadcast", "--channel", "telegram", *targets, "--message", "to all")
        results = sent["payload"]["results"]
        bed.check([row["ok"] for row in results] == [True, False], results)
        bed.check("blocked by the user" in results[1]["error"], results)
        before = len(self.server.calls)
        said = self.gateway.cli("message", "edit", *one, "-m", "x", "--dry-run")
        bed.check(said.strip() == "[dry-run] would run edit via telegram", said)
        quiet = [body for method, body in self.server.calls[before:] if method == "editMessageText"]
        bed.check(quiet == [], quiet)

    def burst(self):
        """A hundred messages get a hundred answers, in order, once."""
        before = len(self.server.texts())
        began = time.monotonic()
        for n in range(100):
            self.server.says(f"say burst{n}")
        self.waits_for("The word is burst99 today.", seconds=240)
        time.sleep(1)
        answers = self.server.texts()[before:]
        bed.check(answers == [f"The word is burst{n} today." for n in range(100)], f"{len(answers)}: {answers[:4]}")
        print(f"     100 messages in a burst: {len(answers)} answers in order in {time.monotonic() - began:.1f} s")

    def offset(self):
        """What was answered is not answered again by the next start, what came meanwhile is."""
        before = len(self.server.texts())
        bed.check(self.gateway.stop() == 0, "a clean stop")
        self.server.says("say meanwhile")
        self.gateway.start()
        self.waits_for("The word is meanwhile today.")
        time.sleep(1)
        bed.check(len(self.server.texts()) == before + 1, self.server.texts()[before:])

    def webhook(self):
        """With a webhook updates come by HTTP, and only from who knows the secret."""
        port = bed.free_port()
        server = telegram.Server()
        settings = channel(
            server,
            webhookUrl="https://bot.example/telegram-webhook",
            webhookSecret="hook-secret",
            webhookPort=port,
            dmPolicy="allowlist",
            allowFrom=["777"],
        )
        hooked = gateway.Gateway(self.binary, self.homes, "webhook", self.provider, settings)
        try:
            hooked.waits_connected("telegram")
            bed.check(hooked.status("telegram")["mode"] == "webhook", hooked.status("telegram"))
            update = server.says("say hooked")

            def post(secret):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                headers = {"content-type": "application/json", "x-telegram-bot-api-secret-token": secret}
                connection.request("POST", "/telegram-webhook", json.dumps(update), headers)
                return connection.getresponse().status

            bed.check(post("wrong") == 401, "a wrong secret")
            bed.check(post("hook-secret") == 200 and post("hook-secret") == 200, "the right secret")
            bed.wait_for("answer", lambda: "The word is hooked today." in server.texts(), 30)
            time.sleep(1)
            bed.check(len(server.texts()) == 1, server.texts())
        finally:
            hooked.stop()
            server.stop()

    def ways_in(self):
        """Polling becomes a webhook and polling again without a restart: each message is answered once."""
        port = bed.free_port()
        server = telegram.Server()
        way = {"webhookUrl": "https://bot.example/hook", "webhookSecret": "hook-secret", "webhookPort": port}
        settings = channel(server, dmPolicy="allowlist", allowFrom=["777"])
        changing = gateway.Gateway(self.binary, self.homes, "ways-in", self.provider, settings)

        def change(mode, **keys):
            path = changing.state / "openclaw.json"
            config = json.loads(path.read_text())
            config["channels"] = channel(server, dmPolicy="allowlist", allowFrom=["777"], **keys)
            beside = path.with_suffix(".new")
            beside.write_text(json.dumps(config))
            beside.replace(path)
            row = lambda: changing.status("telegram")
            bed.wait_for(mode, lambda: row().get("mode") == mode and row().get("connected"), 60)

        def answered(*words):
            texts = [f"The word is {word} today." for word in words]
            bed.wait_for(f"answers {words}", lambda: all(text in server.texts() for text in texts), 60)

        def post(update):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            headers = {"content-type": "application/json", "x-telegram-bot-api-secret-token": "hook-secret"}
            connection.request("POST", "/telegram-webhook", json.dumps(update), headers)
            return connection.getresponse().status

        try:
            changing.waits_connected("telegram")
            server.says("say polled")
            answered("polled")
            change("webhook", **way)
            # One that had failed comes after a later one, and one of them comes twice.
            first, second = server.says("say first"), server.says("say second")
            bed.check([post(update) for update in (second, first, second)] == [200, 200, 200], "the webhook")
            answered("first", "second")
            change("polling")
            server.says("say again")
            answered("again")
            bed.check(len(server.texts()) == 4, server.texts())
        finally:
            changing.stop()
            server.stop()

    def run(self, report):
        report.case("Telegram: a stranger pairs", self.pairing)
        report.case("Telegram: an allowlisted group, a mention, a topic", self.group)
        report.case("Telegram: a long answer in pieces", self.long_answer)
        report.case("Telegram: files out and in", self.files)
        report.case("Telegram: the agent writes by itself", self.told)
        report.case("Telegram: edit, react, delete, poll, topics, broadcast", self.actions)
        report.case("Telegram: a burst of 100", self.burst)
        report.case("Telegram: a restart loses and repeats nothing", self.offset)
        report.case("Telegram: webhook", self.webhook)
        report.case("Telegram: from polling to a webhook and back", self.ways_in)

    def close(self):
        self.gateway.stop()
        self.server.stop()
