//! Frames on a byte stream: tungstenite reads and checks them, this file
//! writes them.
//!
//! Writing is done here because events are shared between sockets: a frame is
//! sent straight from the shared halves of its text, without a copy per socket
//! and without a write buffer per socket.

use std::collections::VecDeque;
use std::io::{self, Cursor, IoSlice, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::gateway::guarded::Guard;
use crate::gateway::ws::Outbox;
use crate::gateway::ws::outbox::Item;
use crate::protocol::frame::{self, EventText, MAX_PAYLOAD, MAX_PREAUTH_PAYLOAD};

/// What an idle socket reserves for reading, in bytes.
const READ_BUFFER: usize = 2048;
/// Messages that are handed to the kernel at once.
const BATCH: usize = 16;
/// Most bytes of pong and close replies that wait for a peer that does not read.
const MAX_CONTROL: usize = 1024;

/// Stands for a close frame without a code; never on the wire.
pub const NO_CODE: u16 = 1005;

/// A byte stream a socket runs on.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A WebSocket of ours.
pub struct Wire {
    io: Box<dyn Stream>,
    /// While a message arrives: its buffer goes, and is wiped, with the message.
    reader: Option<Box<WebSocketContext>>,
    inbox: Inbox,
    /// Most bytes of a message.
    limit: usize,
    /// Replies of the reader to pings and closes, whole frames.
    control: Vec<u8>,
    batch: VecDeque<OutFrame>,
    /// A close frame of ours was handed to the kernel.
    closed: bool,
    /// Until `hello-ok` is written.
    guard: Option<Guard>,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("closed", &self.closed).finish_non_exhaustive()
    }
}

/// What the wire has for its owner.
#[derive(Debug)]
pub enum Turn {
    Message(String),
    /// The socket was given up and the peer does not take what is on its way.
    Stuck,
    /// Our close frame has been written.
    CloseSent,
    /// The peer closed properly, with this code.
    PeerClosed(Option<u16>),
    /// The peer broke the protocol or a limit; answer with this close code.
    Violation {
        code: u16,
        err: String,
    },
    /// The connection is gone.
    Gone(String),
}

/// One frame being written.
#[derive(Debug)]
struct OutFrame {
    header: [u8; 10],
    header_len: usize,
    body: Body,
    /// Bytes of header and body that are written already.
    written: usize,
    closes: bool,
}

#[derive(Debug)]
enum Body {
    Owned(Vec<u8>),
    Event { text: Arc<EventText>, seq: String },
}

fn reader(limit: usize) -> Box<WebSocketContext> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(4096)
        .max_message_size(Some(limit))
        .max_frame_size(Some(limit));
    Box::new(WebSocketContext::from_partially_read(Vec::new(), Role::Server, Some(config)))
}

/// What arrived and was not read yet. The reader gets one frame at a time, so
/// that nothing of the next message is in it when it goes.
struct Inbox {
    arrived: Vec<u8>,
    /// Bytes that the frame being read still has.
    due: usize,
}

impl Inbox {
    /// Whether it is known how long the next frame is.
    fn has_frame(&mut self) -> bool {
        if self.due == 0 {
            let mut cursor = Cursor::new(&self.arrived);
            self.due = match FrameHeader::parse(&mut cursor) {
                Ok(None) => 0,
                Ok(Some((_, body))) => {
                    let whole = cursor.position().saturating_add(body);
                    usize::try_from(whole).unwrap_or(usize::MAX)
                }
                // The reader says what is wrong with it.
                Err(_) => usize::MAX,
            };
        }
        self.due > 0
    }

    /// Moves what belongs to the frame into `buf`.
    fn take(&mut self, buf: &mut [u8]) -> usize {
        let taken = self.due.min(self.arrived.len()).min(buf.len());
        buf[..taken].copy_from_slice(&self.arrived[..taken]);
        self.arrived.drain(..taken);
        if self.arrived.is_empty() {
            self.arrived = Vec::new();
        }
        self.due -= taken;
        taken
    }
}

