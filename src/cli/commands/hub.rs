//! `skills search|install|update`: skills from `ClawHub`, into the default agent's
//! workspace. What came from there is remembered in the reference's files.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::agents::providers::http::Http;
use crate::agents::public_web;
use crate::agents::skills::package;
use crate::base::cause::innermost;
use crate::base::clock;
use crate::cli::args::manage::{SkillsInstallArgs, SkillsSearchArgs, SkillsUpdateArgs};
use crate::cli::context::Context;
use crate::cli::local::Local;
use crate::cli::ui::page::Page;
use crate::cli::ui::{self, CommandResult, Failure, Outcome};
use crate::store::atomic;

const HUB: &str = "https://clawhub.ai";
const LIMIT: Duration = Duration::from_secs(60);

/// Most bytes of an answer.
const MOST: usize = 50 * 1024 * 1024;

pub(super) fn search(context: &Context, args: &SkillsSearchArgs) -> CommandResult {
    let hub = Hub::new(context, None);
    let query = args.query.join(" ");
    let query = if query.trim().is_empty() { "*" } else { query.trim() };
    let mut params = vec![("q", query)];
    if let Some(limit) = args.limit.as_deref().map(str::trim).filter(|text| !text.is_empty()) {
        if limit.parse::<u32>().is_err() {
            return Err(Failure::new(format!(
                "Error: --limit must be a whole number, not \"{limit}\""
            )));
        }
        params.push(("limit", limit));
    }
    let answer = hub
        .json(context, &["search"], &params)
        .map_err(|text| Failure::new(format!("Error: {text}")))?;
    let results = answer["results"].as_array().cloned().unwrap_or_default();
    if args.json {
        return Ok(Outcome::json(&json!({ "results": results })));
    }
    if results.is_empty() {
        return Ok(Outcome::text("No ClawHub skills found."));
    }
    let mut page = Page::default();
    for entry in &results {
        let text = |key: &str, lead: &str| {
            entry[key].as_str().map(|text| format!("{lead}{text}")).unwrap_or_default()
        };
        page.line(format!(
            "{}{}{}{}",
            text("slug", ""),
            text("version", " v"),
            text("displayName", "  "),
            text("summary", "  ")
        ));
    }
    Ok(Outcome::text(page))
}

pub(super) fn install(context: &Context, args: &SkillsInstallArgs) -> CommandResult {
    let slug = slug(&args.slug).map_err(Failure::new)?;
    let place = Place::of(context);
    let target = place.skill(&slug);
    if !args.force && target.exists() {
        return Err(Failure::new(format!(
            "Skill already exists at {}. Re-run with force/update.",
            target.display()
        )));
    }
    let hub = Hub::new(context, None);
    let version =
        put(context, &hub, &place, &slug, args.version.as_deref()).map_err(Failure::new)?;
    Ok(Outcome::text(format!("Installed {slug}@{version} -> {}", target.display())))
}

pub(super) fn update(context: &Context, args: &SkillsUpdateArgs) -> CommandResult {
    let place = Place::of(context);
    let tracked = place.lock();
    let slugs: Vec<String> = match (&args.slug, args.all) {
        (None, false) => return Err(Failure::new("Provide a skill slug or use --all.")),
        (Some(_), true) => return Err(Failure::new("Use either a skill slug or --all.")),
        (Some(typed), false) => vec![slug(typed).map_err(Failure::new)?],
        (None, true) if tracked.is_empty() => {
            return Ok(Outcome::text("No tracked ClawHub skills to update."));
        }
        (None, true) => tracked.keys().cloned().collect(),
    };
    let mut outcome = Outcome::default();
    for name in slugs {
        // A lock file is foreign text, too.
        let Ok(name) = slug(&name).inspect_err(|text| outcome.warn(text)) else {
            outcome = outcome.with_code(1);
            continue;
        };
        let origin = place.origin(&name);
        if origin.is_null() && !tracked.contains_key(&name) {
            outcome.warn(format!("Skill \"{name}\" is not tracked as a ClawHub install."));
            outcome = outcome.with_code(1);
            continue;
        }
        let before = origin["installedVersion"]
            .as_str()
            .or(tracked.get(&name).and_then(|entry| entry["version"].as_str()));
        let hub = Hub::new(context, origin["registry"].as_str());
        match put(context, &hub, &place, &name, None) {
            Ok(version) if before == Some(&version) => {
                outcome.say(format!("{name} already at {version}"));
            }
            Ok(version) => {
                let before = before.unwrap_or("unknown");
                outcome.say(format!("Updated {name}: {before} -> {version}"));
            }
            Err(text) => {
                outcome.warn(text);
                outcome = outcome.with_code(1);
            }
        }
    }
    Ok(outcome)
}

