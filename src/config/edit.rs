//! Changing a few values of the file's text and leaving the rest as it is:
//! order, comments, quotes, `$include` and `${VAR}` survive.

use serde_json::{Map, Value};

use crate::config::include;
use crate::config::json5::{self, Kind, Member, Node, SyntaxError};

/// Why a change cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    #[error("Invalid path segment: {0}")]
    Segment(String),
    #[error("Config path is empty.")]
    EmptyPath,
    #[error("config path {path} is provided by an include; edit {file}")]
    Included { path: String, file: String },
    #[error("Array index {index} is out of range at {path}")]
    Index { path: String, index: usize },
    #[error("Expected numeric index for array segment \"{0}\"")]
    NotAnIndex(String),
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
}

/// Splits `a.b[0].c` into its keys. Brackets hold a literal key, `\.` is a dot.
pub fn parse_path(text: &str) -> Result<Vec<String>, EditError> {
    let mut keys = Vec::new();
    let mut key = String::new();
    let mut chars = text.trim().chars();
    while let Some(next) = chars.next() {
        match next {
            '\\' => key.extend(chars.next()),
            '.' => {
                if !key.is_empty() {
                    keys.push(std::mem::take(&mut key));
                }
            }
            '[' => {
                if !key.is_empty() {
                    keys.push(std::mem::take(&mut key));
                }
                let inside: String = chars.by_ref().take_while(|found| *found != ']').collect();
                if inside.trim().is_empty() {
                    return Err(EditError::Segment("[]".to_owned()));
                }
                keys.push(inside.trim().to_owned());
            }
            other => key.push(other),
        }
    }
    if !key.is_empty() {
        keys.push(key);
    }
    if keys.is_empty() {
        return Err(EditError::EmptyPath);
    }
    let blocked = ["__proto__", "prototype", "constructor"];
    match keys.iter().find(|key| blocked.contains(&key.as_str())) {
        Some(key) => Err(EditError::Segment(key.clone())),
        None => Ok(keys),
    }
}

/// The value at `keys`.
pub fn get<'v>(document: &'v Value, keys: &[String]) -> Option<&'v Value> {
    keys.iter().try_fold(document, |value, key| match value {
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        Value::Object(object) => object.get(key),
        _ => None,
    })
}

/// The text with `value` at `keys`; missing parents are created.
pub fn set(text: &str, keys: &[String], value: &Value) -> Result<String, EditError> {
    Ok(end_lines_as(text, put(text, keys, value)?))
}

/// A text whose lines end as on Windows keeps that for what was added.
fn end_lines_as(before: &str, after: String) -> String {
    let windows = before.matches("\r\n").count();
    if windows == 0 || windows != before.matches('\n').count() {
        return after;
    }
    after.replace("\r\n", "\n").replace('\n', "\r\n")
}

fn put(text: &str, keys: &[String], value: &Value) -> Result<String, EditError> {
    let root = json5::parse(text)?;
    let mut node = &root;
    for (depth, key) in keys.iter().enumerate() {
        let rest = &keys[depth + 1..];
        match &node.kind {
            Kind::Object(_) => {
                let Some(member) = node.get(key) else {
                    refuse_included(node, keys)?;
                    return Ok(insert_member(text, node, key, &nested(rest, value)));
                };
                node = &member.value;
            }
            Kind::Array(items) => match key.parse::<usize>() {
                Ok(index) if index < items.len() => node = &items[index],
                Ok(index) if index == items.len() => {
                    return Ok(insert_item(text, node, items, &nested(rest, value)));
                }
                Ok(index) => {
                    return Err(EditError::Index { path: keys[..depth].join("."), index });
                }
                Err(_) => return Err(EditError::NotAnIndex(key.clone())),
            },
            // Something simple stands in the way and gives way.
            _ => return Ok(replace(text, node, &nested(&keys[depth..], value))),
        }
    }
    Ok(replace(text, node, value))
}

