//! `gateway probe` through SSH, with a program in the place of `ssh`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use super::{Run, run_with};
use crate::support::program::{Gateway, TOKEN};

/// Forwards what `-L` says and writes down what it was told.
const SSH: &str = r#"#!/usr/bin/env python3
import os, socket, sys, threading
open(os.environ["TOLD"], "w").write("\n".join(sys.argv[1:]))
if "refuses" in sys.argv[-1]:
    sys.exit("Warning: something\nme@refuses: Permission denied (publickey).")
local, host, port = sys.argv[sys.argv.index("-L") + 1].split(":")[1:]
def pump(a, b):
    while data := a.recv(65536):
        b.sendall(data)
    b.shutdown(socket.SHUT_WR)
listener = socket.create_server(("127.0.0.1", int(local)))
while True:
    client, _ = listener.accept()
    server = socket.create_connection((host, int(port)))
    for pair in ((client, server), (server, client)):
        threading.Thread(target=pump, args=pair, daemon=True).start()
"#;

async fn probe(gateway: &Gateway, ssh: &[&str]) -> Run {
    let home = gateway.home.path();
    let program = home.join("bin/ssh");
    fs::create_dir_all(home.join("bin")).unwrap();
    fs::write(&program, SSH).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", home.join("bin").display());
    let (port, told) = (gateway.port.to_string(), home.join("told").display().to_string());
    let env = [("PATH", &*path), ("TOLD", &told), ("OPENCLAW_GATEWAY_PORT", &port)];
    let base = ["--dev", "gateway", "probe", "--json", "--token", TOKEN, "--timeout", "30000"];
    run_with(home, &env, &[&base, ssh].concat()).await
}

#[tokio::test]
async fn a_gateway_behind_ssh_is_reached_and_the_way_closed() {
    let gateway = Gateway::start(json!({})).await;
    let run = probe(&gateway, &["--ssh", "me@den:2222", "--ssh-identity", "/k"]).await;
    let report = run.json();
    assert_eq!((run.code, &report["primaryTargetId"]), (0, &"sshTunnel".into()), "{report}");
    let through = &report["targets"][0];
    assert_eq!((&through["connect"]["rpcOk"], &through["active"]), (&true.into(), &true.into()));
    assert_eq!(through["tunnel"]["target"], "me@den:2222");
    assert_eq!(report["warnings"][0]["code"], "multiple_gateways");
    assert_eq!(report["warnings"][0]["targetIds"], json!(["sshTunnel", "localLoopback"]));
    let told = fs::read_to_string(gateway.home.path().join("told")).unwrap();
    assert!(told.ends_with("-p\n2222\n-i\n/k\n--\nme@den"), "{told}");
    let pid = through["tunnel"]["pid"].as_u64().unwrap();
    let left = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    assert!(!left.contains("den"), "the tunnel outlives the command");
}

#[tokio::test]
async fn a_way_that_does_not_open_says_what_ssh_said() {
    let gateway = Gateway::start(json!({})).await;
    let run = probe(&gateway, &["--ssh", "me@refuses"]).await;
    let report = run.json();
    assert_eq!((run.code, &report["primaryTargetId"]), (0, &"localLoopback".into()), "{report}");
    assert_eq!(
        report["warnings"],
        json!([{"code": "ssh_tunnel_failed", "message": "SSH tunnel failed: ssh to me@refuses \
            ended: me@refuses: Permission denied (publickey)."}])
    );
    let run = probe(&gateway, &["--ssh", "-oProxyCommand=x"]).await;
    assert!(run.json()["warnings"][0]["message"].as_str().unwrap().contains("is no SSH target"));
}
