//! What a model gets of a PDF: the text of its first pages, and the scans
//! where those have next to no text.
//!
//! Pages are not drawn. A scanner puts one JPEG on each page; that is passed
//! on as it is.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lopdf::{Document, LoadOptions, Object};

use crate::agents::run::Image;
use crate::gateway::http::prepared::{ImageLimits, PdfLimits};
use crate::lifecycle;

/// A small file may unfold into gigabytes; no part of it may become larger
/// than this.
const UNFOLDED: usize = 32 * 1024 * 1024;

/// What a model can use.
#[derive(Debug, Default)]
pub struct Content {
    pub text: String,
    /// Only where there is less text than asked for.
    pub scans: Vec<Image>,
}

/// Why nothing of a PDF reaches the model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PdfError {
    #[error("not readable as a PDF: {0}")]
    Broken(String),
    #[error("the PDF is encrypted")]
    Encrypted,
    #[error("the first {0} pages of the PDF have neither text nor a scanned image")]
    Empty(usize),
    #[error("the PDF could not be read to its end")]
    Crashed,
}

/// Reads a PDF away from the tasks that serve clients: this takes a moment.
pub async fn read(
    bytes: Vec<u8>,
    limits: PdfLimits,
    images: ImageLimits,
) -> Result<Content, PdfError> {
    let reading = lifecycle::spawn_blocking(move || content(&bytes, limits, &images));
    reading.await.unwrap_or(Err(PdfError::Crashed))
}

fn content(bytes: &[u8], limits: PdfLimits, images: &ImageLimits) -> Result<Content, PdfError> {
    let options = LoadOptions::with_max_decompressed_size(UNFOLDED);
    let document = Document::load_mem_with_options(bytes, options).map_err(|err| match err {
        lopdf::Error::InvalidPassword | lopdf::Error::Decryption(_) => PdfError::Encrypted,
        err => PdfError::Broken(err.to_string()),
    })?;
    let pages: Vec<_> = document.get_pages().into_iter().take(limits.max_pages).collect();
    let texts = pages.iter().filter_map(|(number, _)| {
        let text = document.extract_text_with_limit(&[*number], UNFOLDED);
        let text = text.inspect_err(|err| tracing::debug!(page = number, %err, "no text")).ok()?;
        Some(without_ligatures(text.trim())).filter(|text| !text.is_empty())
    });
    let text = texts.collect::<Vec<_>>().join("\n\n");
    if !text.is_empty() && text.chars().count() >= limits.min_text_chars {
        return Ok(Content { text, scans: Vec::new() });
    }
    let scans: Vec<Image> =
        pages.iter().filter_map(|(_, page)| scan(&document, *page, images)).collect();
    if text.is_empty() && scans.is_empty() {
        return Err(PdfError::Empty(limits.max_pages));
    }
    Ok(Content { text, scans })
}

/// Typesetters join letters; models and searches expect them apart.
fn without_ligatures(text: &str) -> String {
    const JOINED: [(char, &str); 7] = [
        ('\u{fb00}', "ff"),
        ('\u{fb01}', "fi"),
        ('\u{fb02}', "fl"),
        ('\u{fb03}', "ffi"),
        ('\u{fb04}', "ffl"),
        ('\u{fb05}', "st"),
        ('\u{fb06}', "st"),
    ];
    JOINED.iter().fold(text.to_owned(), |text, (joined, apart)| text.replace(*joined, apart))
}

