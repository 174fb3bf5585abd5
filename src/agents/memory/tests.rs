//! Searches over real files and a real index, with vectors that know three topics.

use std::sync::Mutex;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::*;
use crate::agents::embeddings::EmbedError;

/// Knows three topics; every other text is about nothing.
#[derive(Debug, Default)]
struct Topics {
    asked: Mutex<Vec<String>>,
    down: bool,
    /// Numbers that follow the usual ones.
    longer_by: usize,
}

impl Vectors for Topics {
    fn model(&self) -> &'static str {
        "test/topics"
    }

    fn embed<'a>(
        &'a self,
        texts: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Vec<f64>>, EmbedError>> {
        async move {
            if self.down {
                return Err(EmbedError::NoProvider);
            }
            self.asked.lock().unwrap().extend(texts.iter().cloned());
            let about = |text: &str, words: &[&str]| {
                f64::from(u8::from(words.iter().any(|word| text.contains(word))))
            };
            Ok(texts
                .iter()
                .map(|text| {
                    let mut vector = vec![
                        about(text, &["cat", "pet", "Minka"]),
                        about(text, &["bicycle", "vehicle"]),
                        0.01,
                    ];
                    vector.resize(vector.len() + self.longer_by, 0.0);
                    vector
                })
                .collect())
        }
        .boxed()
    }
}

struct Bed {
    dir: tempfile::TempDir,
    config: Value,
}

impl Bed {
    fn new(search: &Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bed = Self { dir, config: json!({"agents": {"defaults": {"memorySearch": search}}}) };
        bed.write("MEMORY.md", "# Facts\n- The cat is called Minka.\n");
        bed.write("memory/2026-11-20.md", "Bought a bicycle.\nParis trip.\n");
        bed.write("secret.md", "cat cat cat");
        bed
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.dir.path().join("w").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn memory(&self) -> Memory {
        let env = [("HOME", self.dir.path().to_str().unwrap())].into_iter().collect();
        let config: Config = serde_json::from_value(self.config.clone()).unwrap();
        Memory::of(&config, "main", &Paths::resolve(&env), self.dir.path().join("w"))
    }

    async fn search(&self, text: &str, vectors: Option<&dyn Vectors>) -> Found {
        let query = Query { text: text.to_owned(), ..Query::default() };
        self.memory().search(query, Ok(vectors)).await.unwrap()
    }
}

fn names(found: &Found) -> Vec<&str> {
    found.results.iter().map(|finding| finding.name.as_str()).collect()
}

#[tokio::test]
async fn the_passage_with_the_words_comes_first() {
    let bed = Bed::new(&json!({}));
    let found = bed.search("what is the CAT's name? Minka", None).await;
    assert_eq!(names(&found), ["MEMORY.md"]);
    let shown = found.to_json();
    assert_eq!(shown["results"][0]["startLine"], 1);
    assert_eq!(shown["results"][0]["endLine"], 2);
    assert_eq!((&shown["provider"], &shown["mode"]), (&json!("none"), &json!("fts-only")));
    let score = shown["results"][0]["score"].as_f64().unwrap();
    assert!((0.0..1.0).contains(&score), "{score}");
    assert!(bed.search("submarine", None).await.results.is_empty());
    assert!(bed.search("\" OR ) * --", None).await.results.is_empty());
    let strict = Query { text: "bicycle".to_owned(), min_score: Some(1.0), ..Query::default() };
    assert!(bed.memory().search(strict, Ok(None)).await.unwrap().results.is_empty());
}

#[tokio::test]
async fn what_is_written_without_spaces_is_found_by_its_pieces() {
    let bed = Bed::new(&json!({}));
    bed.write("memory/ja.md", "東京タワーは高い。");
    bed.write("memory/zh.md", "我们住在北京的东边");
    bed.write("memory/ru.md", "Москва слезам не верит");
    for (query, file) in [
        ("東京", "memory/ja.md"),
        ("タワーの高さ", "memory/ja.md"),
        ("北京 weather", "memory/zh.md"),
        ("住", "memory/zh.md"),
        ("москва", "memory/ru.md"),
    ] {
        assert_eq!(names(&bed.search(query, None).await), [file], "{query}");
    }
    assert!(bed.search("大阪", None).await.results.is_empty());
}

#[tokio::test]
async fn a_search_sees_every_edit_and_removal() {
    let bed = Bed::new(&json!({}));
    assert_eq!(names(&bed.search("bicycle", None).await), ["memory/2026-11-20.md"]);
    bed.write("memory/2026-11-20.md", "Bought a scooter instead.\n");
    assert!(bed.search("bicycle", None).await.results.is_empty());
    assert_eq!(names(&bed.search("scooter", None).await), ["memory/2026-11-20.md"]);
    std::fs::remove_file(bed.dir.path().join("w/memory/2026-11-20.md")).unwrap();
    assert!(bed.search("scooter", None).await.results.is_empty());
}

#[tokio::test]
async fn meaning_finds_what_words_miss_and_each_text_is_asked_about_once() {
    let bed = Bed::new(&json!({}));
    let topics = Topics::default();
    let found = bed.search("vehicle", Some(&topics)).await;
    assert_eq!(names(&found), ["memory/2026-11-20.md"]);
    assert_eq!(found.to_json()["model"], "topics");
    bed.search("pet", Some(&topics)).await;
    let asked = topics.asked.lock().unwrap();
    assert_eq!(asked.iter().filter(|text| text.contains("bicycle")).count(), 1, "{asked:?}");
}

#[tokio::test]
async fn vectors_of_another_length_are_asked_for_anew() {
    let bed = Bed::new(&json!({}));
    for longer_by in [0, 2, 1] {
        let topics = Topics { longer_by, ..Topics::default() };
        let found = bed.search("vehicle", Some(&topics)).await;
        assert_eq!(names(&found), ["memory/2026-11-20.md"], "{longer_by}");
    }
}

#[tokio::test]
async fn a_provider_that_fails_costs_meaning_but_not_words() {
    let bed = Bed::new(&json!({}));
    let down = Topics { down: true, ..Topics::default() };
    let found = bed.search("bicycle", Some(&down)).await;
    assert_eq!(names(&found), ["memory/2026-11-20.md"]);
    assert!(found.to_json()["warning"].as_str().unwrap().contains("no embedding provider"));
}

#[tokio::test]
async fn a_broken_index_is_made_anew_and_another_shape_too() {
    let mut bed = Bed::new(&json!({}));
    bed.search("bicycle", None).await;
    let index = bed.dir.path().join(".openclaw/memory/main.native.sqlite");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&index).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    std::fs::write(&index, "this is no database, whatever its name says").unwrap();
    assert_eq!(names(&bed.search("bicycle", None).await), ["memory/2026-11-20.md"]);
    bed.config["agents"]["defaults"]["memorySearch"]["store"] =
        json!({"fts": {"tokenizer": "trigram"}});
    assert_eq!(names(&bed.search("icycl", None).await), ["memory/2026-11-20.md"]);
}

