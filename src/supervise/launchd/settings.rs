//! A rendered LaunchAgent as single settings: whether another agent has them,
//! and how to put one back into its XML without touching anything else.

use plist::{Dictionary, Value};
use quick_xml::escape;
use quick_xml::events::Event;
use quick_xml::reader::Reader;

use crate::supervise::launchd::plist::{self as agent, PlistError};

/// Dictionaries that others may extend: each of our members is a setting.
const OPEN: [&str; 2] = ["EnvironmentVariables", "KeepAlive"];

/// One thing that an agent of ours says.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// One key, or a dictionary and a key in it.
    pub path: Vec<String>,
    pub value: Value,
}

/// How an agent stands to a setting.
#[derive(Debug, Clone, PartialEq)]
pub enum Standing {
    Same,
    Missing,
    Changed(Value),
}

/// Everything that `agent` says, one setting each, in its order.
pub fn settings(agent: &Dictionary) -> Vec<Setting> {
    let mut found = Vec::new();
    for (key, value) in agent {
        match value {
            Value::Dictionary(inner) if OPEN.contains(&key.as_str()) => {
                found.extend(inner.iter().map(|(name, value)| Setting {
                    path: vec![key.clone(), name.clone()],
                    value: value.clone(),
                }));
            }
            _ => found.push(Setting { path: vec![key.clone()], value: value.clone() }),
        }
    }
    found
}

impl Setting {
    /// `EnvironmentVariables.PATH`
    pub fn label(&self) -> String {
        self.path.join(".")
    }

    /// Whether this is what the agent runs.
    pub fn is_command(&self) -> bool {
        self.path[0] == "ProgramArguments"
    }

    /// What `agent` has in place of this setting.
    pub fn standing(&self, agent: &Dictionary) -> Standing {
        let mut place = agent.get(&self.path[0]);
        if let Some(name) = self.path.get(1) {
            place = match place {
                Some(Value::Dictionary(inner)) => inner.get(name),
                Some(other) => return Standing::Changed(other.clone()),
                None => None,
            };
        }
        match place {
            Some(value) if *value == self.value => Standing::Same,
            Some(value) => Standing::Changed(value.clone()),
            None => Standing::Missing,
        }
    }
}

/// The agent with every setting of `wanted`. XML keeps all other bytes; a
/// binary agent keeps all other values.
pub fn mend(bytes: &[u8], wanted: &[&Setting]) -> Result<Vec<u8>, PlistError> {
    if bytes.starts_with(b"bplist") {
        return mend_binary(bytes, wanted);
    }
    let mut text = bytes.to_vec();
    for setting in wanted {
        if setting.standing(&agent::parse(&text)?) != Standing::Same {
            text = restore(&text, setting)?;
        }
    }
    Ok(text)
}

fn mend_binary(bytes: &[u8], wanted: &[&Setting]) -> Result<Vec<u8>, PlistError> {
    let mut root = agent::parse(bytes)?;
    for setting in wanted {
        let (first, rest) = setting.path.split_first().expect("a path has a key");
        match rest.first() {
            None => drop(root.insert(first.clone(), setting.value.clone())),
            Some(name) => {
                if root.get(first).and_then(Value::as_dictionary).is_none() {
                    root.insert(first.clone(), Value::Dictionary(Dictionary::new()));
                }
                if let Some(Value::Dictionary(inner)) = root.get_mut(first) {
                    inner.insert(name.clone(), setting.value.clone());
                }
            }
        }
    }
    let mut out = Vec::new();
    Value::Dictionary(root).to_writer_binary(&mut out).map_err(PlistError::Write)?;
    Ok(out)
}

/// A dictionary with the places of its members in the text.
#[derive(Debug, Default)]
struct Dict {
    /// The whole element.
    start: usize,
    end: usize,
    /// Where a further member would go; `None` for `<dict/>`.
    close: Option<usize>,
    members: Vec<(String, Member)>,
}

#[derive(Debug)]
struct Member {
    start: usize,
    end: usize,
    dict: Option<Dict>,
}

