//! Stamps the binary with the commit it was built from.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=OPENCLAW_COMMIT");
    println!("cargo:rerun-if-changed=build.rs");
    // Development builds keep the commit of their first build: following HEAD
    // would compile the crate again after every commit.
    if env("PROFILE").as_deref() == Some("release")
        && let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"])
        && std::path::Path::new(&log).exists()
    {
        println!("cargo:rerun-if-changed={log}");
    }
    let commit = env("OPENCLAW_COMMIT")
        .or_else(|| git(&["rev-parse", "--short=7", "HEAD"]))
        .map(|commit| commit.chars().take(7).collect::<String>())
        .filter(|commit| commit.len() == 7 && commit.bytes().all(|b| b.is_ascii_hexdigit()))
        .unwrap_or_else(|| "0000000".to_owned());
    println!("cargo:rustc-env=OPENCLAW_COMMIT={commit}");
}

#[expect(clippy::disallowed_methods, reason = "a build script has no profile::env")]
fn env(key: &str) -> Option<String> {
    std::env::var(key).ok().filter(|value| !value.is_empty())
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
