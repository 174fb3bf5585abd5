"""Matrix on a real Synapse: pairing, rooms, long answers, a dead server, a burst."""

import json
import time

import bed
import gateway
import matrix

BOT = "@clawbot:test.local"


class Cases:
    def __init__(self, binary, homes, provider, python):
        self.server = matrix.Server(python, homes.root)
        self.server.register("clawbot", "bot-password")
        self.alice = matrix.Person(self.server, "alice")
        self.bob = matrix.Person(self.server, "bob")
        settings = {
            "matrix": {
                "homeserver": self.server.url,
                "userId": "clawbot",
                "password": "bot-password",
                "allowPrivateNetwork": True,
                "autoJoin": "always",
                "groupPolicy": "allowlist",
                "groups": {"*": {"users": [self.alice.id]}},
            }
        }
        self.gateway = gateway.Gateway(binary, homes, "matrix", provider, settings)
        self.gateway.waits_connected("matrix")
        self.direct = self.alice.room(BOT, is_direct=True)
        self.alice.waits_member(self.direct, BOT)

    def pairing(self):
        """A stranger is told a code once and is answered when it was approved."""
        self.alice.say(self.direct, "say nothing")
        prompt = self.alice.waits_for("access not configured", BOT)
        self.gateway.approve("matrix", prompt)
        self.alice.say(self.direct, "say pearl")
        self.alice.waits_for("The word is pearl today.", BOT)
        credentials = self.gateway.state / "credentials" / "matrix" / "credentials.json"
        bed.check(json.loads(credentials.read_text())["userId"] == BOT, "the session is kept")

    def group(self):
        """In a room only listed people who name the bot are answered."""
        room = self.alice.room(BOT, self.bob.id)
        self.bob.call("POST", f"join/{room}", {})
        self.alice.waits_member(room, BOT)
        self.alice.say(room, "say silence")
        self.bob.say(room, "clawbot: say intruder")
        self.alice.say(room, "say group", **{"m.mentions": {"user_ids": [BOT]}})
        self.alice.waits_for("The word is group today.", BOT)
        said = self.alice.texts(BOT, room)
        bed.check(said == ["The word is group today."], said)

    def again(self):
        """A room that the bot was sent out of and asked into again: what was said meanwhile is not for it."""
        room = self.alice.room(BOT, self.bob.id)
        self.bob.call("POST", f"join/{room}", {})
        self.alice.waits_member(room, BOT)
        self.alice.say(room, "clawbot: say before")
        self.alice.waits_for("The word is before today.", BOT)
        self.alice.call("POST", f"rooms/{room}/kick", {"user_id": BOT})
        for n in range(12):
            self.alice.say(room, f"clawbot: say missed{n}")
        self.alice.call("POST", f"rooms/{room}/invite", {"user_id": BOT})
        # It need not have come in yet.
        self.alice.say(room, "clawbot: say invited")
        self.alice.waits_for("The word is invited today.", BOT)
        self.alice.say(room, "clawbot: say after")
        self.alice.waits_for("The word is after today.", BOT)
        said = self.alice.texts(BOT, room)
        bed.check(said == [f"The word is {word} today." for word in ("before", "invited", "after")], said)

    def long_answer(self):
        before = len(self.alice.texts(BOT, self.direct))
        self.alice.say(self.direct, "prose 2000")
        self.alice.waits_for("word2000", BOT)
        pieces = self.alice.texts(BOT, self.direct)[before:]
        bed.check(" ".join(pieces).split() == [f"word{n}" for n in range(1, 2001)], len(pieces))
        bed.check(len(pieces) > 2 and max(map(len, pieces)) <= 4000, [len(piece) for piece in pieces])

    def send(self):
        """`message send` reaches a room, and a person in the room shared with him."""
        self.gateway.cli("message", "send", "--channel", "matrix", "--target", self.direct, "-m", "hello **room**")
        self.alice.waits_for("hello **room**", BOT)
        event = next(e for _, e in self.alice.events if e["content"].get("body") == "hello **room**")
        bed.check(event["content"]["formatted_body"] == "<p>hello <strong>room</strong></p>", event["content"])

    def actions(self):
        """Messages are edited, reacted to, read, pinned and deleted, as all in the room see."""
        room = self.alice.room(BOT, power_level_content_override={"state_default": 0})
        self.alice.waits_member(room, BOT)
        at = ["--channel", "matrix", "--target", room]
        do = lambda *words: self.gateway.json("message", *words, *at)["payload"]
        sent = do("send", "-m", "first")["messageId"]
        one = ["--message-id", sent]

        edited = do("edit", *one, "-m", "second **thought**")["result"]["eventId"]
        seen = lambda: next((e for _, e in self.alice.events if e.get("event_id") == edited), None)
        content = bed.wait_for("the edit", seen, 60)["content"]
        bed.check(content["m.relates_to"] == {"rel_type": "m.replace", "event_id": sent}, content)
        bed.check(content["m.new_content"]["body"] == "second **thought**", content)

        bed.check(do("react", *one, "--emoji", "👍") == {"ok": True, "added": "👍"}, "a reaction")
        relation = {"m.relates_to": {"rel_type": "m.annotation", "event_id": sent, "key": "👍"}}
        self.alice.send(room, "m.reaction", relation)
        both = [{"key": "👍", "count": 2, "users": sorted([BOT, self.alice.id])}]
        given = do("reactions", *one)["reactions"]
        given[0]["users"].sort()
        bed.check(given == both, given)
        bed.check(do("react", *one, "--emoji", "👍", "--remove") == {"ok": True, "removed": 1}, "one removed")
        bed.check(do("reactions", *one)["reactions"][0]["users"] == [self.alice.id], "hers stays")

        bed.check(do("pin", *one) == {"ok": True, "pinned": [sent]}, "pinned")
        pins = do("pins")
        bed.check(pins["events"][0]["eventId"] == sent, pins)
        said = self.gateway.cli("message", "pins", *at)
        bed.check("Pinned messages" in said and BOT in said, said)
        bed.check(do("unpin", *one) == {"ok": True, "pinned": []}, "unpinned")

        self.alice.say(room, "read me")
        read = bed.wait_for("the message", lambda: [
            message for message in do("read", "--limit", "5")["messages"] if message["body"] == "read me"
        ], 60)
        bed.check(read[0]["sender"] == self.alice.id and read[0]["timestamp"] > 0, read)
        bed.check(do("delete", *one) == {"ok": True, "deleted": True}, "deleted")
        left = [message["eventId"] for message in do("read", "--limit", "50")["messages"]]
        bed.check(sent not in left, left)
        poll = do("poll", "--poll-question", "Tea?", "--poll-option", "yes", "--poll-option", "no")
        seen = lambda: next((e for _, e in self.alice.events if e.get("event_id") == poll["pollId"]), None)
        content = bed.wait_for("the poll", seen, 60)["content"]
        bed.check([answer["m.text"] for answer in content["m.poll.start"]["answers"]] == ["yes", "no"], content)

        who = ["--channel", "matrix", "--user-id", self.alice.id]
        member = self.gateway.json("message", "member", "info", *who)["payload"]["member"]
        bed.check(member["displayName"] == "alice", member)
        about = do("channel", "info")["room"]
        bed.check(about["roomId"] == room and about["memberCount"] == 2, about)
        said = self.gateway.fails("message", "search", "--channel", "matrix", "--guild-id", "1", "--query", "x")
        bed.check("Message action search not supported for channel matrix." in said, said)

    def burst(self):
        before = len(self.alice.texts(BOT, self.direct))
        began = time.monotonic()
        for n in range(100):
            self.alice.say(self.direct, f"say burst{n}")
        self.alice.waits_for("The word is burst99 today.", BOT, 300)
        time.sleep(1)
        answers = self.alice.texts(BOT, self.direct)[before:]
        bed.check(answers == [f"The word is burst{n} today." for n in range(100)], f"{len(answers)}: {answers[:4]}")
        print(f"     100 messages in a burst: {len(answers)} answers in order in {time.monotonic() - began:.1f} s")

    def server_restart(self):
        """A killed server is noticed and found again; what was said meanwhile is answered."""
        self.server.kill()
        gone = lambda: self.gateway.status("matrix").get("connected") is False
        bed.wait_for("notice of the dead server", gone, 90)
        self.server.start()
        self.alice.say(self.direct, "say back")
        took = self.gateway.waits_connected("matrix", seconds=60)
        self.alice.waits_for("The word is back today.", BOT)
        print(f"     Synapse killed and restarted: reconnected {took:.1f} s after it was back")

    def offset(self):
        """What was answered is not answered again by the next start, what came meanwhile is."""
        before = len(self.alice.texts(BOT, self.direct))
        bed.check(self.gateway.stop() == 0, "a clean stop")
        self.alice.say(self.direct, "say meanwhile")
        self.gateway.start()
        self.alice.waits_for("The word is meanwhile today.", BOT)
        time.sleep(1)
        said = self.alice.texts(BOT, self.direct)[before:]
        bed.check(said == ["The word is meanwhile today."], said)

    def run(self, report):
        report.case("Matrix: a stranger pairs", self.pairing)
        report.case("Matrix: an allowlisted room with a mention", self.group)
        report.case("Matrix: sent out of a room and asked in again", self.again)
        report.case("Matrix: a long answer in pieces", self.long_answer)
        report.case("Matrix: message send", self.send)
        report.case("Matrix: edit, react, read, pin, delete, poll", self.actions)
        report.case("Matrix: a burst of 100", self.burst)
        report.case("Matrix: a restart loses and repeats nothing", self.offset)
        report.case("Matrix: the server is killed and comes back", self.server_restart)

    def close(self):
        self.alice.going = self.bob.going = False
        self.gateway.stop()
        self.server.kill()