fn restore(text: &[u8], setting: &Setting) -> Result<Vec<u8>, PlistError> {
    let root = scan(text).ok_or(PlistError::NotADictionary)?;
    let (first, rest) = setting.path.split_first().expect("a path has a key");
    let known = |dict: &Dict, key: &str| dict.members.iter().rposition(|(name, _)| name == key);
    let Some(at) = known(&root, first) else {
        let value = match rest.first() {
            None => setting.value.clone(),
            Some(name) => singleton(name, &setting.value),
        };
        return add(text, &root, first, &value, 1);
    };
    let member = &root.members[at].1;
    match (rest.first(), &member.dict) {
        (Some(name), Some(inner)) => match known(inner, name) {
            Some(at) => replace(text, &inner.members[at].1, &setting.value, 2),
            None => add(text, inner, name, &setting.value, 2),
        },
        (Some(name), None) => replace(text, member, &singleton(name, &setting.value), 1),
        (None, _) => replace(text, member, &setting.value, 1),
    }
}

fn singleton(name: &str, value: &Value) -> Value {
    let mut inner = Dictionary::new();
    inner.insert(name.to_owned(), value.clone());
    Value::Dictionary(inner)
}

fn replace(
    text: &[u8],
    member: &Member,
    value: &Value,
    depth: usize,
) -> Result<Vec<u8>, PlistError> {
    let value = xml(value, depth)?;
    Ok([&text[..member.start], value.as_bytes(), &text[member.end..]].concat())
}

fn add(
    text: &[u8],
    dict: &Dict,
    key: &str,
    value: &Value,
    depth: usize,
) -> Result<Vec<u8>, PlistError> {
    let (tabs, outer) = ("\t".repeat(depth), "\t".repeat(depth - 1));
    let key = escape::escape(key);
    let member = format!("{tabs}<key>{key}</key>\n{tabs}{}\n", xml(value, depth)?);
    let Some(close) = dict.close else {
        let whole = format!("<dict>\n{member}{outer}</dict>");
        return Ok([&text[..dict.start], whole.as_bytes(), &text[dict.end..]].concat());
    };
    // In front of the blanks that lead the closing tag, if it has a line of its own.
    let before = &text[..close];
    let blanks = before.iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let at = close - blanks;
    let (at, gap) = if text[..at].ends_with(b"\n") { (at, "") } else { (close, "\n") };
    Ok([&text[..at], gap.as_bytes(), member.as_bytes(), &text[at..]].concat())
}

/// A value as it stands in a file, its further lines indented.
fn xml(value: &Value, depth: usize) -> Result<String, PlistError> {
    let mut out = Vec::new();
    value.to_writer_xml(&mut out).map_err(PlistError::Write)?;
    let text = String::from_utf8_lossy(&out);
    let inside = text.split_once("<plist version=\"1.0\">").map_or("", |(_, rest)| rest);
    let inside = inside.rsplit_once("</plist>").map_or(inside, |(inside, _)| inside).trim();
    Ok(inside.replace('\n', &format!("\n{}", "\t".repeat(depth))))
}

/// The top dictionary of an XML property list.
fn scan(text: &[u8]) -> Option<Dict> {
    let mut reader = Reader::from_reader(text);
    loop {
        let start = position(&reader)?;
        match reader.read_event().ok()? {
            Event::Start(tag) if tag.name().as_ref() == "dict" => {
                return dict(&mut reader, text, start);
            }
            Event::Empty(tag) if tag.name().as_ref() == "dict" => {
                let end = position(&reader)?;
                return Some(Dict { start, end, ..Dict::default() });
            }
            Event::Eof => return None,
            _ => {}
        }
    }
}

fn position(reader: &Reader<&[u8]>) -> Option<usize> {
    usize::try_from(reader.buffer_position()).ok()
}

fn dict(reader: &mut Reader<&[u8]>, text: &[u8], start: usize) -> Option<Dict> {
    let mut found = Dict { start, ..Dict::default() };
    let mut key: Option<String> = None;
    loop {
        let begin = position(reader)?;
        match reader.read_event().ok()? {
            Event::End(_) => {
                found.close = Some(begin);
                found.end = position(reader)?;
                return Some(found);
            }
            Event::Start(tag) if tag.name().as_ref() == "key" => {
                let from = position(reader)?;
                let to = skip(reader, "key")?;
                let raw = std::str::from_utf8(text.get(from..to)?).ok()?;
                key = Some(escape::unescape(raw).ok()?.into_owned());
            }
            Event::Start(tag) => {
                let name = tag.name().as_ref().to_owned();
                let inner = if name == "dict" {
                    Some(dict(reader, text, begin)?)
                } else {
                    skip(reader, &name)?;
                    None
                };
                let end = position(reader)?;
                found.members.push((key.take()?, Member { start: begin, end, dict: inner }));
            }
            Event::Empty(tag) => {
                let end = position(reader)?;
                let is_dict = tag.name().as_ref() == "dict";
                let inner = is_dict.then(|| Dict { start: begin, end, ..Dict::default() });
                found.members.push((key.take()?, Member { start: begin, end, dict: inner }));
            }
            Event::Eof => return None,
            _ => {}
        }
    }
}

