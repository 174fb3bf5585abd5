"""Where no secret may ever be found."""

import json
import os

from machine import SOCKET, UNIT, UNITS, case, equal, fresh, lab, main_pid, sh, write_config, write_file


@case(guarantee=9)
def no_secret_reaches_units_processes_or_the_journal():
    fresh()
    token, key = "canary" + os.urandom(12).hex(), "canary" + os.urandom(12).hex()
    write_config(json.dumps({"gateway": {"mode": "local", "auth": {"mode": "token", "token": token}}}))
    write_file("/home/claw/.openclaw/.env", f"ANTHROPIC_API_KEY={key}\n")
    # From a file: the journal keeps what is typed into the machine.
    write_file("/home/claw/canary.sh", f"export ANTHROPIC_API_KEY={key} OPENCLAW_GATEWAY_TOKEN={token}\n"
               "openclaw gateway install --force && openclaw gateway restart && openclaw gateway install --force\n")
    sh("bash ~/canary.sh")
    places = sh(f"cat {UNITS}/openclaw* {UNITS}/*/* 2>/dev/null; systemctl --user show '*'; systemctl --user cat {UNIT} {SOCKET}")
    places += sh(f"systemctl --user show-environment; cat /proc/{main_pid()}/cmdline /proc/{main_pid()}/environ | tr '\\0' '\\n'")
    places += sh("cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'", root=True)
    places += lab("journal", "-o", "export").stdout
    sh("rm ~/.openclaw/.env ~/canary.sh")
    hits = [name for name, secret in (("token", token), ("key", key)) if secret in places]
    equal(hits, [], "secrets found")
    return f"0 hits in {len(places) // 1024} KiB"
