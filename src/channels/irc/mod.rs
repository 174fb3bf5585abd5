//! IRC: one connection per account, plain or TLS, with NickServ or SASL.

mod connection;
mod line;
mod session;
mod settings;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::channels::channel::{Account, AccountSpec, Capabilities, Fault, Kind, SendError};
use crate::channels::irc::connection::Order;
use crate::channels::irc::settings::Settings;
use crate::channels::link::Link;
use crate::channels::message::{Body, Piece, Sent};
use crate::channels::policy::{self, GroupRules};
use crate::lifecycle::CancellationToken;

/// How long the server may take to confirm a line.
const CONFIRM: Duration = Duration::from_secs(60);
/// Lines that may wait for the connection.
const ORDERS: usize = 32;

pub(super) const KIND: Kind = Kind {
    id: "irc",
    label: "IRC",
    detail_label: "IRC",
    system_image: Some("network"),
    capabilities: Capabilities { chat_types: &["direct", "group"], features: &[] },
    text_limit: 350,
    most_text: 512,
    // 512 bytes a line, less command, target and the prefix that the server adds.
    line_bytes: Some(380),
    groups: GroupRules { senders_key: "allowFrom", senders_optional: false, falls_back: false },
    id_label: "Your IRC id",
    idempotent: false,
    env_credential: Some("IRC_HOST"),
    has_credentials: |section| section["host"].as_str().is_some_and(|host| !host.trim().is_empty()),
    open: |spec| Ok(Arc::new(Irc::open(spec)?)),
};

/// An account.
#[derive(Debug)]
struct Irc {
    settings: Settings,
    /// The way into the live connection.
    orders: Mutex<Option<mpsc::Sender<Order>>>,
}

impl Irc {
    fn open(spec: &AccountSpec) -> Result<Self, String> {
        Ok(Self { settings: Settings::read(spec)?, orders: Mutex::default() })
    }

    fn orders(&self) -> Option<mpsc::Sender<Order>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_orders(&self, orders: Option<mpsc::Sender<Order>>) {
        *self.orders.lock().unwrap_or_else(PoisonError::into_inner) = orders;
    }

    /// Says something over the live connection and waits for the confirmation.
    async fn say(&self, line: Option<(String, String)>) -> Result<(), SendError> {
        let lost = || SendError::not_sent("IRC is not connected");
        let orders = self.orders().ok_or_else(lost)?;
        let (done, confirmed) = oneshot::channel();
        orders.send(Order { line, done }).await.map_err(|_| lost())?;
        // A connection that breaks before the confirmation most often lost the
        // line too, and the other end too: it is said again.
        match timeout(CONFIRM, confirmed).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(lost()),
            Err(_) => Err(SendError::not_sent("the server did not confirm the message")),
        }
    }
}

/// The nick or channel of a target as people write it.
fn target(to: &str) -> Result<String, SendError> {
    let mut name = policy::bare("irc", to);
    name = name.strip_prefix("channel:").unwrap_or(name);
    name = name.split('!').next().unwrap_or(name);
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control() || c == ',') {
        return Err(SendError::Refused(format!("`{to}` is no IRC nick or channel")));
    }
    Ok(name.to_owned())
}

impl Account for Irc {
    fn run(
        self: Arc<Self>,
        link: Link,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), Fault>> {
        Box::pin(async move {
            let Settings { account, host, port, .. } = &self.settings;
            tracing::info!(
                target: "channels", "[irc] [{account}] starting IRC provider ({host}:{port})"
            );
            let (sender, receiver) = mpsc::channel(ORDERS);
            let on_ready = || self.set_orders(Some(sender.clone()));
            let result = connection::run(&self.settings, &link, receiver, &stop, &on_ready).await;
            self.set_orders(None);
            result
        })
    }

    fn send<'a>(&'a self, piece: &'a Piece) -> BoxFuture<'a, Result<Sent, SendError>> {
        Box::pin(async move {
            let target = target(&piece.to)?;
            let text = match &piece.body {
                Body::Text(text) => text.clone(),
                Body::File { source, caption } if source.contains("://") => {
                    format!("{caption} {source}").trim().to_owned()
                }
                Body::File { .. } => {
                    return Err(SendError::Refused("IRC carries no files, only addresses".into()));
                }
            };
            self.say(Some((target.clone(), text))).await?;
            Ok(Sent { message_id: Some(piece.token.clone()), chat_id: Some(target) })
        })
    }

    fn probe(&self, _limit: Duration) -> BoxFuture<'_, Value> {
        Box::pin(async move {
            let Settings { host, port, tls, nick, .. } = &self.settings;
            let began = Instant::now();
            let live = self.orders().is_some() && self.say(None).await.is_ok();
            let result = if live {
                Ok(())
            } else {
                // Some servers allow no more than nine letters.
                let start: String = nick.chars().take(6).collect();
                let number = std::process::id() % 1000;
                connection::try_out(&self.settings, format!("{start}{number}")).await
            };
            let mut probe = json!({
                "ok": result.is_ok(), "host": host, "port": port, "tls": tls, "nick": nick,
            });
            match result {
                Ok(()) => {
                    let elapsed = began.elapsed().as_millis();
                    probe["latencyMs"] = u64::try_from(elapsed).unwrap_or(u64::MAX).into();
                }
                Err(fault) => probe["error"] = fault.to_string().into(),
            }
            probe
        })
    }

    fn facts(&self) -> Map<String, Value> {
        let Settings { host, port, tls, nick, password_source, .. } = &self.settings;
        let facts = json!({
            "host": host, "port": port, "tls": tls, "nick": nick, "passwordSource": password_source,
        });
        facts.as_object().cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_nicks_and_channels_and_cannot_smuggle_commands() {
        for (to, name) in [
            ("irc:alice", "alice"),
            ("alice!a@h", "alice"),
            ("irc:#Claw", "#Claw"),
            ("channel:#c", "#c"),
        ] {
            assert_eq!(target(to).unwrap(), name, "{to}");
        }
        for to in ["", "irc:", "a b", "a\r\nQUIT", "a,b"] {
            assert!(target(to).is_err(), "{to:?}");
        }
    }
}
