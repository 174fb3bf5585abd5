//! Who a peer behind Tailscale Serve is. Serve names the user in a header;
//! anybody could, so the local daemon is asked whose address it really is.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value;

use crate::gateway::tailscale;
use crate::gateway::ws::Peer;
use crate::profile::env::Env;

/// How long the daemon may take to answer.
const WHOIS: Duration = Duration::from_secs(5);

const LOGIN: &str = "tailscale-user-login";

/// What Serve adds to a request that it passes on.
const ADDED: [&str; 3] = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"];

/// The user that the request claims and the address it claims to come from,
/// if it looks as if Serve had passed it on.
fn claim(peer: &Peer) -> Option<(String, IpAddr)> {
    let header = |name: &str| {
        let text = peer.headers.get(name)?.to_str().ok()?.trim();
        (!text.is_empty()).then_some(text)
    };
    let login = header(LOGIN)?;
    let passed_on = peer.remote.ip().to_canonical().is_loopback()
        && ADDED.iter().all(|name| header(name).is_some());
    let address = header(ADDED[0])?.split(',').next()?.trim().parse().ok()?;
    passed_on.then(|| (login.to_lowercase(), address))
}

/// The user that the daemon knows at `address`, in lower case.
async fn whois(env: &Env, address: IpAddr) -> Option<String> {
    let address = address.to_string();
    let answer = tailscale::ask(env, &["whois", "--json", &address], WHOIS).await.ok()?;
    login_of(&answer)
}

fn login_of(answer: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let profile = ["UserProfile", "userProfile", "User"]
        .iter()
        .map(|name| &answer[*name])
        .find(|profile| profile.is_object())?;
    let login = ["LoginName", "Login", "login"].iter().find_map(|name| profile[*name].as_str())?;
    let login = login.trim().to_lowercase();
    (!login.is_empty()).then_some(login)
}

/// The tailnet user that a peer has been found to be.
pub async fn user(env: &Env, peer: &Peer) -> Option<String> {
    let (claimed, address) = claim(peer)?;
    let known = whois(env, address).await;
    if known.as_deref() == Some(claimed.as_str()) {
        return known;
    }
    tracing::warn!(
        claimed,
        %address,
        "a tailnet identity was claimed that the local daemon does not confirm"
    );
    None
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;
    use hyper::header::HeaderName;

    use super::*;

    fn peer(remote: &str, headers: &[(&'static str, &'static str)]) -> Peer {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        Peer::new(remote.parse().unwrap(), &headers, &[], false)
    }

    #[test]
    fn only_a_request_that_serve_passed_on_claims_a_user() {
        let whole = [
            (LOGIN, "Op@Example.com"),
            (ADDED[0], "100.64.0.7"),
            (ADDED[1], "https"),
            (ADDED[2], "gw.tail.example"),
        ];
        let address: IpAddr = "100.64.0.7".parse().unwrap();
        let expected = Some(("op@example.com".to_owned(), address));
        assert_eq!(claim(&peer("127.0.0.1:9", &whole)), expected);
        assert_eq!(claim(&peer("192.0.2.9:9", &whole)), None, "not from this host");
        for missing in 0..whole.len() {
            let mut some = whole.to_vec();
            some.remove(missing);
            assert_eq!(claim(&peer("127.0.0.1:9", &some)), None, "without {}", whole[missing].0);
        }
    }

    #[test]
    fn the_daemons_answer_is_read_in_each_of_its_spellings() {
        let login = |text: &str| login_of(text.as_bytes());
        let known = Some("op@example.com".to_owned());
        assert_eq!(login(r#"{"UserProfile":{"LoginName":"Op@example.com"}}"#), known);
        assert_eq!(login(r#"{"User":{"Login":"op@example.com"}}"#), known);
        assert_eq!(login("{}"), None);
        assert_eq!(login("no json"), None);
    }
}
