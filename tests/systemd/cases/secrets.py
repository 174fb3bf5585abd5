"""Where no secret may ever be found."""

import json
import os

from machine import SOCKET, UNIT, UNITS, case, contains, drop_in, equal, fresh, installed, lab, main_pid, sh, write_config, write_file


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


REFERENCE = {"source": "file", "provider": "systemd", "id": "/gateway-token"}


@case()
def a_credential_of_the_unit_is_a_provider_without_being_configured():
    installed()
    token = "canary" + os.urandom(12).hex()
    write_file("/home/claw/gateway-token", token + "\n")
    sh("chmod 600 ~/gateway-token")
    drop_in("credential", "[Service]\nLoadCredential=gateway-token:%h/gateway-token\n")
    write_config(json.dumps({"gateway": {"mode": "local", "auth": {"mode": "token", "token": REFERENCE}}}))
    sh("systemctl --user restart openclaw-gateway")
    # The wrong one first: a device that was let in once has a token of its own.
    done = sh("openclaw gateway call health --token wrong-token", check=False)
    equal(done.returncode, 1, "status with a wrong token")
    sh(f"openclaw gateway call health --token {token}")
    environment = sh(f"tr '\\0' '\\n' < /proc/{main_pid()}/environ")
    equal(token in environment, False, "the token in the environment")
    contains(lab("journal", "-o", "cat").stdout, "gateway.auth.token is active")
    return "signed in with the credential"


@case()
def an_encrypted_credential_is_read_by_a_system_service():
    fresh()
    write_config(json.dumps({"gateway": {"mode": "local", "auth": {"mode": "token", "token": REFERENCE}}}))
    sh("systemd-creds setup >/dev/null 2>&1; printf secret-from-host-key | systemd-creds encrypt --with-key=host --name=gateway-token - /var/tmp/token.cred", root=True)
    audit = "systemd-run --quiet --wait --pipe -p User=claw {} /usr/local/bin/openclaw secrets audit --check"
    without = sh(audit.format(""), root=True, check=False)
    equal(without.returncode, 2, f"status without the credential: {without.stdout}")
    text = sh(audit.format("-p LoadCredentialEncrypted=gateway-token:/var/tmp/token.cred"), root=True)
    contains(text, "Secrets audit: clean.")
    return text.strip()
