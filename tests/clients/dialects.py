"""A model server that speaks the four APIs beside chat completions, as far as shared state needs it.

`say WORD` is answered after a thought, `use tools: COMMAND; …` calls `exec`, the model `refused` is
not let in, and `slowly` makes the second half of an answer wait for ever.
"""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SIGNATURE = "c2lnbmF0dXJl"
# Name of the API, path below the server's address, model.
APIS = {
    "openai-responses": ("/v1", "resp-1"),
    "anthropic-messages": ("", "claude-x"),
    "google-generative-ai": ("/v1beta", "gem-1"),
    "ollama": ("", "llama3.3"),
}


def last_words(body):
    """The last thing that was said; `None` after the result of a tool."""
    last = (body.get("messages") or body.get("input") or body.get("contents"))[-1]
    if last.get("role") == "tool" or last.get("type") == "function_call_output":
        return None
    said = last.get("content") or last.get("parts")
    text = json.dumps(said[-1] if isinstance(said, list) else said)
    return None if "tool_result" in text or "functionResponse" in text else text


def wish(body):
    """The text and the commands that answer a request."""
    words = last_words(body)
    if words is None:
        return "The tools are done.", []
    found = re.search(r"use tools: ([\w ;]+)", words)
    if found:
        return "", [command.strip() for command in found.group(1).split(";")]
    found = re.findall(r"say (\w+)", words)
    return (f"The word is {found[-1]} today." if found else "Hello."), []


def anthropic(text, commands):
    # The official SDK appends to the lists of this first message.
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": []}
    usage = {"input_tokens": 120, "output_tokens": 1}
    yield {"type": "message_start", "message": {**message, "stop_reason": None, "stop_sequence": None, "usage": usage}}
    blocks = [({"type": "thinking", "thinking": "", "signature": ""}, [
        {"type": "thinking_delta", "thinking": "Let me see."}, {"type": "signature_delta", "signature": SIGNATURE}])]
    if text:
        half = len(text) // 2
        pieces = [{"type": "text_delta", "text": piece} for piece in (text[:half], text[half:])]
        blocks.append(({"type": "text", "text": ""}, pieces))
    for at, command in enumerate(commands):
        start = {"type": "tool_use", "id": f"toolu_{at}_{id(commands)}", "name": "exec", "input": {}}
        blocks.append((start, [{"type": "input_json_delta", "partial_json": json.dumps({"command": command})}]))
    for index, (start, deltas) in enumerate(blocks):
        yield {"type": "content_block_start", "index": index, "content_block": start}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    reason = "tool_use" if commands else "end_turn"
    yield {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 7}}
    yield {"type": "message_stop"}


def responses(text, commands):
    done = lambda item: {"type": "response.output_item.done", "output_index": 0, "item": item}
    yield {"type": "response.created", "response": {"id": "resp_1"}}
    if text:
        empty = {"type": "message", "id": "msg_1", "role": "assistant", "status": "in_progress", "content": []}
        yield {"type": "response.output_item.added", "output_index": 0, "item": empty}
        part = {"type": "output_text", "text": "", "annotations": []}
        yield {"type": "response.content_part.added", "item_id": "msg_1", "output_index": 0, "content_index": 0, "part": part}
        half = len(text) // 2
        for piece in (text[:half], text[half:]):
            yield {"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": piece}
        yield done({**empty, "status": "completed", "content": [{**part, "text": text}]})
    for at, command in enumerate(commands):
        call = {"type": "function_call", "id": f"fc_{at}", "call_id": f"call_{at}_{id(commands)}", "name": "exec"}
        yield {"type": "response.output_item.added", "output_index": at, "item": {**call, "arguments": ""}}
        arguments = json.dumps({"command": command})
        yield {"type": "response.function_call_arguments.delta", "item_id": call["id"], "output_index": at, "delta": arguments}
        yield done({**call, "arguments": arguments, "status": "completed"})
    usage = {"input_tokens": 120, "output_tokens": 7, "total_tokens": 127}
    yield {"type": "response.completed", "response": {"id": "resp_1", "status": "completed", "usage": usage}}


def google(text, commands):
    content = lambda parts, **more: {"candidates": [{"content": {"role": "model", "parts": parts}, **more}]}
    half = len(text) // 2
    for piece in (text[:half], text[half:]):
        if piece:
            yield content([{"text": piece}])
    for command in commands:
        yield content([{"functionCall": {"name": "exec", "args": {"command": command}}, "thoughtSignature": SIGNATURE}])
    usage = {"promptTokenCount": 120, "candidatesTokenCount": 7, "totalTokenCount": 127}
    yield {**content([{"text": ""}], finishReason="STOP"), "usageMetadata": usage}


def ollama(text, commands):
    line = lambda **message: {"model": "llama3.3", "message": {"role": "assistant", "content": "", **message}}
    half = len(text) // 2
    for piece in (text[:half], text[half:]):
        if piece:
            yield {**line(content=piece), "done": False}
    if commands:
        calls = [{"function": {"name": "exec", "arguments": {"command": command}}} for command in commands]
        yield {**line(tool_calls=calls), "done": False}
    yield {**line(), "done": True, "done_reason": "stop", "prompt_eval_count": 120, "eval_count": 7}


class Server:
    def __init__(self):
        self.stopped = threading.Event()
        # Answers that were written half.
        self.halves = 0
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)))
                if "refused" in self.path or body.get("model") == "refused":
                    return self.refuse()
                text, commands = wish(body)
                if self.path.endswith("/messages"):
                    return self.stream(anthropic(text, commands), body)
                if self.path.endswith("/responses"):
                    return self.stream(responses(text, commands), body)
                if "streamGenerateContent" in self.path:
                    return self.stream(google(text, commands), body)
                return self.stream(ollama(text, commands), body, lines=True)

            def refuse(self):
                data = json.dumps({"error": {"type": "authentication_error", "message": "not let in"}}).encode()
                self.send_response(401)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def stream(self, events, body, lines=False):
                slow = "slowly" in (last_words(body) or "")
                self.send_response(200)
                self.send_header("content-type", "application/x-ndjson" if lines else "text/event-stream")
                self.send_header("connection", "close")
                self.end_headers()
                self.close_connection = True
                try:
                    for event in events:
                        text = json.dumps(event)
                        name = f"event: {event['type']}\n" if "type" in event else ""
                        self.wfile.write((f"{text}\n" if lines else f"{name}data: {text}\n\n").encode())
                        self.wfile.flush()
                        if slow and "The wo" in text:
                            owner.halves += 1
                            owner.stopped.wait(120)
                except OSError:
                    pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def configure(self, config):
        """Adds a provider and an agent for each API, and one whose first model refuses."""
        models = lambda names: [
            {"id": name, "name": name, "contextWindow": 128000, "maxTokens": 4096, "reasoning": name == "claude-x"}
            for name in names
        ]
        agents = [{"id": "main", "default": True}]
        for api, (path, model) in APIS.items():
            name = api.split("-")[0] + "x"
            config["models"]["providers"][name] = {
                "baseUrl": self.url + path, "api": api, "apiKey": "none", "models": models([model, "refused"])
            }
            agents.append({"id": api, "model": {"primary": f"{name}/{model}"}})
        chain = {"primary": "anthropicx/refused", "fallbacks": ["googlex/gem-1"]}
        agents.append({"id": "fallen", "model": chain})
        config["agents"]["list"] = agents
        return config

    def stop(self):
        self.stopped.set()
        self.server.shutdown()
        self.server.server_close()