impl Wire {
    /// Takes over an upgraded connection; `leftover` was read past the upgrade.
    pub fn new(io: Box<dyn Stream>, leftover: Vec<u8>, guard: Option<Guard>) -> Self {
        Self {
            io,
            reader: None,
            inbox: Inbox { arrived: leftover, due: 0 },
            limit: MAX_PREAUTH_PAYLOAD,
            control: Vec::new(),
            batch: VecDeque::new(),
            closed: false,
            guard,
        }
    }

    /// What guards the handshake, if anything does.
    pub fn guard(&self) -> Option<&Guard> {
        self.guard.as_ref()
    }

    /// Lifts the message limit of clients that have not authenticated.
    pub fn authenticated(&mut self) {
        self.limit = MAX_PAYLOAD;
    }

    /// Writes what waits in `outbox`; then reads a message if `may_read`, which
    /// is asked after the writing because that may have made room.
    pub fn poll_turn(
        &mut self,
        cx: &mut Context<'_>,
        outbox: &Outbox,
        may_read: impl Fn() -> bool,
    ) -> Poll<Turn> {
        outbox.register(cx.waker());
        loop {
            let written = self.poll_write_out(cx, outbox);
            if self.limit == MAX_PAYLOAD
                && matches!(written, Poll::Ready(Ok(())))
                && let Some(guard) = self.guard.take()
            {
                guard.end();
            }
            let read = may_read();
            match written {
                Poll::Ready(Ok(())) if self.closed => return Poll::Ready(Turn::CloseSent),
                Poll::Ready(Err(err)) => return Poll::Ready(Turn::Gone(err.to_string())),
                Poll::Pending if read && outbox.is_abandoned() => return Poll::Ready(Turn::Stuck),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
            if !read {
                return Poll::Pending;
            }
            let turn = self.poll_read(cx);
            if turn.is_ready() || self.control.is_empty() || !self.batch.is_empty() {
                return turn;
            }
        }
    }

    /// Throws away what the peer still sends, until it closes.
    pub fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [0u8; 4096];
        loop {
            let mut buf = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.io).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Ends our direction of the connection.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        loop {
            let (inbox, control) = (&mut self.inbox, &mut self.control);
            let mut bridge = Bridge { io: &mut *self.io, inbox, control, cx };
            if self.reader.is_none() {
                match bridge.begin() {
                    Err(err) if err.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                    Err(err) => return Poll::Ready(Turn::Gone(err.to_string())),
                    Ok(()) => {}
                }
            }
            let reader = self.reader.get_or_insert_with(|| reader(self.limit));
            let turn = match reader.read(&mut bridge) {
                Ok(Message::Text(text)) => Turn::Message(text.as_str().to_owned()),
                // Clients that send text as binary are understood.
                Ok(Message::Binary(bytes)) => {
                    Turn::Message(String::from_utf8_lossy(&bytes).into_owned())
                }
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
                Ok(Message::Close(frame)) => {
                    Turn::PeerClosed(frame.map(|frame| u16::from(frame.code)))
                }
                Err(Error::Io(err)) if err.kind() == io::ErrorKind::WouldBlock => {
                    return Poll::Pending;
                }
                Err(Error::Capacity(err)) => {
                    Turn::Violation { code: frame::close::TOO_BIG, err: err.to_string() }
                }
                Err(Error::Utf8(err)) => Turn::Violation { code: 1007, err },
                Err(Error::Protocol(err)) => {
                    use tokio_tungstenite::tungstenite::error::ProtocolError;
                    if matches!(err, ProtocolError::ResetWithoutClosingHandshake) {
                        Turn::Gone(err.to_string())
                    } else {
                        Turn::Violation { code: frame::close::PROTOCOL, err: err.to_string() }
                    }
                }
                Err(err) => Turn::Gone(err.to_string()),
            };
            if matches!(turn, Turn::Message(_)) {
                self.reader = None;
            }
            return Poll::Ready(turn);
        }
    }