/// The text without what stands at `keys`, nor parents that become empty;
/// `None` if nothing stands there.
pub fn unset(text: &str, keys: &[String]) -> Result<Option<String>, EditError> {
    let root = json5::parse(text)?;
    let mut way: Vec<&Node> = vec![&root];
    for key in keys {
        let node = way[way.len() - 1];
        let next = match &node.kind {
            Kind::Object(_) => node.get(key).map(|member| &member.value),
            Kind::Array(items) => key.parse::<usize>().ok().and_then(|index| items.get(index)),
            _ => None,
        };
        let Some(next) = next else {
            refuse_included(node, keys)?;
            return Ok(None);
        };
        way.push(next);
    }
    // Walk back over objects that would be left empty.
    let mut last = keys.len() - 1;
    while last > 0 && matches!(&way[last].kind, Kind::Object(members) if members.len() == 1) {
        if matches!(way[last - 1].kind, Kind::Array(_)) {
            break;
        }
        last -= 1;
    }
    let parent = way[last];
    let removed = match &parent.kind {
        Kind::Object(members) => {
            // Every duplicate goes, or an earlier one would come to light.
            let mut text = text.to_owned();
            for index in (0..members.len()).rev().filter(|at| members[*at].key == keys[last]) {
                let spans: Vec<(usize, usize)> =
                    members.iter().map(|member| (member.key_start, member.value.end)).collect();
                text = remove(&text, parent, &spans, index);
            }
            text
        }
        Kind::Array(items) => {
            let spans: Vec<(usize, usize)> =
                items.iter().map(|item| (item.start, item.end)).collect();
            remove(text, parent, &spans, keys[last].parse().unwrap_or(0))
        }
        _ => return Ok(None),
    };
    Ok(Some(removed))
}

/// The text changed so that it says `next` instead of `previous`, touching
/// only what differs. `previous` is the text's own value.
pub fn transform(text: &str, previous: &Value, next: &Value) -> Result<String, EditError> {
    let mut text = text.to_owned();
    differences(previous, next, &mut Vec::new(), &mut |keys, value| {
        if keys.is_empty() {
            text = pretty(next, "") + "\n";
            return Ok(());
        }
        text = match value {
            Some(value) => set(&text, keys, value)?,
            None => unset_exact(&text, keys)?,
        };
        Ok(())
    })?;
    Ok(text)
}

/// Like [`unset`], but an emptied parent stays.
pub fn unset_exact(text: &str, keys: &[String]) -> Result<String, EditError> {
    let (Some(key), root) = (keys.last(), json5::parse(text)?) else {
        return Err(EditError::EmptyPath);
    };
    let parent = keys[..keys.len() - 1].iter().try_fold(&root, |node, key| match &node.kind {
        Kind::Array(items) => items.get(key.parse::<usize>().ok()?),
        _ => node.get(key).map(|member| &member.value),
    });
    let Some(parent) = parent else { return Ok(text.to_owned()) };
    let Kind::Object(members) = &parent.kind else { return Ok(text.to_owned()) };
    let spans: Vec<(usize, usize)> =
        members.iter().map(|member| (member.key_start, member.value.end)).collect();
    let mut text = text.to_owned();
    for index in (0..members.len()).rev().filter(|at| members[*at].key == *key) {
        text = remove(&text, parent, &spans, index);
    }
    Ok(text)
}

type Change<'c> = &'c mut dyn FnMut(&[String], Option<&Value>) -> Result<(), EditError>;

fn differences(
    previous: &Value,
    next: &Value,
    keys: &mut Vec<String>,
    change: Change<'_>,
) -> Result<(), EditError> {
    match (previous, next) {
        _ if previous == next => Ok(()),
        (Value::Object(previous), Value::Object(next)) => {
            for key in previous.keys().filter(|key| !next.contains_key(*key)) {
                keys.push(key.clone());
                change(keys, None)?;
                keys.pop();
            }
            for (key, value) in next {
                keys.push(key.clone());
                match previous.get(key) {
                    Some(previous) => differences(previous, value, keys, change)?,
                    None => change(keys, Some(value))?,
                }
                keys.pop();
            }
            Ok(())
        }
        (Value::Array(previous), Value::Array(next)) if previous.len() <= next.len() => {
            for (index, value) in next.iter().enumerate() {
                keys.push(index.to_string());
                match previous.get(index) {
                    Some(previous) => differences(previous, value, keys, change)?,
                    None => change(keys, Some(value))?,
                }
                keys.pop();
            }
            Ok(())
        }
        _ => change(keys, Some(next)),
    }
}

