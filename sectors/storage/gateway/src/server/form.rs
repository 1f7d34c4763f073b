//! Upload forms (`multipart/form-data`): fields first, then the file, which is never held as a whole.
//!
//! Source: RFC 7578; RFC 2046, section 5.1.

use crate::access::form::Fields;
use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use memchr::memmem;
use s3s::StdError;

/// Most bytes of all fields together with their headers, and of what stands before them.
const MAX_FIELDS: usize = 64 << 10;
/// Most fields.
const MAX_PARTS: usize = 200;
/// Most bytes of one part's headers.
const MAX_HEADERS: usize = 8 << 10;

/// What is wrong with a form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadForm {
    /// It is no form as browsers send them.
    #[error("the form cannot be read: {0}")]
    Shape(&'static str),
    /// It broke off.
    #[error("the form broke off: {0}")]
    Broken(String),
}

/// A body as it arrives.
pub type Arriving = BoxStream<'static, Result<Bytes, StdError>>;

/// A form up to its file.
pub struct Form {
    /// Fields by lower-case name, without the file.
    pub fields: Fields,
    /// Name of the file as the browser has it.
    pub filename: Option<String>,
    /// The file.
    pub file: Arriving,
}

/// The boundary in a content type.
pub fn boundary(content_type: &str) -> Option<String> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let value = parameter(parameters, "boundary")?;
    (1..=70).contains(&value.len()).then_some(value)
}

/// A parameter of a header, perhaps in quotes.
fn parameter(text: &str, name: &str) -> Option<String> {
    let mut rest = text.trim_start_matches([' ', ';', '\t']);
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=')?;
        let (value, behind) = if let Some(quoted) = after.strip_prefix('"') {
            let mut value = String::new();
            let mut chars = quoted.char_indices();
            let end = loop {
                match chars.next()? {
                    (at, '"') => break at,
                    // Only a quote is escaped: some browsers send paths with backslashes.
                    (at, '\\') if quoted[at + 1..].starts_with('"') => value.push(chars.next()?.1),
                    (_, c) => value.push(c),
                }
            };
            (value, quoted.get(end + 1..).unwrap_or_default())
        } else {
            let end = after.find(';').unwrap_or(after.len());
            (after[..end].trim().to_owned(), &after[end..])
        };
        if key.trim().eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = behind.trim_start_matches([' ', ';', '\t']);
    }
    None
}

struct Reader {
    body: Arriving,
    buffer: BytesMut,
    delimiter: Vec<u8>,
    /// Bytes that may still come before the file.
    left: usize,
}

impl Reader {
    async fn more(&mut self) -> Result<(), BadForm> {
        match self.body.next().await {
            Some(Ok(bytes)) => {
                self.buffer.extend_from_slice(&bytes);
                Ok(())
            }
            Some(Err(e)) => Err(BadForm::Broken(e.to_string())),
            None => Err(BadForm::Shape("it ends before the file")),
        }
    }

    /// What stands before `end`, which is taken too.
    async fn until(&mut self, end: &[u8], most: usize) -> Result<Bytes, BadForm> {
        let most = most.min(self.left);
        let mut searched = 0usize;
        loop {
            if let Some(at) = memmem::find(&self.buffer[searched..], end).map(|at| at + searched) {
                if at > most {
                    return Err(BadForm::Shape("its fields have more than 64 KiB"));
                }
                self.left = self.left.saturating_sub(at);
                let found = self.buffer.split_to(at).freeze();
                let _ = self.buffer.split_to(end.len());
                return Ok(found);
            }
            if self.buffer.len() > most.saturating_add(end.len()) {
                return Err(BadForm::Shape("its fields have more than 64 KiB"));
            }
            searched = self.buffer.len().saturating_sub(end.len());
            self.more().await?;
        }
    }

    /// Whether another part follows a delimiter.
    async fn follows(&mut self) -> Result<bool, BadForm> {
        while self.buffer.len() < 2 {
            self.more().await?;
        }
        let next = self.buffer.split_to(2);
        match &next[..] {
            b"\r\n" => Ok(true),
            b"--" => Ok(false),
            _ => Err(BadForm::Shape("what follows a boundary is no line end")),
        }
    }
}

/// Name and file name of a part, out of its headers.
fn part(headers: &[u8]) -> Result<(String, Option<String>), BadForm> {
    let text =
        std::str::from_utf8(headers).map_err(|_| BadForm::Shape("the headers of a part are no UTF-8"))?;
    let mut found = None;
    for line in text.split("\r\n") {
        let Some((name, value)) = line.split_once(':') else { continue };
        if name.trim().eq_ignore_ascii_case("content-disposition") {
            let (_, parameters) = value.split_once(';').ok_or(BadForm::Shape("a part has no name"))?;
            let name = parameter(parameters, "name").ok_or(BadForm::Shape("a part has no name"))?;
            found = Some((name.to_ascii_lowercase(), parameter(parameters, "filename")));
        }
    }
    found.ok_or(BadForm::Shape("a part has no name"))
}

