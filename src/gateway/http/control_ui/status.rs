//! The page at `/` of a gateway without a Control UI: its state, how to log in
//! from the command line, what to configure. Rendered here, so that it needs no
//! script; it holds no secret, and callers from elsewhere see no details.

use bytes::Bytes;
use std::fmt::Write;

use crate::gateway::state::Phase;

const PAGE: &str = include_str!("status.html");

/// What the page shows.
#[derive(Debug, Clone)]
pub struct Facts {
    pub phase: Phase,
    /// For callers on this host alone.
    pub details: Option<Details>,
}

/// What only callers on this host see.
#[derive(Debug, Clone)]
pub struct Details {
    pub uptime_ms: u64,
    pub agents: Vec<String>,
    /// The model of the default agent.
    pub model: String,
    /// Optional surfaces and whether they are on.
    pub surfaces: Vec<(&'static str, bool)>,
    /// Why the configuration file is not the one in force.
    pub rejected: Option<String>,
}

/// A file of the page besides itself.
pub fn asset(path: &str) -> Option<&'static [u8]> {
    match path {
        "assets/status.css" => Some(include_bytes!("status.css")),
        "favicon.svg" => Some(include_bytes!("favicon.svg")),
        _ => None,
    }
}

pub fn page(facts: &Facts) -> Bytes {
    let (state, class) = match facts.phase {
        Phase::Ready => ("serving", "good"),
        Phase::Starting => ("starting", "wait"),
        Phase::Draining | Phase::Stopped => ("stopping", "bad"),
    };
    let details = facts.details.as_ref().map(details).unwrap_or_default();
    let page = PAGE
        .replace("{{state}}", state)
        .replace("{{class}}", class)
        .replace("{{details}}", &details);
    Bytes::from(page)
}

fn details(details: &Details) -> String {
    let mut rows = vec![
        ("Version", crate::base::VERSION.to_owned()),
        ("Up for", span(details.uptime_ms)),
        ("Agents", details.agents.join(", ")),
        ("Model", details.model.clone()),
    ];
    for (name, on) in &details.surfaces {
        rows.push((name, if *on { "on" } else { "off" }.to_owned()));
    }
    if let Some(reason) = &details.rejected {
        rows.push(("Configuration", format!("the file is not in force: {reason}")));
    }
    let mut html = String::from("<section>\n<h2>State</h2>\n<dl>\n");
    for (name, value) in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(html, "<dt>{}</dt><dd>{}</dd>", escaped(name), escaped(&value));
    }
    html.push_str("</dl>\n</section>");
    html
}

/// The two largest units of a span of time.
fn span(ms: u64) -> String {
    let mut left = ms / 1000;
    let mut parts = Vec::new();
    for (size, unit) in [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")] {
        let count = left / size;
        left %= size;
        if count > 0 || (size == 1 && parts.is_empty()) {
            parts.push(format!("{count} {unit}"));
        }
    }
    parts.truncate(2);
    parts.join(" ")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(details: Option<Details>) -> Facts {
        Facts { phase: Phase::Ready, details }
    }

    #[test]
    fn a_caller_from_elsewhere_sees_the_state_and_nothing_more() {
        let page = String::from_utf8(page(&facts(None)).to_vec()).unwrap();
        assert!(page.contains(">serving</p>"), "{page}");
        assert!(!page.contains("{{") && !page.contains("<dt>"), "{page}");
        assert!(!page.contains(env!("CARGO_PKG_VERSION")), "{page}");
    }

    #[test]
    fn names_cannot_become_markup() {
        let details = Details {
            uptime_ms: 90_061_000,
            agents: vec!["main".into()],
            model: "a/<script>".into(),
            surfaces: vec![("Webhooks", true)],
            rejected: None,
        };
        let page = String::from_utf8(page(&facts(Some(details))).to_vec()).unwrap();
        assert!(page.contains("<dd>1 d 1 h</dd>") && page.contains("<dd>on</dd>"), "{page}");
        assert!(page.contains("a/&lt;script&gt;") && !page.contains("<script"), "{page}");
    }

    #[test]
    fn everything_the_page_loads_is_there_and_nothing_comes_from_elsewhere() {
        for name in ["assets/status.css", "favicon.svg"] {
            assert!(asset(name).is_some() && PAGE.contains(name), "{name}");
        }
        assert!(asset("assets/other.css").is_none());
        assert!(!PAGE.contains("src=\"http") && !PAGE.contains("href=\"http"));
    }

    #[test]
    fn spans_have_two_units_at_most() {
        assert_eq!(span(0), "0 s");
        assert_eq!(span(61_000), "1 min 1 s");
        assert_eq!(span(3_600_000), "1 h");
    }
}