/// A key that is missing here may come from an included file.
fn refuse_included(node: &Node, keys: &[String]) -> Result<(), EditError> {
    let Some(member) = node.get(include::KEY) else { return Ok(()) };
    let file = match member.value.to_value() {
        Value::String(file) => file,
        Value::Array(files) => {
            files.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    };
    Err(EditError::Included { path: keys.join("."), file })
}

/// `value` below the remaining keys; a number as first key makes an array.
fn nested(keys: &[String], value: &Value) -> Value {
    let Some((key, rest)) = keys.split_first() else { return value.clone() };
    let inner = nested(rest, value);
    if key == "0" {
        return Value::Array(vec![inner]);
    }
    let mut object = Map::new();
    object.insert(key.clone(), inner);
    Value::Object(object)
}

fn replace(text: &str, node: &Node, value: &Value) -> String {
    let indent = line_indent(text, node.start);
    format!("{}{}{}", &text[..node.start], pretty(value, indent), &text[node.end..])
}

fn insert_member(text: &str, object: &Node, key: &str, value: &Value) -> String {
    let Kind::Object(members) = &object.kind else { return text.to_owned() };
    let key = spell_key(key, members);
    let spans: Vec<(usize, usize)> =
        members.iter().map(|member| (member.key_start, member.value.end)).collect();
    insert(text, object, &spans, &|indent| format!("{key}: {}", pretty(value, indent)))
}

fn insert_item(text: &str, array: &Node, items: &[Node], value: &Value) -> String {
    let spans: Vec<(usize, usize)> = items.iter().map(|item| (item.start, item.end)).collect();
    insert(text, array, &spans, &|indent| pretty(value, indent))
}

/// Puts one more part before the closing bracket of `node`.
fn insert(
    text: &str,
    node: &Node,
    parts: &[(usize, usize)],
    render: &dyn Fn(&str) -> String,
) -> String {
    let close = node.end - 1;
    let body_end = node.start + 1 + text[node.start + 1..close].trim_end().len();
    let Some((_, last_end)) = parts.last().copied() else {
        let outer = line_indent(text, node.start);
        let indent = format!("{outer}  ");
        let kept = text[node.start + 1..body_end].to_owned();
        return format!(
            "{}{kept}\n{indent}{}\n{outer}{}",
            &text[..=node.start],
            render(&indent),
            &text[close..]
        );
    };
    let comma = find_comma(text, last_end, close);
    let on_lines = text[node.start..close].contains('\n');
    let glue = if comma.is_some() { "" } else { "," };
    if on_lines {
        let indent = line_indent(text, parts[0].0).to_owned();
        let own_line = text[..parts[0].0].trim_end_matches([' ', '\t']).ends_with('\n');
        let indent = if own_line { indent } else { format!("{indent}  ") };
        let trailing = if comma.is_some() { "," } else { "" };
        let tail = text[body_end..].trim_start_matches([' ', '\t']);
        let tail =
            if tail.starts_with(['\n', '\r']) { tail.to_owned() } else { format!("\n{tail}") };
        format!(
            "{}{glue}{}\n{indent}{}{trailing}{tail}",
            &text[..last_end],
            &text[last_end..body_end],
            render(&indent)
        )
    } else {
        // Everything on one line, so the new part is too.
        let flat = flatten(&render(""));
        format!(
            "{}{glue}{} {flat}{}",
            &text[..last_end],
            &text[last_end..body_end],
            &text[body_end..]
        )
    }
}

/// Takes out part `index` with its comma, and its line if it has one to itself.
fn remove(text: &str, node: &Node, parts: &[(usize, usize)], index: usize) -> String {
    let close = node.end - 1;
    let Some((start, end)) = parts.get(index).copied() else { return text.to_owned() };
    let limit = parts.get(index + 1).map_or(close, |(next, _)| *next);
    let comma = find_comma(text, end, limit);
    let mut from = start;
    let mut to = comma.map_or(end, |comma| comma + 1);
    let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    if text[line_start..start].trim().is_empty() && line_start > 0 {
        from = line_start - 1;
        if text[..from].ends_with('\r') {
            from -= 1;
        }
        // A comment behind the value on its line speaks about the value.
        let line_end = text[to..].find('\n').map_or(text.len(), |newline| to + newline);
        if line_end < close && text[to..line_end].trim_start().starts_with("//") {
            to = line_end;
        }
    } else if comma.is_some() {
        let blank = text[to..].len() - text[to..].trim_start_matches([' ', '\t']).len();
        to += blank;
    }
    let alone = parts.len() == 1
        && text[node.start + 1..start].trim().is_empty()
        && text[to..close].trim().is_empty();
    if alone {
        return format!("{}{}", &text[..=node.start], &text[close..]);
    }
    let mut out = format!("{}{}", &text[..from], &text[to..]);
    // The last part gone, the comma before it would dangle.
    if comma.is_none() && index > 0 && index + 1 == parts.len() {
        let (_, previous_end) = parts[index - 1];
        if let Some(dangling) = find_comma(text, previous_end, start) {
            out.remove(dangling);
            if text[dangling + 1..start].trim().is_empty() && from > line_start {
                let blank = start - dangling - 1;
                out.replace_range(dangling..dangling + blank, "");
            }
        }
    }
    out
}

/// The comma between two parts, comments skipped.
fn find_comma(text: &str, from: usize, to: usize) -> Option<usize> {
    let mut at = from;
    while at < to {
        let rest = &text[at..to];
        if rest.starts_with(',') {
            return Some(at);
        }
        at += if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else {
            rest.chars().next().map_or(1, char::len_utf8)
        };
    }
    None
}

/// The white space at the beginning of the line on which `at` stands.
fn line_indent(text: &str, at: usize) -> &str {
    let line = &text[text[..at].rfind('\n').map_or(0, |newline| newline + 1)..];
    &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
}

/// JSON with two spaces per level, for a value that starts behind `indent`.
fn pretty(value: &Value, indent: &str) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_else(|_| "null".to_owned());
    if indent.is_empty() { text } else { text.replace('\n', &format!("\n{indent}")) }
}

