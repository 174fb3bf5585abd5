//! Backup archives: a `.tar.gz` with a manifest and, below `payload/`, what was
//! saved under its absolute path. The layout is the reference's, so that either
//! program checks what the other wrote.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::Value;
use tar::{Archive, Builder, EntryType, Header};

/// A manifest larger than this is not read.
const MAX_MANIFEST: u64 = 4 * 1024 * 1024;

/// Why an archive could not be written, or is not what it says.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("Refusing to overwrite existing backup archive: {}", .0.display())]
    Exists(PathBuf),
    #[error("{0}")]
    Wrong(String),
}

/// Where a path lies inside an archive of this root.
pub fn place(root: &str, source: &Path) -> String {
    let inner = source.to_string_lossy();
    format!("{root}/payload/posix/{}", inner.trim_start_matches('/'))
}

/// Writes an archive of whole files and folders, readable by its owner alone.
/// The file appears only when it is complete. Blocking.
pub fn write(
    output: &Path,
    root: &str,
    manifest: &[u8],
    sources: &[PathBuf],
) -> Result<(), ArchiveError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| ArchiveError::Io { path, source }
    };
    let dir = output.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(dir).map_err(at(dir))?;
    let partial =
        tempfile::Builder::new().prefix(".openclaw-backup-").tempfile_in(dir).map_err(at(dir))?;
    let packed = GzEncoder::new(BufWriter::new(partial.as_file()), Compression::default());
    let mut builder = Builder::new(packed);
    let mut header = header(EntryType::Regular, 0o600, 0, manifest.len() as u64);
    builder
        .append_data(&mut header, format!("{root}/manifest.json"), manifest)
        .map_err(at(output))?;
    for source in sources {
        add(&mut builder, root, source)?;
    }
    let packed = builder.into_inner().map_err(at(output))?;
    let mut file = packed.finish().map_err(at(output))?;
    file.flush().map_err(at(output))?;
    drop(file);
    partial.as_file().sync_all().map_err(at(output))?;
    partial.persist_noclobber(output).map(drop).map_err(|err| match err.error.kind() {
        io::ErrorKind::AlreadyExists => ArchiveError::Exists(output.to_owned()),
        _ => at(output)(err.error),
    })
}

fn header(kind: EntryType, mode: u32, mtime: u64, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(mtime);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// Adds a path and what is below it. What vanishes meanwhile is left out;
/// sockets and pipes have no content to save.
fn add<W: Write>(builder: &mut Builder<W>, root: &str, path: &Path) -> Result<(), ArchiveError> {
    let fail = |source| ArchiveError::Io { path: path.to_owned(), source };
    let meta = match fs::symlink_metadata(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        meta => meta.map_err(fail)?,
    };
    let mtime = u64::try_from(meta.mtime()).unwrap_or(0);
    let name = place(root, path);
    let entry = |kind, size| header(kind, meta.mode() & 0o7777, mtime, size);
    if meta.is_symlink() {
        let target = fs::read_link(path).map_err(fail)?;
        return builder.append_link(&mut entry(EntryType::Symlink, 0), name, target).map_err(fail);
    }
    if meta.is_dir() {
        let mut head = entry(EntryType::Directory, 0);
        builder.append_data(&mut head, format!("{name}/"), io::empty()).map_err(fail)?;
        let listing = fs::read_dir(path).map_err(fail)?;
        let mut inner: Vec<PathBuf> = listing.flatten().map(|entry| entry.path()).collect();
        inner.sort_unstable();
        return inner.iter().try_for_each(|path| add(builder, root, path));
    }
    if !meta.is_file() {
        return Ok(());
    }
    // Not blocking: the path may have become a pipe meanwhile.
    let opened = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path);
    let file = match opened {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file.map_err(fail)?,
    };
    let size = file.metadata().map_err(fail)?.len();
    // Files of a running gateway grow and shrink; the entry keeps its size.
    let content = file.take(size).chain(io::repeat(0)).take(size);
    builder.append_data(&mut entry(EntryType::Regular, size), name, content).map_err(fail)
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    pub root: String,
    pub created_at: String,
    pub runtime_version: String,
    pub assets: usize,
    pub entries: usize,
}

