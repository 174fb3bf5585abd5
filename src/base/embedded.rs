//! Secrets inside texts that are none themselves: in addresses, among the
//! arguments of programs, and keys whose shape gives them away.
//!
//! Says what must not be shown; what stands there instead, the caller decides.

use crate::base::redact;

/// The secrets in a text: what its addresses give away, and issued keys.
pub fn secrets(text: &str) -> Vec<&str> {
    if redact::holds_private_key(text) {
        return vec![text];
    }
    let mut found: Vec<&str> = addresses(text).flat_map(in_address).collect();
    for key in redact::issued(text) {
        if !found.contains(&key) {
            found.push(key);
        }
    }
    found
}

/// An address for people: without the user and password it may name, and without
/// the secrets in its path and its parameters.
pub fn shown_url(url: &str) -> String {
    let mut shown = url.to_owned();
    if let Some((scheme, rest)) = url.split_once("://") {
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        if let Some(at) = rest[..end].rfind('@') {
            shown = format!("{scheme}://***@{}", &rest[at + 1..]);
        }
    }
    for value in secrets(&shown).into_iter().map(str::to_owned).collect::<Vec<_>>() {
        for before in ['=', '/', ':'] {
            shown = shown.replace(&format!("{before}{value}"), &format!("{before}***"));
        }
    }
    shown
}

/// Whether what stands under this name, or at the end of this path, is a secret.
pub fn named_like_a_secret(path: &str) -> bool {
    const HARMLESS: &[&str] = &[
        "maxtokens",
        "maxoutputtokens",
        "maxinputtokens",
        "maxcompletiontokens",
        "contexttokens",
        "totaltokens",
        "tokencount",
        "tokenlimit",
        "tokenbudget",
        "passwordfile",
    ];
    const ENDINGS: &[&str] = &[
        "token",
        "serviceaccount",
        "serviceaccountref",
        "passphrase",
        "passwd",
        "credential",
        "credentials",
        "cookie",
        "authorization",
        "bearer",
        "accesskey",
        "signature",
    ];
    let path = path.to_ascii_lowercase();
    if HARMLESS.iter().any(|ending| path.ends_with(ending)) {
        return false;
    }
    let with_gap = |first: &str| {
        path.match_indices(first).any(|(at, _)| {
            let rest = &path[at + first.len()..];
            let gap = rest.chars().next().map_or(0, char::len_utf8);
            rest.starts_with("key") || rest.get(gap..).is_some_and(|rest| rest.starts_with("key"))
        })
    };
    ENDINGS.iter().any(|ending| path.ends_with(ending))
        || path.contains("password")
        || path.contains("secret")
        || with_gap("api")
        || with_gap("encrypt")
        || with_gap("private")
}

/// The same for names that say little, where nothing else says more: options,
/// parameters of an address, keys without a schema.
pub fn may_name_a_secret(name: &str) -> bool {
    const SHORT: &[&str] = &["key", "auth", "sig", "code", "pass", "pwd", "pin"];
    let bare = name.trim_start_matches('-');
    named_like_a_secret(bare) || SHORT.iter().any(|short| bare.eq_ignore_ascii_case(short))
}

/// The secret in an argument: the value of an option or a variable that is named
/// like one (`--token=…`, `API_KEY=…`), what follows such an option, a text that
/// speaks of it (`Authorization: Bearer …`), or one that nobody could guess.
pub fn in_argument<'t>(before: Option<&str>, text: &'t str) -> Option<&'t str> {
    if let Some((name, value)) = text.split_once('=')
        && !value.is_empty()
        && !name.contains([' ', '/', '?'])
        && may_name_a_secret(name)
    {
        return Some(value);
    }
    let option = before.filter(|before| before.starts_with('-') && !before.contains('='));
    let follows = option.is_some_and(may_name_a_secret) && !text.starts_with('-');
    (follows || is_unguessable(text) || redact::hides_something(text)).then_some(text)
}

/// What follows `://` in each address of the text.
fn addresses(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("://").map(|(at, mark)| {
        let rest = &text[at + mark.len()..];
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        rest[..end].trim_end_matches(['"', '\'', '`', '>', ')', ',', ';'])
    })
}

/// Who enters, parts of the path that nobody could guess, and the values of
/// parameters that are named like a secret.
fn in_address(address: &str) -> Vec<&str> {
    let end = address.find(['/', '?', '#']).unwrap_or(address.len());
    let (authority, rest) = address.split_at(end);
    let password = user(address, authority)
        .map(|user| user.split_once(':').map_or(user, |(_, password)| password));
    let (path, parameters) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
    // Services that are called through such names put the key last.
    let hook = authority.starts_with("hooks.");
    let last = path.rsplit('/').find(|part| !part.is_empty()).filter(|_| hook);
    let parts = path.split('/').filter(|part| is_unguessable(part) || Some(*part) == last);
    let values = parameters.split(['?', '&', '#']).filter_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let secret = may_name_a_secret(name) || is_unguessable(value);
        (secret && !value.is_empty() && !value.contains("${")).then_some(value)
    });
    password.into_iter().chain(parts).chain(values).collect()
}