/// The largest JPEG of a page.
fn scan(document: &Document, page: lopdf::ObjectId, limits: &ImageLimits) -> Option<Image> {
    const JPEG: &str = "image/jpeg";
    if !limits.mimes.iter().any(|mime| mime == JPEG) {
        return None;
    }
    let found = document.get_page_images(page).ok()?;
    let fits = found.iter().filter(|image| {
        let is_jpeg = image.filters.as_deref().is_some_and(|filters| filters == ["DCTDecode"]);
        // Four inks need a printer's profile to become colours on a screen.
        let inks = image.color_space.as_deref() == Some("DeviceCMYK")
            || matches!(image.origin_dict.get(b"Decode"), Ok(Object::Array(range)) if range.len() > 6);
        is_jpeg && !inks && image.content.len() <= limits.max_bytes
    });
    let largest = fits.max_by_key(|image| image.width.saturating_mul(image.height))?;
    Some(Image { mime_type: JPEG.to_owned(), data: STANDARD.encode(largest.content) })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lopdf::{Dictionary, Stream, dictionary};

    use super::*;
    use crate::gateway::http::prepared::Remote;

    const LETTER: &[u8] = include_bytes!("../../../../tests/fixtures/http/letter.pdf");
    const PDF: PdfLimits = PdfLimits { max_pages: 4, min_text_chars: 20 };

    fn images() -> ImageLimits {
        let remote =
            Remote { allowed: false, hosts: Vec::new(), redirects: 0, time: Duration::ZERO };
        ImageLimits { mimes: vec!["image/jpeg".to_owned()], max_bytes: 1000, remote }
    }

    /// A document whose pages have the given content streams and image.
    fn document(pages: &[&str], image: Option<Stream>) -> Vec<u8> {
        let mut document = Document::with_version("1.5");
        let tree = document.new_object_id();
        let font = document.add_object(
            dictionary! {"Type" => "Font", "Subtype" => "Type1", "BaseFont" => "Helvetica"},
        );
        let mut resources = dictionary! {"Font" => dictionary! {"F1" => font}};
        if let Some(image) = image {
            let image = document.add_object(image);
            resources.set("XObject", dictionary! {"Im0" => image});
        }
        let resources = document.add_object(resources);
        let kids: Vec<Object> = pages
            .iter()
            .map(|content| {
                let mut content = Stream::new(Dictionary::new(), content.as_bytes().to_vec());
                content.compress().unwrap();
                let content = document.add_object(content);
                let page = dictionary! {"Type" => "Page", "Parent" => tree, "Contents" => content};
                document.add_object(page).into()
            })
            .collect();
        let count = i64::try_from(kids.len()).unwrap();
        let pages = dictionary! {"Type" => "Pages", "Kids" => kids, "Count" => count,
        "Resources" => resources, "MediaBox" => vec![0.into(), 0.into(), 595.into(), 842.into()]};
        document.objects.insert(tree, Object::Dictionary(pages));
        let catalog = document.add_object(dictionary! {"Type" => "Catalog", "Pages" => tree});
        document.trailer.set("Root", catalog);
        let mut bytes = Vec::new();
        document.save_to(&mut bytes).unwrap();
        bytes
    }

    fn line(text: &str) -> String {
        format!("BT /F1 12 Tf 70 700 Td ({text}) Tj ET")
    }

    fn scanned(filter: &str, space: &str) -> Stream {
        let image = dictionary! {"Type" => "XObject", "Subtype" => "Image", "Width" => 8,
        "Height" => 8, "ColorSpace" => space, "BitsPerComponent" => 8, "Filter" => filter};
        Stream::new(image, vec![0xFF, 0xD8, 0xFF, 0xE0, 1, 2, 3])
    }

    #[test]
    fn a_letter_printed_by_a_browser_is_read_as_text() {
        let read = content(LETTER, PDF, &images()).unwrap();
        for words in ["Offer 2026-117", "three lamps", "1,234.50", "Ms Gr\u{fc}n", "24 December"] {
            assert!(read.text.contains(words), "{words}: {}", read.text);
        }
        assert!(read.scans.is_empty());
    }

    #[test]
    fn only_the_first_pages_are_read() {
        let pages = ["one is the first page", "two", "three"].map(line);
        let bytes = document(&pages.each_ref().map(String::as_str), None);
        let limits = PdfLimits { max_pages: 2, ..PDF };
        assert_eq!(
            content(&bytes, limits, &images()).unwrap().text,
            "one is the first page\n\ntwo"
        );
    }

    #[test]
    fn a_page_without_text_gives_its_scan() {
        let bytes =
            document(&["q 8 0 0 8 0 0 cm /Im0 Do Q"], Some(scanned("DCTDecode", "DeviceRGB")));
        let read = content(&bytes, PDF, &images()).unwrap();
        assert_eq!((read.text.as_str(), read.scans.len()), ("", 1));
        assert_eq!(read.scans[0].mime_type, "image/jpeg");
        assert_eq!(STANDARD.decode(&read.scans[0].data).unwrap()[..3], [0xFF, 0xD8, 0xFF]);
        let empty = PdfError::Empty(4);
        for image in [scanned("DCTDecode", "DeviceCMYK"), scanned("CCITTFaxDecode", "DeviceGray")] {
            let bytes = document(&["q /Im0 Do Q"], Some(image));
            assert_eq!(content(&bytes, PDF, &images()).unwrap_err(), empty);
        }
    }

    #[test]
    fn what_is_no_pdf_or_unfolds_without_end_is_refused() {
        for bytes in [&b"%PDF-1.4\nhello"[..], b"", b"PK\x03\x04"] {
            assert!(matches!(content(bytes, PDF, &images()), Err(PdfError::Broken(_))));
        }
        let bomb = " ".repeat(UNFOLDED + 1);
        let bytes = document(&[&bomb], None);
        assert!(bytes.len() < 200_000);
        assert_eq!(content(&bytes, PDF, &images()).unwrap_err(), PdfError::Empty(4));
    }
}
