"""Every operator command, one after the other, against a gateway: the exit code and
the shape of the JSON must be those that the official command line shows against the
Node gateway of its own release. Asked are the official command lines, and our own,
which must not be told from that of 2026.4.2.

What it shows there is recorded in `recorded/<release>.json`; `run --record` takes it
anew. Where ours differs on purpose, `differences.json` says so, each with a reason;
an entry that no longer describes anything is a failure too, unless it is seen `sometimes`.

Left out are commands that say nothing about a gateway: `directory`, which asks the network of
a channel (and on a terminal offers to install its plugin), `hooks list`, `plugins` and `skills
search|install`, which list what is bundled with or fetched for the Node program, `tasks audit`,
which prints how old the tasks of the command before are, and all that sets up, repairs, backs up
or updates an installation (`onboard`, `configure`, `doctor`, `backup`, `update`, `gateway
install`), which has tests of its own."""

import fnmatch
import json
import re
import subprocess
from pathlib import Path

from bed import Failure, check, environment

HERE = Path(__file__).parent
RECORDED = HERE / "recorded"
DIFFERENCES = HERE / "differences.json"

WORD = "Please say pineapple"


class Step:
    """One command. `keep` names a value of its answer for later steps: {name: path}."""

    def __init__(self, line, keep=None, only=None):
        self.line = line
        self.keep = keep or {}
        self.only = only