/// The name of a skill, which becomes the name of a folder.
fn slug(typed: &str) -> Result<String, String> {
    let slug = typed.trim();
    let inner = slug.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
    let ends = slug.starts_with('-') || slug.ends_with('-');
    if slug.is_empty() || !inner || ends {
        return Err(format!("Invalid skill slug: {typed}"));
    }
    Ok(slug.to_owned())
}

/// Downloads and unpacks a skill, and remembers where it came from.
fn put(
    context: &Context,
    hub: &Hub,
    place: &Place,
    slug: &str,
    version: Option<&str>,
) -> Result<String, String> {
    let detail = hub.json(context, &["skills", slug], &[])?;
    if !detail["skill"].is_object() {
        return Err(format!("Skill \"{slug}\" not found on ClawHub."));
    }
    let version = version.or_else(|| detail["latestVersion"]["version"].as_str());
    let version = version.ok_or_else(|| format!("Skill \"{slug}\" has no installable version."))?;
    context.ui.err(&format!("Downloading {slug}@{version} from ClawHub…"));
    let archive = hub.get(context, &["download"], &[("slug", slug), ("version", version)])?;
    let target = place.skill(slug);
    package::install(&archive, &target)?;
    let now = clock::now_ms();
    let origin = json!({ "version": 1, "registry": hub.url, "slug": slug,
        "installedVersion": version, "installedAt": now });
    keep(&target.join(".clawhub/origin.json"), &origin)?;
    let mut lock = place.lock();
    lock.insert(slug.to_owned(), json!({ "version": version, "installedAt": now }));
    keep(&place.0.join(".clawhub/lock.json"), &json!({ "version": 1, "skills": lock }))?;
    Ok(version.to_owned())
}

fn keep(path: &Path, document: &Value) -> Result<(), String> {
    let text = format!("{}\n", ui::json(document));
    atomic::write(path, text.as_bytes(), atomic::Sync::Yes)
        .map_err(|err| format!("{}: {err}", path.display()))
}

/// The workspace that skills go to.
struct Place(PathBuf);

impl Place {
    fn of(context: &Context) -> Self {
        let local = Local::open(context);
        Self(local.workspace(&local.default_id))
    }

    fn skill(&self, slug: &str) -> PathBuf {
        self.0.join("skills").join(slug)
    }

    fn read(dir: &Path, file: &str) -> Value {
        let dirs = [".clawhub", ".clawdhub"].iter();
        let found = dirs.filter_map(|name| fs::read(dir.join(name).join(file)).ok());
        let mut documents = found.filter_map(|bytes| serde_json::from_slice(&bytes).ok());
        documents.find(|document: &Value| document["version"] == 1).unwrap_or_default()
    }

    fn lock(&self) -> Map<String, Value> {
        Self::read(&self.0, "lock.json")["skills"].as_object().cloned().unwrap_or_default()
    }

    fn origin(&self, slug: &str) -> Value {
        Self::read(&self.skill(slug), "origin.json")
    }
}

/// Where skills are published.
struct Hub {
    url: String,
    token: Option<String>,
}

