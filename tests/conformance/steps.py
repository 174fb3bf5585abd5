"""One step of a case: a request, and what must be true of its answer and of what the model provider saw."""

import base64
import hashlib
import http.client
import json
import re
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bed
import profiles

PATIENCE = 90
MISSING = object()
PNG_DATA = base64.b64encode(profiles.PNG).decode()


class Left(Exception):
    """A case that cannot be run here; the text says why."""


class Answer:
    def __init__(self, status, headers, data):
        self.status = status
        self.headers = {}
        for name, value in headers:
            self.headers.setdefault(name.lower(), value)
        self.text = data.decode(errors="replace")

    def json(self):
        return json.loads(self.text)

    def events(self):
        """The events of a stream as (name, data)."""
        found = []
        for block in self.text.split("\n\n"):
            lines = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
            if "data" in lines:
                data = lines["data"]
                found.append((lines.get("event"), data if data == "[DONE]" else json.loads(data)))
        return found


def at(value, pointer):
    for part in pointer.split("/")[1:]:
        if isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, dict) and part in value:
            value = value[part]
        else:
            return MISSING
    return value


def agree(seen, wanted, what):
    """Compares a value with an expectation: `~regex`, `len:n`, `not:text`, `null`, or itself."""
    if isinstance(wanted, str) and wanted.startswith("~"):
        ok = seen is not MISSING and re.search(wanted[1:], seen if isinstance(seen, str) else json.dumps(seen))
    elif isinstance(wanted, str) and wanted.startswith("len:"):
        ok = seen is not MISSING and len(seen) == int(wanted[4:])
    elif isinstance(wanted, str) and wanted.startswith("not:"):
        ok = seen is not MISSING and seen != wanted[4:]
    elif wanted == "null":
        ok = seen is None
    else:
        ok = seen == wanted and isinstance(seen, bool) == isinstance(wanted, bool)
    shown = "nothing" if seen is MISSING else repr(seen)[:600]
    bed.check(ok, f"{what}: wanted {wanted!r}, saw {shown}")


def message_text(message):
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if "text" in part)


