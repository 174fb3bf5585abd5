//! Strict validation: every issue of a document at once, each with its path.

mod channels;
mod cross;
pub mod known;
pub mod secret_ref;
mod shape;
pub mod text;

use serde_json::{Map, Value};

use crate::config::Issue;
use crate::config::schema::table;
use crate::profile::paths::Paths;

pub use cross::is_newer;

/// Checks a document with includes and variables in place.
///
/// Returns what makes it unusable and what is merely worth saying.
pub fn validate(document: &Value, paths: &Paths) -> (Vec<Issue>, Vec<Issue>) {
    let mut checks = Checks {
        document,
        paths,
        issues: shape::check(table::table(), document),
        warnings: Vec::new(),
    };
    forbid_references(&mut checks);
    tolerate_plugins(&mut checks);
    cross::check(&mut checks);
    channels::check(&mut checks);
    if checks.issues.is_empty() {
        cross::check_late(&mut checks);
    }
    if checks.issues.is_empty() {
        known::check(&mut checks);
    }
    checks.warnings.extend(cross::warnings(document));
    (checks.issues, checks.warnings)
}

/// Checks part of a document by itself: shapes and the rules inside sections.
pub fn fragment(document: &Value) -> Vec<Issue> {
    let paths = Paths { home: "/".into(), state: "/".into(), config: "/".into(), profile: None };
    validate(document, &paths).0
}

/// A document under examination and what was found.
struct Checks<'d> {
    document: &'d Value,
    paths: &'d Paths,
    issues: Vec<Issue>,
    warnings: Vec<Issue>,
}

impl<'d> Checks<'d> {
    fn issue(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.issues.push(Issue::new(path, message));
    }

    fn warning(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.warnings.push(Issue::new(path, message));
    }