impl Hub {
    /// The registry of the environment, unless a skill came from another.
    fn new(context: &Context, origin: Option<&str>) -> Self {
        let set = |name: &str| context.env.get(name).map(str::trim).filter(|text| !text.is_empty());
        let own = set("OPENCLAW_CLAWHUB_URL").or_else(|| set("CLAWHUB_URL")).unwrap_or(HUB);
        let url = origin.unwrap_or(own).trim_end_matches('/').to_owned();
        let names = ["OPENCLAW_CLAWHUB_TOKEN", "CLAWHUB_TOKEN", "CLAWHUB_AUTH_TOKEN"];
        // A token goes to the registry it was set for, and to no other.
        let token = names.iter().find_map(|name| set(name)).filter(|_| url == own);
        let token = token.map(str::to_owned);
        Self { url, token }
    }

    fn json(
        &self,
        context: &Context,
        path: &[&str],
        params: &[(&str, &str)],
    ) -> Result<Value, String> {
        let bytes = self.get(context, path, params)?;
        serde_json::from_slice(&bytes)
            .map_err(|err| format!("ClawHub /api/v1/{} is not JSON: {err}", path.join("/")))
    }

    fn get(
        &self,
        context: &Context,
        path: &[&str],
        params: &[(&str, &str)],
    ) -> Result<Vec<u8>, String> {
        let shown = format!("/api/v1/{}", path.join("/"));
        let mut url = reqwest::Url::parse(&self.url)
            .map_err(|err| format!("{} is no address: {err}", self.url))?;
        let ends = url.path_segments_mut().map(|mut segments| {
            segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        });
        ends.map_err(|()| format!("{} is no address", self.url))?;
        url.query_pairs_mut().extend_pairs(params);
        let fetched = context
            .block_on(async { Ok(tokio::time::timeout(LIMIT, self.fetch(url, &shown)).await) });
        fetched
            .map_err(|err| err.to_string())?
            .unwrap_or_else(|_| Err(format!("ClawHub {shown}: no answer in time")))
    }

    /// Follows a few redirects: archives lie elsewhere. The token stays here.
    async fn fetch(&self, mut url: reqwest::Url, shown: &str) -> Result<Vec<u8>, String> {
        let failed = |err: &dyn std::error::Error| {
            format!("ClawHub {shown} at {} failed: {}", self.url, innermost(err))
        };
        for hop in 0..5 {
            let http = Http::default();
            let client = http.client(url.as_str()).map_err(|err| failed(&err))?;
            let mut request = client.get(url.clone());
            if let Some(token) = self.token.as_ref().filter(|_| hop == 0) {
                request = request.bearer_auth(token);
            }
            let answer = request.send().await.map_err(|err| failed(&err))?;
            let status = answer.status();
            if status.is_redirection() {
                let to = answer.headers().get(reqwest::header::LOCATION);
                let to = to.and_then(|to| to.to_str().ok()).and_then(|to| url.join(to).ok());
                let secure = |to: &reqwest::Url| to.scheme() == "https" || url.scheme() == "http";
                url = to.filter(secure).ok_or_else(|| {
                    format!("ClawHub {shown} failed ({}): a redirect to nowhere", status.as_u16())
                })?;
                continue;
            }
            let (bytes, more) = public_web::read(answer, MOST).await?;
            if !status.is_success() {
                let text = String::from_utf8_lossy(&bytes);
                let text: String = text.trim().chars().take(300).collect();
                return Err(format!("ClawHub {shown} failed ({}): {text}", status.as_u16()));
            }
            if more {
                return Err(format!("ClawHub {shown}: more than {MOST} bytes"));
            }
            return Ok(bytes);
        }
        Err(format!("ClawHub {shown} failed: too many redirects"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_is_a_plain_name() {
        assert_eq!(slug(" weather-2 ").unwrap(), "weather-2");
        for bad in ["", "../x", "a/b", "-a", "a-", "ä", "a.b"] {
            assert_eq!(slug(bad).unwrap_err(), format!("Invalid skill slug: {bad}"));
        }
    }
}
