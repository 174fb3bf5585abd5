//! Files that come with a message. Images reach the model; the rest is refused
//! in clear words instead of being lost.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::agents::run::Image;
use crate::gateway::rpc::params::text;
use crate::protocol::error::ErrorShape;

/// Largest attachment, decoded.
const MAX_BYTES: usize = 5_000_000;

/// The images among the attachments of a message.
pub(crate) fn images(list: &[Value]) -> Result<Vec<Image>, ErrorShape> {
    list.iter().enumerate().map(|(index, attachment)| image(index, attachment)).collect()
}

fn image(index: usize, attachment: &Value) -> Result<Image, ErrorShape> {
    let label = text(attachment, "fileName")
        .or_else(|| text(attachment, "type"))
        .map_or_else(|| format!("attachment-{}", index + 1), str::to_owned);
    let refuse = |why: String| ErrorShape::invalid(format!("attachment {label}: {why}"));
    let source = attachment.get("source").filter(|source| source.is_object());
    let content = source
        .and_then(|source| text(source, "data"))
        .or_else(|| text(attachment, "content"))
        .ok_or_else(|| refuse("content must be base64 string".into()))?;
    let (declared, data) = match content.strip_prefix("data:").and_then(|rest| rest.split_once(','))
    {
        Some((head, data)) => (head.split(';').next(), data),
        None => (None, content),
    };
    let bytes =
        STANDARD.decode(data.trim()).map_err(|_bad| refuse("invalid base64 content".into()))?;
    if bytes.is_empty() {
        return Err(refuse("content is empty".into()));
    }
    if bytes.len() > MAX_BYTES {
        return Err(refuse(format!("exceeds size limit ({} > {MAX_BYTES} bytes)", bytes.len())));
    }
    let claimed = source
        .and_then(|source| text(source, "media_type"))
        .or_else(|| text(attachment, "mimeType"))
        .or(declared);
    let mime_type = sniff(&bytes)
        .or_else(|| claimed.filter(|mime| mime.starts_with("image/")))
        .ok_or_else(|| refuse("only image attachments are supported".into()))?;
    Ok(Image { mime_type: mime_type.to_owned(), data: STANDARD.encode(bytes) })
}

/// The type that the bytes themselves show.
fn sniff(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_image_is_recognised_by_its_bytes() {
        let png = STANDARD.encode(b"\x89PNG....");
        let list = [json!({"mimeType": "application/pdf", "content": png})];
        assert_eq!(images(&list).unwrap()[0].mime_type, "image/png");
        let url =
            [json!({"content": format!("data:image/x-own;base64,{}", STANDARD.encode("abc"))})];
        assert_eq!(images(&url).unwrap()[0].mime_type, "image/x-own");
    }

    #[test]
    fn a_refusal_names_the_attachment() {
        let refused = |attachment: Value| images(&[attachment]).unwrap_err().message;
        assert_eq!(
            refused(json!({"fileName": "a.txt", "content": "aGk="})),
            "attachment a.txt: only image attachments are supported"
        );
        assert_eq!(
            refused(json!({"content": "??"})),
            "attachment attachment-1: invalid base64 content"
        );
        let big = STANDARD.encode(vec![0; MAX_BYTES + 1]);
        assert!(refused(json!({"content": big})).contains("exceeds size limit"));
    }
}
