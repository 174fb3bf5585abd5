//! Images that a request carries: decoded, measured, and recognised by their
//! first bytes rather than by what the request claims.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::CONTENT_TYPE;

use crate::agents::public_web::{self, PublicWeb};
use crate::agents::run::Image;
use crate::gateway::http::prepared::{ImageLimits, Remote};

/// Why an image is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    #[error("addresses are not fetched here (`allowUrl`); send a base64 data URI")]
    Remote,
    #[error("not fetched: {0}")]
    Fetch(String),
    #[error("not a base64 data URI")]
    NotBase64,
    #[error("type `{0}` is not allowed")]
    Type(String),
    #[error("larger than {0} bytes")]
    TooLarge(usize),
    #[error("more than {0} images")]
    TooMany(usize),
}

/// A `data:<mime>;base64,<data>` address taken apart.
pub fn data_uri(address: &str) -> Result<(&str, &str), MediaError> {
    let Some(rest) = address.trim().strip_prefix("data:") else {
        return Err(MediaError::Remote);
    };
    let (head, data) = rest.split_once(',').ok_or(MediaError::NotBase64)?;
    let mime = head.strip_suffix(";base64").ok_or(MediaError::NotBase64)?;
    Ok((mime.split(';').next().unwrap_or(mime), data))
}

/// Bytes of base64 text, which may have line breaks.
pub fn decode(data: &str) -> Result<Vec<u8>, MediaError> {
    let compact;
    let data = if data.bytes().any(|byte| byte.is_ascii_whitespace()) {
        compact = data.split_ascii_whitespace().collect::<String>();
        &compact
    } else {
        data
    };
    STANDARD.decode(data).map_err(|_| MediaError::NotBase64)
}

/// An image within `limits` and its size in bytes.
pub fn image(
    claimed: &str,
    data: &str,
    limits: &ImageLimits,
) -> Result<(Image, usize), MediaError> {
    // Four characters for three bytes: refuse before decoding.
    if data.len() / 4 * 3 > limits.max_bytes + 3 {
        return Err(MediaError::TooLarge(limits.max_bytes));
    }
    checked(claimed, &decode(data)?, limits)
}

/// The image behind an address, be it a data URI or one of the public web.
pub async fn image_at(
    web: &PublicWeb,
    address: &str,
    limits: &ImageLimits,
) -> Result<(Image, usize), MediaError> {
    match data_uri(address) {
        Ok((mime, data)) => image(mime, data, limits),
        Err(MediaError::Remote) => {
            let (mime, bytes) = fetch(web, address, &limits.remote, limits.max_bytes).await?;
            checked(&mime, &bytes, limits)
        }
        Err(err) => Err(err),
    }
}

/// What an address of the public web has, and the type that its server claims.
pub async fn fetch(
    web: &PublicWeb,
    address: &str,
    remote: &Remote,
    most: usize,
) -> Result<(String, Vec<u8>), MediaError> {
    if !remote.allowed || address.trim().is_empty() {
        return Err(MediaError::Remote);
    }
    let work = async {
        let (_, answer) = web.get(address.trim(), remote.redirects, &remote.hosts).await?;
        if !answer.status().is_success() {
            return Err(format!("HTTP {}", answer.status().as_u16()));
        }
        let mime = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let mime = mime.unwrap_or_default().to_owned();
        let (bytes, more) = public_web::read(answer, most).await?;
        Ok((mime, bytes, more))
    };
    let (mime, bytes, more) = tokio::time::timeout(remote.time, work)
        .await
        .map_err(|_| MediaError::Fetch("no answer in time".to_owned()))?
        .map_err(MediaError::Fetch)?;
    if more {
        return Err(MediaError::TooLarge(most));
    }
    Ok((mime, bytes))
}

fn checked(
    claimed: &str,
    bytes: &[u8],
    limits: &ImageLimits,
) -> Result<(Image, usize), MediaError> {
    if bytes.len() > limits.max_bytes {
        return Err(MediaError::TooLarge(limits.max_bytes));
    }
    let kind = sniffed(bytes).map_or_else(|| claimed.trim().to_lowercase(), str::to_owned);
    if !limits.mimes.contains(&kind) {
        return Err(MediaError::Type(kind));
    }
    Ok((Image { mime_type: kind, data: STANDARD.encode(bytes) }, bytes.len()))
}

/// The type that the first bytes of an image tell.
fn sniffed(bytes: &[u8]) -> Option<&'static str> {
    let brand = || bytes.get(4..8).filter(|mark| *mark == b"ftyp").and_then(|_| bytes.get(8..12));
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [0xFF, 0xD8, 0xFF, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        [b'<', ..] => Some("image/svg+xml"),
        _ => match brand()? {
            b"heic" | b"heix" | b"hevc" => Some("image/heic"),
            b"mif1" | b"heif" | b"msf1" => Some("image/heif"),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

    fn limits() -> ImageLimits {
        let remote = Remote {
            allowed: true,
            hosts: Vec::new(),
            redirects: 0,
            time: std::time::Duration::from_secs(5),
        };
        ImageLimits { mimes: vec!["image/png".to_owned()], max_bytes: 100, remote }
    }

    #[test]
    fn an_image_is_known_by_its_bytes() {
        let (image, size) = image("image/jpeg", PNG, &limits()).unwrap();
        assert_eq!((image.mime_type.as_str(), size), ("image/png", 70));
    }

    #[test]
    fn what_is_no_allowed_image_is_refused_with_the_reason() {
        assert_eq!(data_uri("https://e.example/x.png"), Err(MediaError::Remote));
        assert_eq!(data_uri("data:image/png,xyz"), Err(MediaError::NotBase64));
        assert_eq!(image("image/png", "%%%", &limits()), Err(MediaError::NotBase64));
        let svg = STANDARD.encode("<svg/>");
        assert_eq!(
            image("image/png", &svg, &limits()),
            Err(MediaError::Type("image/svg+xml".to_owned()))
        );
        let large = STANDARD.encode([0u8; 101]);
        assert_eq!(image("image/png", &large, &limits()), Err(MediaError::TooLarge(100)));
    }

    #[tokio::test]
    async fn an_address_is_fetched_only_where_allowed_and_never_from_this_host() {
        let web = PublicWeb::default();
        let mut limits = limits();
        let private = image_at(&web, "http://127.0.0.1:1/a.png", &limits).await.unwrap_err();
        assert!(matches!(&private, MediaError::Fetch(why) if why.contains("public")), "{private}");
        limits.remote.allowed = false;
        let closed = image_at(&web, "https://example.com/a.png", &limits).await;
        assert_eq!(closed.unwrap_err(), MediaError::Remote);
        let inline = format!("data:image/png;base64,{PNG}");
        assert_eq!(image_at(&web, &inline, &limits).await.unwrap().1, 70);
    }
}
