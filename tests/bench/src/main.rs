//! Measures this gateway and the Node gateway side by side: the same program
//! asks the same things of both, in turn, round after round, and prints
//! medians and ratios as a table and as JSON.
//!
//! It is started by `tests/bench/run`, which installs the reference.

#![expect(
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measuring program, not part of the gateway"
)]

mod chat;
mod gateway;
mod operator;
mod provider;
mod report;

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use gateway::{Gateway, Side};
use operator::Device;
use report::{Better, Figure, Report};

/// What is measured, in the order of the table.
const FIGURES: &[Figure] = &[
    Figure::new("start_ready_ms", "start to `/readyz`", "ms", Better::Less),
    Figure::new("start_cpu_ms", "CPU time until ready", "ms", Better::Less),
    Figure::new("idle_pss_mib", "memory when idle (PSS)", "MiB", Better::Less),
    Figure::new("connect_hello_ms", "connect to `hello-ok`", "ms", Better::Less),
    Figure::new("presence_rps", "`system-presence`, one at a time", "requests/s", Better::More),
    Figure::new(
        "presence_pipelined_rps",
        "`system-presence`, pipelined",
        "requests/s",
        Better::More,
    ),
    Figure::new("models_rps", "`/v1/models`, wrk -t1 -c16", "requests/s", Better::More),
    Figure::new("embeddings_rps", "`/v1/embeddings`, wrk -t1 -c16", "requests/s", Better::More),
    Figure::new("chat_first_ms", "chat, first text, over the provider's own", "ms", Better::Less),
    Figure::new("chat_total_ms", "chat of 50 chunks, over the provider's own", "ms", Better::Less),
    Figure::new("chats_per_s", "chats at concurrency 8", "chats/s", Better::More),
    Figure::new(
        "socket_kib",
        "memory per idle authenticated socket (of 1,000)",
        "KiB",
        Better::Less,
    ),
    Figure::new("crowd_pss_mib", "memory with 1,000 idle sockets (PSS)", "MiB", Better::Less),
    Figure::new("fanout_ms", "one event to 500 sockets", "ms", Better::Less),
    Figure::new("sigterm_exit_ms", "SIGTERM to exit", "ms", Better::Less),
    Figure::new("installed_mib", "installed size", "MiB", Better::Less),
    Figure::new("version_ms", "`openclaw --version`", "ms", Better::Less),
    Figure::new("version_mib", "`openclaw --version`, peak memory", "MiB", Better::Less),
    Figure::new("status_ms", "`openclaw gateway status`", "ms", Better::Less),
    Figure::new("status_mib", "`openclaw gateway status`, peak memory", "MiB", Better::Less),
];

const MIB: f64 = 1024.0 * 1024.0;

/// What the command line of this program says.
struct Options {
    binary: PathBuf,
    node: PathBuf,
    reference: Option<PathBuf>,
    rounds: usize,
    write: Option<PathBuf>,
}

fn options() -> Options {
    let mut options = Options {
        binary: PathBuf::new(),
        node: PathBuf::new(),
        reference: None,
        rounds: 3,
        write: None,
    };
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    while let Some(word) = words.next() {
        let value = words.next().unwrap_or_else(|| panic!("{word} needs a value"));
        match word.as_str() {
            "--binary" => options.binary = value.into(),
            "--node" => options.node = value.into(),
            "--reference" => options.reference = Some(value.into()),
            "--rounds" => options.rounds = value.parse().expect("--rounds takes a number"),
            "--write" => options.write = Some(value.into()),
            other => panic!("unknown option {other}"),
        }
    }
    options
}

