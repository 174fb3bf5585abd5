//! Skills out of an archive: unpacked beside their place and moved there whole.
//! Nothing of an archive lands outside of it.

use std::fs;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use zip::ZipArchive;

/// Most bytes and files of one skill.
const MAX_BYTES: u64 = 50 * 1024 * 1024;
const MAX_FILES: usize = 2000;

const MARKERS: [&str; 4] = ["SKILL.md", "skill.md", "skills.md", "SKILL.MD"];

/// Unpacks a skill to `target`, in the place of what is there. Blocking.
pub fn install(archive: &[u8], target: &Path) -> Result<(), String> {
    let dir = target.parent().unwrap_or(Path::new("."));
    let at = |path: &Path, err: io::Error| format!("{}: {err}", path.display());
    fs::create_dir_all(dir).map_err(|err| at(dir, err))?;
    let beside = tempfile::Builder::new()
        .prefix(".openclaw-skill-")
        .tempdir_in(dir)
        .map_err(|err| at(dir, err))?;
    let unpacked = beside.path().join("new");
    unpack(archive, &unpacked)?;
    let root = root_of(&unpacked)?;
    let old = beside.path().join("old");
    match fs::rename(target, &old) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(at(target, err)),
        _ => {}
    }
    fs::rename(&root, target).map_err(|err| {
        // What was there comes back; if that fails too, it is still beside.
        drop(fs::rename(&old, target));
        at(target, err)
    })
}

fn unpack(archive: &[u8], to: &Path) -> Result<(), String> {
    let broken = |err: zip::result::ZipError| format!("the archive cannot be read: {err}");
    let mut archive = ZipArchive::new(Cursor::new(archive)).map_err(broken)?;
    if archive.len() > MAX_FILES {
        return Err(format!("the archive has more than {MAX_FILES} files"));
    }
    let mut left = MAX_BYTES;
    fs::create_dir_all(to).map_err(|err| format!("{}: {err}", to.display()))?;
    for at in 0..archive.len() {
        let mut entry = archive.by_index(at).map_err(broken)?;
        let shown = entry.name().map(std::borrow::Cow::into_owned).map_err(broken)?;
        let name =
            entry.enclosed_name().ok_or_else(|| format!("\"{shown}\" leads out of the archive"))?;
        let path = to.join(name);
        let fail = |err: io::Error| format!("{}: {err}", path.display());
        if entry.is_dir() {
            fs::create_dir_all(&path).map_err(fail)?;
            continue;
        }
        if entry.is_symlink() {
            return Err(format!("\"{shown}\" is a link"));
        }
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(fail)?;
        }
        let mut file = fs::File::create(&path).map_err(fail)?;
        // What an entry says of its size need not be true.
        let written = io::copy(&mut entry.by_ref().take(left + 1), &mut file).map_err(fail)?;
        left = left
            .checked_sub(written)
            .ok_or_else(|| format!("the archive is larger than {MAX_BYTES} bytes"))?;
    }
    Ok(())
}

/// The folder with the `SKILL.md`: the archive itself, or the only one in it.
fn root_of(unpacked: &Path) -> Result<PathBuf, String> {
    let has = |dir: &Path| MARKERS.iter().any(|name| dir.join(name).is_file());
    let mut inner = fs::read_dir(unpacked).into_iter().flatten().flatten().map(|e| e.path());
    let only = inner.next().filter(|_| inner.next().is_none());
    [Some(unpacked.to_owned()), only]
        .into_iter()
        .flatten()
        .find(|dir| has(dir))
        .ok_or_else(|| "downloaded archive is missing SKILL.md".to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn archive(files: &[(&str, &str)]) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, text) in files {
            writer.start_file(*name, SimpleFileOptions::default()).unwrap();
            writer.write_all(text.as_bytes()).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn a_skill_takes_the_place_of_the_older_one() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("skills/weather");
        install(&archive(&[("SKILL.md", "one"), ("old.md", "x")]), &target).unwrap();
        install(&archive(&[("weather/SKILL.md", "two"), ("weather/a/b.md", "y")]), &target)
            .unwrap();
        assert_eq!(fs::read_to_string(target.join("SKILL.md")).unwrap(), "two");
        assert!(target.join("a/b.md").exists() && !target.join("old.md").exists());
        assert_eq!(fs::read_dir(dir.path().join("skills")).unwrap().count(), 1);
    }

    #[test]
    fn an_archive_that_is_none_or_leads_out_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("skills/weather");
        let refused = |bytes: &[u8]| install(bytes, &target).unwrap_err();
        assert!(refused(b"nope").starts_with("the archive cannot be read: "));
        assert_eq!(refused(&archive(&[("a.md", "")])), "downloaded archive is missing SKILL.md");
        let out = refused(&archive(&[("../../evil", "x"), ("SKILL.md", "")]));
        assert_eq!(out, "\"../../evil\" leads out of the archive");
        assert!(!target.exists() && !dir.path().join("evil").exists());
    }
}
