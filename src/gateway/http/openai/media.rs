//! Images that a request carries: decoded, measured, and recognised by their
//! first bytes rather than by what the request claims.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::agents::run::Image;
use crate::gateway::http::prepared::ImageLimits;

/// Why an image is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    #[error("remote images are not fetched by this gateway; send a base64 data URI")]
    Remote,
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
    let bytes = decode(data)?;
    if bytes.len() > limits.max_bytes {
        return Err(MediaError::TooLarge(limits.max_bytes));
    }
    let kind = sniffed(&bytes).map_or_else(|| claimed.trim().to_lowercase(), str::to_owned);
    if !limits.mimes.contains(&kind) {
        return Err(MediaError::Type(kind));
    }
    Ok((Image { mime_type: kind, data: STANDARD.encode(&bytes) }, bytes.len()))
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
        ImageLimits { mimes: vec!["image/png".to_owned()], max_bytes: 100 }
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
}