/// The median of the samples.
fn median(mut samples: Vec<f64>) -> f64 {
    assert!(!samples.is_empty(), "nothing was measured");
    samples.sort_by(f64::total_cmp);
    let middle = samples.len() / 2;
    if samples.len().is_multiple_of(2) {
        f64::midpoint(samples[middle - 1], samples[middle])
    } else {
        samples[middle]
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[tokio::main]
async fn main() {
    let options = options();
    // Both gateways inherit it: a thousand sockets need more than the usual 1024 files.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(65_536), hard).unwrap();

    let mut sides = Vec::new();
    if options.binary.exists() {
        let command = vec![options.binary.display().to_string()];
        let bytes = std::fs::metadata(&options.binary).unwrap().len();
        sides.push(Side { name: "openclaw (native)", command, installed: bytes as f64 / MIB });
    }
    if let Some(reference) = &options.reference {
        let command = vec![options.node.display().to_string(), reference.display().to_string()];
        let modules = reference.parent().and_then(Path::parent).unwrap();
        let bytes = folder_size(modules) + std::fs::metadata(&options.node).unwrap().len();
        sides.push(Side { name: "Node gateway 2026.4.2", command, installed: bytes as f64 / MIB });
    }
    assert!(!sides.is_empty(), "neither --binary nor --reference exists");

    let provider = provider::serve().await;
    let mut report = Report::new(sides.iter().map(|side| side.name).collect());
    for round in 1..=options.rounds {
        for (index, side) in sides.iter().enumerate() {
            eprintln!("round {round} of {}: {}", options.rounds, side.name);
            let began = std::time::Instant::now();
            measure(side, provider, |key, value| report.add(index, key, value)).await;
            eprintln!("  took {:.0} s", began.elapsed().as_secs_f64());
        }
    }
    println!("{}", report.table(FIGURES));
    println!("{}", report.json(FIGURES));
    if let Some(path) = &options.write {
        std::fs::write(path, report.page(FIGURES, options.rounds)).unwrap();
        eprintln!("wrote {}", path.display());
    }
}

/// One round of everything for one side.
async fn measure(
    side: &Side,
    provider: std::net::SocketAddr,
    mut add: impl FnMut(&'static str, f64),
) {
    let home = tempfile::tempdir().unwrap();
    add("installed_mib", side.installed);

    let (mut times, mut peaks) = (Vec::new(), Vec::new());
    for _ in 0..9 {
        let (time, peak) = gateway::run_command(side, home.path(), &["--version"]).await;
        times.push(millis(time));
        peaks.push(peak);
    }
    add("version_ms", median(times));
    add("version_mib", median(peaks));

    let gateway = Gateway::start(side, home.path(), provider).await;
    add("start_ready_ms", millis(gateway.ready_after));
    add("start_cpu_ms", gateway.cpu_until_ready * 1000.0);
    tokio::time::sleep(Duration::from_secs(3)).await;
    add("idle_pss_mib", gateway.pss() / MIB);

    let device = Device::generate();
    // The first connection pairs the device.
    drop(operator::connect(gateway.port, &device).await);
    let mut hellos = Vec::new();
    for _ in 0..50 {
        let began = std::time::Instant::now();
        let socket = operator::connect(gateway.port, &device).await;
        hellos.push(millis(began.elapsed()));
        drop(socket);
    }
    add("connect_hello_ms", median(hellos));

    let mut socket = operator::connect(gateway.port, &device).await;
    add("presence_rps", socket.sequential("system-presence", 300).await);
    add("presence_pipelined_rps", socket.pipelined("system-presence", 2000, 50).await);
    drop(socket);

    add("models_rps", gateway::wrk(gateway.port, "/v1/models").await);
    let body = r#"{"model":"openclaw","input":"hello"}"#;
    let vectors = gateway::wrk_post(gateway.port, "/v1/embeddings", body, home.path()).await;
    add("embeddings_rps", vectors);

    // A process's first turn loads what the later ones have.
    chat::through_gateway(gateway.port).await;
    chat::at_concurrency(gateway.port, 8, Duration::from_secs(2)).await;
    let (mut first, mut total) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let own = chat::from_provider(provider).await;
        let through = chat::through_gateway(gateway.port).await;
        first.push(millis(through.first) - millis(own.first));
        total.push(millis(through.total) - millis(own.total));
    }
    add("chat_first_ms", median(first));
    add("chat_total_ms", median(total));
    add("chats_per_s", chat::at_concurrency(gateway.port, 8, Duration::from_secs(8)).await);

    let mut times = Vec::new();
    let mut peaks = Vec::new();
    for _ in 0..3 {
        let (time, peak) = gateway::run_command(side, home.path(), &["gateway", "status"]).await;
        times.push(millis(time));
        peaks.push(peak);
    }
    add("status_ms", median(times));
    add("status_mib", median(peaks));

    tokio::time::sleep(Duration::from_millis(500)).await;
    add("sigterm_exit_ms", millis(gateway.stop().await));

    // Sockets are weighed in a process that has done nothing else: a heap that
    // work has grown takes them in without growing.
    let home = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(side, home.path(), provider).await;
    add("start_ready_ms", millis(gateway.ready_after));
    add("start_cpu_ms", gateway.cpu_until_ready * 1000.0);
    let mut crowd = operator::Crowd::connect(gateway.port, &device, 8).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = gateway.pss();
    crowd.grow(gateway.port, &device, 1000).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let with_crowd = gateway.pss();
    add("socket_kib", (with_crowd - before) / 1024.0 / 1000.0);
    add("crowd_pss_mib", with_crowd / MIB);
    crowd.leave().await;
    let mut crowd = operator::Crowd::connect(gateway.port, &device, 500).await;
    add("fanout_ms", crowd.fan_out(20).await);
    crowd.leave().await;
    gateway.stop().await;
}

/// Bytes of all files below `dir`.
fn folder_size(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => folder_size(&entry.path()),
            Ok(found) => found.len(),
            Err(_) => 0,
        })
        .sum()
}
