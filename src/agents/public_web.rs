//! Fetching from the public web. Never reaches this host or a private network:
//! the address is checked when it is resolved, so that a name cannot point
//! somewhere else a moment later.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::LOCATION;

use crate::base::cause::innermost;

/// A client that only goes to public addresses; made when first needed.
#[derive(Debug, Default)]
pub struct PublicWeb {
    client: OnceLock<reqwest::Client>,
}

impl PublicWeb {
    /// Follows redirects by itself, as each target must be public and, unless
    /// `hosts` is empty, on that list: exact names, or `*.name` for those below.
    pub async fn get(
        &self,
        url: &str,
        redirects: usize,
        hosts: &[String],
    ) -> Result<(Url, reqwest::Response), String> {
        let mut target = checked(url, hosts)?;
        for _ in 0..=redirects {
            let answer =
                self.client()?.get(target.clone()).send().await.map_err(|err| innermost(&err))?;
            if answer.status().is_redirection()
                && let Some(next) = answer.headers().get(LOCATION)
            {
                let next = next.to_str().map_err(|_| "redirect to an unreadable address")?;
                let joined = target.join(next).map_err(|err| format!("bad redirect: {err}"))?;
                target = checked(joined.as_str(), hosts)?;
                continue;
            }
            return Ok((target, answer));
        }
        Err(format!("more than {redirects} redirects"))
    }

    /// Sends JSON, with a bearer token if there is one; any answer but success
    /// is an error.
    pub async fn post(
        &self,
        url: &str,
        body: &serde_json::Value,
        token: Option<&str>,
    ) -> Result<(), String> {
        let request = self.client()?.post(checked(url, &[])?).json(body);
        let request = token.into_iter().fold(request, reqwest::RequestBuilder::bearer_auth);
        let answer = request.send().await.map_err(|err| innermost(&err))?;
        let status = answer.status();
        if status.is_success() { Ok(()) } else { Err(format!("it answered {status}")) }
    }

    fn client(&self) -> Result<&reqwest::Client, String> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = crate::outbound::builder()
            .no_proxy()
            .dns_resolver(Arc::new(PublicOnly))
            .connect_timeout(Duration::from_secs(10))
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|err| innermost(&err))?;
        Ok(self.client.get_or_init(|| client))
    }
}

/// At most so many bytes of an answer, and whether there were more.
pub async fn read(answer: reqwest::Response, most: usize) -> Result<(Vec<u8>, bool), String> {
    let mut bytes: Vec<u8> = Vec::new();
    let mut body = answer.bytes_stream();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|err| innermost(&err))?;
        let room = most - bytes.len();
        bytes.extend_from_slice(&piece[..piece.len().min(room)]);
        if piece.len() > room {
            return Ok((bytes, true));
        }
    }
    Ok((bytes, false))
}

/// An address that may be fetched, as far as its text tells.
fn checked(url: &str, hosts: &[String]) -> Result<Url, String> {
    let url = Url::parse(url).map_err(|err| format!("not an address: {err}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("{} addresses are not fetched, only http and https", url.scheme()));
    }
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_lowercase();
    let named_local = host == "localhost"
        || [".localhost", ".local", ".internal", ".home.arpa"]
            .iter()
            .any(|end| host.ends_with(end));
    if host.is_empty() || named_local || host.parse::<IpAddr>().is_ok_and(|ip| !is_public(ip)) {
        return Err(format!("{host} is not a public address"));
    }
    if !hosts.is_empty() && !hosts.iter().any(|entry| admits(entry, &host)) {
        return Err(format!("{host} is not on the list of allowed hosts"));
    }
    Ok(url)
}

/// Whether an entry of a list of hosts stands for `host`.
fn admits(entry: &str, host: &str) -> bool {
    let entry = entry.trim().to_lowercase();
    match entry.strip_prefix("*.") {
        Some(parent) => host.strip_suffix(parent).is_some_and(|sub| sub.ends_with('.')),
        None => entry == host,
    }
}

/// Resolves names, and refuses those that lead into a private network.
#[derive(Debug)]
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            if found.iter().any(|address| !is_public(address.ip())) {
                let refused = io::Error::other(NotPublic(host));
                return Err(Box::<dyn std::error::Error + Send + Sync>::from(refused));
            }
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}

#[derive(Debug)]
struct NotPublic(String);

impl fmt::Display for NotPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not a public address", self.0)
    }
}

impl std::error::Error for NotPublic {}

fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => {
            let segments = ip.segments();
            let embedded = ip.to_ipv4_mapped().or_else(|| match segments {
                // Translated (64:ff9b::/96) and 6to4 (2002::/16) addresses.
                [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
                    Some(v4(high, low))
                }
                _ => None,
            });
            match embedded {
                Some(ip) => is_public_v4(ip),
                // 2000::/3 is what is public; without documentation and Teredo.
                None => {
                    segments[0] & 0xe000 == 0x2000
                        && !(segments[0] == 0x2001 && matches!(segments[1], 0 | 0xdb8))
                }
            }
        }
    }
}

fn v4(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !(ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_broadcast()
        || ip.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 198 && (b == 18 || b == 19))
        || (a == 192 && b == 0 && c == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_refused_in_every_spelling() {
        for url in [
            "http://127.0.0.1/",
            "http://localhost:8080/",
            "http://10.0.0.1/",
            "http://192.168.1.1/",
            "http://172.16.0.1/",
            "http://169.254.169.254/latest/meta-data",
            "http://100.64.0.1/",
            "http://0.0.0.0/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://[::1]/",
            "http://[fd00::1]/",
            "http://[fe80::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://[2002:7f00:1::]/",
            "http://printer.local/",
            "ftp://example.com/",
            "file:///etc/passwd",
            "no address",
        ] {
            assert!(checked(url, &[]).is_err(), "{url}");
        }
        for url in ["https://example.com/a?b", "http://1.1.1.1/", "http://[2606:4700::1111]/"] {
            assert!(checked(url, &[]).is_ok(), "{url}");
        }
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_this_host_is_refused() {
        let name: Name = "localhost".parse().unwrap();
        let err = PublicOnly.resolve(name).await.err().unwrap();
        assert!(err.to_string().contains("not a public address"), "{err}");
    }

    #[test]
    fn a_list_of_hosts_closes_all_others() {
        let hosts = ["example.com".to_owned(), "*.example.org".to_owned()];
        for url in ["https://example.com/a", "https://a.b.example.org/"] {
            assert!(checked(url, &hosts).is_ok(), "{url}");
        }
        for url in ["https://a.example.com/", "https://example.org/", "https://badexample.org/"] {
            assert!(checked(url, &hosts).is_err(), "{url}");
        }
    }

    #[tokio::test]
    async fn no_more_is_read_than_asked_for() {
        let answer = |text: &str| reqwest::Response::from(hyper::Response::new(text.to_owned()));
        assert_eq!(read(answer("words"), 3).await.unwrap(), (b"wor".to_vec(), true));
        assert_eq!(read(answer("words"), 5).await.unwrap(), (b"words".to_vec(), false));
    }
}