    /// Ready when everything that waited has been handed to the kernel.
    fn poll_write_out(&mut self, cx: &mut Context<'_>, outbox: &Outbox) -> Poll<io::Result<()>> {
        loop {
            if self.batch.is_empty() && !self.refill(outbox) {
                return Pin::new(&mut self.io).poll_flush(cx);
            }
            let mut slices = [IoSlice::new(&[]); BATCH * 4];
            let mut used = 0;
            for frame in &self.batch {
                used += frame.slices(&mut slices[used..]);
            }
            let written = match Pin::new(&mut self.io).poll_write_vectored(cx, &slices[..used]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => written,
                Poll::Ready(Err(err)) => return Poll::Ready(Err(err)),
                Poll::Pending => return Poll::Pending,
            };
            self.advance(written);
        }
    }

    fn refill(&mut self, outbox: &Outbox) -> bool {
        if self.closed {
            return false;
        }
        if !self.control.is_empty() {
            self.batch.push_back(OutFrame::raw(std::mem::take(&mut self.control)));
        }
        while self.batch.len() < BATCH
            && !self.batch.back().is_some_and(|last| last.closes)
            && let Some(item) = outbox.take()
        {
            self.batch.push_back(OutFrame::new(item));
        }
        if self.batch.is_empty() {
            self.batch.shrink_to_fit();
        }
        !self.batch.is_empty()
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(first) = self.batch.front_mut() {
            let left = first.len() - first.written;
            if written < left {
                first.written += written;
                return;
            }
            written -= left;
            self.closed |= first.closes;
            self.batch.pop_front();
        }
    }
}

impl OutFrame {
    fn new(item: Item) -> Self {
        const TEXT: u8 = 0x81;
        const CLOSE: u8 = 0x88;
        const PING: u8 = 0x89;
        match item {
            Item::Text(text) => Self::framed(TEXT, Body::Owned(text.into_bytes())),
            Item::Event { text, seq } => {
                let seq = seq.map(frame::splice).unwrap_or_default();
                Self::framed(TEXT, Body::Event { text, seq })
            }
            Item::Ping => Self::framed(PING, Body::Owned(Vec::new())),
            Item::Close { code, reason } => {
                // A peer that closed without a code gets none back.
                let mut body = Vec::new();
                if code != NO_CODE {
                    body.extend_from_slice(&code.to_be_bytes());
                    body.extend_from_slice(reason.as_bytes());
                }
                Self { closes: true, ..Self::framed(CLOSE, Body::Owned(body)) }
            }
        }
    }

    /// Bytes that are frames already.
    fn raw(bytes: Vec<u8>) -> Self {
        let body = Body::Owned(bytes);
        Self { header: [0; 10], header_len: 0, body, written: 0, closes: false }
    }

    fn framed(opcode: u8, body: Body) -> Self {
        let len = body.len();
        let mut header = [0; 10];
        header[0] = opcode;
        let header_len = if let Ok(short) = u8::try_from(len)
            && short < 126
        {
            header[1] = short;
            2
        } else if let Ok(medium) = u16::try_from(len) {
            header[1] = 126;
            header[2..4].copy_from_slice(&medium.to_be_bytes());
            4
        } else {
            header[1] = 127;
            header[2..10].copy_from_slice(&(len as u64).to_be_bytes());
            10
        };
        Self { header, header_len, body, written: 0, closes: false }
    }

    fn len(&self) -> usize {
        self.header_len + self.body.len()
    }

    /// Puts what is left to write into `out`; returns how many slices that took.
    fn slices<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        let header = &self.header[..self.header_len];
        let parts: [&[u8]; 4] = match &self.body {
            Body::Owned(bytes) => [header, bytes, &[], &[]],
            Body::Event { text, seq } => {
                [header, text.head.as_bytes(), seq.as_bytes(), text.tail.as_bytes()]
            }
        };
        let mut skip = self.written;
        let mut used = 0;
        for part in parts {
            let left = part.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(part.len());
            if !left.is_empty() {
                out[used] = IoSlice::new(left);
                used += 1;
            }
        }
        used
    }
}

impl Body {
    fn len(&self) -> usize {
        match self {
            Self::Owned(bytes) => bytes.len(),
            Self::Event { text, seq } => text.head.len() + seq.len() + text.tail.len(),
        }
    }
}

