//! `read`, `write` and `edit`: files of the workspace and elsewhere, relative
//! paths from the workspace.

use std::io;
use std::io::Read as _;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use serde_json::Value;
use serde_json::json;

use crate::agents::providers::ToolSpec;
use crate::agents::tools::Tool;
use crate::agents::tools::ToolContext;
use crate::agents::tools::ToolResult;
use crate::agents::tools::number_argument;
use crate::agents::tools::text_argument;
use crate::lifecycle;
use crate::profile::paths::expand;

const MOST_LINES: usize = 2000;
const MOST_BYTES: usize = 50 * 1024;
/// Largest file that is looked at for text.
const MOST_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// Largest image handed to a model.
const MOST_IMAGE_BYTES: u64 = 5 * 1024 * 1024;
const PATH_NAMES: &[&str] = &["path", "file_path", "filePath", "file"];
const MISSING_PATH: &str =
    "Missing required parameter: path (also accepted: file_path, filePath, file)";

fn path_properties() -> Value {
    json!({
        "path": {"type": "string", "description": "File, absolute or relative to the workspace"},
        "file_path": {"type": "string", "description": "Same as path"},
        "filePath": {"type": "string", "description": "Same as path"},
        "file": {"type": "string", "description": "Same as path"},
    })
}

/// An object schema over the path properties and further ones.
fn schema(more: Value, required: &[&str]) -> Value {
    let mut properties = path_properties();
    if let (Value::Object(all), Value::Object(more)) = (&mut properties, more) {
        all.extend(more);
    }
    json!({"type": "object", "properties": properties, "required": required})
}

/// The file a call names.
fn target(context: &ToolContext, arguments: &Value) -> Result<PathBuf, String> {
    let named = text_argument(arguments, PATH_NAMES).map(str::trim).unwrap_or_default();
    if named.is_empty() {
        return Err(MISSING_PATH.to_owned());
    }
    // Some models put an @ in front of paths, as in chat mentions.
    let named = named.strip_prefix('@').unwrap_or(named);
    let path = if named.starts_with('~') {
        expand(named, &context.inner.paths.home)
    } else {
        context.workspace.join(named)
    };
    let path = normal(&path);
    let confined = context
        .snapshot
        .config
        .tools
        .get("fs")
        .and_then(|fs| fs["workspaceOnly"].as_bool())
        .unwrap_or(false);
    if confined && !is_inside(&path, &context.workspace) {
        return Err(format!(
            "{} is outside the workspace, and tools.fs.workspaceOnly allows no other files",
            path.display()
        ));
    }
    Ok(path)
}

/// Whether a path, symbolic links followed, lies below `root`.
fn is_inside(path: &Path, root: &Path) -> bool {
    let Ok(root) = root.canonicalize() else { return false };
    // The file, and some of its directories, may not exist yet.
    let mut existing = path;
    loop {
        match existing.canonicalize() {
            Ok(real) => return real.starts_with(&root),
            Err(_) => match existing.parent() {
                Some(parent) => existing = parent,
                None => return false,
            },
        }
    }
}

/// Resolves `.` and `..` without looking at the disk.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}

/// Runs file work off the async threads.
async fn blocking(work: impl FnOnce() -> ToolResult + Send + 'static) -> ToolResult {
    lifecycle::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| ToolResult::error("internal error while working on the file"))
}

fn io_text(what: &str, path: &Path, err: &io::Error) -> String {
    let reason = match err.kind() {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        _ => err.to_string(),
    };
    format!("Cannot {what} {}: {reason}", path.display())
}

/// Refuses what may keep its reader or writer waiting for ever: pipes, sockets
/// and devices. What does not exist yet passes.
fn no_pipe(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path) {
        Ok(meta) if !meta.is_file() && !meta.is_dir() => {
            Err(io::Error::other("it is a pipe, a socket or a device; use exec"))
        }
        _ => Ok(()),
    }
}

