//! The index of an agent's memory: an `SQLite` file that can be made anew at
//! any time. It is open only while it is used, so an idle gateway holds none.

use std::collections::HashMap;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior, params};
use sha2::{Digest, Sha256};

use crate::agents::memory::files::{self, File};
use crate::agents::memory::rank::{self, Finding};
use crate::agents::memory::settings::{Settings, Tokenizer};

/// Counts up when the tables change.
const VERSION: u32 = 1;
/// How long one process waits while another one writes.
const BUSY: Duration = Duration::from_secs(10);

/// What an index holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub files: u64,
    pub passages: u64,
    /// Passages that have a vector of the model asked about.
    pub vectors: u64,
}

/// How the files differ from what is indexed.
struct Changes<'a> {
    /// New or other than before, each with its stamp.
    changed: Vec<(&'a File, String)>,
    gone: Vec<String>,
}

/// An open index.
#[derive(Debug)]
pub(crate) struct Index(Connection);

/// A name of our own: the Node gateway keeps `<agent>.sqlite` beside it.
pub(crate) fn path_of(state: &Path, agent: &str) -> PathBuf {
    state.join("memory").join(format!("{agent}.native.sqlite"))
}

impl Index {
    /// Opens the index or makes it; one that cannot be read is replaced, as
    /// everything in it comes from the files.
    pub(crate) fn open(path: &Path, settings: &Settings) -> Result<Self, rusqlite::Error> {
        Self::open_once(path, settings).or_else(|err| {
            let broken = matches!(
                err.sqlite_error_code(),
                Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt)
            );
            if !broken || std::fs::remove_file(path).is_err() {
                return Err(err);
            }
            tracing::warn!(path = %path.display(), "the memory index was broken; it is made anew");
            Self::open_once(path, settings)
        })
    }

    fn open_once(path: &Path, settings: &Settings) -> Result<Self, rusqlite::Error> {
        if let Some(dir) = path.parent() {
            // What fails here fails again below, with a reason.
            drop(std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir));
        }
        drop(std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path));
        let mut db = Connection::open(path)?;
        db.busy_timeout(BUSY)?;
        // An index that a power cut spoils is made anew: no need to wait for the disk.
        db.pragma_update(None, "synchronous", "OFF")?;
        let tokenizer = match settings.tokenizer {
            Tokenizer::Unicode => "unicode61 remove_diacritics 2",
            Tokenizer::Trigram => "trigram",
        };
        let shape =
            format!("{VERSION} {tokenizer} {} {}", settings.chunk_tokens, settings.chunk_overlap);
        db.execute_batch("CREATE TABLE IF NOT EXISTS about (shape TEXT NOT NULL)")?;
        if shape_of(&db)?.as_deref() == Some(&shape) {
            return Ok(Self(db));
        }
        let making = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Somebody else may have made it while this one waited for its turn.
        if shape_of(&making)?.as_deref() != Some(&shape) {
            making.execute_batch(&format!(
                "DROP TABLE IF EXISTS files;
                 DROP TABLE IF EXISTS passages;
                 DROP TABLE IF EXISTS words;
                 CREATE TABLE files (name TEXT PRIMARY KEY, stamp TEXT NOT NULL);
                 CREATE TABLE passages (id INTEGER PRIMARY KEY, name TEXT NOT NULL,
                     first INTEGER NOT NULL, last INTEGER NOT NULL, hash BLOB NOT NULL);
                 CREATE INDEX passages_of_file ON passages (name);
                 CREATE VIRTUAL TABLE words USING fts5 (text, tokenize = '{tokenizer}');
                 CREATE TABLE IF NOT EXISTS vectors (model TEXT NOT NULL, hash BLOB NOT NULL,
                     vector BLOB NOT NULL, PRIMARY KEY (model, hash)) WITHOUT ROWID;
                 DELETE FROM about;"
            ))?;
            making.execute("INSERT INTO about VALUES (?1)", [shape])?;
        }
        making.commit()?;
        Ok(Self(db))
    }

    /// Forgets what is known of the files, so that the next look reads them all.
    pub(crate) fn forget_files(&self) -> Result<(), rusqlite::Error> {
        self.0.execute_batch("DELETE FROM files; DELETE FROM passages; DELETE FROM words;")
    }

    /// Whether the files are other than when they were taken in.
    pub(crate) fn is_stale(&self, files: &[File]) -> Result<bool, rusqlite::Error> {
        let Changes { changed, gone } = self.changes(files)?;
        Ok(!(changed.is_empty() && gone.is_empty()))
    }

    fn changes<'a>(&self, files: &'a [File]) -> Result<Changes<'a>, rusqlite::Error> {
        let mut known: HashMap<String, String> = self
            .0
            .prepare("SELECT name, stamp FROM files")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        let mut changed = Vec::new();
        for file in files {
            let Some(stamp) = files::stamp(&file.path) else { continue };
            if known.remove(&file.name).as_ref() != Some(&stamp) {
                changed.push((file, stamp));
            }
        }
        Ok(Changes { changed, gone: known.into_keys().collect() })
    }

    /// Takes in what changed in the files since the last time. Returns how
    /// many were read.
    pub(crate) fn sync(
        &mut self,
        files: &[File],
        settings: &Settings,
    ) -> Result<usize, rusqlite::Error> {
        let Changes { changed, gone } = self.changes(files)?;
        if changed.is_empty() && gone.is_empty() {
            return Ok(0);
        }
        let db = self.0.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        for name in gone.iter().chain(changed.iter().map(|(file, _)| &file.name)) {
            db.execute(
                "DELETE FROM words WHERE rowid IN (SELECT id FROM passages WHERE name = ?1)",
                [name],
            )?;
            db.execute("DELETE FROM passages WHERE name = ?1", [name])?;
            db.execute("DELETE FROM files WHERE name = ?1", [name])?;
        }
        for (file, stamp) in &changed {
            let Ok(bytes) = std::fs::read(&file.path) else { continue };
            let text = String::from_utf8_lossy(&bytes);
            for passage in files::passages(&text, settings.chunk_tokens, settings.chunk_overlap) {
                db.execute(
                    "INSERT INTO passages (name, first, last, hash) VALUES (?1, ?2, ?3, ?4)",
                    params![file.name, passage.first, passage.last, hash(&passage.text)],
                )?;
                db.execute(
                    "INSERT INTO words (rowid, text) VALUES (?1, ?2)",
                    params![db.last_insert_rowid(), passage.text],
                )?;
            }
            db.execute("INSERT INTO files VALUES (?1, ?2)", params![file.name, stamp])?;
        }
        db.execute("DELETE FROM vectors WHERE hash NOT IN (SELECT hash FROM passages)", [])?;
        db.commit()?;
        Ok(changed.len())
    }

    /// Texts that have no vector of `model` yet.
    pub(crate) fn without_vector(
        &self,
        model: &str,
        most: usize,
    ) -> Result<Vec<String>, rusqlite::Error> {
        let mut query = self.0.prepare(
            "SELECT words.text FROM passages JOIN words ON words.rowid = passages.id
             WHERE hash NOT IN (SELECT hash FROM vectors WHERE model = ?1)
             GROUP BY hash ORDER BY passages.id LIMIT ?2",
        )?;
        query.query_map(params![model, most], |row| row.get(0))?.collect()
    }

    /// Drops the vectors of `model` that are not of this length: another model
    /// answers to the name now.
    pub(crate) fn forget_other_lengths(
        &self,
        model: &str,
        length: usize,
    ) -> Result<(), rusqlite::Error> {
        let sql = "DELETE FROM vectors WHERE model = ?1 AND length(vector) <> ?2";
        self.0.execute(sql, params![model, length * size_of::<f32>()]).map(|_| ())
    }

    pub(crate) fn add_vectors(
        &mut self,
        model: &str,
        vectors: &[(String, Vec<f64>)],
    ) -> Result<(), rusqlite::Error> {
        let db = self.0.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        for (text, vector) in vectors {
            db.execute(
                "INSERT OR REPLACE INTO vectors VALUES (?1, ?2, ?3)",
                params![model, hash(text), rank::bytes(&rank::unit(vector))],
            )?;
        }
        db.commit()
    }

    /// Passages with any of the words, best first.
    pub(crate) fn by_words(
        &self,
        query: &str,
        most: usize,
    ) -> Result<Vec<Finding>, rusqlite::Error> {
        let mut found = self.by_whole_words(query, most)?;
        let pieces = rank::pieces(query);
        if pieces.is_empty() {
            return Ok(found);
        }
        for finding in self.by_pieces(&pieces, most)? {
            match found.iter_mut().find(|known| known.id == finding.id) {
                Some(known) => known.score = known.score.max(finding.score),
                None => found.push(finding),
            }
        }
        let mut found = rank::sorted(found);
        found.truncate(most);
        Ok(found)
    }

    /// Passages by pieces of what is written without spaces, scored by the
    /// share of the pieces that they hold.
    fn by_pieces(&self, pieces: &[String], most: usize) -> Result<Vec<Finding>, rusqlite::Error> {
        let held: Vec<String> =
            (1..=pieces.len()).map(|at| format!("(instr(words.text, ?{at}) > 0)")).collect();
        let mut query = self.0.prepare(&format!(
            "SELECT passages.id, name, first, last, words.text, ({held}) * 1.0 / {all} AS share
             FROM words JOIN passages ON passages.id = words.rowid
             WHERE share > 0 ORDER BY share DESC LIMIT {most}",
            held = held.join(" + "),
            all = pieces.len(),
        ))?;
        let rows = query.query_map(rusqlite::params_from_iter(pieces), |row| {
            Ok(Finding { score: row.get(5)?, ..finding(row)? })
        })?;
        rows.collect()
    }

    /// Passages with any of the words between spaces, scored by BM25.
    fn by_whole_words(&self, query: &str, most: usize) -> Result<Vec<Finding>, rusqlite::Error> {
        let terms: Vec<String> =
            rank::words(query).into_iter().map(|word| format!("\"{word}\"")).collect();
        if terms.is_empty() {
            return Ok(Vec::new());
        }
        let mut query = self.0.prepare(
            "SELECT passages.id, name, first, last, words.text, bm25(words) AS rank
             FROM words JOIN passages ON passages.id = words.rowid
             WHERE words MATCH ?1 ORDER BY rank LIMIT ?2",
        )?;
        let rows = query.query_map(params![terms.join(" OR "), most], |row| {
            Ok(Finding { score: rank::text_score(row.get(5)?), ..finding(row)? })
        })?;
        rows.collect()
    }

    /// Passages nearest in meaning to a vector of `model`, best first.
    pub(crate) fn by_meaning(
        &self,
        model: &str,
        wanted: &[f64],
        most: usize,
    ) -> Result<Vec<Finding>, rusqlite::Error> {
        let wanted = rank::unit(wanted);
        let mut query = self.0.prepare(
            "SELECT passages.id, vector FROM passages
             JOIN vectors ON vectors.hash = passages.hash AND model = ?1",
        )?;
        let mut scored: Vec<(f64, i64)> = query
            .query_map([model], |row| {
                let stored = row.get_ref(1)?;
                let stored = stored.as_blob().unwrap_or_default();
                Ok((rank::cosine(&wanted, stored), row.get(0)?))
            })?
            .collect::<Result<_, _>>()?;
        scored.sort_by(|a, b| b.0.total_cmp(&a.0));
        scored.truncate(most);
        let mut one = self.0.prepare(
            "SELECT passages.id, name, first, last, words.text
             FROM passages JOIN words ON words.rowid = passages.id WHERE passages.id = ?1",
        )?;
        scored
            .into_iter()
            .map(|(score, id)| one.query_row([id], |row| Ok(Finding { score, ..finding(row)? })))
            .collect()
    }

    pub(crate) fn counts(&self, model: Option<&str>) -> Result<Counts, rusqlite::Error> {
        self.0.query_row(
            "SELECT (SELECT count(*) FROM files), (SELECT count(*) FROM passages),
                    (SELECT count(*) FROM passages JOIN vectors USING (hash) WHERE model = ?1)",
            [model],
            |row| Ok(Counts { files: row.get(0)?, passages: row.get(1)?, vectors: row.get(2)? }),
        )
    }
}

fn finding(row: &rusqlite::Row<'_>) -> Result<Finding, rusqlite::Error> {
    Ok(Finding {
        id: row.get(0)?,
        name: row.get(1)?,
        first: row.get(2)?,
        last: row.get(3)?,
        text: row.get(4)?,
        score: 0.0,
    })
}

fn hash(text: &str) -> Vec<u8> {
    Sha256::digest(text.as_bytes()).to_vec()
}

/// The shape that an index was made with.
fn shape_of(db: &Connection) -> Result<Option<String>, rusqlite::Error> {
    db.query_row("SELECT max(shape) FROM about", [], |row| row.get(0))
}