#[tokio::test]
async fn many_searches_at_once_agree() {
    let bed = Bed::new(&json!({}));
    let one = || async { names(&bed.search("bicycle", None).await).join(",") };
    let all = futures_util::future::join_all((0..20).map(|_| one())).await;
    assert!(all.iter().all(|names| names == "memory/2026-11-20.md"), "{all:?}");
}

#[tokio::test]
async fn a_memory_that_is_off_says_so_and_only_its_files_can_be_read() {
    let off = Bed::new(&json!({"enabled": false})).memory();
    let refused = off.search(Query::default(), Ok(None)).await.unwrap_err().to_string();
    assert!(refused.contains("memorySearch.enabled"), "{refused}");
    let bed = Bed::new(&json!({}));
    let memory = bed.memory();
    assert!(memory.file("./memory/2026-11-20.md").is_some());
    for other in ["secret.md", "memory/../secret.md", "/etc/passwd"] {
        assert!(memory.file(other).is_none(), "{other}");
    }
    let status = memory.status("openai", None).unwrap();
    assert_eq!((&status["files"], &status["dirty"]), (&json!(0), &json!(true)));
    memory.refresh(false).unwrap();
    let status = memory.status("openai", None).unwrap();
    assert_eq!((&status["files"], &status["chunks"]), (&json!(2), &json!(2)));
    assert_eq!(status["dirty"], false);
    bed.write("MEMORY.md", "As many files as before, but other words.\n");
    assert_eq!(memory.status("openai", None).unwrap()["dirty"], true);
}

#[tokio::test]
async fn a_wrong_setting_is_told_beside_what_words_find() {
    let bed = Bed::new(&json!({}));
    let query = Query { text: "bicycle".to_owned(), ..Query::default() };
    let found = bed.memory().search(query, Err("no such provider".to_owned())).await.unwrap();
    assert_eq!(names(&found), ["memory/2026-11-20.md"]);
    assert_eq!(found.to_json()["warning"], "no such provider");
}
