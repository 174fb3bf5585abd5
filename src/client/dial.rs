//! From an endpoint to an open WebSocket.

use std::fmt::Debug;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::base::secret::Secret;
use crate::client::error::ClientError;
use crate::client::target::{Endpoint, Target};
use crate::client::tls;
use crate::protocol::connect::OWN_CLIENT;

/// Largest message taken from a gateway; part of the wire contract.
const MAX_MESSAGE: usize = 26_214_400;

/// A byte stream with or without TLS.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + Debug {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + Debug> Stream for T {}

/// An open WebSocket.
pub type Socket = WebSocketStream<Box<dyn Stream>>;

/// Opens the socket. The caller bounds the time.
pub async fn dial(target: &Target, own: Option<&Secret>) -> Result<Socket, ClientError> {
    let endpoint = target.endpoint()?;
    let tcp = TcpStream::connect((endpoint.host.as_str(), endpoint.port))
        .await
        .map_err(|err| unreachable(&endpoint, &err))?;
    tcp.set_nodelay(true).map_err(|err| unreachable(&endpoint, &err))?;
    let stream: Box<dyn Stream> = if endpoint.tls {
        tls::wrap(tcp, &endpoint.host, target.fingerprint.as_deref()).await?
    } else {
        Box::new(tcp)
    };
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let url = |err: tungstenite::Error| ClientError::Url(err.to_string());
    let mut request = target.url.as_str().into_client_request().map_err(url)?;
    if let Some(mark) = own.and_then(|own| HeaderValue::from_str(own.expose()).ok()) {
        request.headers_mut().insert(OWN_CLIENT, mark);
    }
    match tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await {
        Ok((socket, _response)) => Ok(socket),
        Err(tungstenite::Error::Http(response)) => {
            let status = response.status().as_u16();
            // What a port that speaks TLS says to who does not.
            let body = response.body().as_deref().filter(|_| status == 400).unwrap_or_default();
            let text = String::from_utf8_lossy(body);
            let said = text.lines().next().map(|line| format!(" ({line})")).unwrap_or_default();
            Err(ClientError::Closed {
                code: 1006,
                reason: format!("unexpected server response: {status}{said}"),
            })
        }
        Err(tungstenite::Error::Url(err)) => Err(ClientError::Url(err.to_string())),
        Err(err) => {
            tracing::debug!(err = %err, "websocket upgrade");
            Err(ClientError::abnormal())
        }
    }
}

/// Nobody listening and a line that breaks look the same to callers; the log
/// tells them apart.
fn unreachable(endpoint: &Endpoint, err: &std::io::Error) -> ClientError {
    tracing::debug!(host = %endpoint.host, port = endpoint.port, err = %err, "dial");
    ClientError::abnormal()
}