/// Reads a form up to its file.
///
/// # Errors
/// It is no form, its fields are too large, or it breaks off.
pub async fn read(body: Arriving, boundary: &str) -> Result<Form, BadForm> {
    let delimiter = format!("\r\n--{boundary}").into_bytes();
    // The first boundary may stand at the very beginning.
    let mut reader = Reader { body, buffer: BytesMut::from(&b"\r\n"[..]), delimiter, left: MAX_FIELDS };
    let delimiter = reader.delimiter.clone();
    reader.until(&delimiter, MAX_HEADERS).await?;
    let mut fields = Fields::new();
    for _ in 0..MAX_PARTS {
        if !reader.follows().await? {
            return Err(BadForm::Shape("it has no file"));
        }
        // A part without headers begins with the empty line itself.
        let mut lines = BytesMut::from(&b"\r\n"[..]);
        lines.unsplit(std::mem::take(&mut reader.buffer));
        reader.buffer = lines;
        let headers = reader.until(b"\r\n\r\n", MAX_HEADERS).await?;
        let (name, filename) = part(&headers)?;
        if name == "file" {
            return Ok(Form { fields, filename, file: file(reader) });
        }
        let value = reader.until(&delimiter, MAX_FIELDS).await?;
        let value = String::from_utf8(value.to_vec()).map_err(|_| BadForm::Shape("a field is no UTF-8"))?;
        if fields.insert(name, value).is_some() {
            return Err(BadForm::Shape("a field is given twice"));
        }
    }
    Err(BadForm::Shape("it has more than 200 fields"))
}

/// The bytes of the file until the boundary.
fn file(reader: Reader) -> Arriving {
    futures::stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        loop {
            if let Some(at) = memmem::find(&reader.buffer, &reader.delimiter) {
                let last = reader.buffer.split_to(at).freeze();
                return Some((Ok(last), None));
            }
            // A boundary may have begun at the end of what is here.
            let sure = reader.buffer.len().saturating_sub(reader.delimiter.len());
            if sure > 0 {
                let bytes = reader.buffer.split_to(sure).freeze();
                return Some((Ok(bytes), Some(reader)));
            }
            if let Err(e) = reader.more().await {
                return Some((Err(e.into()), None));
            }
        }
    })
    .boxed()
}

/// A stream as a body's.
pub fn arriving<S>(stream: S) -> Arriving
where
    S: Stream<Item = Result<Bytes, StdError>> + Send + 'static,
{
    stream.boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn form(parts: &[(&str, &str)], file: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, value) in parts {
            let part = format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
            out.extend_from_slice(part.as_bytes());
        }
        let head = "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a b.txt\"\r\nContent-Type: text/x\r\n\r\n";
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(file);
        out.extend_from_slice(b"\r\n--B--\r\n");
        out
    }

    fn pieces(bytes: &[u8], size: usize) -> Arriving {
        let chunks: Vec<_> = bytes.chunks(size).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
        arriving(futures::stream::iter(chunks))
    }

    fn both(bytes: &[u8], size: usize) -> Result<(Fields, Option<String>, Vec<u8>), String> {
        futures::executor::block_on(async {
            let form = read(pieces(bytes, size), "B").await.map_err(|e| e.to_string())?;
            let mut all = Vec::new();
            let mut file = form.file;
            while let Some(chunk) = file.next().await {
                all.extend_from_slice(&chunk.map_err(|e| e.to_string())?);
            }
            Ok((form.fields, form.filename, all))
        })
    }

    #[test]
    fn boundaries_are_found() {
        assert_eq!(boundary("multipart/form-data; boundary=abc"), Some("abc".into()));
        assert_eq!(boundary("Multipart/Form-Data; charset=x; boundary=\"a b\""), Some("a b".into()));
        assert_eq!(boundary("multipart/form-data"), None);
        assert_eq!(boundary("multipart/form-data; boundary="), None);
        assert_eq!(boundary("application/xml; boundary=abc"), None);
    }

    #[test]
    fn fields_and_file_come_out() {
        assert_eq!(parameter(" x=1; filename=\"C:\\a\\\"b\"", "filename").as_deref(), Some("C:\\a\"b"));
        let (fields, name, file) = both(&form(&[("Key", "k"), ("x", "1\r\n2")], b"bytes"), 7).unwrap();
        assert_eq!(fields["key"], "k");
        assert_eq!(fields["x"], "1\r\n2");
        assert_eq!((name.as_deref(), &file[..]), (Some("a b.txt"), &b"bytes"[..]));
    }

    #[test]
    fn what_is_no_form_is_refused() {
        assert!(both(b"", 10).is_err());
        assert!(both(b"--B--\r\n", 10).is_err());
        assert!(both(b"--B\r\n\r\nvalue\r\n--B--", 10).unwrap_err().contains("no name"));
        assert!(both(&form(&[("a", "1"), ("A", "2")], b""), 10).unwrap_err().contains("twice"));
        assert!(both(&form(&[("a", &"x".repeat(70_000))], b""), 1000).unwrap_err().contains("64 KiB"));
        let many: Vec<(String, String)> = (0..201).map(|n| (format!("f{n}"), String::new())).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert!(both(&form(&many, b""), 1000).is_err());
        let whole = form(&[], b"some bytes");
        assert!(both(&whole[..whole.len() - 12], 3).is_err(), "it broke off");
    }

    proptest! {
        #[test]
        fn however_it_is_cut_the_file_is_whole(file in prop::collection::vec(any::<u8>(), 0..200), size in 1usize..60) {
            prop_assume!(memmem::find(&file, b"\r\n--B").is_none());
            let (_, _, got) = both(&form(&[("key", "k")], &file), size).unwrap();
            prop_assert_eq!(got, file);
        }

        #[test]
        fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), size in 1usize..60) {
            let _ = both(&bytes, size);
            let mut with = b"--B\r\n".to_vec();
            with.extend(bytes);
            let _ = both(&with, size);
        }
    }
}