    /// Whether an issue concerns `path` or something below it.
    fn complained(&self, path: &str) -> bool {
        self.issues.iter().any(|issue| {
            issue
                .path
                .strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }

    /// The top-level section, unless the schema complains about it.
    fn section(&self, name: &str) -> Option<&'d Map<String, Value>> {
        let section = self.document.get(name)?.as_object()?;
        (!self.complained(name)).then_some(section)
    }
}

/// Says why a reference is refused, instead of that it is not a string.
fn forbid_references(checks: &mut Checks<'_>) {
    for (path, message) in known::forbidden_references(checks.document) {
        let (parent, key) = path.rsplit_once('.').unwrap_or(("", &path));
        let unknown = format!("Unrecognized key: {key:?}");
        checks.issues.retain(|issue| {
            let own = issue.path == path && issue.message.contains("received object");
            let stray = issue.path == parent && issue.message == unknown;
            !own && !stray
        });
        checks.issue(path, message);
    }
}

/// Turns complaints about a plugin's own settings into warnings: its shape may
/// be newer than the one we know.
fn tolerate_plugins(checks: &mut Checks<'_>) {
    let issues = std::mem::take(&mut checks.issues);
    for mut issue in issues {
        let mut keys = issue.path.split('.');
        let tolerated = match (keys.next(), keys.next(), keys.next(), keys.next()) {
            (Some("channels"), Some(id), ..) => {
                !channels::NATIVE.contains(&id) && !channels::SETTINGS.contains(&id)
            }
            (Some("plugins"), Some("entries"), Some(_), Some("config")) => true,
            _ => false,
        };
        if tolerated {
            issue.message = format!("invalid config: {}", issue.message);
            checks.warnings.push(issue);
        } else {
            checks.issues.push(issue);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::config::load;
    use crate::config::schema::Config;
    use crate::config::schema::table::{Edge, Kind, Shape, table};
    use crate::profile::env::Env;

    #[derive(Deserialize)]
    struct Case {
        #[serde(rename = "case")]
        name: String,
        input: Value,
        #[serde(default)]
        issues: Vec<Value>,
        #[serde(default)]
        warning: Option<String>,
    }

    fn evaluate(input: &str) -> crate::config::Snapshot {
        let env: Env = [("HOME", "/home/u"), ("INVOCATION_ID", "1")].into_iter().collect();
        load::evaluate(input.to_owned(), &Paths::resolve(&env), &env)
    }

    #[test]
    fn an_unknown_key_comes_with_the_one_that_may_have_been_meant() {
        let said = |input: &str| evaluate(input).issues[0].to_string();
        assert_eq!(
            said(r#"{"gateway":{"prot":1}}"#),
            r#"gateway: Unrecognized key: "prot" (did you mean "port"?)"#
        );
        assert_eq!(
            said(r#"{"gateway":{"port":1,"zzzzz":1}}"#),
            r#"gateway: Unrecognized key: "zzzzz""#
        );
    }

    #[test]
    fn every_recorded_document_gets_the_recorded_verdict() {
        let cases = include_str!("../../../tests/fixtures/config/validate-cases.jsonl");
        let mut wrong = Vec::new();
        let mut count = 0;
        for line in cases.lines() {
            let case: Case = serde_json::from_str(line).unwrap();
            let input = case.input.as_str().map_or_else(|| case.input.to_string(), str::to_owned);
            let snapshot = evaluate(&input);
            let found: Vec<Value> = snapshot
                .issues
                .iter()
                .map(|issue| {
                    let mut found = json!({"path": issue.shown_path(), "message": issue.message});
                    if let Some(values) = &issue.allowed_values {
                        found["allowedValues"] = json!(values);
                    }
                    found
                })
                .collect();
            let text = serde_json::to_string(&found).unwrap().replace("/home/u", "$HOME");
            let found: Vec<Value> = serde_json::from_str(&text).unwrap();
            if found != case.issues {
                wrong.push(format!("{}: {found:?}\n   instead of {:?}", case.name, case.issues));
            }
            if let Some(warning) = case.warning
                && !snapshot.warnings.iter().any(|found| found.message == warning)
            {
                wrong.push(format!("{}: no warning {warning}", case.name));
            }
            count += 1;
        }
        assert!(wrong.is_empty(), "{} of {count} cases differ:\n{}", wrong.len(), wrong.join("\n"));
        assert_eq!(count, 91);
        println!("{count} recorded documents, {count} equal verdicts");
    }

    /// Values that a shape allows, the plainest first.
    fn samples(shape: &Shape, depth: usize) -> Vec<Value> {
        let table = table();
        let part = |edge: &Edge| samples(table.shape(edge), depth + 1);
        let limit = |sides: [&str; 2]| {
            let mut bounds = shape.bounds.split(' ');
            bounds.find_map(|bound| {
                sides.iter().find_map(|side| bound.strip_prefix(side)?.parse::<f64>().ok())
            })
        };
        let (least, most) = (limit([">=", ">"]), limit(["<=", "<"]));
        match shape.kind {
            Kind::Any => vec![json!({}), json!("x"), json!(1), json!([])],
            Kind::Null => vec![Value::Null],
            Kind::Bool => vec![json!(true), json!(false)],
            Kind::Int => {
                let least = least.map_or(-9_007_199_254_740_991.0, |least| least.ceil() + 1.0);
                let most = most.unwrap_or(9_007_199_254_740_991.0).floor();
                [least.min(most), most].map(|number| json!(number)).to_vec()
            }
            Kind::Number => {
                let least = least.unwrap_or(-1.5);
                let most = most.unwrap_or(1e300);
                vec![json!(most), json!(least + (most - least).min(1.0) / 4.0)]
            }
            Kind::String => {
                let texts =
                    ["x", "http://h/x", "https://h/x", "x1", "X1", "112233", "+123456", "@x", ""];
                texts.map(Value::from).to_vec()
            }
            Kind::Secret | Kind::Ref => {
                let reference = json!({"source": "env", "provider": "default", "id": "A"});
                if shape.kind == Kind::Ref { vec![reference] } else { vec![json!("x"), reference] }
            }
            Kind::Enum | Kind::Literals => {
                shape.literals().map(|text| serde_json::from_str(text).unwrap()).collect()
            }
            Kind::Array => {
                let items: Vec<Value> = shape.edges.iter().flat_map(part).collect();
                items.iter().map(|item| json!([item])).chain([json!([])]).collect()
            }
            Kind::Union | Kind::OneOf => shape.edges.iter().flat_map(part).collect(),
            Kind::Strict | Kind::Object => {
                let mut plain = json!({});
                for edge in shape.edges.iter().filter(|edge| edge.required) {
                    let fits = part(edge).into_iter().find(|value| {
                        shape::check_part(table, table.shape(edge), value).is_empty()
                    });
                    plain[edge.key] = fits.unwrap_or_default();
                }
                let mut all = vec![plain.clone()];
                // Deep enough for every section that has a type of its own.
                for edge in shape.edges.iter().filter(|_| depth < 7) {
                    let key = if edge.key == "*" { "any" } else { edge.key };
                    for value in part(edge) {
                        let mut with = plain.clone();
                        with[key] = value;
                        all.push(with);
                    }
                }
                all
            }
        }
    }

    #[test]
    fn whatever_a_key_may_be_can_be_read() {
        let mut count = 0;
        for edge in table().root().edges.iter().filter(|edge| edge.key != "*") {
            for value in samples(table().shape(edge), 0) {
                let document = json!({edge.key: value});
                if shape::check(table(), &document).is_empty() {
                    count += 1;
                    let read: Result<Config, _> = serde_path_to_error::deserialize(&document);
                    assert!(read.is_ok(), "{document}: {}", read.unwrap_err());
                }
            }
        }
        println!("{count} documents with every key and value that is allowed: all can be read");
        assert!(count > 5000, "{count}");
    }

    #[test]
    fn all_nine_sample_files_load() {
        let samples =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config/samples");
        let env: Env = [("HOME", "/home/u"), ("INVOCATION_ID", "1")].into_iter().collect();
        let mut count = 0;
        for entry in std::fs::read_dir(&samples).unwrap() {
            let mut file = entry.unwrap().path();
            if file.is_dir() {
                file.push("openclaw.json5");
            }
            let paths = Paths { config: file.clone(), ..Paths::resolve(&env) };
            let snapshot = load::read(&paths, &env);
            assert!(snapshot.is_valid(), "{}: {:?}", file.display(), snapshot.issues);
            if file.parent() != Some(samples.as_path()) {
                assert_eq!(snapshot.resolved["gateway"]["auth"]["mode"], "token");
                assert_eq!(snapshot.resolved["agents"]["defaults"]["maxConcurrent"], 2);
                assert_eq!(snapshot.config.agents.list.len(), 2);
                assert_eq!(snapshot.includes.len(), 3);
            }
            count += 1;
        }
        assert_eq!(count, 9);
    }

    #[test]
    fn a_plugin_may_know_keys_that_we_do_not() {
        let snapshot =
            evaluate("{channels:{matrix:{later: 1}}, plugins:{entries:{nosuch:{config:{a:1}}}}}");
        assert!(snapshot.is_valid(), "{:?}", snapshot.issues);
        assert!(snapshot.warnings.iter().any(|warning| warning.path == "channels.matrix"));
    }

    #[test]
    fn entries_that_switch_on_parts_of_this_gateway_are_not_stale() {
        let snapshot = evaluate(
            "{plugins:{allow:['admin-http-rpc'], deny:['diagnostics-prometheus'],
              entries:{'admin-http-rpc':{enabled:true}, nosuch:{}}}}",
        );
        assert!(snapshot.is_valid(), "{:?}", snapshot.issues);
        let warned: Vec<&str> = snapshot.warnings.iter().map(|issue| issue.path.as_str()).collect();
        assert_eq!(warned, ["plugins.entries.nosuch"]);
    }

    #[test]
    fn only_a_later_release_is_newer() {
        assert!(is_newer("2026.4.3", "2026.4.2"));
        assert!(is_newer("2027.1.1-beta.1", "2026.4.2"));
        assert!(!is_newer("2026.4.2", "2026.4.2"));
        assert!(!is_newer("2026.4.2-1", "2026.4.2"));
        assert!(!is_newer("later", "2026.4.2"));
    }
}
