//! Which commands a node of a platform may be asked to run.
//!
//! `gateway.nodes.allowCommands` adds to the platform's list, `denyCommands`
//! takes away. Commands that reach into private data are on no list.

use serde_json::{Map, Value};

const RUN: &[&str] = &["system.run.prepare", "system.run", "system.which"];
const CANVAS: &[&str] = &[
    "canvas.present",
    "canvas.hide",
    "canvas.navigate",
    "canvas.eval",
    "canvas.snapshot",
    "canvas.a2ui.push",
    "canvas.a2ui.pushJSONL",
    "canvas.a2ui.reset",
];
const MOBILE: &[&str] = &[
    "camera.list",
    "location.get",
    "device.info",
    "device.status",
    "contacts.search",
    "calendar.events",
    "reminders.list",
    "photos.latest",
    "motion.activity",
    "motion.pedometer",
];
const ANDROID: &[&str] = &[
    "notifications.list",
    "notifications.actions",
    "device.permissions",
    "device.health",
    "callLog.search",
];
const NOTIFY: &[&str] = &["system.notify"];
const BROWSER: &[&str] = &["browser.proxy"];
const UNKNOWN: &[&str] = &["camera.list", "location.get"];

/// The platform families that the lists know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Platform {
    Ios,
    Android,
    MacOs,
    Desktop,
    Unknown,
}

/// What a node may be asked, by its platform and the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowlist {
    commands: Vec<String>,
    /// As messages name it.
    pub platform: String,
}

impl Allowlist {
    /// `nodes` is the `gateway.nodes` section.
    pub fn of(platform: &str, family: &str, nodes: &Map<String, Value>) -> Self {
        let groups: &[&[&str]] = match classify(platform, family) {
            Platform::Ios => &[CANVAS, MOBILE, NOTIFY],
            Platform::Android => &[CANVAS, MOBILE, ANDROID, NOTIFY],
            Platform::MacOs => &[CANVAS, MOBILE, RUN, NOTIFY, BROWSER],
            Platform::Desktop => &[RUN, NOTIFY, BROWSER],
            Platform::Unknown => &[CANVAS, UNKNOWN, NOTIFY],
        };
        let denied = listed(nodes, "denyCommands");
        let commands = groups
            .iter()
            .flat_map(|group| group.iter().map(|command| (*command).to_owned()))
            .chain(listed(nodes, "allowCommands"))
            .filter(|command| !denied.contains(command))
            .collect();
        let platform = if platform.is_empty() { "unknown" } else { platform };
        Self { commands, platform: platform.to_owned() }
    }

    pub fn allows(&self, command: &str) -> bool {
        self.commands.iter().any(|allowed| allowed == command)
    }

    /// The declared commands that are allowed, each once, in declared order.
    pub fn filter(&self, declared: &[String]) -> Vec<String> {
        let mut kept: Vec<String> = Vec::new();
        for command in declared {
            let command = command.trim();
            if self.allows(command) && !kept.iter().any(|known| known == command) {
                kept.push(command.to_owned());
            }
        }
        kept
    }
}

/// Whether a command runs programs on the node, which only an admin may allow.
pub fn runs_programs(command: &str) -> bool {
    RUN.contains(&command)
}

fn listed(nodes: &Map<String, Value>, key: &str) -> Vec<String> {
    let list = nodes.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    list.iter()
        .filter_map(Value::as_str)
        .map(str::trim)
        .filter(|command| !command.is_empty())
        .map(str::to_owned)
        .collect()
}

fn classify(platform: &str, family: &str) -> Platform {
    let of = |name: &str| {
        let name = name.trim().to_ascii_lowercase();
        let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
        if starts(&["ios", "iphone", "ipad"]) {
            Platform::Ios
        } else if starts(&["android"]) {
            Platform::Android
        } else if starts(&["mac", "darwin"]) {
            Platform::MacOs
        } else if starts(&["linux", "win"]) {
            Platform::Desktop
        } else {
            Platform::Unknown
        }
    };
    match of(platform) {
        Platform::Unknown => of(family),
        known => known,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_linux_node_runs_programs_but_shows_no_canvas() {
        let list = Allowlist::of("linux", "Linux", &Map::new());
        let declared =
            ["system.run", "system.which", "canvas.snapshot", "system.run"].map(str::to_owned);
        assert_eq!(list.filter(&declared), ["system.run", "system.which"]);
    }

    #[test]
    fn configuration_adds_and_takes_away() {
        let Value::Object(nodes) =
            json!({"allowCommands": ["camera.snap"], "denyCommands": ["system.run"]})
        else {
            unreachable!("the literal is an object")
        };
        let list = Allowlist::of("linux", "", &nodes);
        assert!(list.allows("camera.snap") && !list.allows("system.run"));
    }
}
