//! The socket of an IRC session: the only I/O of this channel.
//!
//! Every line that is said to people is followed by a `PING` with a mark of its
//! own; the next one waits for the answer. That tells what arrived, and a
//! server that slows talkative clients down sets the pace.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use crate::channels::channel::{Fault, SendError};
use crate::channels::irc::line;
use crate::channels::irc::session::{Action, Session};
use crate::channels::irc::settings::Settings;
use crate::channels::link::Link;
use crate::channels::tls;
use crate::lifecycle::CancellationToken;

const CONNECT: Duration = Duration::from_secs(15);
const REGISTER: Duration = Duration::from_secs(30);
const WRITE: Duration = Duration::from_secs(20);
/// Silence after which the server is asked whether it is there.
const QUIET: Duration = Duration::from_secs(20);
/// Silence after which it is not.
const DEAD: Duration = Duration::from_secs(45);
/// Pause before a nick or a channel that could not be had is asked for again.
const AGAIN: Duration = Duration::from_secs(30);
/// Longest line with message tags, and room for servers that are generous.
const MOST_LINE: usize = 16 * 1024;
/// Things to do that are gathered from lines that came together.
const AT_ONCE: usize = 64;
const LAG: &str = "openclaw-lag";

/// Something to be said.
#[derive(Debug)]
pub(super) struct Order {
    /// `None` only asks the server for a sign of life.
    pub(super) line: Option<(String, String)>,
    pub(super) done: oneshot::Sender<Result<(), SendError>>,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Opens the connection, encrypted where that is configured.
async fn dial(settings: &Settings) -> Result<Box<dyn Stream>, Fault> {
    let Settings { host, port, tls, path, .. } = settings;
    let lost =
        |why: String| Fault::Lost(format!("cannot connect to {host}:{port}: {why}; check {path}"));
    let connecting = async {
        let tcp = TcpStream::connect((host.as_str(), *port))
            .await
            .map_err(|err| lost(err.to_string()))?;
        tcp.set_nodelay(true).map_err(|err| lost(err.to_string()))?;
        if !tls {
            return Ok(Box::new(tcp) as Box<dyn Stream>);
        }
        let stream = tls::wrap(tcp, host).await.map_err(|err| lost(format!("TLS: {err}")))?;
        Ok(Box::new(stream) as Box<dyn Stream>)
    };
    timeout(CONNECT, connecting).await.unwrap_or_else(|_| Err(lost("no answer in time".into())))
}

/// A connection with its unfinished line.
struct Wire {
    read: ReadHalf<Box<dyn Stream>>,
    write: WriteHalf<Box<dyn Stream>>,
    bytes: Vec<u8>,
    heard: Instant,
}

impl Wire {
    async fn open(settings: &Settings) -> Result<Self, Fault> {
        let (read, write) = tokio::io::split(dial(settings).await?);
        Ok(Self { read, write, bytes: Vec::new(), heard: Instant::now() })
    }

    /// The next line that has been read already.
    fn buffered_line(&mut self) -> Option<String> {
        let end = self.bytes.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.bytes.drain(..=end).collect();
        Some(String::from_utf8_lossy(&line).into_owned())
    }

    /// The next line. Cancel-safe.
    async fn line(&mut self) -> Result<String, Fault> {
        loop {
            if let Some(line) = self.buffered_line() {
                return Ok(line);
            }
            if self.bytes.len() > MOST_LINE {
                return Err(Fault::Lost("the server sent a line without end".into()));
            }
            match self.read.read_buf(&mut self.bytes).await {
                Ok(0) => return Err(Fault::Lost("the server closed the connection".into())),
                Ok(_) => self.heard = Instant::now(),
                Err(err) => return Err(Fault::Lost(format!("connection lost: {err}"))),
            }
        }
    }

    async fn say(&mut self, lines: &[String]) -> Result<(), Fault> {
        let mut text = String::new();
        for line in lines {
            text.push_str(line);
            text.push_str("\r\n");
        }
        let write = async {
            self.write.write_all(text.as_bytes()).await?;
            self.write.flush().await
        };
        match timeout(WRITE, write).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(err)) => Err(Fault::Lost(format!("connection lost: {err}"))),
            Err(_) => Err(Fault::Lost("the server does not read".into())),
        }
    }
}

/// Something that was said and not confirmed yet.
struct Unconfirmed {
    mark: String,
    target: String,
    done: oneshot::Sender<Result<(), SendError>>,
}