/// Lends the stream to the reader, which knows only blocking calls. What it
/// writes is kept until it fits between two frames of ours.
struct Bridge<'a, 'cx> {
    io: &'a mut dyn Stream,
    inbox: &'a mut Inbox,
    control: &'a mut Vec<u8>,
    cx: &'a mut Context<'cx>,
}

impl Bridge<'_, '_> {
    fn read_io(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut buf = ReadBuf::new(buf);
        match Pin::new(&mut *self.io).poll_read(self.cx, &mut buf) {
            Poll::Ready(Ok(())) => Ok(buf.filled().len()),
            Poll::Ready(Err(err)) => Err(err),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Reads until a frame has begun, or the peer has ended.
    fn begin(&mut self) -> io::Result<()> {
        while !self.inbox.has_frame() {
            let mut more = [0; READ_BUFFER];
            let read = self.read_io(&mut more)?;
            if read == 0 {
                break;
            }
            self.inbox.arrived.extend_from_slice(&more[..read]);
        }
        Ok(())
    }
}

impl Read for Bridge<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.begin()?;
        let taken = self.inbox.take(buf);
        if taken > 0 || self.inbox.due == 0 {
            return Ok(taken);
        }
        // The rest of a long frame goes straight to the reader.
        let most = self.inbox.due.min(buf.len());
        let read = self.read_io(&mut buf[..most])?;
        self.inbox.due -= read;
        Ok(read)
    }
}

impl Write for Bridge<'_, '_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.control.len() + buf.len() > MAX_CONTROL {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.control.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bytes(frame: &OutFrame) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 4];
        let used = frame.slices(&mut slices);
        slices[..used].iter().flat_map(|slice| slice.iter().copied()).collect()
    }

    #[test]
    fn lengths_are_written_in_the_shortest_form() {
        let header = |len: usize| {
            let frame = OutFrame::new(Item::Text("x".repeat(len)));
            bytes(&frame)[..frame.header_len].to_vec()
        };
        assert_eq!(header(125), [0x81, 125]);
        assert_eq!(header(126), [0x81, 126, 0, 126]);
        assert_eq!(header(65_535), [0x81, 126, 0xff, 0xff]);
        assert_eq!(header(65_536), [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    /// One masked text frame, as clients send it.
    fn masked(text: &str) -> Vec<u8> {
        let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).unwrap(), 1, 2, 3, 4];
        frame.extend(text.bytes().enumerate().map(|(at, byte)| byte ^ [1, 2, 3, 4][at % 4]));
        frame
    }

    #[tokio::test]
    async fn what_follows_the_first_message_is_not_lost_with_its_buffer() {
        let sent = [masked("who I am"), masked("first"), masked("second")].concat();
        for cut in 0..sent.len() {
            let (mut client, server) = tokio::io::duplex(4096);
            let mut wire = Wire::new(Box::new(server), sent[..cut].to_vec(), None);
            tokio::io::AsyncWriteExt::write_all(&mut client, &sent[cut..]).await.unwrap();
            let outbox = Outbox::default();
            for expected in ["who I am", "first", "second"] {
                let turn = std::future::poll_fn(|cx| wire.poll_turn(cx, &outbox, || true)).await;
                assert!(
                    matches!(&turn, Turn::Message(text) if text == expected),
                    "{cut}: {turn:?}"
                );
                wire.authenticated();
            }
        }
    }

    #[test]
    fn an_event_is_the_same_text_however_it_is_cut() {
        let text = Arc::new(EventText::new("tick", &json!({"ts": 1}), None));
        let mut frame = OutFrame::new(Item::Event { text: Arc::clone(&text), seq: Some(42) });
        let whole = bytes(&frame);
        assert_eq!(&whole[2..], text.with_seq(Some(42)).as_bytes());
        for cut in 0..whole.len() {
            frame.written = cut;
            assert_eq!(bytes(&frame), &whole[cut..], "cut at {cut}");
        }
    }

    #[test]
    fn a_close_frame_carries_code_and_reason() {
        let frame = OutFrame::new(Item::Close { code: 1012, reason: "service restart".to_owned() });
        assert_eq!(&bytes(&frame)[..4], [0x88, 17, 0x03, 0xf4]);
        assert!(frame.closes);
    }
}
