//! The connection to one server: the program or the address behind it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use indexmap::IndexMap;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use rmcp::ClientHandler;
use rmcp::RoleClient;
use rmcp::ServiceExt;
use rmcp::model::{ClientCapabilities, ClientConfig, Implementation};
use rmcp::service::{NotificationContext, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::agents::mcp::settings::{Server, Speaks, Way};
use crate::agents::mcp::sse::Sse;
use crate::agents::providers::http::Http;
use crate::agents::runtime::Inner;
use crate::lifecycle;

/// Sends requests to a server.
pub(crate) type Peer = rmcp::Peer<RoleClient>;

/// Most bytes of one line of a server's complaints.
const MOST_COMPLAINT: usize = 500;

/// A server that has told its tools.
#[derive(Debug)]
pub(super) struct Live {
    pub peer: Peer,
    pub tools: Vec<rmcp::model::Tool>,
}

/// Connects and asks for the tools, within the server's time. The connection
/// lives until `end`, which is cancelled when it ends by itself or fails.
pub(super) async fn connect(
    inner: &Arc<Inner>,
    name: &str,
    server: &Server,
    end: &CancellationToken,
) -> Result<Live, String> {
    let give_up = end.clone().drop_guard();
    let opening = async {
        let service = open(inner, name, server, end).await?;
        introduce(inner, name, service, end.clone()).await
    };
    let live = tokio::time::timeout(server.connect, opening);
    let live = live
        .await
        .map_err(|_| format!("not connected within {} ms", server.connect.as_millis()))?
        .map_err(|reason| server.without_secrets(&reason))?;
    give_up.disarm();
    Ok(live)
}

type Service = RunningService<RoleClient, Us>;

/// Us to a server: hears when its tools are others.
#[derive(Debug, Clone)]
struct Us {
    who: ClientConfig,
    changed: Arc<Notify>,
}

impl ClientHandler for Us {
    fn get_info(&self) -> ClientConfig {
        self.who.clone()
    }

    async fn on_tool_list_changed(&self, _context: NotificationContext<RoleClient>) {
        self.changed.notify_one();
    }
}

/// Who we are to a server.
fn client() -> Us {
    let who = Implementation::new("openclaw", crate::base::VERSION);
    let who = ClientConfig::new(ClientCapabilities::default(), who);
    Us { who, changed: Arc::default() }
}

async fn open(
    inner: &Arc<Inner>,
    name: &str,
    server: &Server,
    end: &CancellationToken,
) -> Result<Service, String> {
    match &server.way {
        Way::Http { url, headers, speaks } => address(url, headers, *speaks, end).await,
        Way::Stdio { command, args, env, cwd } => {
            let mut command_line = Command::new(command);
            command_line.args(args);
            if let Some(dir) = cwd {
                command_line.current_dir(dir);
            }
            let env: Vec<(&str, &str)> =
                env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            program(inner, name, command_line, &env, end).await
        }
    }
}

/// A server behind an address. Without a choice the newer way is tried first.
async fn address(
    url: &str,
    headers: &IndexMap<String, String>,
    speaks: Option<Speaks>,
    end: &CancellationToken,
) -> Result<Service, String> {
    let mut custom = HashMap::new();
    for (header, value) in headers {
        let key: HeaderName =
            header.parse().map_err(|_| format!("`{header}` is not a header name"))?;
        let value: HeaderValue =
            value.parse().map_err(|_| format!("header `{header}` has characters HTTP forbids"))?;
        custom.insert(key, value);
    }
    let http = Http::default().client(url).map_err(|err| err.to_string())?;
    let older = async |http, custom: &HashMap<HeaderName, HeaderValue>| {
        let headers = HeaderMap::try_from(custom).map_err(|err| err.to_string())?;
        let stream = Sse::open(http, url, headers).await.map_err(|err| err.to_string())?;
        client().serve_with_ct(stream, end.clone()).await.map_err(|err| plain(&err.to_string()))
    };
    if speaks == Some(Speaks::Sse) {
        return older(http, &custom).await;
    }
    let config = StreamableHttpClientTransportConfig::with_uri(url).custom_headers(custom.clone());
    let newer = StreamableHttpClientTransport::with_client(http.clone(), config);
    let newer = client().serve_with_ct(newer, end.child_token()).await;
    let refused = match newer.map_err(|err| plain(&err.to_string())) {
        Err(refused) if speaks.is_none() => refused,
        settled => return settled,
    };
    let opened = older(http, &custom).await;
    opened.map_err(|err| format!("as streamable HTTP: {refused}; as a stream of events: {err}"))
}

/// An error without the type of the transport, which means nothing to people.
fn plain(text: &str) -> String {
    let bare =
        text.starts_with("Send message error Transport [").then(|| text.split_once("] error: "));
    bare.flatten().map_or(text, |(_, rest)| rest).to_owned()
}

/// A server that is a program on its standard input and output.
async fn program(
    inner: &Arc<Inner>,
    name: &str,
    program: Command,
    env: &[(&str, &str)],
    end: &CancellationToken,
) -> Result<Service, String> {
    let command = program.as_std().get_program().to_string_lossy().into_owned();
    let processes = &inner.toolbox.processes;
    let (mut child, cell) = processes
        .launch(program, env, &inner.config.load().env)
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
        drop(lifecycle::spawn_blocking(move || cell.destroy(pid)).await);
    });
    let transport = AsyncRwTransport::new_client(stdout, stdin);
    client().serve_with_ct(transport, end.clone()).await.map_err(|err| {
        let complaint = complaint.lock().unwrap_or_else(PoisonError::into_inner);
        match complaint.as_str() {
            "" => plain(&err.to_string()),
            last => format!("{err}; its last words: {last}"),
        }
    })
}