# `{name}` is a value kept from an earlier step; `{home}` the home of the gateway.
STEPS = [
    Step("health --json"),
    Step("health"),
    Step("status --json"),
    Step("status --deep --json"),
    Step("status --usage --json"),
    Step("gateway status --json"),
    Step("gateway status --deep --require-rpc --json"),
    Step("gateway probe --json"),
    Step("gateway health --json"),
    Step("gateway usage-cost --json"),
    Step("gateway stability --json", only="2026.9.6"),
    Step("gateway call health --json"),
    Step("gateway call status --json"),
    Step("gateway call system-presence --json"),
    Step("gateway call config.get --json"),
    Step("gateway call config.schema.lookup --params {\"path\":\"gateway.port\"} --json"),
    Step("gateway call models.list --json"),
    Step("gateway call tools.catalog --json"),
    Step("gateway call skills.status --json"),
    Step("gateway call agent.identity.get --json"),
    Step("gateway call last-heartbeat --json"),
    Step("gateway call no.such.method --json"),
    Step("gateway call sessions.list --params {\"limit\":\"two\"} --json"),
    Step("gateway health --token wrong --json"),
    Step("logs --json --limit 5"),
    Step("logs --limit 5 --plain"),
    Step("system event --text noted --mode next-heartbeat --json"),
    Step("system event --text noted --mode sometime"),
    Step("system heartbeat disable --json"),
    Step("system heartbeat last --json"),
    Step("channels list --json"),
    Step("channels status --json"),
    Step("channels status --probe --json"),
    Step("models list --json"),
    Step("models status --json"),
    Step("agents list --json"),
    Step("agents add work --workspace {home}/work --non-interactive --json", only="2026.4.2"),
    Step("agents set-identity --agent work --name Worker --emoji W --json", only="2026.4.2"),
    Step("agents list --json", only="2026.4.2"),
    Step("agents delete work --force --json", only="2026.4.2"),
    Step("agents delete nobody --force --json"),
    Step(f"agent --agent main --json --message '{WORD}'"),
    Step(f"agent --agent main --message '{WORD}'"),
    Step(f"agent --session-id d5f7ff0e-1a52-4c52-a7b4-5ac4fd3b6f02 --json --message '{WORD}'"),
    Step(f"agent --agent nobody --json --message '{WORD}'"),
    Step("sessions --json"),
    Step("sessions --all-agents --json"),
    Step("sessions cleanup --dry-run --json"),
    Step("gateway call sessions.list --json"),
    Step("gateway call sessions.patch --params {\"key\":\"agent:main:main\",\"label\":\"renamed\"} --json"),
    Step("gateway call chat.history --params {\"sessionKey\":\"main\",\"limit\":5} --json"),
    Step("gateway call sessions.usage --json"),
    Step("gateway call agent.wait --params {\"runId\":\"no-such-run\",\"timeoutMs\":10} --json"),
    Step("cron status --json"),
    Step("cron add --name hourly --every 1h --message '{word}' --session isolated --no-deliver --json", keep={"job": "id"}),
    Step("cron add --name once --at 2h --system-event later --session main --json", keep={"once": "id"}),
    Step("cron add --name morning --cron '0 7 * * *' --tz Europe/Berlin --message '{word}' --no-deliver --json", keep={"morning": "id"}),
    Step("cron add --name bad --cron 'not a schedule' --message x --json"),
    Step("cron add --name neither --message x --json"),
    Step("cron list --json"),
    Step("cron list --all"),
    Step("cron edit {job} --name half-hourly --every 30m --description changed"),
    Step("cron disable {once}"),
    Step("cron list --all --json"),
    Step("cron enable {once}"),
    Step("cron get {job}", only="2026.9.6"),
    Step("cron show {job} --json", only="2026.9.6"),
    Step("cron run {job}"),
    Step("gateway call agent.wait --params {\"runId\":\"settle\",\"timeoutMs\":3000} --json"),
    Step("cron runs --id {job}"),
    Step("cron run no-such-job"),
    Step("cron rm {morning} --json"),
    Step("cron rm {once} --json"),
    Step("cron rm no-such-job --json"),
    Step("tasks list --json"),
    Step("devices list --json"),
    Step("devices approve no-such-request --json"),
    Step("devices reject no-such-request --json"),
    Step("devices remove no-such-device --json"),
    Step("devices rotate --device no-such-device --role operator --json"),
    Step("nodes status --json"),
    Step("nodes list --json"),
    Step("nodes pending --json"),
    Step("nodes describe --node nobody --json"),
    Step("nodes invoke --node nobody --command system.which --json"),
    Step("nodes approve no-such-request --json"),
    Step("approvals get --json"),
    Step("approvals get --gateway --json"),
    Step("approvals allowlist add --gateway /usr/bin/uname --json"),
    Step("approvals allowlist remove --gateway /usr/bin/uname --json"),
    Step("approvals pending --json", only="2026.9.6"),
    Step("skills list --json"),
    Step("skills check --json"),
    Step("config get gateway.port --json"),
    Step("config validate --json"),
    Step("secrets reload --json"),
    Step("message send --channel telegram --target 1 --message hi --json"),
    Step("status"),
    Step("status --all"),
    Step("gateway status"),
    Step("gateway probe"),
    Step("gateway discover --timeout 300 --json"),
    Step("gateway usage-cost --days 3 --json"),
    Step("gateway call usage.status --json"),
    Step("gateway call usage.cost --params {\"days\":2} --json"),
    Step("gateway call channels.status --params {\"probe\":false} --json"),
    Step("gateway call tools.effective --params {\"sessionKey\":\"agent:main:main\"} --json"),
    Step("gateway call sessions.preview --params {\"keys\":[\"agent:main:main\"]} --json"),
    Step("gateway call sessions.create --params {\"key\":\"agent:main:extra\",\"label\":\"extra\"} --json"),
    Step("gateway call sessions.reset --params {\"key\":\"agent:main:extra\"} --json"),
    Step("gateway call sessions.compact --params {\"key\":\"agent:main:extra\"} --json"),
    Step("gateway call sessions.delete --params {\"key\":\"agent:main:extra\"} --json"),
    Step("gateway call sessions.delete --params {\"key\":\"agent:main:main\"} --json"),
    Step("gateway call chat.abort --params {\"sessionKey\":\"main\"} --json"),
    Step("gateway call agents.list --json"),
    Step("gateway call agents.files.list --params {\"agentId\":\"main\"} --json"),
    Step("gateway call agents.files.get --params {\"agentId\":\"main\",\"name\":\"SOUL.md\"} --json"),
    Step("gateway call agents.files.set --params {\"agentId\":\"main\",\"name\":\"USER.md\",\"content\":\"Somebody.\"} --json"),
    Step("gateway call agents.files.get --params {\"agentId\":\"main\",\"name\":\"../openclaw.json\"} --json"),
    Step("gateway call cron.list --params {\"includeDisabled\":true} --json", only="2026.9.6"),
    Step("gateway call cron.runs --params {\"scope\":\"all\"} --json", only="2026.9.6"),
    Step("gateway call cron.add --params {\"name\":1} --json"),
    Step("gateway call device.pair.list --json"),
    Step("gateway call node.pair.list --json"),
    Step("gateway call node.list --json"),
    Step("gateway call node.describe --params {\"nodeId\":\"nobody\"} --json"),
    Step("gateway call exec.approvals.get --json"),
    Step("gateway call exec.approval.resolve --params {\"id\":\"none\",\"decision\":\"deny\"} --json"),
    Step("gateway call config.patch --params {\"raw\":\"{}\"} --json"),
    Step("gateway call config.set --params {\"raw\":1} --json"),
    Step("gateway call voicewake.get --json"),
    Step("gateway call gateway.identity.get --json"),
    Step("gateway call wizard.status --params {\"sessionId\":\"none\"} --json"),
    Step("gateway call set-heartbeats --params {\"enabled\":true} --json"),
    Step("gateway call wake --params {\"mode\":\"next-heartbeat\",\"text\":\"up\"} --json"),
    Step("system presence --json"),
    Step("system heartbeat enable --json"),
    Step("nodes status"),
    Step("nodes reject no-such-request --json"),
    Step("nodes rename --node nobody --name x --json"),
    Step("nodes camera list --node nobody --json"),
    Step("nodes location get --node nobody --json"),
    Step("nodes notify --node nobody --title x --body y --json"),
    Step("devices revoke --device no-such-device --role operator --json"),
    Step("approvals get --node nobody --json"),
    Step("approvals get"),
    Step("cron rm {job} --json"),
    Step("agents bindings --json"),
    Step("message send --channel telegram --target 1 --message hi --dry-run --json"),
    Step("pairing list telegram --json"),
    Step("pairing approve telegram NOSUCHCD"),
    Step("channels capabilities --json"),
    Step("sessions list --json", only="2026.9.6"),
    Step("sessions delete agent:main:explicit:d5f7ff0e-1a52-4c52-a7b4-5ac4fd3b6f02 --json", only="2026.9.6"),
    # These work on the files that the gateway keeps, without asking it.
    Step("config set ui.seamColor '#112233'"),
    Step("config get ui.seamColor --json"),
    Step("config set gateway.port nowhere"),
    Step("config unset ui.seamColor"),
    Step("config get ui.seamColor --json"),
    Step("config file"),
    Step("tasks show no-such-task --json"),
    Step("tasks cancel no-such-task"),
    Step("tasks notify no-such-task silent"),
    Step("hooks info no-such-hook --json"),
    Step("models aliases list --json"),
    Step("models fallbacks list --json"),
    Step("message poll --channel telegram --target 1 --poll-question q --poll-option a --poll-option b --json"),
    Step("message read --channel telegram --target 1 --json"),
    Step("mcp list --json"),
    Step("mcp set one '{\"command\":\"true\"}'"),
    Step("mcp show one --json"),
    Step("mcp unset one"),
    Step("mcp unset one"),
]


