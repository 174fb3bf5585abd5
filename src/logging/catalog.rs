//! The events of a gateway's life, each with its message id, so that
//! `journalctl MESSAGE_ID=…` finds them whatever their words are. The ids are
//! part of the contract (`docs/service.md` lists them) and never change.

/// Field of a log line that names its event. It is not part of the text.
pub const FIELD: &str = "lifecycle";

pub const STARTING: &str = "starting";
pub const LISTENING: &str = "listening";
pub const READY: &str = "ready";
pub const BLOCKED: &str = "blocked";
pub const WAITING: &str = "waiting";
pub const REFUSED: &str = "refused";
pub const SAFE_MODE: &str = "safe-mode";
pub const MISMATCH: &str = "socket-mismatch";
pub const RELOADING: &str = "reloading";
pub const RESTARTING: &str = "restarting";
pub const STOPPING: &str = "stopping";
pub const IDLE: &str = "idle";
pub const CUT_OFF: &str = "cut-off";
pub const STOPPED: &str = "stopped";
pub const UNHEALTHY: &str = "unhealthy";
pub const HEALTHY: &str = "healthy";

/// Every event with its message id.
const IDS: [(&str, &str); 16] = [
    (STARTING, "66898636d210434d8e8aac9d4322b474"),
    (LISTENING, "9d0031a3b44b48c9bb446b7b50f9175f"),
    (READY, "b0a0bf76437b4c17b3738048e081fff5"),
    (BLOCKED, "ff8e7b77cc97430ead0e10432f27def9"),
    (WAITING, "ebb25e2bcf454f6ba62ec7b681203b02"),
    (REFUSED, "e3e5856ed0374815ba2f42588780cc64"),
    (SAFE_MODE, "6869b992ce974414bfb738c011ee7e94"),
    (MISMATCH, "94c7485ec61d4260a8aa732e1281cbbd"),
    (RELOADING, "c3030e224fbe4947b90b0fd9e5d50a53"),
    (RESTARTING, "9fc59f1582fd403c80f7223145e495eb"),
    (STOPPING, "9f8723eb4bd24146a56291c771348a45"),
    (IDLE, "7241f243ebe14ef5bd40cea21e940b5a"),
    (CUT_OFF, "ee9edfb1b6b14516a0babc9aa3fef649"),
    (STOPPED, "3f2227148b9b4a14986046d4bdc96a49"),
    (UNHEALTHY, "61220659d0cd49a1a4dc2919695bd83c"),
    (HEALTHY, "5144df4181674667bc3d1e577ad4b8e9"),
];

/// The message id of an event.
pub fn id(event: &str) -> Option<&'static str> {
    IDS.iter().find_map(|(name, id)| (*name == event).then_some(*id))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_are_distinct_and_well_formed() {
        let ids: BTreeSet<&str> = IDS.iter().map(|(_, id)| *id).collect();
        assert_eq!(ids.len(), IDS.len());
        assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())));
        assert_eq!(id("ready"), Some("b0a0bf76437b4c17b3738048e081fff5"));
        assert_eq!(id("else"), None);
    }

    #[test]
    fn the_manual_lists_every_event() {
        let manual = include_str!("../../docs/service.md");
        for (name, id) in IDS {
            assert!(manual.contains(&format!("| `{name}` | `{id}` |")), "{name} {id}");
        }
    }
}
