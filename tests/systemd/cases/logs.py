"""The journal, and `openclaw logs`."""

import json

from machine import UNIT, case, contains, equal, installed, lab, sh


@case()
def the_journal_has_fields_and_priorities():
    installed()
    entries = [json.loads(line) for line in
               lab("journal", "_SYSTEMD_USER_UNIT=" + UNIT, "-o", "json", "-n", "200").stdout.splitlines()]
    ours = [entry for entry in entries if entry.get("_TRANSPORT") == "journal" and any(k.startswith("OPENCLAW") for k in entry)]
    if not ours:
        raise AssertionError("no native entries")
    equal({entry.get("SYSLOG_IDENTIFIER") for entry in ours} - {"openclaw-gateway", "openclaw"}, set(), "identifier")
    priorities = {entry["PRIORITY"] for entry in ours}
    return f"{len(ours)} native entries, priorities {sorted(priorities)}"


@case(guarantee=19)
def logs_work_while_the_gateway_is_down():
    installed()
    sh("openclaw gateway stop")
    text = sh("openclaw logs --plain --limit 20", check=False)
    contains(text.stdout + text.stderr, "listening on")