# These only look, and change nothing that a later one sees.
LOOKS = (
    *("health", "status", "logs", "channels", "models", "skills", "nodes status", "devices list", "cron runs"),
    *("gateway status", "gateway probe", "gateway health", "gateway discover", "gateway usage-cost"),
)

# These wait for the gateway only so long, and the Node gateway on a busy host longer.
PATIENT = ("gateway call", "gateway usage-cost", "gateway health", "gateway stability", "cron", "devices", "nodes", "system", "approvals")


def words(line, values):
    """Splits a line at blanks; '…' holds together, JSON stays as it is."""
    found = []
    for quoted, plain in re.findall(r"'([^']*)'|(\S+)", line):
        word = quoted or plain
        for name, value in values.items():
            word = word.replace("{" + name + "}", value)
        found.append(word)
    return found


VARIABLE_KEY = re.compile(r"^(agent:.*|[0-9a-f]{8,}(-[0-9a-f]{4,})*|\d+|\d{4}-\d{2}-\d{2}|/.*)$")


def shape(value):
    """A value without what differs from run to run: keys, types, and truth values."""
    if isinstance(value, dict):
        merged = {}
        for key, inner in value.items():
            key = "<key>" if VARIABLE_KEY.match(key) else key
            merged[key] = merge(merged.get(key), shape(inner))
        return merged
    if isinstance(value, list):
        inner = None
        for item in value:
            inner = merge(inner, shape(item))
        return [] if inner is None else [inner]
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "str" if isinstance(value, str) else "num"


def merge(one, other):
    """The shape that covers both."""
    if one is None or one == other:
        return other
    if isinstance(one, dict) and isinstance(other, dict):
        return {key: merge(one.get(key), other[key]) if key in other else one[key] for key in {**one, **other}}
    if isinstance(one, list) and isinstance(other, list):
        inner = merge(*(part[0] if part else None for part in (one, other))) if one and other else (one or other)[0]
        return [inner]
    kinds = set()
    for part in (one, other):
        kinds |= set(part.split("|")) if isinstance(part, str) else {json.dumps(part, sort_keys=True)}
    return "|".join(sorted(kinds))


def compare(path, ours, theirs, found):
    """Collects `path: ours ≠ theirs` where two shapes differ."""
    if ours == theirs:
        return
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted({**ours, **theirs}):
            here = f"{path}.{key}" if path else key
            if key not in ours:
                found.append((here, "absent", brief(theirs[key])))
            elif key not in theirs:
                found.append((here, brief(ours[key]), "absent"))
            else:
                compare(here, ours[key], theirs[key], found)
    elif isinstance(ours, list) and isinstance(theirs, list) and ours and theirs:
        compare(f"{path}[]", ours[0], theirs[0], found)
    else:
        found.append((path, brief(ours), brief(theirs)))


def brief(part):
    if isinstance(part, dict):
        return "object"
    if isinstance(part, list):
        return "list" if part else "empty list"
    return part