/// Reads a whole file of bounded size.
fn load(path: &Path) -> Result<Vec<u8>, String> {
    let fail = |err: io::Error| io_text("read", path, &err);
    no_pipe(path).map_err(fail)?;
    let file = std::fs::File::open(path).map_err(fail)?;
    let meta = file.metadata().map_err(fail)?;
    if meta.is_dir() {
        return Err(io_text("read", path, &io::ErrorKind::IsADirectory.into()));
    }
    if meta.len() > MOST_FILE_BYTES {
        return Err(format!(
            "{} has {} bytes, more than this tool reads ({MOST_FILE_BYTES}); use exec with head, tail or grep",
            path.display(),
            meta.len()
        ));
    }
    let mut bytes = Vec::new();
    // The kernel's files (/proc) tell no length; the bound holds for them as well.
    file.take(MOST_FILE_BYTES).read_to_end(&mut bytes).map_err(fail)?;
    Ok(bytes)
}

/// The `read` tool.
#[derive(Debug)]
pub(crate) struct Read;

impl Tool for Read {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "read".to_owned(),
            description: format!(
                "Read a file. Text is returned up to {MOST_LINES} lines or {} KB, whichever comes first; \
                 use offset and limit to go on. Images (png, jpg, gif, webp) are shown as images.",
                MOST_BYTES / 1024
            ),
            parameters: schema(
                json!({
                    "offset": {"type": "number", "description": "First line, counted from 1"},
                    "limit": {"type": "number", "description": "Most lines to return"},
                }),
                &[],
            ),
        }
    }

    fn summary(&self) -> &'static str {
        "Read file contents"
    }

    fn call<'a>(&'a self, context: &'a ToolContext, arguments: Value) -> BoxFuture<'a, ToolResult> {
        Box::pin(async move {
            let path = match target(context, &arguments) {
                Ok(path) => path,
                Err(text) => return ToolResult::error(text),
            };
            let shown = text_argument(&arguments, PATH_NAMES).unwrap_or_default().to_owned();
            let offset = number_argument(&arguments, "offset");
            let limit = number_argument(&arguments, "limit");
            blocking(move || read(&path, offset, limit)).await.with_meta(format!("from {shown}"))
        })
    }
}

fn read(path: &Path, offset: Option<u64>, limit: Option<u64>) -> ToolResult {
    if let Some(mime) = image_type(path)
        && let Ok(meta) = std::fs::metadata(path)
        && meta.is_file()
    {
        return read_image(path, mime, meta.len());
    }
    let bytes = match load(path) {
        Ok(bytes) => bytes,
        Err(text) => return ToolResult::error(text),
    };
    let text = String::from_utf8_lossy(&bytes);
    let as_index = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let first = offset.map_or(0, |line| as_index(line.max(1)) - 1);
    let most = limit.map_or(MOST_LINES, |limit| as_index(limit).clamp(1, MOST_LINES));
    let total = text.lines().count();
    if first > 0 && first >= total {
        return ToolResult::error(format!(
            "Offset {} is beyond the end of the file ({total} lines)",
            first + 1
        ));
    }
    let mut out = String::new();
    let mut shown = 0;
    for line in text.split_inclusive('\n').skip(first).take(most) {
        if out.len() + line.len() > MOST_BYTES {
            if shown == 0 {
                let cut = (0..=MOST_BYTES).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
                return ToolResult::text(format!(
                    "{}\n\n[Line {} is {} bytes long; only its beginning is shown. Use exec to see more.]",
                    &line[..cut],
                    first + 1,
                    line.len()
                ));
            }
            break;
        }
        out.push_str(line);
        shown += 1;
    }
    let end = first + shown;
    if end < total {
        let note = format!(
            "\n\n[Lines {}-{end} of {total}. Use offset={} to continue.]",
            first + 1,
            end + 1
        );
        out.truncate(out.trim_end_matches('\n').len());
        out.push_str(&note);
    }
    ToolResult::text(out)
}