/// The user of an address, with the password. A password may hold characters that
/// should have been escaped.
fn user<'a>(address: &'a str, authority: &'a str) -> Option<&'a str> {
    if let Some((user, _)) = authority.rsplit_once('@') {
        return Some(user);
    }
    let (_, port) = authority.split_once(':').filter(|_| !authority.starts_with('['))?;
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
    if is_port { None } else { address.rsplit_once('@').map(|(user, _)| user) }
}

/// Whether a part of an address was made by chance: a long mixture of letters and
/// digits, or a UUID. Names and versions of models are not.
fn is_unguessable(part: &str) -> bool {
    const RUN: usize = 16;
    const LENGTH: usize = 24;
    let is_mixture = |run: &str| {
        run.len() >= RUN
            && run.bytes().any(|byte| byte.is_ascii_digit())
            && run.bytes().any(|byte| byte.is_ascii_alphabetic())
    };
    let mut runs = part.split(|c: char| !c.is_ascii_alphanumeric());
    runs.any(is_mixture) || is_uuid(part) || (part.len() >= LENGTH && is_scrambled(part))
}

fn is_uuid(part: &str) -> bool {
    let lengths = part.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12])
        && part.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// Whether lower case, upper case and digits follow each other without order.
fn is_scrambled(part: &str) -> bool {
    let class = |byte: u8| match byte {
        b'a'..=b'z' => Some(0),
        b'A'..=b'Z' => Some(1),
        b'0'..=b'9' => Some(2),
        _ => None,
    };
    if !part.bytes().all(|byte| class(byte).is_some() || matches!(byte, b'-' | b'_')) {
        return false;
    }
    let classes: Vec<u8> = part.bytes().filter_map(class).collect();
    let changes = classes.windows(2).filter(|pair| pair[0] != pair[1]).count();
    changes * 3 >= classes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_give_their_secrets_away() {
        let cases: &[(&str, &[&str])] = &[
            ("wss://u:p@h/x", &["p"]),
            ("https://token@h/", &["token"]),
            ("redis://u:p#a/s?s@h:6379/0", &["p#a/s?s"]),
            ("https://h/sse?v=1&api_key=q1#x", &["q1"]),
            ("https://h/cb#access_token=f1", &["f1"]),
            ("https://h/sse?page_token=${T}", &[]),
            ("https://hooks.slack.com/services/T01ABCDEF/B01ABCDEF/hook1", &["hook1"]),
            (
                "https://discord.com/api/webhooks/1234/aB3-dE5_gH7iJ9kL1mN3oP5qR7sT9uV",
                &["aB3-dE5_gH7iJ9kL1mN3oP5qR7sT9uV"],
            ),
            (
                "http://h/bot7123456789:AAEabcdefghijklmnopqrstuvwxyz012345/send",
                &[
                    "bot7123456789:AAEabcdefghijklmnopqrstuvwxyz012345",
                    "AAEabcdefghijklmnopqrstuvwxyz012345",
                ],
            ),
            (
                "curl 'https://h/hook/0f8fad5b-d9cb-469f-a165-70867728950e' -d x",
                &["0f8fad5b-d9cb-469f-a165-70867728950e"],
            ),
            (
                "use ghp_0123456789abcdefABCDEF at https://u:p@h",
                &["p", "ghp_0123456789abcdefABCDEF"],
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(secrets(text), *expected, "{text}");
        }
    }

    #[test]
    fn ordinary_addresses_have_no_secrets() {
        for text in [
            "http://127.0.0.1:8080/v1",
            "http://[::1]:8080/v1",
            "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash-preview-09-2025",
            "https://api-inference.huggingface.co/models/Qwen/Qwen2-72B-Instruct-GPTQ-Int4/v1",
            "https://my-resource.openai.azure.com/openai/deployments/gpt-4o/chat?api-version=2024-10-21",
            "wss://gateway.tailnet-name.ts.net/openclaw",
            "mailto:someone@host",
            "no address at all",
        ] {
            assert_eq!(secrets(text), Vec::<&str>::new(), "{text}");
            assert_eq!(shown_url(text), text);
        }
    }

    #[test]
    fn an_address_is_shown_without_them() {
        for (url, shown) in [
            ("wss://u:p@h/x?v=1&token=t#f", "wss://***@h/x?v=1&token=***#f"),
            (
                "https://hooks.slack.com/services/T0/B0/hook1",
                "https://hooks.slack.com/services/T0/B0/***",
            ),
        ] {
            assert_eq!(shown_url(url), shown);
        }
    }

    #[test]
    fn arguments_are_judged_by_their_names() {
        for (before, text, secret) in [
            (None, "--token=t1", Some("t1")),
            (None, "API_KEY=k2", Some("k2")),
            (Some("--key"), "k3", Some("k3")),
            (Some("--passphrase"), "p1", Some("p1")),
            (
                Some("--header"),
                "Authorization: Bearer abcdefgh",
                Some("Authorization: Bearer abcdefgh"),
            ),
            (Some("-p"), "Q7z".repeat(6).leak(), Some("Q7zQ7zQ7zQ7zQ7zQ7z")),
            (Some("--port"), "80", None),
            (Some("--token"), "--verbose", None),
            (Some("-y"), "some-package", None),
        ] {
            assert_eq!(in_argument(before, text), secret, "{text}");
        }
    }
}
