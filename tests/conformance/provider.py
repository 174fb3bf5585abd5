"""A model provider that does as its last message says, over the completions and the embeddings API of OpenAI.

- `CALLTOOL:name {json}`: a call of that tool, if the request offers it;
- `REPLY text`: that text; `EMPTY`: no text at all; `SLOW`: the usual answer after a moment;
- `FAIL400`, `FAIL500`: an error of that status; an embedding input may say so too;
- a `response_format` with a schema: an object that fits a flat schema;
- anything else: `Hello from the fake model.`

Usage is always 11 + 7 = 18. Vectors are `[0.25, -0.5, 0.125 + index]`. Every request is kept.
"""

import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GREETING = "Hello from the fake model."
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


def text_of(message):
    content = message.get("content") or ""
    if isinstance(content, list):
        content = " ".join(part.get("text", "") for part in content)
    return content


def fitting(schema):
    """A value for a flat schema."""
    kinds = {"string": "fits", "integer": 7, "number": 7, "boolean": True, "array": [], "object": {}, "null": None}
    return {name: kinds.get(part.get("type"), "fits") for name, part in schema.get("properties", {}).items()}


def planned(body):
    """What to say and which tool to call, as (status, text, call)."""
    messages = body.get("messages", [])
    last = messages[-1] if messages else {}
    # A gateway quotes what was said before.
    said = text_of(last).rpartition("[Current message - respond to this]")[2]
    if "FAIL400" in said:
        return 400, "bad upstream request", None
    if "FAIL500" in said:
        return 500, "upstream broke", None
    offered = [tool["function"]["name"] for tool in body.get("tools", [])]
    wanted = re.search(r"CALLTOOL:(\w+) (\{.*?\})(?= |$)", said)
    if wanted and last.get("role") == "user" and wanted[1] in offered:
        return 200, "", (wanted[1], wanted[2])
    if "SLOW" in said:
        time.sleep(0.3)
    if "EMPTY" in said:
        return 200, "", None
    form = body.get("response_format") or {}
    if form.get("type") == "json_schema":
        return 200, json.dumps(fitting(form["json_schema"]["schema"])), None
    reply = re.search(r"REPLY (.+)", said)
    return 200, reply[1] if reply else GREETING, None


def vectors(body):
    given = body.get("input")
    given = given if isinstance(given, list) else [given]
    if "FAIL500" in given:
        return 500, {"error": {"message": "upstream broke", "type": "server_error"}}
    data = [
        {"object": "embedding", "index": at, "embedding": [0.25, -0.5, 0.125 + at]} for at in range(len(given))
    ]
    return 200, {"object": "list", "model": body.get("model"), "data": data, "usage": {"prompt_tokens": 3, "total_tokens": 3}}


class Provider:
    """The provider on a port of its own; `port` 0 takes any free one."""

    def __init__(self, port=0):
        owner = self
        self.requests = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)))
                self.seen = {"path": self.path, "headers": dict(self.headers), "body": body, "began": time.monotonic()}
                owner.requests.append(self.seen)
                if self.path.endswith("/embeddings"):
                    return self.whole(*vectors(body))
                status, text, call = planned(body)
                if status != 200:
                    return self.whole(status, {"error": {"message": text, "type": "invalid_request_error"}})
                self.stream(body, text, call)

            def whole(self, status, value):
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def stream(self, body, text, call):
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                base = {"id": "chatcmpl-fake", "object": "chat.completion.chunk", "created": 1, "model": body.get("model")}
                deltas = [{"role": "assistant"}]
                deltas += [{"content": text[at : at + 8]} for at in range(0, len(text), 8)]
                if call:
                    function = {"name": call[0], "arguments": call[1]}
                    deltas.append({"tool_calls": [{"index": 0, "id": "callfake1", "type": "function", "function": function}]})
                for delta in deltas:
                    self.event({**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
                finish = "tool_calls" if call else "stop"
                self.event({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
                self.event({**base, "choices": [], "usage": USAGE})
                self.seen["ended"] = time.monotonic()
                self.chunk(b"data: [DONE]\n\n")
                self.chunk(b"")

            def event(self, value):
                self.chunk(f"data: {json.dumps(value)}\n\n".encode())

            def chunk(self, data):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                self.wfile.flush()

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
