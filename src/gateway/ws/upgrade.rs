//! From an HTTP request to a socket: the upgrade answer, and who gets none.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

use crate::gateway::State;
use crate::gateway::listen::Accepted;
use crate::gateway::state::Phase;
use crate::gateway::ws::Peer;
use crate::gateway::ws::socket;
use crate::gateway::ws::wire::Wire;
use crate::protocol::connect::OWN_CLIENT;

/// Whether the request asks for a WebSocket, on whatever path.
pub fn is_wanted<B>(request: &Request<B>) -> bool {
    request.method() == Method::GET
        && request
            .headers()
            .get(UPGRADE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
}

/// Whether the head of a request, or its beginning, asks for one.
pub fn is_asked_for(head: &[u8]) -> bool {
    head.split(|byte| *byte == b'\n').skip(1).any(|line| {
        let mut parts = line.splitn(2, |byte| *byte == b':').map(<[u8]>::trim_ascii);
        parts.next().is_some_and(|name| name.eq_ignore_ascii_case(b"upgrade"))
            && parts.next().is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"))
    })
}

/// Answers an upgrade request and, if it is granted, serves the socket.
pub fn answer(
    state: &Arc<State>,
    remote: SocketAddr,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY) else {
        return refuse(StatusCode::BAD_REQUEST, "missing Sec-WebSocket-Key");
    };
    if request.headers().get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        let mut response = refuse(StatusCode::UPGRADE_REQUIRED, "unsupported WebSocket version");
        response.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return response;
    }
    // A connection accepted just before the drain completes its handshake and
    // is then closed as every other one, with the reason.
    if matches!(state.phase(), Phase::Starting | Phase::Stopped) {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "Gateway websocket handlers unavailable");
    }
    let accept = accept_key(key.as_bytes());
    let gateway = state.config.load();
    let gateway = &gateway.config.gateway;
    let mut peer = Peer::new(
        remote,
        request.headers(),
        &gateway.trusted_proxies,
        gateway.allow_real_ip_fallback,
    );
    let mark = request.headers().get(OWN_CLIENT).and_then(|value| value.to_str().ok());
    peer.own = mark.is_some_and(|mark| state.own_client.matches(mark));
    let slot = state.preauth.enter(peer.client_ip);
    if slot.is_none() && !peer.own {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "Too many unauthenticated sockets");
    }
    let first_protocol = request
        .headers()
        .get(SEC_WEBSOCKET_PROTOCOL)
        .and_then(|value| value.to_str().ok()?.split(',').next())
        .and_then(|name| HeaderValue::from_str(name.trim()).ok());

    let upgrade = hyper::upgrade::on(&mut request);
    let serving = Arc::clone(state);
    state.lifecycle.spawn("socket", |stop| async move {
        let upgraded = match upgrade.await {
            Ok(upgraded) => upgraded,
            Err(err) => {
                tracing::debug!(%err, "upgrade failed");
                return;
            }
        };
        let wire = match upgraded.downcast::<TokioIo<Accepted>>() {
            Ok(parts) => {
                let (stream, guard) = parts.io.into_inner().into_stream();
                Wire::new(stream, parts.read_buf.to_vec(), guard)
            }
            Err(upgraded) => Wire::new(Box::new(TokioIo::new(upgraded)), Vec::new(), None),
        };
        socket::serve(serving, wire, peer, slot, stop).await;
    });

    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(protocol) = first_protocol {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    response
}

fn accept_key(key: &[u8]) -> HeaderValue {
    let text = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key);
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("invalid"))
}

fn refuse(status: StatusCode, body: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.insert("content-type", HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
