//! Who is there: the gateway itself, its clients, and machines that report.

use std::net::{IpAddr, UdpSocket};
use std::sync::{Mutex, OnceLock};

use indexmap::IndexMap;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::Notify;

use crate::base::VERSION;
use crate::gateway::rpc::Caller;

/// How long an entry stays after its last update.
const TTL_MS: u64 = 300_000;
const MAX_ENTRIES: usize = 200;

/// One line of the presence list. Part of the wire contract.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_family: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_identifier: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_input_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub ts: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// The presence list.
#[derive(Debug)]
pub struct Presence {
    own: Entry,
    changed: Notify,
    others: Mutex<IndexMap<String, Entry>>,
}

impl Presence {
    /// Starts with the gateway alone.
    pub fn new() -> Self {
        Self { own: own_entry(), changed: Notify::new(), others: Mutex::default() }
    }

    /// Says that others should be told.
    pub fn changed(&self) {
        self.changed.notify_one();
    }

    /// Waits until others should be told. Cancel-safe; changes in the meantime
    /// count once.
    pub async fn next_change(&self) {
        self.changed.notified().await;
    }

    /// Notes a client that connected. Command lines are not tracked; returns
    /// whether the list changed.
    pub fn connected(&self, caller: &Caller, now: u64) -> bool {
        self.note(caller, "connect", now)
    }

    /// Notes a client that left; returns whether the list changed.
    pub fn disconnected(&self, caller: &Caller, now: u64) -> bool {
        self.note(caller, "disconnect", now)
    }

    fn note(&self, caller: &Caller, reason: &str, now: u64) -> bool {
        let client = &caller.client;
        let mode = &client.mode;
        if client.is_cli() || (caller.protocol >= 4 && only_asks(mode)) {
            return false;
        }
        let host = client.label().to_owned();
        let entry = Entry {
            text: Some(format!("Node: {host} · mode {mode}")),
            host: Some(host),
            ip: caller.remote_ip.clone(),
            version: Some(client.version.clone()),
            platform: Some(client.platform.clone()),
            device_family: client.device_family.clone(),
            model_identifier: client.model_identifier.clone(),
            mode: Some(mode.clone()),
            device_id: caller.device_id.clone(),
            roles: vec![caller.role.as_str().to_owned()],
            scopes: caller.scopes.as_slice().to_vec(),
            instance_id: caller.device_id.clone().or_else(|| client.instance_id.clone()),
            reason: Some(reason.to_owned()),
            ts: now,
            ..Entry::default()
        };
        self.upsert(key(caller), entry, now);
        true
    }

    /// Adds or updates an entry; what `entry` leaves out stays as it was, roles
    /// and scopes are united.
    pub fn upsert(&self, key: String, entry: Entry, now: u64) {
        let mut others = self.lock();
        prune(&mut others, now);
        let merged = match others.shift_remove(&key) {
            Some(old) => merge(old, entry),
            None => entry,
        };
        others.insert(key, merged);
        if others.len() > MAX_ENTRIES {
            let oldest = others.iter().min_by_key(|(_, entry)| entry.ts);
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                others.shift_remove(&key);
            }
        }
    }

    /// The entry under `key`.
    pub fn get(&self, key: &str) -> Option<Entry> {
        self.lock().get(key).cloned()
    }

    /// The list as clients of a protocol see it. Since protocol 4 the gateway shows
    /// the make of its machine, not of the processor, and which process it is.
    pub fn list_for(&self, protocol: u64, process: &str, now: u64) -> Value {
        let mut list = self.list(now);
        if protocol < 4 {
            return list;
        }
        if let Some(entries) = list.as_array_mut() {
            entries.retain(|entry| !entry["mode"].as_str().is_some_and(only_asks));
        }
        let own = list.as_array_mut().into_iter().flatten().find(|entry| entry["reason"] == "self");
        if let Some(Value::Object(own)) = own {
            own.shift_remove("modelIdentifier");
            if let Some(model) = machine_model() {
                own.insert("modelIdentifier".into(), model.into());
            }
            own.insert("instanceId".into(), process.into());
        }
        list
    }

    /// The list as clients see it, newest first; the gateway is always current.
    pub fn list(&self, now: u64) -> Value {
        let mut others = self.lock();
        prune(&mut others, now);
        let mut own = self.own.clone();
        own.ts = now;
        let mut all: Vec<&Entry> = Vec::with_capacity(others.len() + 1);
        all.push(&own);
        all.extend(others.values().rev());
        all.sort_by_key(|entry| std::cmp::Reverse(entry.ts));
        serde_json::to_value(all).unwrap_or_default()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, IndexMap<String, Entry>> {
        self.others.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Default for Presence {
    fn default() -> Self {
        Self::new()
    }
}

fn key(caller: &Caller) -> String {
    let client = &caller.client;
    caller
        .device_id
        .as_deref()
        .or(client.instance_id.as_deref())
        .unwrap_or(&caller.conn_id)
        .to_lowercase()
}

fn prune(others: &mut IndexMap<String, Entry>, now: u64) {
    others.retain(|_, entry| entry.ts + TTL_MS > now);
}

fn merge(old: Entry, fresh: Entry) -> Entry {
    let unite = |mut old: Vec<String>, fresh: Vec<String>| {
        for item in fresh {
            if !old.contains(&item) {
                old.push(item);
            }
        }
        old
    };
    Entry {
        host: fresh.host.or(old.host),
        ip: fresh.ip.or(old.ip),
        version: fresh.version.or(old.version),
        platform: fresh.platform.or(old.platform),
        device_family: fresh.device_family.or(old.device_family),
        model_identifier: fresh.model_identifier.or(old.model_identifier),
        mode: fresh.mode.or(old.mode),
        last_input_seconds: fresh.last_input_seconds.or(old.last_input_seconds),
        device_id: fresh.device_id.or(old.device_id),
        roles: unite(old.roles, fresh.roles),
        scopes: unite(old.scopes, fresh.scopes),
        tags: if fresh.tags.is_empty() { old.tags } else { fresh.tags },
        instance_id: fresh.instance_id.or(old.instance_id),
        reason: fresh.reason.or(old.reason),
        ts: fresh.ts,
        text: fresh.text.or(old.text),
    }
}

fn own_entry() -> Entry {
    let host = host_name();
    let ip = primary_ip().map(|ip| ip.to_string());
    let place = ip.as_ref().map(|ip| format!(" ({ip})")).unwrap_or_default();
    Entry {
        text: Some(format!("Gateway: {host}{place} · app {VERSION} · mode gateway · reason self")),
        host: Some(host),
        ip,
        version: Some(VERSION.to_owned()),
        platform: Some(platform()),
        device_family: Some(device_family().to_owned()),
        model_identifier: Some(architecture().to_owned()),
        mode: Some("gateway".to_owned()),
        reason: Some("self".to_owned()),
        ..Entry::default()
    }
}

/// The host's name, without the domain.
pub fn host_name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "openclaw".to_owned())
}