def documents(text):
    """Every JSON document of an output; lines that are none are left aside."""
    decoder = json.JSONDecoder()
    found = []
    at = 0
    while at < len(text):
        if text[at] in "{[" and (at == 0 or text[at - 1] == "\n"):
            try:
                value, at = decoder.raw_decode(text, at)
                found.append(value)
                continue
            except ValueError:
                pass
        at += 1
    return found


class Runner:
    """Runs the steps of one release and compares, or records."""

    def __init__(self, release, command, home, reviewed_as=None):
        self.release = release
        self.command = command
        self.home = home
        self.values = {"home": str(home), "word": WORD}
        path = RECORDED / f"{release}.json"
        self.recorded = json.loads(path.read_text()) if path.exists() else {}
        self.seen = {}
        self.reviewed = [entry for entry in json.loads(DIFFERENCES.read_text()) if (reviewed_as or release) in entry["releases"]]
        self.used = set()

    def steps(self, wanted=""):
        """Steps with their names; of the others only those whose answers are needed."""
        names = {}
        for step in STEPS:
            if step.only in (None, self.release):
                number = names[step.line] = names.get(step.line, 0) + 1
                name = step.line if number == 1 else f"{step.line} ({number})"
                if re.search(wanted, name) or step.keep:
                    yield step, name

    def execute(self, step):
        patience = ["--timeout", "60000"] if step.line.startswith(PATIENT) else []
        done = subprocess.run(
            [*self.command, *words(step.line, self.values), *patience],
            env=environment(self.home, NO_COLOR="1"),
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=300,
            check=False,
            text=True,
            errors="replace",
        )
        answers = documents(done.stdout)
        for name, path in step.keep.items():
            check(answers and path in answers[0], f"no {path} in {done.stdout[-300:]!r} {done.stderr[-700:]!r}")
            self.values[name] = answers[0][path]
        seen = {"exit": done.returncode}
        if "--json" in step.line or answers:
            seen["json"] = merge_all(shape(answer) for answer in answers)
        return seen, done

    def warm_up(self):
        """Pairs the command line with all scopes: with fewer, the Node gateway of 2026.4.2
        refuses what asks for more. It also says it is ready a while before it answers in time."""
        for _ in range(20):
            if self.execute(Step("gateway call health --json"))[0]["exit"] == 0:
                return
        raise Failure("the gateway never answered")

    def record(self, step, name):
        """One case of a recording; what failed is looked at by whoever records."""
        seen, done = self.execute(step)
        self.seen[name] = seen
        self.write()
        if seen["exit"]:
            print(f"     exit {seen['exit']}: {(done.stderr.strip() or done.stdout.strip())[-300:]}", flush=True)

    def compare(self, step, name):
        """One case: what is seen must be what was recorded. A command that only looks may
        look again: the command line gives the gateway less than a second here and there,
        which is too little for itself on a busy host."""
        check(name in self.recorded, "not recorded: run with --record")
        expected = self.recorded[name]
        for _ in range(3 if step.line.startswith(LOOKS) else 1):
            seen, done = self.execute(step)
            found = []
            compare("exit", str(seen["exit"]), str(expected["exit"]), found)
            compare("", seen.get("json", "none"), expected.get("json", "none"), found)
            new = [difference for difference in found if not self.is_reviewed(name, *difference)]
            if not new:
                return
        if new:
            lines = "\n".join(f"    {path}: ours {ours}, reference {theirs}" for path, ours, theirs in new)
            said = done.stderr.strip()[-600:] if seen["exit"] != expected["exit"] else ""
            raise Failure(f"{len(new)} difference(s)\n{lines}\n{said}".rstrip())

    def is_reviewed(self, name, path, ours, theirs):
        for number, entry in enumerate(self.reviewed):
            if (
                fnmatch.fnmatchcase(name, entry["command"].replace("[", "[[]"))
                and any(fnmatch.fnmatchcase(path, pattern.replace("[", "[[]")) for pattern in entry["paths"])
                and entry.get("ours", ours) == ours
                and entry.get("reference", theirs) == theirs
            ):
                self.used.add(number)
                return True
        return False

    def idle_reviews(self):
        return [entry for number, entry in enumerate(self.reviewed) if number not in self.used and not entry.get("sometimes")]

    def write(self):
        RECORDED.mkdir(exist_ok=True)
        merged = {**self.recorded, **self.seen}
        names = [name for _, name in self.steps() if name in merged]
        rows = [f"{json.dumps(name)}: {json.dumps(merged[name], sort_keys=True, separators=(',', ':'))}" for name in names]
        (RECORDED / f"{self.release}.json").write_text("{\n" + ",\n".join(rows) + "\n}\n")


def merge_all(shapes):
    found = "none"
    for one in shapes:
        found = one if found == "none" else merge(found, one)
    return found
