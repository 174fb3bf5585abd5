"""Install and uninstall: ready when they return, and all or nothing."""

import json
import socket
import time

from machine import (
    CONFIG, GOOD, PATIENCE, SOCKET, UNIT, UNITS, case, contains, drop_in, equal, fresh, installed, knock, main_pid,
    network, refused, sh, shown, until, write_config
)


@case(guarantee=2)
def install_is_ready_when_it_returns():
    fresh()
    began = time.monotonic()
    text = sh("openclaw gateway install")
    took = time.monotonic() - began
    contains(text, "Installed systemd service: /home/claw/.config/systemd/user/openclaw-gateway.service")
    with network():
        knock()
    sh("openclaw gateway call health --timeout 2000")
    equal(shown(UNIT, "Type")["Type"], "notify", "Type")
    contains(shown(UNIT, "StatusText")["StatusText"], "listening on ws://127.0.0.1:18789")
    return f"install took {took:.2f} s"


@case(guarantee=2)
def a_secret_that_cannot_be_had_is_a_failure_with_the_reason():
    reference = {"source": "env", "provider": "default", "id": "NO_SUCH_TOKEN"}
    bad = json.dumps({"gateway": {"mode": "local", "auth": {"mode": "token", "token": reference}}})
    fresh()
    write_config(bad)
    for verb in ("install", "start", "restart"):
        done = sh(f"openclaw gateway {verb} 2>&1; echo status $?")
        contains(done, "NO_SUCH_TOKEN")
        contains(done, "status 1")
        if verb == "install":
            write_config(GOOD)
            sh("openclaw gateway install; openclaw gateway stop")
            write_config(bad)
    write_config(GOOD)
    sh("openclaw gateway start && openclaw gateway call health --timeout 60000")


@case()
def sockets_without_names_are_taken_and_beat_the_flags():
    fresh()
    sh("systemd-run --user -q --unit typed --setenv=OPENCLAW_SERVICE_MARKER=openclaw /usr/bin/systemd-socket-activate "
       "-l 127.0.0.1:18995 -l '[::1]:18995' -E HOME -E OPENCLAW_SERVICE_MARKER /usr/local/bin/openclaw gateway run --port 18996")
    with network():
        until(lambda: knock(port=18995), PATIENCE, "an answer")
        knock(port=18995, host="::1")
        try:
            knock(port=18996)
            raise AssertionError("the port of the flag is open")
        except ConnectionRefusedError:
            pass
    sh("systemctl --user stop typed")


@case(guarantee=10)
def reinstall_of_the_same_changes_nothing():
    installed()
    look = f"stat -c '%Y %i' {UNITS}/{UNIT} {UNITS}/{SOCKET}; ls {UNITS}"
    before, pid = sh(look), main_pid()
    sh("openclaw gateway install --force")
    equal(sh(look), before, "files")
    equal(main_pid(), pid, "pid")
    contains(sh("openclaw gateway install"), "Gateway service already enabled.")


@case()
def units_deleted_under_a_running_gateway_are_installed_anew():
    for first in ("", "systemctl --user stop openclaw-gateway.service; "):
        installed()
        sh(f"{first}rm -r {UNITS}/openclaw-gateway.service {UNITS}/openclaw-gateway.socket")
        contains(sh("openclaw gateway install"), "Installed systemd service")
        sh("openclaw gateway call health --timeout 60000")
        equal(shown(UNIT, "NeedDaemonReload")["NeedDaemonReload"], "no", "NeedDaemonReload")


@case()
def commands_reach_the_service_whatever_its_gateway_settings_are():
    for gateway in (
        {"auth": {"mode": "none"}},
        {"auth": {"mode": "password", "password": "a-password-of-the-test"}},
        {"tls": {"enabled": True}},
        {"bind": "custom", "customBindHost": "127.0.0.9"},
    ):
        fresh()
        write_config(json.dumps({"gateway": {"mode": "local", **gateway}}))
        contains(sh("openclaw gateway install"), "Installed systemd service")
        status = sh("openclaw gateway status --require-rpc")
        contains(status, "Runtime: running")
        contains(status, "RPC probe: ok")
        contains(sh("openclaw health"), "Agents: main")
        found = json.loads(sh("openclaw doctor --json || true"))
        broken = [it for it in found["findings"] if it["severity"] == "error"]
        equal(broken, [], f"errors of doctor with {gateway}")


