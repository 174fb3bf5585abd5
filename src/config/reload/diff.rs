//! Two documents → the paths that differ.

use serde_json::Value;

/// The paths that differ, in document order.
///
/// Objects are compared key by key, arrays as a whole; a subtree that appears
/// or disappears is one path.
pub fn changed_paths(previous: &Value, next: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    walk(previous, next, &mut String::new(), &mut paths);
    paths
}

fn walk(previous: &Value, next: &Value, path: &mut String, paths: &mut Vec<String>) {
    if previous == next {
        return;
    }
    let (Value::Object(previous), Value::Object(next)) = (previous, next) else {
        paths.push(path.clone());
        return;
    };
    let added = next.keys().filter(|key| !previous.contains_key(*key));
    for key in previous.keys().chain(added) {
        let length = path.len();
        if length > 0 {
            path.push('.');
        }
        path.push_str(key);
        match (previous.get(key), next.get(key)) {
            (Some(previous), Some(next)) => walk(previous, next, path, paths),
            _ => paths.push(path.clone()),
        }
        path.truncate(length);
    }
}

/// Splits a path into the leaves below it, so that a new section can be judged
/// by what it holds.
pub fn leaves(path: &str, previous: &Value, next: &Value) -> Vec<String> {
    let at = |document: &Value| {
        path.split('.').try_fold(document.clone(), |value, key| value.get(key).cloned())
    };
    let mut leaves = Vec::new();
    if let Some(Value::Object(object)) = at(next).or_else(|| at(previous)) {
        collect(&Value::Object(object), &mut path.to_owned(), &mut leaves);
    }
    if leaves.is_empty() { vec![path.to_owned()] } else { leaves }
}

fn collect(value: &Value, path: &mut String, leaves: &mut Vec<String>) {
    match value {
        Value::Object(object) if !object.is_empty() => {
            for (key, member) in object {
                let length = path.len();
                path.push('.');
                path.push_str(key);
                collect(member, path, leaves);
                path.truncate(length);
            }
        }
        _ => leaves.push(path.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_new_section_is_one_path_and_an_array_is_a_whole() {
        let previous = json!({"a": {"b": 1, "list": [1]}, "gone": {"x": 1}, "same": [1, {"k": 2}]});
        let next =
            json!({"a": {"b": 2, "list": [1, 2]}, "new": {"y": {"z": 1}}, "same": [1, {"k": 2}]});
        assert_eq!(changed_paths(&previous, &next), ["a.b", "a.list", "gone", "new"]);
        assert_eq!(leaves("new", &previous, &next), ["new.y.z"]);
        assert_eq!(leaves("gone", &previous, &next), ["gone.x"]);
        assert_eq!(leaves("a.b", &previous, &next), ["a.b"]);
    }
}
