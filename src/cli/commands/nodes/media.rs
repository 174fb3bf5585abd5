//! Pictures and recordings of nodes: what arrives is written to a file of its
//! own, whose path is the answer.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::agents::providers::http::Http;
use crate::agents::public_web;
use crate::base::id::uuid;
use crate::cli::args::node_media::{
    CameraCommand, ClipArgs, RecordArgs, ScreenCommand, SnapArgs, SnapshotArgs,
};
use crate::cli::args::nodes::NodeArgs;
use crate::cli::commands::nodes::{Asker, items, members, text};
use crate::cli::context::Context;
use crate::cli::ui::table::{Fit, PIPE_WIDTH, Table};
use crate::cli::ui::{CommandResult, Failure, Outcome};
use crate::store::atomic;

/// The largest recording that is fetched from a node.
const MOST_BYTES: usize = 250 * 1024 * 1024;

pub(super) fn camera(context: &Context, command: &CameraCommand) -> CommandResult {
    match command {
        CameraCommand::List(args) => list(context, args),
        CameraCommand::Snap(args) => snap(context, args),
        CameraCommand::Clip(args) => clip(context, args),
    }
}

pub(super) fn screen(context: &Context, command: &ScreenCommand) -> CommandResult {
    let ScreenCommand::Record(args) = command;
    record(context, args)
}

fn list(context: &Context, args: &NodeArgs) -> CommandResult {
    let asked = Asker::new(context, &args.rpc, "camera list").waiting(60_000);
    let node = asked.node(&args.node)?;
    let answer = asked.invoke(&node, "camera.list", Some(json!({})), None)?;
    let devices = items(&answer["payload"]["devices"]);
    if args.rpc.json {
        return Ok(Outcome::json(&devices));
    }
    if devices.is_empty() {
        return Ok(Outcome::text("No cameras reported."));
    }
    let mut table =
        Table::new(&[("Name", Fit::Rest), ("Position", Fit::Content), ("ID", Fit::Rest)]);
    for device in devices {
        table.row([
            device["name"].as_str().unwrap_or("Unknown Camera"),
            device["position"].as_str().unwrap_or("unspecified"),
            text(device, "id"),
        ]);
    }
    Ok(Outcome::text(format!(
        "{}\n{}",
        context.ui.out.heading("Cameras"),
        table.render(PIPE_WIDTH)
    )))
}

fn snap(context: &Context, args: &SnapArgs) -> CommandResult {
    let asked = Asker::new(context, &args.of.rpc, "camera snap").waiting(60_000);
    let node = asked.find(&args.of.node)?;
    let facings: &[&str] = match args.facing.trim().to_lowercase().as_str() {
        "both" => &["front", "back"],
        "front" => &["front"],
        "back" => &["back"],
        _ => {
            let text = format!("invalid facing: {} (expected front|back|both)", args.facing);
            return Err(asked.failure(text));
        }
    };
    let device = args.device_id.as_deref().map(str::trim).filter(|id| !id.is_empty());
    if device.is_some() && facings.len() > 1 {
        return Err(asked.failure("facing=both is not allowed when --device-id is set"));
    }
    let width = asked.whole("--max-width", args.max_width.as_deref())?;
    let quality: Option<f64> =
        asked.number("--quality", args.quality.as_deref(), "between 0 and 1")?;
    let delay = asked.whole("--delay-ms", args.delay_ms.as_deref())?;
    let mut files = Vec::new();
    for facing in facings {
        let params = members([
            ("facing", json!(facing)),
            ("maxWidth", json!(width)),
            ("quality", json!(quality)),
            ("format", json!("jpg")),
            ("delayMs", json!(delay)),
            ("deviceId", json!(device)),
        ]);
        let answer = asked.invoke(
            text(&node, "nodeId"),
            "camera.snap",
            Some(params),
            Some(&args.invoke_timeout),
        )?;
        let photo = &answer["payload"];
        let (width, height) = (&photo["width"], &photo["height"]);
        if !width.is_number() || !height.is_number() {
            return Err(asked.failure("invalid camera.snap payload"));
        }
        let path = Shot { asked: &asked, node: &node, command: "camera.snap" }
            .keep(photo, &format!("openclaw-camera-snap-{facing}"))?;
        files.push(json!({ "facing": facing, "path": path, "width": width, "height": height }));
    }
    if args.of.rpc.json {
        return Ok(Outcome::json(&json!({ "files": files })));
    }
    let lines: Vec<String> =
        files.iter().map(|file| media_line(context, Path::new(text(file, "path")))).collect();
    Ok(Outcome::text(lines.join("\n")))
}