/// Reads an archive to its end and compares it with its manifest. Blocking.
pub fn verify(path: &Path) -> Result<Checked, ArchiveError> {
    let fail = |source| ArchiveError::Io { path: path.to_owned(), source };
    let wrong = |text: String| Err(ArchiveError::Wrong(text));
    let file = File::open(path).map_err(fail)?;
    let mut archive = Archive::new(GzDecoder::new(file));
    let mut names: HashSet<String> = HashSet::new();
    let mut manifests: Vec<(String, Vec<u8>)> = Vec::new();
    for entry in archive.entries().map_err(fail)? {
        let mut entry = entry.map_err(fail)?;
        let raw = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = relative(&raw, "Archive entry")?;
        if name.split_once('/').is_some_and(|(_, file)| file == "manifest.json") {
            let mut bytes = Vec::new();
            entry.by_ref().take(MAX_MANIFEST).read_to_end(&mut bytes).map_err(fail)?;
            manifests.push((name.clone(), bytes));
        }
        io::copy(&mut entry, &mut io::sink()).map_err(fail)?;
        if !names.insert(name.clone()) {
            return wrong(format!("Archive contains duplicate entry path: {name}"));
        }
    }
    if names.is_empty() {
        return wrong("Backup archive is empty.".to_owned());
    }
    let [(manifest_name, bytes)] = manifests.as_slice() else {
        let found = manifests.len();
        return wrong(format!("Expected exactly one backup manifest entry, found {found}."));
    };
    let manifest: Value = serde_json::from_slice(bytes).map_err(|err| {
        ArchiveError::Wrong(format!("Backup manifest is not valid JSON: SyntaxError: {err}"))
    })?;
    check(&manifest, manifest_name, &names)
}