fn image_type(path: &Path) -> Option<&'static str> {
    let extension = path.extension()?.to_str()?.to_ascii_lowercase();
    Some(match extension.as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        _ => return None,
    })
}

fn read_image(path: &Path, mime: &str, len: u64) -> ToolResult {
    if len > MOST_IMAGE_BYTES {
        return ToolResult::error(format!(
            "{} has {len} bytes; images up to {MOST_IMAGE_BYTES} bytes can be shown",
            path.display()
        ));
    }
    match std::fs::read(path) {
        Ok(bytes) => ToolResult {
            content: vec![
                json!({"type": "text", "text": format!("Read image file [{mime}]")}),
                json!({"type": "image", "data": STANDARD.encode(bytes), "mimeType": mime}),
            ],
            ..ToolResult::default()
        },
        Err(err) => ToolResult::error(io_text("read", path, &err)),
    }
}

/// The `write` tool.
#[derive(Debug)]
pub(crate) struct Write;

impl Tool for Write {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "write".to_owned(),
            description: "Create or overwrite a file with the given content. Missing directories \
                          are created."
                .to_owned(),
            parameters: schema(
                json!({"content": {"type": "string", "description": "The whole new content"}}),
                &["content"],
            ),
        }
    }

    fn summary(&self) -> &'static str {
        "Create or overwrite files"
    }

    fn call<'a>(&'a self, context: &'a ToolContext, arguments: Value) -> BoxFuture<'a, ToolResult> {
        Box::pin(async move {
            let path = match target(context, &arguments) {
                Ok(path) => path,
                Err(text) => return ToolResult::error(text),
            };
            let Some(content) = text_argument(&arguments, &["content"]).map(str::to_owned) else {
                return ToolResult::error("Missing required parameter: content");
            };
            let shown = text_argument(&arguments, PATH_NAMES).unwrap_or_default().to_owned();
            let meta = format!("to {shown} ({} chars)", content.chars().count());
            blocking(move || match store(&path, &content) {
                Ok(()) => ToolResult::text(format!(
                    "Successfully wrote {} bytes to {shown}",
                    content.len()
                )),
                Err(err) => ToolResult::error(io_text("write", &path, &err)),
            })
            .await
            .with_meta(meta)
        })
    }
}

/// Writes in place: an existing file keeps its mode, owner and links.
fn store(path: &Path, content: &str) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    no_pipe(path)?;
    std::fs::write(path, content)
}

/// The `edit` tool.
#[derive(Debug)]
pub(crate) struct Edit;

impl Tool for Edit {
    fn spec(&self) -> ToolSpec {
        let mut parameters = schema(
            json!({"edits": {
                "type": "array",
                "description": "Replacements, each matched against the original file",
                "items": {
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["oldText", "newText"],
                    "properties": {
                        "oldText": {"type": "string", "description": "Exact text that occurs once in the file"},
                        "newText": {"type": "string", "description": "What takes its place"},
                    },
                },
            }}),
            &["edits"],
        );
        parameters["additionalProperties"] = false.into();
        ToolSpec {
            name: "edit".to_owned(),
            description: "Replace pieces of a file. Every oldText must occur exactly once, white \
                          space included, and the pieces must not overlap. Nothing is written \
                          unless all replacements fit."
                .to_owned(),
            parameters,
        }
    }

    fn summary(&self) -> &'static str {
        "Make precise edits to files"
    }

    fn call<'a>(&'a self, context: &'a ToolContext, arguments: Value) -> BoxFuture<'a, ToolResult> {
        Box::pin(async move {
            let path = match target(context, &arguments) {
                Ok(path) => path,
                Err(text) => return ToolResult::error(text),
            };
            let edits = match edits_of(&arguments) {
                Ok(edits) => edits,
                Err(text) => return ToolResult::error(text),
            };
            let shown = text_argument(&arguments, PATH_NAMES).unwrap_or_default().to_owned();
            let meta = format!("in {shown}");
            blocking(move || edit(&path, &shown, &edits)).await.with_meta(meta)
        })
    }
}