fn clip(context: &Context, args: &ClipArgs) -> CommandResult {
    let asked = Asker::new(context, &args.of.rpc, "camera clip").waiting(90_000);
    let node = asked.find(&args.of.node)?;
    let facing = args.facing.trim().to_lowercase();
    if !["front", "back"].contains(&facing.as_str()) {
        let text = format!("invalid facing: {} (expected front|back)", args.facing);
        return Err(asked.failure(text));
    }
    let device = args.device_id.as_deref().map(str::trim).filter(|id| !id.is_empty());
    let params = members([
        ("facing", json!(facing)),
        ("durationMs", json!(asked.duration(&args.duration)?)),
        ("includeAudio", json!(!args.no_audio)),
        ("format", json!("mp4")),
        ("deviceId", json!(device)),
    ]);
    let answer = asked.invoke(
        text(&node, "nodeId"),
        "camera.clip",
        Some(params),
        Some(&args.invoke_timeout),
    )?;
    let video = &answer["payload"];
    let (length, audio) = (&video["durationMs"], &video["hasAudio"]);
    if !length.is_number() || !audio.is_boolean() {
        return Err(asked.failure("invalid camera.clip payload"));
    }
    let path = Shot { asked: &asked, node: &node, command: "camera.clip" }
        .keep(video, &format!("openclaw-camera-clip-{facing}"))?;
    if args.of.rpc.json {
        let file =
            json!({ "facing": facing, "path": path, "durationMs": length, "hasAudio": audio });
        return Ok(Outcome::json(&json!({ "file": file })));
    }
    Ok(Outcome::text(media_line(context, &path)))
}

fn record(context: &Context, args: &RecordArgs) -> CommandResult {
    let asked = Asker::new(context, &args.of.rpc, "screen record").waiting(180_000);
    let node = asked.find(&args.of.node)?;
    let fps: Option<f64> = asked.number("--fps", Some(&args.fps), "a number")?;
    let params = members([
        ("durationMs", json!(asked.duration(&args.duration)?)),
        ("screenIndex", json!(asked.whole("--screen", Some(&args.screen))?)),
        ("fps", json!(fps)),
        ("format", json!("mp4")),
        ("includeAudio", json!(!args.no_audio)),
    ]);
    let answer = asked.invoke(
        text(&node, "nodeId"),
        "screen.record",
        Some(params),
        Some(&args.invoke_timeout),
    )?;
    let video = &answer["payload"];
    let shot = Shot { asked: &asked, node: &node, command: "screen.record" };
    let path = match &args.out {
        Some(out) => {
            let (_, bytes) = shot.inline(video)?;
            let path = PathBuf::from(out);
            fs::write(&path, bytes)
                .map_err(|err| asked.failure(format!("{}: {err}", path.display())))?;
            path
        }
        None => shot.keep_inline(video, "openclaw-screen-record")?,
    };
    if args.of.rpc.json {
        let file = members([
            ("path", json!(path)),
            ("durationMs", video["durationMs"].clone()),
            ("fps", video["fps"].clone()),
            ("screenIndex", video["screenIndex"].clone()),
            ("hasAudio", video["hasAudio"].clone()),
        ]);
        return Ok(Outcome::json(&json!({ "file": file })));
    }
    Ok(Outcome::text(media_line(context, &path)))
}

/// `nodes canvas snapshot`.
pub(super) fn snapshot(context: &Context, args: &SnapshotArgs) -> CommandResult {
    let asked = Asker::new(context, &args.of.rpc, "canvas snapshot").waiting(60_000);
    let format = match args.format.trim().to_lowercase().as_str() {
        "jpg" | "jpeg" => "jpeg",
        "png" => "png",
        _ => {
            let text = format!("invalid format: {} (expected png|jpg|jpeg)", args.format);
            return Err(asked.failure(text));
        }
    };
    let node = asked.find(&args.of.node)?;
    let quality: Option<f64> =
        asked.number("--quality", args.quality.as_deref(), "between 0 and 1")?;
    let params = members([
        ("format", json!(format)),
        ("maxWidth", json!(asked.whole("--max-width", args.max_width.as_deref())?)),
        ("quality", json!(quality)),
    ]);
    let answer = asked.invoke(
        text(&node, "nodeId"),
        "canvas.snapshot",
        Some(params),
        Some(&args.invoke_timeout),
    )?;
    let picture = &answer["payload"];
    let path = Shot { asked: &asked, node: &node, command: "canvas.snapshot" }
        .keep_inline(picture, "openclaw-canvas-snapshot")?;
    if args.of.rpc.json {
        let file = json!({ "path": path, "format": picture["format"] });
        return Ok(Outcome::json(&json!({ "file": file })));
    }
    Ok(Outcome::text(media_line(context, &path)))
}

/// The line by which agents and scripts know a file to show.
fn media_line(context: &Context, path: &Path) -> String {
    format!("MEDIA:{}", context.short(path))
}

/// A picture or recording that a node sent in answer to a command.
struct Shot<'a> {
    asked: &'a Asker<'a>,
    node: &'a Value,
    command: &'static str,
}