class Steps:
    """Runs cases against one gateway."""

    def __init__(self, profile, address, secret, provider, tools, home):
        self.profile, self.address, self.secret = profile, address, secret
        self.provider, self.tools, self.home = provider, tools, home
        self.kept = {
            "secret": secret or "",
            "hook_secret": profiles.HOOK_TOKEN,
            "png": f"data:image/png;base64,{PNG_DATA}",
            "png_data": PNG_DATA,
            "long": "x" * 20000,
        }
        self.sdk_results = {}
        if profile == "P6":
            address = profiles.host_address()
            self.address = (address or self.address[0], self.address[1])

    def case(self, row):
        if row.get("needs") == "ui":
            self.find_asset()
        for number, step in enumerate(row["steps"], 1):
            try:
                self.step(step)
            except bed.Failure as err:
                raise bed.Failure(f"step {number}: {err}") from None

    def step(self, step):
        if "sdk" in step:
            return self.sdk(step)
        if "wire" in step:
            return self.wire(step)
        seen_before = len(self.provider.requests) if self.provider else 0
        deadline = time.monotonic() + step.get("retry", 0)
        times = step.get("at_once", step.get("times", 1))
        with ThreadPoolExecutor(step.get("at_once", 1)) as pool:
            answers = list(pool.map(lambda _: self.ask(step), range(times)))
        while answers[-1].status != step.get("status") and time.monotonic() < deadline:
            time.sleep(0.5)
            answers[-1] = self.ask(step)
        for answer in answers:
            self.check(step, answer)
        if "provider" in step:
            self.check_provider(step["provider"], seen_before)
        if "absent" in step and self.home:
            bed.check(not (self.home / ".openclaw" / step["absent"]).exists(), f"{step['absent']} was created")

    def filled(self, value):
        """Puts kept values in the place of `${name}`."""
        if isinstance(value, str):
            return re.sub(r"\$\{(\w+)\}", lambda found: self.kept[found[1]], value)
        if isinstance(value, list):
            return [self.filled(part) for part in value]
        if isinstance(value, dict):
            return {name: self.filled(part) for name, part in value.items()}
        return value

    def body(self, step):
        if "raw_body" in step:
            return step["raw_body"].encode()
        if "chat" in step or "messages" in step:
            messages = step.get("messages", [{"role": "user", "content": step.get("chat")}])
            value = {"model": "openclaw", "messages": messages}
        elif "respond" in step:
            value = {"model": "openclaw", "input": step["respond"]}
        elif "body" in step:
            value = dict(step["body"])
        else:
            return None
        value.update(step.get("more", {}))
        for name, (count, size) in step.get("fill", {}).items():
            value[name] = ["x" * size] * count
        return json.dumps(self.filled(value)).encode()

    def headers(self, step, body):
        headers = {}
        auth = step.get("auth", "own")
        secret = {"own": self.secret, "wrong": "wrong-secret", "hook": profiles.HOOK_TOKEN, "none": None}[auth]
        if secret:
            headers["authorization"] = f"Bearer {secret}"
        if body is not None:
            headers["content-type"] = "application/json"
        headers.update(self.filled(step.get("headers", {})))
        if headers.get("content-type") == "":
            del headers["content-type"]
        return headers

    def ask(self, step):
        method, path = self.filled(step["ask"]).split(" ", 1)
        body = self.body(step)
        host, port = self.address
        peer = step.get("peer")
        connection = http.client.HTTPConnection(
            host, port, timeout=PATIENCE, source_address=(peer, 0) if peer else None
        )
        try:
            try:
                connection.putrequest(method, path, skip_accept_encoding=True)
                for name, value in self.headers(step, body).items():
                    connection.putheader(name, value)
                if body is not None or method == "POST":
                    connection.putheader("content-length", str(len(body or b"")))
                connection.endheaders()
                if body:
                    connection.send(body)
            except (BrokenPipeError, ConnectionResetError):
                # The answer may have come before the whole body was sent.
                if connection.sock is None:
                    raise
            response = connection.getresponse()
            if "begins" in step:
                return self.beginning(step, response)
            return Answer(response.status, response.getheaders(), response.read())
        except (http.client.HTTPException, OSError) as err:
            raise bed.Failure(f"no answer to {method} {path}: {type(err).__name__} {err}") from None
        finally:
            connection.close()

    def beginning(self, step, response):
        """As much of an endless stream as the expectation needs."""
        data = b""
        while not re.search(step["begins"][1:], data.decode(errors="replace")):
            piece = response.read1(65536)
            bed.check(piece, f"the stream ended after {data[:300]!r}")
            data += piece
        return Answer(response.status, response.getheaders(), data)

    def check(self, step, answer):
        wanted = step.get("status")
        shown = f"status {answer.status}: {answer.text[:400]}"
        if wanted is not None:
            wanted = wanted if isinstance(wanted, list) else [wanted]
            bed.check(answer.status in wanted, f"wanted status {wanted}, saw {shown}")
        for name, value in step.get("header", {}).items():
            agree(answer.headers.get(name, ""), value, f"header {name}")
        if "text" in step:
            agree(answer.text, step["text"], "body")
        if "lacks" in step:
            bed.check(step["lacks"] not in answer.text, f"the body has {step['lacks']!r}")
        if step.get("page"):
            self.check_policy(answer)
        if "json" in step or "keep" in step or "item" in step:
            value = answer.json()
            for pointer, expected in self.filled(step.get("json", {})).items():
                agree(at(value, pointer), expected, pointer)
            for name, pointer in step.get("keep", {}).items():
                self.kept[name] = at(value, pointer)
            if "item" in step:
                self.check_item(step["item"], value["output"])
        if "stream" in step:
            self.check_stream(step["stream"], answer)

    def check_item(self, wanted, output):
        """One of the items fits."""
        of_kind = [item for item in output if item["type"] == wanted["/type"]]
        bed.check(of_kind, f"no {wanted['/type']} in {json.dumps(output)[:500]}")
        for pointer, expected in wanted.items():
            agree(at(of_kind[0], pointer), expected, pointer)

    def check_policy(self, answer):
        """Every inline script is allowed by its hash, and no other."""
        policy = answer.headers.get("content-security-policy", "")
        scripts = re.findall(r"<script(?![^>]*\bsrc=)[^>]*>(.*?)</script>", answer.text, re.S | re.I)
        scripts = [script for script in scripts if script.strip()]
        for script in scripts:
            digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
            bed.check(f"'sha256-{digest}'" in policy, f"a script of the page is not allowed by {policy}")
        bed.check(policy.count("'sha256-") == len(scripts), f"{len(scripts)} scripts, policy {policy}")

    def check_stream(self, wanted, answer):
        events = answer.events()
        if "lacks" in wanted:
            bed.check(wanted["lacks"] not in answer.text, f"the stream has {wanted['lacks']}")
        if "done" in wanted:
            bed.check(events and events[-1][1] == "[DONE]", f"no [DONE] at the end of {answer.text[-300:]}")
        chunks = [data for _, data in events if data != "[DONE]"]
        bed.check(chunks or "lacks" in wanted, f"a stream without content: {answer.text[:300]}")
        if wanted.get("names") is False:
            bed.check(all(name is None for name, _ in events), "the events have names")
        elif wanted.get("names"):
            same = all(name == data["type"] for name, data in events if data != "[DONE]")
            bed.check(same, "an event has two names")
        for where, chunk in (("first", chunks[:1]), ("last", chunks[-1:])):
            for pointer, expected in wanted.get(where, {}).items():
                agree(at(chunk[0], pointer), expected, f"{where} chunk, {pointer}")
        if "text" in wanted:
            said = [at(chunk, "/choices/0/delta/content") for chunk in chunks]
            agree("".join(text for text in said if isinstance(text, str)), wanted["text"], "words of the stream")
        kinds = [chunk.get("type") for chunk in chunks]
        if "events" in wanted:
            once = [kind for place, kind in enumerate(kinds) if place == 0 or kinds[place - 1] != kind]
            agree(once, wanted["events"], "order of events")
        if "last_event" in wanted:
            agree(kinds[-1], wanted["last_event"], "last event")
        if "event" in wanted:
            self.check_event(wanted, chunks)

    def check_event(self, wanted, chunks):
        """Some event of that kind fits."""
        problems = []
        for chunk in chunks:
            if chunk.get("type") != wanted["event"]:
                continue
            try:
                for pointer, expected in wanted["with"].items():
                    agree(at(chunk, pointer), expected, f"{wanted['event']}, {pointer}")
                return
            except bed.Failure as err:
                problems.append(str(err))
        raise bed.Failure("; ".join(problems) or f"no {wanted['event']}")

    def check_provider(self, wanted, seen_before):
        if not self.provider:
            raise Left("nothing is known about its model provider")
        if "wait" in wanted:
            def found():
                texts = [json.dumps(it["body"]) for it in self.provider.requests[seen_before:]]
                return any(re.search(wanted["wait"], text) for text in texts)
            return bed.wait_for(f"request with {wanted['wait']!r}", found, PATIENCE)
        requests = self.provider.requests[seen_before:]
        if "requests" in wanted:
            return agree(len(requests), wanted["requests"], "requests to the provider")
        bed.check(requests, "the provider was not asked")
        if wanted.get("apart"):
            # The answer may reach its reader before the provider notes its own end.
            bed.wait_for("end of the requests", lambda: all("ended" in it for it in requests), PATIENCE)
            spans = sorted((it["began"], it["ended"]) for it in requests)
            bed.check(len(spans) > 1, f"{len(spans)} requests to the provider")
            late = [b for (_, a), (b, _) in zip(spans, spans[1:]) if b < a]
            return bed.check(not late, f"requests overlap: {spans}")
        request = requests[-1]
        body = request["body"]
        messages = body.get("messages", [])
        talk = [message for message in messages if message["role"] not in ("system", "developer")]
        system = "\n".join(message_text(it) for it in messages if it not in talk)
        whole = json.dumps(talk)
        if "talk" in wanted:
            agree(len(talk), wanted["talk"], "messages of the conversation")
        if "last" in wanted:
            agree(message_text(talk[-1]), wanted["last"], "last message")
        if "system" in wanted:
            agree(system, wanted["system"], "system prompt")
        if "has" in wanted:
            bed.check(re.search(wanted["has"], whole), f"the conversation lacks {wanted['has']}: {whole[-800:]}")
        if "lacks" in wanted:
            bed.check(not re.search(wanted["lacks"], whole), f"the conversation has {wanted['lacks']}")
        if "path" in wanted:
            agree(request["path"], wanted["path"], "path at the provider")
        if "model" in wanted:
            agree(body.get("model"), wanted["model"], "model at the provider")
        if "max_tokens" in wanted:
            limit = body.get("max_completion_tokens", body.get("max_tokens"))
            agree(limit, wanted["max_tokens"], "limit of output")
        if "lacks_tool" in wanted:
            names = [tool["function"]["name"] for tool in body.get("tools", [])]
            bed.check(wanted["lacks_tool"] not in names, f"the model was offered {wanted['lacks_tool']}")

    def wire(self, step):
        """Bytes as they are, and what comes back."""
        with socket.create_connection(self.address, timeout=PATIENCE) as stream:
            stream.sendall(self.filled(step["wire"]).encode())
            seen = self.read_until(stream, step["answer"][1:])
            if "then" in step:
                stream.sendall(step["then"].encode())
                self.read_until(stream, step["and_answer"][1:], seen)
            if "stays" not in step:
                return
            stream.settimeout(1 if step["stays"] else PATIENCE)
            try:
                closed = stream.recv(1) == b""
            except TimeoutError:
                closed = False
            bed.check(closed != step["stays"], f"connection closed: {closed}")

    def read_until(self, stream, pattern, seen=""):
        while not re.search(pattern, seen):
            try:
                data = stream.recv(65536)
            except TimeoutError:
                data = b""
            bed.check(data, f"no {pattern!r} in {seen[:500]!r}")
            seen += data.decode(errors="replace")
        return seen

    def find_asset(self):
        """A file that the page of the UI loads."""
        page = self.ask({"ask": "GET /", "auth": "none"}).text
        found = re.search(r'(?:src|href)="\.?(/assets/[^"]+\.(?:css|js))"', page)
        if not found:
            raise Left("its page has no files of its own; the case of a directory is 168")
        self.kept["asset"] = found[1]

    def sdk(self, step):
        """Cases of a script around an official SDK; it runs once."""
        if not self.tools:
            raise Left("the SDKs are not installed")
        kind = step["sdk"]
        if kind not in self.sdk_results:
            clients = Path(bed.__file__).parent
            commands = {
                "python": [self.tools["SDK_PYTHON"], clients / "http_sdk.py"],
                "node": [self.tools["NODE"], clients / "http_sdk.mjs", self.tools["SDK_NODE"]],
            }
            url = "http://{}:{}/v1".format(*self.address)
            done = subprocess.run(
                [*commands[kind], url, self.secret],
                env=bed.environment(Path.home()),
                capture_output=True,
                text=True,
                timeout=900,
                check=False,
            )
            bed.check(done.stdout, f"the script said nothing: {done.stderr[-500:]}")
            self.sdk_results[kind] = {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}
        for name in step["names"]:
            line = self.sdk_results[kind].get(name)
            bed.check(line and line["ok"], f"{kind}, {name}: {line and line['detail']}")
