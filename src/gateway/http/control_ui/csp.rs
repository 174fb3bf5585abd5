//! The content security policy of UI pages.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// Of everything but pages with inline scripts.
pub const POLICY: &str = "default-src 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'; script-src 'self'; style-src 'self' 'unsafe-inline' https://fonts.googleapis.com; img-src 'self' data: https:; font-src 'self' https://fonts.gstatic.com; connect-src 'self' data: ws: wss:";
const SCRIPTS: &str = "script-src 'self'";

/// The policy of a page: its inline scripts are allowed by their hashes.
pub fn for_page(html: &[u8]) -> String {
    let mut sources = String::from(SCRIPTS);
    for script in inline_scripts(html) {
        sources.push_str(" 'sha256-");
        sources.push_str(&STANDARD.encode(Sha256::digest(script)));
        sources.push('\'');
    }
    POLICY.replacen(SCRIPTS, &sources, 1)
}

/// The exact bytes between `<script>` and `</script>` of every script without
/// `src` that has any.
fn inline_scripts(html: &[u8]) -> Vec<&[u8]> {
    let mut scripts = Vec::new();
    let mut at = 0;
    while let Some(tag) = find(&html[at..], b"<script").map(|found| at + found) {
        let Some(open_end) = html[tag..].iter().position(|&byte| byte == b'>') else {
            break;
        };
        let attributes = html[tag + 7..tag + open_end].to_ascii_lowercase();
        let body = tag + open_end + 1;
        let Some(length) = find(&html[body..], b"</script") else {
            break;
        };
        let script = &html[body..body + length];
        let has_src = find(&attributes, b"src=")
            .is_some_and(|found| found == 0 || attributes[found - 1].is_ascii_whitespace());
        if !has_src && !script.iter().all(u8::is_ascii_whitespace) {
            scripts.push(script);
        }
        at = body + length;
    }
    scripts
}

/// Case-insensitive search.
fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|window| window.eq_ignore_ascii_case(needle))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_inline_scripts_are_hashed_over_their_exact_bytes() {
        let html =
            b"<script src=\"./a.js\"></script><SCRIPT type=module> x </SCRIPT><script> </script>";
        assert_eq!(inline_scripts(html), [b" x "]);
        // printf ' x ' | sha256sum
        let hash = STANDARD.encode(Sha256::digest(b" x "));
        assert!(for_page(html).contains(&format!("script-src 'self' 'sha256-{hash}';")));
        assert_eq!(for_page(b"<p>none</p>"), POLICY);
    }
}
