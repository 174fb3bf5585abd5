"""Images and files by address, in a network of its own: nothing leaves the host, yet the addresses are public ones.
Run inside a fresh network namespace: unshare --net python3 remote_parts.py BINARY. Prints one JSON line per case."""

import json
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "conformance")]

import bed
import profiles
from provider import Provider

# Public as far as its number goes; here it is an address of the loopback device.
PUBLIC = "93.184.216.34"
OTHER = "93.184.216.35"
FILES = {
    "/a.png": ("image/png", profiles.PNG),
    "/words.txt": ("text/plain; charset=utf-8", b"WORDS-FROM-AFAR"),
    "/page": ("image/png", b"<html>no image</html>"),
    "/huge.txt": ("text/plain", b"x" * 3000),
}


class Shelf(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("location", self.path.removeprefix("/to/"))
            self.send_header("content-length", "0")
            return self.end_headers()
        kind, data = FILES.get(self.path, ("text/plain", b"nothing"))
        self.send_response(200 if self.path in FILES else 404)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def serve(address):
    server = ThreadingHTTPServer((address, 0), Shelf)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://{address}:{server.server_address[1]}"


def ask(port, path, body):
    headers = {"authorization": f"Bearer {profiles.TOKEN}", "content-type": "application/json"}
    url = f"http://127.0.0.1:{port}/v1/{path}"
    request = urllib.request.Request(url, data=json.dumps(body).encode(), headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=90) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as err:
        return err.code, err.read().decode()


def main():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for address in (PUBLIC, OTHER):
        subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
    far, elsewhere, near = serve(PUBLIC), serve(OTHER), serve("127.0.0.1")
    provider = Provider()
    homes = bed.Homes()
    port = bed.free_port()
    config = profiles.config("P1", port, provider.url, homes.root)
    ends = config["gateway"]["http"]["endpoints"]
    ends["chatCompletions"]["images"] = {"allowUrl": True, "urlAllowlist": [PUBLIC], "maxRedirects": 1}
    ends["responses"]["files"] = {"maxBytes": 2000}
    gateway = bed.Gateway([sys.argv[1]], homes.new("gateway", config), port)

    def chat(url):
        parts = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": url}}]
        return ask(port, "chat/completions", {"model": "openclaw", "messages": [{"role": "user", "content": parts}]})

    def respond(part):
        parts = [{"type": "input_text", "text": "read"}, part]
        return ask(port, "responses", {"model": "openclaw", "input": [{"role": "user", "content": parts}]})

    def refused(answer, message):
        bed.check(answer[0] == 400 and message in answer[1], f"{answer}")

    def image():
        status, text = chat(f"{far}/a.png")
        bed.check(status == 200, text)
        bed.check("data:image/png;base64," in json.dumps(provider.requests[-1]["body"]["messages"]), "no image at the model")

    def redirect():
        status, text = chat(f"{far}/to/{far}/a.png")
        bed.check(status == 200, text)

    def file():
        status, text = respond({"type": "input_file", "file_url": f"{far}/words.txt"})
        bed.check(status == 200, text)
        system = json.dumps(provider.requests[-1]["body"]["messages"][0])
        bed.check('name=\\"words.txt\\"' in system and "WORDS-FROM-AFAR" in system, "no file in the system prompt")

    bad_image = "Invalid image_url content"
    cases = {
        "an image is fetched": image,
        "a redirect is followed": redirect,
        "no more of them than allowed": lambda: refused(chat(f"{far}/to/{far}/to/{far}/a.png"), bad_image),
        "none into this host": lambda: refused(chat(f"{far}/to/{near}/a.png"), bad_image),
        "nothing from this host": lambda: refused(chat(f"{near}/a.png"), bad_image),
        "nothing from a host that is not on the list": lambda: refused(chat(f"{elsewhere}/a.png"), bad_image),
        "nothing that is no image": lambda: refused(chat(f"{far}/page"), bad_image),
        "nothing that is not there": lambda: refused(chat(f"{far}/none.png"), bad_image),
        "a file is fetched": file,
        "none that is too large": lambda: refused(respond({"type": "input_file", "file_url": f"{far}/huge.txt"}), "invalid request"),
        "none from this host": lambda: refused(respond({"type": "input_file", "file_url": f"{near}/words.txt"}), "invalid request"),
    }
    try:
        for name, case in cases.items():
            try:
                case()
                line = {"name": name, "ok": True, "detail": ""}
            except Exception as err:
                line = {"name": name, "ok": False, "detail": f"{type(err).__name__}: {err}"}
            print(json.dumps(line), flush=True)
    finally:
        gateway.stop()
        provider.stop()
        homes.remove()


main()