/// Asks for the tools and lets the connection live until `end`.
async fn introduce(
    inner: &Arc<Inner>,
    name: &str,
    service: Service,
    end: CancellationToken,
) -> Result<Live, String> {
    let peer = service.peer().clone();
    let tools = service.list_all_tools().await.map_err(|err| format!("its tools: {err}"))?;
    let (owner, name, asked) = (Arc::clone(inner), name.to_owned(), peer.clone());
    let changed = Arc::clone(&service.service().changed);
    inner.lifecycle.spawn("MCP connection", move |_| async move {
        let news = async {
            loop {
                changed.notified().await;
                match asked.list_all_tools().await {
                    Ok(tools) => owner.servers.offer(&owner, &name, &end, &tools, &asked),
                    Err(err) => tracing::warn!("mcp.servers.{name}: its tools: {err}"),
                }
            }
        };
        tokio::select! {
            _ = service.waiting() => {}
            () = news => {}
        }
        end.cancel();
    });
    Ok(Live { peer, tools })
}

/// Logs what a program complains about, and keeps the last line. Whatever it
/// writes is read: a program whose complaints pile up would stop.
async fn listen(name: String, mut stderr: impl AsyncRead + Unpin, last: Arc<Mutex<String>>) {
    let mut buffer = vec![0; 4096];
    let mut line = Vec::new();
    while let Ok(read) = stderr.read(&mut buffer).await
        && read > 0
    {
        for piece in buffer[..read].split_inclusive(|&byte| byte == b'\n') {
            let room = MOST_COMPLAINT.saturating_sub(line.len());
            line.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                complain(&name, &line, &last);
                line.clear();
            }
        }
    }
    complain(&name, &line, &last);
}

fn complain(name: &str, line: &[u8], last: &Mutex<String>) {
    let line = String::from_utf8_lossy(line);
    let line = line.trim();
    if !line.is_empty() {
        tracing::debug!(server = name, "{line}");
        line.clone_into(&mut last.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn complaints_of_any_kind_are_read_to_their_end() {
        let last = Arc::new(Mutex::new(String::new()));
        let mut wild = vec![b'x'; 100_000];
        wild.extend_from_slice(b"\n\xff latin\n\n");
        let mut rest = wild.as_slice();
        listen("it".to_owned(), &mut rest, Arc::clone(&last)).await;
        assert_eq!(*last.lock().unwrap(), "\u{fffd} latin");
        assert!(rest.is_empty());
        listen("it".to_owned(), &wild[..90_000], Arc::clone(&last)).await;
        assert_eq!(last.lock().unwrap().len(), MOST_COMPLAINT);
    }
}
