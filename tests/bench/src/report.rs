//! Medians and ratios of what was measured, as a table, as JSON and as the
//! page in `docs/`.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;

use serde_json::{Map, Value, json};

use crate::median;

/// Which direction is good.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    Less,
    More,
}

/// One line of the table.
pub(crate) struct Figure {
    key: &'static str,
    title: &'static str,
    unit: &'static str,
    better: Better,
}

impl Figure {
    pub(crate) const fn new(
        key: &'static str,
        title: &'static str,
        unit: &'static str,
        better: Better,
    ) -> Self {
        Self { key, title, unit, better }
    }
}

/// Samples of both sides; the first side is the one that is compared.
pub(crate) struct Report {
    sides: Vec<&'static str>,
    samples: HashMap<(usize, &'static str), Vec<f64>>,
}

impl Report {
    pub(crate) fn new(sides: Vec<&'static str>) -> Self {
        Self { sides, samples: HashMap::new() }
    }

    pub(crate) fn add(&mut self, side: usize, key: &'static str, value: f64) {
        eprintln!("  {key} {value:.3}");
        self.samples.entry((side, key)).or_default().push(value);
    }

    fn medians(&self, figure: &Figure) -> Vec<f64> {
        (0..self.sides.len())
            .map(|side| median(self.samples[&(side, figure.key)].clone()))
            .collect()
    }

    /// How many times better the first side is than the second.
    fn ratio(figure: &Figure, medians: &[f64]) -> Option<f64> {
        let [ours, theirs] = medians else { return None };
        let ratio = if figure.better == Better::Less { theirs / ours } else { ours / theirs };
        // A difference of two times can come out at or below zero: no ratio then.
        (*ours > 0.0 && *theirs > 0.0 && ratio.is_finite()).then_some(ratio)
    }

    pub(crate) fn table(&self, figures: &[Figure]) -> String {
        let mut text = format!("| | {} | times better |\n|---|", self.sides.join(" | "));
        text.push_str(&"---:|".repeat(self.sides.len() + 1));
        text.push('\n');
        for figure in figures {
            let medians = self.medians(figure);
            write!(text, "| {} |", figure.title).unwrap();
            for value in &medians {
                write!(text, " {} {} |", rounded(*value), figure.unit).unwrap();
            }
            let ratio = Self::ratio(figure, &medians).map_or_else(|| "–".to_owned(), rounded);
            writeln!(text, " {ratio} |").unwrap();
        }
        text
    }

    pub(crate) fn json(&self, figures: &[Figure]) -> Value {
        let mut all = Map::new();
        for figure in figures {
            let medians = self.medians(figure);
            let mut row = Map::new();
            row.insert("unit".into(), figure.unit.into());
            for (side, value) in medians.iter().enumerate() {
                let samples = &self.samples[&(side, figure.key)];
                row.insert(self.sides[side].into(), json!({"median": value, "samples": samples}));
            }
            row.insert("timesBetter".into(), json!(Self::ratio(figure, &medians)));
            all.insert(figure.key.into(), row.into());
        }
        Value::Object(all)
    }

    /// The page that stands in the documentation.
    pub(crate) fn page(&self, figures: &[Figure], rounds: usize) -> String {
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model =
            cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
        let model = model.trim_start_matches([':', '\t', ' ']);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let kernel = kernel.split('-').next().unwrap_or_default();
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().unwrap_or_default();
        format!(
            "# Performance\n\n\
             Made by `make bench ROUNDS={rounds}`: both gateways run on the same machine, in turn; \
             the figures are medians.\n\
             The Node gateway is the npm package 2026.4.2, without optional dependencies, with the Node release it is made for.\n\
             Machine: {cores} cores of {model}, Linux {}; load average {load} at the end, the measurement itself included.\n\n\
             {}\n\
             Chats go over a provider on the same machine that streams 50 chunks without pause; \
             the provider's own time is measured in the same run and subtracted.\n\
             Memory is the proportional set size of the process and its children. \
             Node takes sockets into a heap that it has reserved at start, so its figure per socket is low; \
             the line below it shows the whole process.\n\
             Fan-out is the time from sending `system-event` until the last of 500 sockets has the event.\n\n\
             ## Samples\n\n```json\n{}\n```\n",
            kernel.trim(),
            self.table(figures),
            serde_json::to_string_pretty(&self.json(figures)).unwrap(),
        )
    }
}

/// Three significant digits, or all of a large whole number.
fn rounded(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