/// Reads up to the end of an element; returns where its closing tag begins.
fn skip(reader: &mut Reader<&[u8]>, name: &str) -> Option<usize> {
    let mut depth = 0;
    loop {
        let begin = position(reader)?;
        match reader.read_event().ok()? {
            Event::Start(tag) if tag.name().as_ref() == name => depth += 1,
            Event::End(tag) if tag.name().as_ref() == name && depth == 0 => return Some(begin),
            Event::End(tag) if tag.name().as_ref() == name => depth -= 1,
            Event::Eof => return None,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Vec<Setting> {
        let mut env = Dictionary::new();
        env.insert("PATH".into(), "/bin & more".into());
        let mut keep = Dictionary::new();
        keep.insert("Crashed".into(), true.into());
        let mut root = Dictionary::new();
        root.insert("Label".into(), "ai.openclaw.gateway".into());
        root.insert("EnvironmentVariables".into(), Value::Dictionary(env));
        root.insert("KeepAlive".into(), Value::Dictionary(keep));
        root.insert("ProgramArguments".into(), Value::Array(vec!["/x".into(), "gateway".into()]));
        settings(&root)
    }

    #[track_caller]
    fn mended(text: &str) -> String {
        let all = wanted();
        let fixed = mend(text.as_bytes(), &all.iter().collect::<Vec<_>>()).unwrap();
        let back = agent::parse(&fixed).unwrap();
        for setting in &all {
            assert_eq!(setting.standing(&back), Standing::Same, "{setting:?}");
        }
        String::from_utf8(fixed).unwrap()
    }

    #[test]
    fn everything_else_stays_byte_for_byte() {
        let text = "<?xml version=\"1.0\"?>\n<!DOCTYPE plist>\n<plist version=\"1.0\"><dict>\n  <!-- mine -->\n  <key>Nice</key> <integer>5</integer>\n  <key>Label</key><string>other</string>\n  <key>EnvironmentVariables</key>\n  <dict>\n    <key>A&amp;B</key><string>1</string>\n    </dict>\n  <key>KeepAlive</key><true/>\n</dict></plist>\n";
        let fixed = mended(text);
        for part in [
            "  <!-- mine -->\n  <key>Nice</key> <integer>5</integer>\n",
            "<key>Label</key><string>ai.openclaw.gateway</string>\n",
            "<key>A&amp;B</key><string>1</string>\n",
            "<string>/bin &amp; more</string>",
        ] {
            assert!(fixed.contains(part), "{part}\n{fixed}");
        }
        assert_eq!(mended(&fixed), fixed);
    }

    #[test]
    fn empty_and_binary_agents_are_filled() {
        mended("<plist version=\"1.0\"><dict/></plist>");
        mended("<plist version=\"1.0\"><dict></dict></plist>");
        let mut root = Dictionary::new();
        root.insert("Nice".into(), 5.into());
        let mut bytes = Vec::new();
        Value::Dictionary(root).to_writer_binary(&mut bytes).unwrap();
        let all = wanted();
        let fixed = mend(&bytes, &all.iter().collect::<Vec<_>>()).unwrap();
        let back = agent::parse(&fixed).unwrap();
        assert!(fixed.starts_with(b"bplist") && back.contains_key("Nice"));
        assert!(all.iter().all(|setting| setting.standing(&back) == Standing::Same));
    }

    #[test]
    fn what_is_no_property_list_is_refused() {
        let all = wanted();
        let refs: Vec<&Setting> = all.iter().collect();
        assert!(mend(b"<plist><dict><key>a", &refs).is_err());
        assert!(mend(b"", &refs).is_err());
    }
}