fn check(
    manifest: &Value,
    manifest_name: &str,
    names: &HashSet<String>,
) -> Result<Checked, ArchiveError> {
    let wrong = |text: String| Err(ArchiveError::Wrong(text));
    let text = |value: &Value, key: &str| {
        value[key].as_str().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    if !manifest.is_object() {
        return wrong("Backup manifest must be an object.".to_owned());
    }
    if manifest["schemaVersion"] != 1 {
        let version = &manifest["schemaVersion"];
        return wrong(format!("Unsupported backup manifest schemaVersion: {version}"));
    }
    let Some(root) = text(manifest, "archiveRoot") else {
        return wrong("Backup manifest is missing archiveRoot.".to_owned());
    };
    let Some(created_at) = text(manifest, "createdAt") else {
        return wrong("Backup manifest is missing createdAt.".to_owned());
    };
    let Some(assets) = manifest["assets"].as_array() else {
        return wrong("Backup manifest is missing assets.".to_owned());
    };
    let root = relative(&root, "Backup manifest archiveRoot")?;
    if root.contains('/') {
        return wrong(format!("Backup manifest archiveRoot must be a single path segment: {root}"));
    }
    let expected = format!("{root}/manifest.json");
    if manifest_name != expected {
        return wrong(format!("Archive is missing manifest entry: {expected}"));
    }
    let within = |name: &str, parent: &str| {
        name.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if let Some(stray) = names.iter().find(|name| !within(name, &root)) {
        return wrong(format!("Archive entry is outside the declared archive root: {stray}"));
    }
    for asset in assets {
        for key in ["kind", "sourcePath", "archivePath"] {
            if text(asset, key).is_none() {
                return wrong(format!("Backup manifest asset is missing {key}."));
            }
        }
        let stated = text(asset, "archivePath").unwrap_or_default();
        let place = relative(&stated, "Backup manifest asset path")?;
        if !within(&place, &format!("{root}/payload")) {
            return wrong(format!("Manifest asset path is outside payload root: {stated}"));
        }
        if !names.iter().any(|name| within(name, &place)) {
            return wrong(format!("Archive is missing payload for manifest asset: {place}"));
        }
    }
    Ok(Checked {
        root,
        created_at,
        runtime_version: text(manifest, "runtimeVersion").unwrap_or_else(|| "unknown".to_owned()),
        assets: assets.len(),
        entries: names.len(),
    })
}

/// A path of an archive without its final slash, if it stays inside.
fn relative(name: &str, what: &str) -> Result<String, ArchiveError> {
    let trimmed = name.trim().trim_end_matches('/');
    let wrong = |why: &str| Err(ArchiveError::Wrong(format!("{what} {why}: {name}")));
    if trimmed.is_empty() {
        return Err(ArchiveError::Wrong(format!("{what} is empty.")));
    }
    if trimmed.contains('\\') {
        return wrong("must use forward slashes");
    }
    let dots = trimmed.split('/').any(|part| matches!(part, "." | ".."));
    match Path::new(trimmed).components().next() {
        Some(Component::RootDir) => wrong("must be relative"),
        _ if dots => wrong("contains path traversal segments"),
        _ => Ok(trimmed.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "2026-01-02T03-04-05.678Z-openclaw-backup";

    fn manifest(source: &Path) -> Vec<u8> {
        let asset = serde_json::json!({"kind": "state", "sourcePath": source,
            "archivePath": place(ROOT, source)});
        serde_json::json!({"schemaVersion": 1, "archiveRoot": ROOT, "createdAt": "now",
            "assets": [asset]})
        .to_string()
        .into_bytes()
    }

    #[test]
    fn what_was_written_is_found_again_and_links_stay_links() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        fs::create_dir_all(state.join("a")).unwrap();
        fs::write(state.join("a/file"), "content").unwrap();
        std::os::unix::fs::symlink("/nowhere", state.join("link")).unwrap();
        let output = dir.path().join("out/one.tar.gz");
        write(&output, ROOT, &manifest(&state), std::slice::from_ref(&state)).unwrap();
        let checked = verify(&output).unwrap();
        assert_eq!((checked.assets, checked.entries), (1, 5));
        assert_eq!(fs::metadata(&output).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(output.parent().unwrap()).unwrap().count(), 1);
        let again = write(&output, ROOT, b"{}", &[]).unwrap_err();
        assert!(again.to_string().starts_with("Refusing to overwrite existing"), "{again}");

        let mut archive = Archive::new(GzDecoder::new(File::open(&output).unwrap()));
        let into = dir.path().join("into");
        archive.unpack(&into).unwrap();
        let saved = into.join(place(ROOT, &state));
        assert_eq!(fs::read_to_string(saved.join("a/file")).unwrap(), "content");
        assert_eq!(fs::read_link(saved.join("link")).unwrap(), Path::new("/nowhere"));
    }

    #[test]
    fn an_archive_that_is_not_what_it_says_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let there = dir.path().join("there");
        fs::write(&there, "x").unwrap();
        let refused = |name: &str, manifest: &[u8], sources: &[PathBuf]| {
            let output = dir.path().join(name);
            write(&output, ROOT, manifest, sources).unwrap();
            verify(&output).unwrap_err().to_string()
        };
        let missing = refused("1", &manifest(Path::new("/gone")), &[]);
        assert!(
            missing.starts_with("Archive is missing payload for manifest asset: "),
            "{missing}"
        );
        assert!(refused("2", b"nope", &[]).starts_with("Backup manifest is not valid JSON"));
        let other = b"{\"schemaVersion\": 2}";
        assert_eq!(refused("3", other, &[]), "Unsupported backup manifest schemaVersion: 2");
        fs::write(dir.path().join("cut"), b"\x1f\x8b\x08").unwrap();
        assert!(verify(&dir.path().join("cut")).is_err());
        let whole = dir.path().join("whole");
        write(&whole, ROOT, &manifest(&there), &[there]).unwrap();
        let bytes = fs::read(&whole).unwrap();
        fs::write(dir.path().join("half"), &bytes[..bytes.len() / 2]).unwrap();
        assert!(verify(&dir.path().join("half")).is_err());
    }
}
