"""The journal, and `openclaw logs`."""

import json

from machine import PATIENCE, UNIT, case, contains, equal, installed, lab, main_pid, sh, shown, until


@case()
def the_journal_has_fields_and_priorities():
    installed()
    ours = []

    def look():
        lines = lab("journal", "_SYSTEMD_USER_UNIT=" + UNIT, "-o", "json", "-n", "200").stdout.splitlines()
        ours[:] = [entry for entry in map(json.loads, lines)
                   if entry.get("_TRANSPORT") == "journal" and any(key.startswith("OPENCLAW") for key in entry)]
        return ours

    until(look, PATIENCE, "native entries")
    equal({entry.get("SYSLOG_IDENTIFIER") for entry in ours} - {"openclaw-gateway", "openclaw"}, set(), "identifier")
    priorities = {entry["PRIORITY"] for entry in ours}
    return f"{len(ours)} native entries, priorities {sorted(priorities)}"


@case(guarantee=19)
def logs_work_while_the_gateway_is_down():
    installed()
    sh("openclaw gateway stop")
    text = sh("openclaw logs --plain --limit 20", check=False)
    contains(text.stdout + text.stderr, "listening on")


@case()
def clients_and_methods_are_fields_of_their_own():
    installed()
    sh("openclaw gateway call health")
    fields = set()

    def look():
        lines = sh("journalctl --user -q -u openclaw-gateway -o json --no-pager -n 200").splitlines()
        fields.update(key for entry in map(json.loads, lines) for key in entry if key.startswith("OPENCLAW_"))
        return fields

    for wanted in ("OPENCLAW_CONN_ID", "OPENCLAW_REMOTE", "OPENCLAW_CLIENT", "OPENCLAW_PROFILE"):
        until(lambda: wanted in fields or wanted in look(), PATIENCE, f"{wanted} in the journal")
    return ", ".join(sorted(fields))


@case(guarantee=19)
def a_follower_sees_every_line_once_over_restarts_and_a_crash():
    installed()
    # The file of its own day and of no other case.
    sh("openclaw gateway stop; rm -f ~/.openclaw/logs/openclaw-*.log; openclaw gateway start; openclaw logs --limit 1 --json >/dev/null")
    sh("systemd-run --user -q --unit follower -p StandardOutput=file:/home/claw/followed -p StandardError=file:/home/claw/follow.err "
       "/usr/local/bin/openclaw logs --follow --json --interval 100 --limit 5000 --max-bytes 1000000")
    until(lambda: sh("wc -l < ~/followed").strip() not in ("", "0"), PATIENCE, "first lines")
    for n in range(6):
        before = main_pid()
        sh(f"kill -9 {before}" if n == 3 else "openclaw gateway restart", check=False)
        until(lambda: main_pid() not in ("0", before) and shown(UNIT, "ActiveState")["ActiveState"] == "active",
              PATIENCE, "up again")
    sh("openclaw gateway stop")
    sh("openclaw gateway start")
    last = "the last line of this test"
    file = sh("ls -t ~/.openclaw/logs/openclaw-*.log | head -n 1").strip()
    sh(f"echo '{{\"1\":\"{last}\",\"time\":\"x\"}}' >> {file}")
    until(lambda: last in sh("tail -n 3 ~/followed"), PATIENCE, "the last line")
    sh("systemctl --user stop follower")
    followed = [json.loads(line) for line in sh("cat ~/followed").splitlines()]
    lines = [line["raw"] for line in followed if line["type"] in ("log", "raw")]
    whole = sh("cat ~/.openclaw/logs/openclaw-*.log").splitlines()
    first = whole.index(lines[0])
    equal(lines, whole[first:first + len(lines)], "lines in order, none missing, none twice")
    notices = [line["message"] for line in followed if line["type"] == "notice"]
    equal(notices, [], "notices")
    return f"{len(lines)} lines over 6 restarts, one of them a kill -9, and a stop"


@case(guarantee=19)
def without_a_log_file_the_journal_is_read():
    installed()
    sh("openclaw gateway stop; rm -f ~/.openclaw/logs/openclaw-*.log")
    done = sh("openclaw logs --plain --limit 50")
    contains(done, "journal of openclaw-gateway.service")
    contains(done, "listening on ws://127.0.0.1:18789")
    limited = sh("openclaw logs --json --limit 3").splitlines()
    equal([json.loads(line)["type"] for line in limited], ["meta", "log", "log", "log"], "json")


@case()
def options_of_logs_do_what_they_say():
    installed()
    equal(len(sh("openclaw logs --plain --limit 2").splitlines()), 3, "heading and two lines")
    utc = sh("TZ=Asia/Tokyo openclaw logs --plain --limit 1").splitlines()[-1].split()[0]
    local = sh("TZ=Asia/Tokyo openclaw logs --plain --limit 1 --local-time").splitlines()[-1].split()[0]
    equal(local[-6:], "+09:00", f"local time beside {utc}")
    contains(sh("openclaw logs --json --limit 5 --max-bytes 300 2>&1"), "Log tail truncated (increase --max-bytes).")
    done = sh("openclaw logs --interval nothing; echo status $?", check=False)
    contains(done.stderr + done.stdout, "--interval")
    contains(done.stdout, "status 1")