impl Shot<'_> {
    fn invalid(&self) -> Failure {
        self.asked.failure(format!("invalid {} payload", self.command))
    }

    /// Format and bytes that came along with the answer.
    fn inline<'a>(&self, payload: &'a Value) -> Result<(&'a str, Vec<u8>), Failure> {
        let format = text(payload, "format");
        let encoded: String = text(payload, "base64").split_whitespace().collect();
        if format.is_empty() || encoded.is_empty() {
            return Err(self.invalid());
        }
        Ok((format, STANDARD.decode(encoded).map_err(|_| self.invalid())?))
    }

    fn keep_inline(&self, payload: &Value, name: &str) -> Result<PathBuf, Failure> {
        let (format, bytes) = self.inline(payload)?;
        self.write(name, format, &bytes)
    }

    /// Writes what came along, or what the node has ready at an address.
    fn keep(&self, payload: &Value, name: &str) -> Result<PathBuf, Failure> {
        let url = text(payload, "url");
        if url.is_empty() {
            return self.keep_inline(payload, name);
        }
        let format = text(payload, "format");
        if format.is_empty() {
            return Err(self.invalid());
        }
        let url =
            from_node(url, text(self.node, "remoteIp")).map_err(|text| self.asked.failure(text))?;
        let fetched = self.asked.context.block_on(async {
            let limit = Duration::from_millis(self.asked.wait_ms);
            Ok(tokio::time::timeout(limit, fetch(&url)).await)
        })?;
        let bytes = fetched
            .unwrap_or_else(|_| Err(format!("failed to download {url}: it took too long")))
            .map_err(|text| self.asked.failure(text))?;
        self.write(name, format, &bytes)
    }

    /// A new file that only its owner can read.
    fn write(&self, name: &str, format: &str, bytes: &[u8]) -> Result<PathBuf, Failure> {
        let ext = match format.trim_start_matches('.') {
            "jpeg" => "jpg",
            ext if ext.chars().all(|c| c.is_ascii_alphanumeric()) => ext,
            _ => return Err(self.invalid()),
        };
        let dir = directory(self.asked.context)?;
        let path = dir.join(format!("{name}-{}.{ext}", uuid()));
        let mut file = OpenOptions::new();
        file.write(true).create_new(true).mode(0o600);
        file.open(&path)
            .and_then(|mut file| file.write_all(bytes))
            .map_err(|err| self.asked.failure(format!("{}: {err}", path.display())))?;
        Ok(path)
    }
}

/// A download address must be HTTPS on the very node that was asked.
fn from_node(url: &str, host: &str) -> Result<reqwest::Url, String> {
    let url = reqwest::Url::parse(url).map_err(|err| format!("Invalid URL: {url} ({err})"))?;
    if url.scheme() != "https" {
        return Err(format!("only https URLs are allowed, got {}:", url.scheme()));
    }
    let host = host.trim();
    if host.is_empty() {
        return Err("camera URL payload requires node remoteIp".to_owned());
    }
    let named = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    if !named.eq_ignore_ascii_case(host) {
        return Err(format!("url host {named} must match node host {host}"));
    }
    Ok(url)
}

/// Fetches without following redirects: they may lead away from the node.
async fn fetch(url: &reqwest::Url) -> Result<Vec<u8>, String> {
    let failed = |why: String| format!("failed to download {url}: {why}");
    let client = Http::default().client(url.as_str()).map_err(|err| failed(err.to_string()))?;
    let answer = client.get(url.clone()).send().await.map_err(|err| failed(err.to_string()))?;
    if !answer.status().is_success() {
        return Err(failed(answer.status().to_string()));
    }
    let (bytes, more) = public_web::read(answer, MOST_BYTES).await.map_err(failed)?;
    if more {
        return Err(failed(format!("more than {MOST_BYTES} bytes")));
    }
    if bytes.is_empty() { Err(failed("empty response body".to_owned())) } else { Ok(bytes) }
}

/// Where pictures go: `/tmp/openclaw` if it is ours alone, else a directory
/// with our user number.
fn directory(context: &Context) -> Result<PathBuf, Failure> {
    let user = nix::unistd::getuid();
    let ours = |dir: &Path| {
        atomic::private_dir(dir).is_ok()
            && fs::symlink_metadata(dir).is_ok_and(|seen| {
                seen.is_dir() && seen.uid() == user.as_raw() && seen.mode() & 0o22 == 0
            })
    };
    let temporary = context.env.get("TMPDIR").map_or("/tmp", |dir| dir);
    let dirs =
        [PathBuf::from("/tmp/openclaw"), Path::new(temporary).join(format!("openclaw-{user}"))];
    dirs.iter().find(|dir| ours(dir)).cloned().ok_or_else(|| {
        let dirs = dirs.map(|dir| dir.display().to_string()).join(" nor ");
        Failure::new(format!("Error: neither {dirs} is a directory for this user alone"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_download_comes_from_the_node_itself_and_encrypted() {
        assert!(from_node("https://10.0.0.4:9/x.jpg", "10.0.0.4").is_ok());
        assert!(from_node("https://[fd00::4]/x.jpg", "fd00::4").is_ok());
        let refused = |url: &str, host: &str| from_node(url, host).unwrap_err();
        assert_eq!(
            refused("http://10.0.0.4/x", "10.0.0.4"),
            "only https URLs are allowed, got http:"
        );
        assert_eq!(
            refused("https://elsewhere/x", "10.0.0.4"),
            "url host elsewhere must match node host 10.0.0.4"
        );
        assert_eq!(refused("https://h/x", " "), "camera URL payload requires node remoteIp");
        assert!(refused("x", "h").starts_with("Invalid URL: x"));
    }
}
