"""The Operate section of the README, word by word."""

import re

from machine import HERE, case, contains, fresh, http, knock, lab, network, refused, serving, sh


def commands():
    text = (HERE.parent.parent / "README.md").read_text()
    section = text.split("\n## Operate\n")[1].split("\n## ")[0]
    lines = [line.split("#")[0].strip() for block in re.findall(r"```sh\n(.*?)```", section, re.S) for line in block.splitlines()]
    return [line for line in lines if line]


@case(machine="--no-linger")
def the_operate_section_can_be_followed_word_by_word():
    fresh()
    seen = []
    for command in commands():
        if command == "sudo reboot":
            lab("reboot")
            with network():
                serving()
            seen.append("reboot")
            continue
        text = sh(f"({command}) 2>&1")
        seen.append(command.removeprefix("openclaw gateway ").split()[0])
        if command.endswith("status"):
            contains(text, "Runtime: running")
            contains(text, "RPC probe: ok")
        with network():
            if seen[-1] in ("install", "restart", "start"):
                knock()
                contains(http("/readyz"), "200 OK")
            if seen[-1] in ("stop", "uninstall") and not refused():
                raise AssertionError(f"{command}: the port is still open")
    for word in ("install", "status", "restart", "reboot", "stop", "start", "uninstall"):
        if word not in seen:
            raise AssertionError(f"the README does not {word}")
    return ", ".join(seen)