@case(guarantee=6)
def a_foreign_listener_stops_the_install():
    fresh()
    sh("systemd-run --user -q --unit holder python3 -c "
       "'import socket,time;s=socket.socket();s.setsockopt(1,2,1);s.bind((\"127.0.0.1\",18789));s.listen();time.sleep(600)'")
    with network():
        until(lambda: not refused(), PATIENCE, "holder")
    done = sh("openclaw gateway install; echo status $?", check=False)
    sh("systemctl --user stop holder")
    text = done.stdout + done.stderr
    contains(text, "status 1")
    contains(text, "Port 18789 is already in use.")
    contains(text, "holder.service")
    contains(text, "(not an OpenClaw gateway)")
    if "another gateway" in text:
        raise AssertionError("a foreign process was called a gateway")
    equal(sh(f"ls {UNITS}/{UNIT} 2>/dev/null | wc -l").strip(), "0", "unit written")


@case(guarantee=12)
def a_failed_replacement_is_rolled_back():
    installed()
    before = sh(f"sha256sum {UNITS}/{UNIT} {UNITS}/{SOCKET}")
    # Who installs sees the program where the manager finds one that fails.
    sh("mkdir -p ~/other; printf '#!/bin/sh\necho not today; exit 1\n' > ~/other/openclaw; chmod 755 ~/other/openclaw")
    text = sh("unshare -m bash -c 'mount --bind /usr/local/bin/openclaw /home/claw/other/openclaw && "
              "runuser -u claw -- env HOME=/home/claw XDG_RUNTIME_DIR=/run/user/$(id -u claw) "
              "/home/claw/other/openclaw gateway install --force' 2>&1; echo status $?", root=True)
    contains(text, "status 1")
    contains(text, "the previous service was restored")
    equal(sh(f"sha256sum {UNITS}/{UNIT} {UNITS}/{SOCKET}"), before, "files")
    with network():
        knock()


@case(guarantee=11)
def drop_ins_are_honoured_and_left_alone():
    installed()
    drop_in("10-mine", "[Service]\nEnvironment=MINE=1\nNice=3\n")
    before = sh(f"sha256sum {UNITS}/{UNIT}.d/10-mine.conf")
    sh("openclaw gateway restart && openclaw gateway install --force")
    equal(sh(f"sha256sum {UNITS}/{UNIT}.d/10-mine.conf"), before, "drop-in")
    report = json.loads(sh("openclaw gateway status --json"))
    contains(json.dumps(report["service"]), "10-mine.conf")
    contains(sh(f"tr '\\0' '\\n' < /proc/{main_pid()}/environ"), "MINE=1")


@case()
def port_and_token_of_the_install_are_what_clients_read():
    fresh()
    sh("openclaw gateway install --port 18795 --token typed-at-install")
    stored = json.loads(sh(f"cat {CONFIG}"))["gateway"]
    equal((stored["port"], stored["auth"]["token"]), (18795, "typed-at-install"), "configuration")
    sh("openclaw gateway call health")
    contains(sh("openclaw gateway status"), "port=18795 (service args)")
    sh("openclaw gateway uninstall")


@case()
def a_masked_unit_and_a_missing_bus_explain_themselves():
    fresh()
    sh(f"systemctl --user mask {UNIT}")
    done = sh("openclaw gateway install; echo status $?", check=False)
    sh(f"systemctl --user unmask {UNIT}")
    contains(done.stdout + done.stderr, f"systemctl --user unmask {UNIT}")
    done = sh("XDG_RUNTIME_DIR=/nowhere DBUS_SESSION_BUS_ADDRESS= openclaw gateway start; echo status $?", check=False)
    contains(done.stdout + done.stderr, "systemctl --user unavailable")
    contains(done.stdout + done.stderr, "status 1")


@case()
def uninstall_leaves_nothing():
    installed()
    text = sh("openclaw gateway uninstall")
    contains(text, "Removed systemd service: /home/claw/.config/systemd/user/openclaw-gateway.service")
    equal(sh(f"find {UNITS} -name 'openclaw*' | wc -l").strip(), "0", "files left")
    contains(sh("openclaw gateway uninstall"), "Systemd service not found at")
    with network():
        equal(refused(), True, "gone")