/// Old and new text of each replacement. Models that know older tools send one
/// pair without a list.
fn edits_of(arguments: &Value) -> Result<Vec<(String, String)>, String> {
    let pair = |item: &Value| {
        let old = text_argument(item, &["oldText", "old_string", "old_text", "oldString"])?;
        let new = text_argument(item, &["newText", "new_string", "new_text", "newString"])?;
        Some((old.to_owned(), new.to_owned()))
    };
    let parsed;
    let list = match arguments.get("edits") {
        // Some models send the list as JSON text.
        Some(Value::String(text)) => {
            parsed = serde_json::from_str::<Value>(text).unwrap_or_default();
            parsed.as_array()
        }
        Some(other) => other.as_array(),
        None => None,
    };
    let edits: Option<Vec<(String, String)>> = match list {
        Some(items) => items.iter().map(pair).collect(),
        None => pair(arguments).map(|pair| vec![pair]),
    };
    match edits {
        Some(edits) if edits.is_empty() => Err("edits is empty".to_owned()),
        Some(edits) => Ok(edits),
        None => Err("Missing required parameter: edits, a list of {oldText, newText}".to_owned()),
    }
}

fn edit(path: &Path, shown: &str, edits: &[(String, String)]) -> ToolResult {
    let bytes = match load(path) {
        Ok(bytes) => bytes,
        Err(text) => return ToolResult::error(text),
    };
    let Ok(original) = String::from_utf8(bytes) else {
        return ToolResult::error(format!("{shown} is not UTF-8 text; nothing was changed"));
    };
    match replaced(&original, edits) {
        Ok(changed) => match std::fs::write(path, changed) {
            Ok(()) => ToolResult::text(format!(
                "Successfully replaced {} block(s) in {shown}.",
                edits.len()
            )),
            Err(err) => ToolResult::error(io_text("write", path, &err)),
        },
        Err(text) => ToolResult::error(format!("{text} in {shown}; nothing was changed")),
    }
}