/// Runs a session until it ends; `orders` is what the bot wants to say.
pub(super) async fn run(
    settings: &Settings,
    link: &Link,
    mut orders: mpsc::Receiver<Order>,
    stop: &CancellationToken,
    on_ready: &(dyn Fn() + Sync),
) -> Result<(), Fault> {
    let mut wire = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        wire = Wire::open(settings) => wire?,
    };
    let mut session = Session::new(settings, settings.nick.clone());
    wire.say(&session.open()).await?;
    let register_by = Instant::now() + REGISTER;
    let mut ready = false;
    let mut unconfirmed: Option<Unconfirmed> = None;
    let mut asked = false;
    let mut marks = 0_u64;
    let mut again = Instant::now() + AGAIN;
    loop {
        let wake = if !ready {
            register_by
        } else if asked {
            wire.heard + DEAD
        } else {
            wire.heard + QUIET
        };
        let line = tokio::select! {
            biased;
            () = stop.cancelled() => {
                let goodbye = wire.say(&["QUIT :gateway stopping".to_owned()]).await;
                return goodbye.or(Ok(()));
            }
            line = wire.line() => line?,
            order = orders.recv(), if ready && unconfirmed.is_none() => {
                let Some(Order { line, done }) = order else { return Ok(()) };
                marks += 1;
                let mark = format!("openclaw-{marks}");
                let (target, text) = match line {
                    Some((target, text)) => {
                        let text = format!("PRIVMSG {} :{}", line::plain(&target), line::plain(&text));
                        (target, Some(text))
                    }
                    None => (String::new(), None),
                };
                let lines: Vec<String> = text.into_iter().chain([format!("PING :{mark}")]).collect();
                unconfirmed = Some(Unconfirmed { mark, target, done });
                wire.say(&lines).await?;
                continue;
            }
            () = sleep_until(again), if session.lacks_something() => {
                again = Instant::now() + AGAIN;
                wire.say(&session.ask_again()).await?;
                continue;
            }
            () = sleep_until(wake) => {
                if !ready {
                    return Err(Fault::Lost("the server did not sign us in in time".into()));
                }
                if asked {
                    return Err(Fault::Lost("the server went silent".into()));
                }
                asked = true;
                wire.say(&[format!("PING :{LAG}")]).await?;
                continue;
            }
        };
        asked = false;
        link.status.heard();
        // What came along is looked at together: one wait for the disk for all.
        let mut actions: VecDeque<Action> = session.on_line(&line);
        while actions.len() < AT_ONCE
            && let Some(line) = wire.buffered_line()
        {
            actions.extend(session.on_line(&line));
        }
        let mut to_send = Vec::new();
        let mut received = Vec::new();
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Send(text) => to_send.push(text),
                Action::Ready => {
                    ready = true;
                    on_ready();
                    link.status.connected();
                    tracing::info!(
                        target: "channels", "[irc] [{}] connected to {}:{} as {}",
                        settings.account, settings.host, settings.port, session.nick
                    );
                }
                Action::Reached(mark) => {
                    if let Some(order) = unconfirmed.take_if(|order| order.mark == mark) {
                        // Whoever asked may have stopped waiting.
                        let _gone = order.done.send(Ok(())).is_err();
                    }
                }
                Action::Rejected { target, error } => {
                    if let Some(order) = unconfirmed.take_if(|it| line::same(&it.target, &target)) {
                        let _gone = order.done.send(Err(error)).is_err();
                    }
                }
                Action::Receive(message) => received.push(*message),
                Action::Note(text) => {
                    tracing::warn!(target: "channels", "[irc] [{}] {text}", settings.account);
                }
                Action::End(fault) => return Err(fault),
            }
        }
        if !to_send.is_empty() {
            wire.say(&to_send).await?;
        }
        if !received.is_empty() {
            let accepted = link.accept(received).await;
            let accepted = accepted
                .map_err(|err| Fault::Lost(format!("a message could not be kept: {err}")))?;
            accepted.release().await;
        }
    }
}

/// Signs in with a nick of its own and leaves again.
pub(super) async fn try_out(settings: &Settings, nick: String) -> Result<(), Fault> {
    let mut wire = Wire::open(settings).await?;
    let mut alone = settings.clone();
    alone.service = None;
    alone.channels.clear();
    let mut session = Session::new(&alone, nick);
    wire.say(&session.open()).await?;
    loop {
        let line = wire.line().await?;
        for action in session.on_line(&line) {
            match action {
                Action::Send(text) => wire.say(&[text]).await?,
                Action::Ready => return wire.say(&["QUIT :probe".to_owned()]).await,
                Action::End(fault) => return Err(fault),
                _ => {}
            }
        }
    }
}