fn flatten(pretty: &str) -> String {
    pretty.lines().map(str::trim_start).collect::<Vec<_>>().join(" ")
}

/// A key in the spelling of its neighbours: bare if they are and it can be.
fn spell_key(key: &str, members: &[Member]) -> String {
    let bare = |key: &str| {
        key.starts_with(|first: char| first.is_ascii_alphabetic() || matches!(first, '_' | '$'))
            && key.chars().all(|next| next.is_ascii_alphanumeric() || matches!(next, '_' | '$'))
    };
    let neighbours_bare = members.first().is_some_and(|first| first.bare);
    if neighbours_bare && bare(key) { key.to_owned() } else { Value::from(key).to_string() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn keys(path: &str) -> Vec<String> {
        parse_path(path).unwrap()
    }

    #[track_caller]
    fn sets(text: &str, path: &str, value: &Value, expected: &str) {
        assert_eq!(set(text, &keys(path), value).unwrap(), expected);
    }

    #[track_caller]
    fn unsets(text: &str, path: &str, expected: &str) {
        assert_eq!(unset(text, &keys(path)).unwrap().as_deref(), Some(expected));
    }

    #[test]
    fn what_is_added_ends_its_lines_like_the_rest() {
        let windows = set("{\r\n  // c\r\n  a: 1,\r\n}\r\n", &keys("b.c"), &json!(2)).unwrap();
        assert_eq!(windows.matches('\n').count(), windows.matches("\r\n").count());
        assert!(windows.starts_with("{\r\n  // c\r\n  a: 1,\r\n  b: {\r\n    "), "{windows:?}");
        let mixed = set("{\r\n  a: 1,\n}\n", &keys("a"), &json!(2)).unwrap();
        assert_eq!(mixed, "{\r\n  a: 2,\n}\n");
    }

    #[test]
    fn paths_have_dots_brackets_and_escapes() {
        assert_eq!(keys("a.b[0].c"), ["a", "b", "0", "c"]);
        assert_eq!(keys(r"a\.b[x.y]"), ["a.b", "x.y"]);
        assert_eq!(
            parse_path("a.__proto__").unwrap_err().to_string(),
            "Invalid path segment: __proto__"
        );
        assert_eq!(parse_path(" "), Err(EditError::EmptyPath));
    }

    #[test]
    fn a_value_is_replaced_where_it_stands() {
        sets(
            "{ // c\n  a: 1, // one\n  b: 'x',\n}",
            "a",
            &json!(2),
            "{ // c\n  a: 2, // one\n  b: 'x',\n}",
        );
        sets("{\"a\":{\"b\":[1,2]}}", "a.b[1]", &json!("z"), "{\"a\":{\"b\":[1,\"z\"]}}");
    }

    #[test]
    fn a_member_is_added_in_the_style_of_the_file() {
        sets(
            "{}\n",
            "gateway.mode",
            &json!("local"),
            "{\n  \"gateway\": {\n    \"mode\": \"local\"\n  }\n}\n",
        );
        sets("{\n  \"a\": 1\n}\n", "b", &json!(2), "{\n  \"a\": 1,\n  \"b\": 2\n}\n");
        sets(
            "{\n  a: 1, // one\n  // end\n}\n",
            "b.c",
            &json!(2),
            "{\n  a: 1, // one\n  // end\n  b: {\n    \"c\": 2\n  },\n}\n",
        );
        sets("{\"a\":1}", "b", &json!({"x": [1]}), "{\"a\":1, \"b\": { \"x\": [ 1 ] }}");
        sets(
            "{\n  \"l\": [\n    1\n  ]\n}",
            "l[1]",
            &json!(2),
            "{\n  \"l\": [\n    1,\n    2\n  ]\n}",
        );
        sets(
            "{}",
            "agents.list[0].id",
            &json!("main"),
            "{\n  \"agents\": {\n    \"list\": [\n      {\n        \"id\": \"main\"\n      }\n    ]\n  }\n}",
        );
    }

    #[test]
    fn a_member_is_removed_with_its_line_and_empty_parents() {
        unsets("{\n  a: 1, // one\n  // about b\n  b: 2,\n}", "a", "{\n  // about b\n  b: 2,\n}");
        unsets("{\n  \"a\": 1,\n  \"b\": 2\n}", "b", "{\n  \"a\": 1\n}");
        unsets("{\"a\":{\"b\":{\"c\":1}},\"d\":2}", "a.b.c", "{\"d\":2}");
        unsets("{\"a\":1, \"b\":2}", "b", "{\"a\":1}");
        unsets(
            "{\"agents\":{\"list\":[{\"id\":\"x\"}]}}",
            "agents.list[0]",
            "{\"agents\":{\"list\":[]}}",
        );
        assert_eq!(unset("{a:1}", &keys("b.c")).unwrap(), None);
    }

    #[test]
    fn an_included_part_is_edited_in_its_own_file() {
        let text = "{agents:{$include:'./a.json', x: 1}}";
        assert_eq!(
            set(text, &keys("agents.defaults.model"), &json!("m")).unwrap_err().to_string(),
            "config path agents.defaults.model is provided by an include; edit ./a.json"
        );
        sets(text, "agents.x", &json!(2), "{agents:{$include:'./a.json', x: 2}}");
    }

    #[test]
    fn a_new_document_changes_only_what_differs() {
        let text = "{\n  // port\n  \"port\": 1,\n  \"list\": [{\"id\": \"a\"}, {\"id\": \"b\"}],\n  \"old\": true,\n}\n";
        let previous = json5::value(text).unwrap();
        let next = json!({"port": 1, "list": [{"id": "a"}, {"id": "c"}], "fresh": {"x": null}});
        let changed = transform(text, &previous, &next).unwrap();
        assert_eq!(
            changed,
            "{\n  // port\n  \"port\": 1,\n  \"list\": [{\"id\": \"a\"}, {\"id\": \"c\"}],\n  \"fresh\": {\n    \"x\": null\n  },\n}\n"
        );
        assert_eq!(json5::value(&changed).unwrap(), next);
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-z,/*\"\\\\ ]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::btree_map("[a-d]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn objects() -> impl Strategy<Value = Value> {
        prop::collection::btree_map("[a-d]", values(), 0..4)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
    }

    proptest! {
        #[test]
        fn any_document_can_become_any_other(from in objects(), to in objects(), flat in any::<bool>()) {
            let text = if flat { from.to_string() } else { serde_json::to_string_pretty(&from).unwrap() };
            let changed = transform(&text, &from, &to).unwrap();
            prop_assert_eq!(json5::value(&changed).unwrap(), to);
        }

        #[test]
        fn a_set_value_can_be_read_and_removed(document in objects(), value in values()) {
            let text = serde_json::to_string_pretty(&document).unwrap();
            let path = ["x".to_owned(), "y".to_owned()];
            let with = set(&text, &path, &value).unwrap();
            let read = json5::value(&with).unwrap();
            prop_assert_eq!(get(&read, &path), Some(&value));
            let without = unset(&with, &path).unwrap().unwrap();
            prop_assert_eq!(json5::value(&without).unwrap(), document);
        }
    }
}