/// Applies all replacements to the original text, or none.
fn replaced(original: &str, edits: &[(String, String)]) -> Result<String, String> {
    // A file with Windows line ends is matched, and stays, as it is, although
    // models write plain ones.
    let windows = original.contains("\r\n");
    let adapt = |text: &str| {
        if windows && !text.contains('\r') { text.replace('\n', "\r\n") } else { text.to_owned() }
    };
    let mut spans: Vec<(usize, usize, String)> = Vec::with_capacity(edits.len());
    for (index, (old, new)) in edits.iter().enumerate() {
        let (old, new) = (adapt(old), adapt(new));
        let number = index + 1;
        if old.is_empty() {
            return Err(format!("oldText of edit {number} is empty"));
        }
        let mut hits = original.match_indices(&old);
        let Some((at, _)) = hits.next() else {
            return Err(format!(
                "oldText of edit {number} was not found (it must match exactly, white space included)"
            ));
        };
        let more = hits.count();
        if more > 0 {
            return Err(format!(
                "oldText of edit {number} occurs {} times (add surrounding lines to make it unique)",
                more + 1
            ));
        }
        spans.push((at, at + old.len(), new));
    }
    spans.sort_by_key(|(start, _, _)| *start);
    if spans.windows(2).any(|pair| pair[0].1 > pair[1].0) {
        return Err("edits overlap".to_owned());
    }
    let mut out = String::with_capacity(original.len());
    let mut copied = 0;
    for (start, end, new) in spans {
        out.push_str(&original[copied..start]);
        out.push_str(&new);
        copied = end;
    }
    out.push_str(&original[copied..]);
    if out == original {
        return Err("the edits change nothing".to_owned());
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(old, new)| ((*old).to_owned(), (*new).to_owned())).collect()
    }

    #[test]
    fn edits_are_applied_together_or_not_at_all() {
        let text = "one two three two";
        assert_eq!(replaced(text, &pairs(&[("one", "1"), ("three", "3")])).unwrap(), "1 two 3 two");
        let cases = [
            (pairs(&[("one", "1"), ("four", "4")]), "not found"),
            (pairs(&[("two", "2")]), "occurs 2 times"),
            (pairs(&[("one two", "x"), ("two three", "y")]), "overlap"),
            (pairs(&[("one", "one")]), "change nothing"),
            (pairs(&[("", "x")]), "is empty"),
        ];
        for (edits, reason) in cases {
            let err = replaced(text, &edits).unwrap_err();
            assert!(err.contains(reason), "{err}");
        }
    }

    #[test]
    fn windows_line_ends_are_matched_and_kept() {
        let edits = pairs(&[("a\nb", "a\nc")]);
        assert_eq!(replaced("a\r\nb\r\n", &edits).unwrap(), "a\r\nc\r\n");
    }

    #[test]
    fn a_long_file_is_read_in_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("long.txt");
        let lines: Vec<String> = (1..=3000).map(|line| format!("line {line}\n")).collect();
        let text = lines.concat();
        std::fs::write(&path, text).unwrap();
        let result = read(&path, None, None);
        let shown = result.content[0]["text"].as_str().unwrap();
        assert!(shown.ends_with("[Lines 1-2000 of 3000. Use offset=2001 to continue.]"));
        let rest = read(&path, Some(2001), None);
        assert!(rest.content[0]["text"].as_str().unwrap().ends_with("line 3000\n"));
        assert!(read(&path, Some(9000), None).is_error);
    }

    #[test]
    fn an_overlong_line_is_cut_at_a_character() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wide.txt");
        std::fs::write(&path, "ä".repeat(MOST_BYTES)).unwrap();
        let result = read(&path, None, None);
        assert!(result.content[0]["text"].as_str().unwrap().contains("only its beginning"));
    }

    #[test]
    fn a_pipe_keeps_no_tool_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let edits = pairs(&[("a", "b")]);
        let texts = [
            read(&pipe, None, None).content[0]["text"].to_string(),
            store(&pipe, "x").unwrap_err().to_string(),
            edit(&pipe, "pipe", &edits).content[0]["text"].to_string(),
            load(Path::new("/dev/zero")).unwrap_err(),
        ];
        for text in texts {
            assert!(text.contains("a pipe, a socket or a device"), "{text}");
        }
        assert!(!read(Path::new("/proc/self/status"), None, None).is_error);
    }

    #[test]
    fn a_link_does_not_lead_out_of_a_confined_workspace() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("ws");
        std::fs::create_dir(&root).unwrap();
        std::os::unix::fs::symlink(dir.path(), root.join("out")).unwrap();
        assert!(is_inside(&root.join("new/file"), &root));
        assert!(!is_inside(&root.join("out/file"), &root));
        assert!(!is_inside(&normal(&root.join("../x")), &root));
    }

    #[test]
    fn older_argument_shapes_are_understood() {
        let one = json!({"path": "x", "old_string": "a", "new_string": "b"});
        assert_eq!(edits_of(&one).unwrap(), pairs(&[("a", "b")]));
        let text = json!({"edits": "[{\"oldText\":\"a\",\"newText\":\"b\"}]"});
        assert_eq!(edits_of(&text).unwrap(), pairs(&[("a", "b")]));
        assert!(edits_of(&json!({"edits": [{"oldText": "a"}]})).is_err());
    }

    proptest! {
        #[test]
        fn replacing_never_panics(text in ".{0,60}", old in ".{0,4}", new in ".{0,4}") {
            drop(replaced(&text, &[(old, new)]));
        }
    }
}
