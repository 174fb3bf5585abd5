//! The connection to one server: the program or the address behind it.

use std::sync::{Arc, Mutex, PoisonError};

use rmcp::RoleClient;
use rmcp::ServiceExt;
use rmcp::model::{ClientCapabilities, ClientConfig, Implementation};
use rmcp::service::RunningService;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::agents::mcp::settings::{Server, Way};
use crate::agents::providers::http::Http;
use crate::agents::runtime::Inner;

/// Sends requests to a server.
pub(crate) type Peer = rmcp::Peer<RoleClient>;

/// Longest line of a server's complaints that is kept.
const MOST_COMPLAINT: usize = 500;

/// A server that has told its tools.
#[derive(Debug)]
pub(super) struct Live {
    pub peer: Peer,
    pub tools: Vec<rmcp::model::Tool>,
    pub end: CancellationToken,
}

/// Connects and asks for the tools, within the server's time.
pub(super) async fn connect(
    inner: &Arc<Inner>,
    name: &str,
    server: &Server,
) -> Result<Live, String> {
    let end = inner.lifecycle.stopping().child_token();
    let give_up = end.clone().drop_guard();
    let live = tokio::time::timeout(server.connect, open(inner, name, server, end.clone()));
    let live = live
        .await
        .map_err(|_| format!("not connected within {} ms", server.connect.as_millis()))??;
    give_up.disarm();
    Ok(live)
}

async fn open(
    inner: &Arc<Inner>,
    name: &str,
    server: &Server,
    end: CancellationToken,
) -> Result<Live, String> {
    let who = Implementation::new("openclaw", crate::base::VERSION);
    let client = ClientConfig::new(ClientCapabilities::default(), who);
    let service = match &server.way {
        Way::Http { url, headers } => {
            let mut custom = std::collections::HashMap::new();
            for (header, value) in headers {
                let key = header.parse().map_err(|_| format!("`{header}` is not a header name"))?;
                let value = value
                    .parse()
                    .map_err(|_| format!("header `{header}` has characters HTTP forbids"))?;
                custom.insert(key, value);
            }
            let http = Http::default().client(url).map_err(|err| err.to_string())?;
            let config =
                StreamableHttpClientTransportConfig::with_uri(url.as_str()).custom_headers(custom);
            let transport = StreamableHttpClientTransport::with_client(http, config);
            client.serve_with_ct(transport, end.clone()).await.map_err(|err| err.to_string())?
        }
        Way::Stdio { command, args, env, cwd } => {
            let mut program = Command::new(command);
            program.args(args);
            let env: Vec<(&str, &str)> =
                env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            if let Some(dir) = cwd {
                program.current_dir(dir);
            }
            let processes = &inner.toolbox.processes;
            let (mut child, cell) = processes
                .launch(program, &env, &inner.env)
                .await
                .map_err(|err| format!("cannot start `{command}`: {err}"))?;
            let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
                return Err("the program has no standard input or output".to_owned());
            };
            let complaint = Arc::new(Mutex::new(String::new()));
            if let Some(stderr) = child.stderr.take() {
                let (name, last) = (name.to_owned(), Arc::clone(&complaint));
                inner.lifecycle.spawn("MCP complaints", move |stop| async move {
                    tokio::select! {
                        () = listen(name, stderr, last) => {}
                        () = stop.cancelled() => {}
                    }
                });
            }
            let pid = child.id();
            let ended = end.clone();
            inner.lifecycle.spawn("MCP server", move |_| async move {
                tokio::select! {
                    () = ended.cancelled() => {}
                    _ = child.wait() => ended.cancel(),
                }
                drop(tokio::task::spawn_blocking(move || cell.destroy(pid)).await);
            });
            let transport = AsyncRwTransport::new_client(stdout, stdin);
            client.serve_with_ct(transport, end.clone()).await.map_err(|err| {
                let complaint = complaint.lock().unwrap_or_else(PoisonError::into_inner);
                match complaint.as_str() {
                    "" => err.to_string(),
                    last => format!("{err}; its last words: {last}"),
                }
            })?
        }
    };
    introduce(inner, service, end).await
}

/// Asks for the tools and lets the connection live until `end`.
async fn introduce(
    inner: &Arc<Inner>,
    service: RunningService<RoleClient, ClientConfig>,
    end: CancellationToken,
) -> Result<Live, String> {
    let peer = service.peer().clone();
    let tools = service.list_all_tools().await.map_err(|err| format!("its tools: {err}"))?;
    let ended = end.clone();
    inner.lifecycle.spawn("MCP connection", move |_| async move {
        drop(service.waiting().await);
        ended.cancel();
    });
    Ok(Live { peer, tools, end })
}

/// Logs what a program complains about, and keeps the last line.
async fn listen(name: String, stderr: impl AsyncRead + Unpin, last: Arc<Mutex<String>>) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let line = crate::agents::sessions::ellipsis(line.trim(), MOST_COMPLAINT);
        if !line.is_empty() {
            tracing::debug!(server = name, "{line}");
            *last.lock().unwrap_or_else(PoisonError::into_inner) = line;
        }
    }
}
