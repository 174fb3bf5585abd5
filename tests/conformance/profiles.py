"""The six configurations that the cases are written for, and how a gateway is started with one."""

import base64
import socket

TOKEN = "conformance-token"
HOOK_TOKEN = "conformance-hook-token"
PASSWORD = "conformance-password"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
INDEX = (
    '<!doctype html><html><head><script>var a=1;</script><script type="module" src="./assets/x.js"></script></head>'
    "<body>custom</body></html>\n"
)


def host_address():
    """An address of this host that is no loopback address; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.200", 9))
            return probe.getsockname()[0]
        except OSError:
            return None


def fixture(provider_url):
    """Two agents in front of the scripted provider."""
    model = {"contextWindow": 128000, "maxTokens": 4096, "input": ["text", "image"]}
    models = [{"id": name, "name": name, **model} for name in ("fake-1", "fake-2")]
    remote = {"baseUrl": provider_url, "apiKey": "sk-fake"}
    return {
        "models": {"providers": {"fake": {**remote, "api": "openai-completions", "models": models}}},
        "agents": {
            "defaults": {
                "model": {"primary": "fake/fake-1"},
                "memorySearch": {"provider": "openai", "model": "text-embedding-3-small", "remote": remote},
            },
            "list": [{"id": "main", "default": True}, {"id": "research"}],
        },
    }


HOOKS = {
    "enabled": True,
    "token": HOOK_TOKEN,
    "mappings": [
        {
            "match": {"path": "github"},
            "action": "agent",
            "name": "GH",
            "messageTemplate": "repo {{repo}} by {{payload.user.name}} item {{items[0].x}} q {{query.k}} h {{headers.x-foo}} p {{path}}.",
            "deliver": False,
        },
        {"match": {"path": "wakeme"}, "action": "wake", "wakeMode": "next-heartbeat", "textTemplate": "woke by {{kind}}"},
        {"match": {"source": "stripe"}, "action": "wake", "textTemplate": "stripe {{kind}}"},
        {"match": {"path": "emptymsg"}, "action": "agent", "messageTemplate": "{{nothing}}"},
    ],
}


def config(profile, port, provider_url, home):
    """The configuration of a profile; P4 finds its files below `home`."""
    ends = {"chatCompletions": {"enabled": True}, "responses": {"enabled": True}}
    gateway = {
        "mode": "local",
        "port": port,
        "bind": "loopback",
        "auth": {"mode": "token", "token": TOKEN},
        "http": {"endpoints": ends},
    }
    value = {**fixture(provider_url), "gateway": gateway}
    match profile:
        case "P1":
            value["hooks"] = HOOKS
        case "P2":
            limit = {"maxAttempts": 3, "windowMs": 60000, "lockoutMs": 8000, "exemptLoopback": False}
            gateway["auth"] = {"mode": "password", "password": PASSWORD, "rateLimit": limit}
            gateway["http"] = {}
        case "P3":
            gateway["auth"] = {"mode": "none"}
            del ends["responses"]
        case "P4" | "P4-bad-root":
            del ends["chatCompletions"]
            gateway["http"]["securityHeaders"] = {"strictTransportSecurity": "max-age=300"}
            root = "nowhere" if profile == "P4-bad-root" else "ui"
            gateway["controlUi"] = {"basePath": "openclaw/", "root": str(home / root)}
            value["ui"] = {"assistant": {"name": "Clawdia", "avatar": "C"}}
            workspace = home / "workspace"
            value["agents"]["list"][0].update(workspace=str(workspace), identity={"name": "Claw", "avatar": "me.png"})
        case "P5":
            gateway["auth"]["allowTailscale"] = True
            gateway["controlUi"] = {"enabled": False}
            gateway["tools"] = {"allow": ["cron"], "deny": ["sessions_list"]}
            value["canvasHost"] = {"enabled": False}
        case "P6":
            proxy = {
                "userHeader": "x-forwarded-user",
                "requiredHeaders": ["x-forwarded-proto"],
                "allowUsers": ["nick@example.com"],
            }
            gateway["bind"] = "lan"
            gateway["auth"] = {"mode": "trusted-proxy", "trustedProxy": proxy}
            gateway["trustedProxies"] = ["127.0.0.1", host_address() or "192.0.2.1"]
            gateway["controlUi"] = {"allowedOrigins": ["https://ui.example.com"]}
    return value


def files(profile, home):
    """What P4 serves: a page with its parts, a symbolic link, an avatar."""
    if not profile.startswith("P4"):
        return
    root = home / "ui"
    (root / "assets").mkdir(parents=True)
    (root / "index.html").write_text(INDEX)
    (root / "assets" / "x.js").write_text("export const x = 1;\n")
    secret = home / "secret.txt"
    secret.write_text("not yours\n")
    (root / "link.txt").symlink_to(secret)
    (home / "workspace").mkdir()
    (home / "workspace" / "me.png").write_bytes(PNG)


def credential(profile):
    """What a caller who may do everything sends as a bearer."""
    return {"P2": PASSWORD, "P3": None, "P6": None}.get(profile, TOKEN)