/// The address that packets to the outside would carry. Sends none.
fn primary_ip() -> Option<IpAddr> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    // An address reserved for documentation: connecting only picks a route.
    socket.connect(("192.0.2.1", 9)).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

fn platform() -> String {
    if cfg!(target_os = "macos") {
        let version = plist::Value::from_file("/System/Library/CoreServices/SystemVersion.plist")
            .ok()
            .and_then(|value| {
                Some(value.as_dictionary()?.get("ProductVersion")?.as_string()?.to_owned())
            });
        return format!("macos {}", version.unwrap_or_default()).trim().to_owned();
    }
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("linux {}", release.trim()).trim().to_owned()
}

fn device_family() -> &'static str {
    if cfg!(target_os = "macos") { "Mac" } else { "Linux" }
}

/// The processor in the spelling that clients of this protocol use.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Whether a client of this mode comes and goes: since protocol 4 it does not count
/// as being there.
fn only_asks(mode: &str) -> bool {
    matches!(mode, "cli" | "backend" | "probe")
}

/// What the maker calls this machine, where the system says so.
fn machine_model() -> Option<&'static str> {
    static MODEL: OnceLock<Option<String>> = OnceLock::new();
    let look = || {
        ["/sys/devices/virtual/dmi/id/product_name", "/proc/device-tree/model"]
            .iter()
            .filter_map(|path| std::fs::read_to_string(path).ok())
            .map(|text| text.trim().trim_end_matches('\0').to_owned())
            .find(|model| !model.is_empty())
    };
    MODEL.get_or_init(look).as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(ts: u64) -> Entry {
        Entry { ts, ..Entry::default() }
    }

    #[test]
    fn the_gateway_is_always_there_and_first() {
        let presence = Presence::new();
        presence.upsert("a".to_owned(), entry(1_000), 1_000);
        let list = presence.list(2_000);
        assert_eq!(list[0]["reason"], "self");
        assert_eq!(list[0]["ts"], 2_000);
        assert_eq!(list.as_array().unwrap().len(), 2);
        assert_eq!(presence.list(1_000 + TTL_MS).as_array().unwrap().len(), 1);
    }

    #[test]
    fn roles_unite_and_silence_keeps_what_was_known() {
        let presence = Presence::new();
        let role = |role: &str, host: Option<&str>| Entry {
            roles: vec![role.to_owned()],
            host: host.map(str::to_owned),
            ts: 5,
            ..Entry::default()
        };
        presence.upsert("a".to_owned(), role("operator", Some("box")), 5);
        presence.upsert("a".to_owned(), role("node", None), 5);
        let entry = presence.get("a").unwrap();
        assert_eq!(entry.roles, ["operator", "node"]);
        assert_eq!(entry.host.as_deref(), Some("box"));
    }

    #[test]
    fn the_list_is_bounded() {
        let presence = Presence::new();
        for n in 0..500 {
            presence.upsert(n.to_string(), entry(n), n);
        }
        assert_eq!(presence.list(500).as_array().unwrap().len(), MAX_ENTRIES + 1);
        assert!(presence.get("0").is_none() && presence.get("499").is_some());
    }
}
