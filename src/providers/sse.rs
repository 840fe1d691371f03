//! Parses an event stream from bytes in pieces of any size.
//!
//! Holds at most one unfinished event, so that no provider can fill the memory: an excess is an error before it
//! is stored. The network may cut a code point in two, so text is validated by line and not by piece. Must not
//! know JSON, HTTP or time.

use bytes::{Buf, Bytes};

/// Largest event, in bytes; also the limit of a single line, comments included.
pub const MAX_EVENT_BYTES: usize = 1024 * 1024;
/// Longest stream, in bytes.
pub const MAX_STREAM_BYTES: usize = 10 * 1024 * 1024;
/// Most events of one stream.
pub const MAX_EVENTS: usize = 100_000;

/// Reason why a stream cannot be read further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StreamError {
    #[error("an event of more than {MAX_EVENT_BYTES} bytes")]
    LargeEvent,
    #[error("a stream of more than {MAX_STREAM_BYTES} bytes")]
    LongStream,
    #[error("a stream of more than {MAX_EVENTS} events")]
    ManyEvents,
    #[error("a line of the stream is no utf-8")]
    NotUtf8,
}

/// Parser of one stream.
#[derive(Debug, Default)]
pub(crate) struct SseReader {
    line: Vec<u8>,
    /// Data of the unfinished event: lines of valid UTF-8, each with a line feed.
    data: Vec<u8>,
    /// True if the last byte ended a line as a carriage return: a line feed now belongs to it.
    after_return: bool,
    /// True if a line was read: only the first may begin with a byte order mark.
    has_begun: bool,
    stream_bytes: usize,
    events: usize,
}

impl SseReader {
    /// Consumes bytes of `chunk` until an event is complete and returns its data; `None` if all were consumed.
    /// Bytes after the event stay in `chunk`.
    ///
    /// # Errors
    /// [`StreamError`]; the stream must not be read any more.
    pub(crate) fn read(&mut self, chunk: &mut Bytes) -> Result<Option<Bytes>, StreamError> {
        while !chunk.is_empty() {
            if self.after_return {
                self.after_return = false;
                if chunk[0] == b'\n' {
                    self.count(1)?;
                    chunk.advance(1);
                    continue;
                }
            }
            let end = chunk.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let length = end.unwrap_or(chunk.len());
            self.count(length + usize::from(end.is_some()))?;
            if self.line.len() + self.data.len() + length > MAX_EVENT_BYTES {
                return Err(StreamError::LargeEvent);
            }
            self.line.extend_from_slice(&chunk[..length]);
            let Some(end) = end else {
                chunk.clear();
                return Ok(None);
            };
            self.after_return = chunk[end] == b'\r';
            chunk.advance(end + 1);
            if let Some(data) = self.end_line()? {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// Returns the event at the end of the stream without its empty line, which some providers omit.
    ///
    /// # Errors
    /// The same as [`Self::read`].
    pub(crate) fn finish(&mut self) -> Result<Option<Bytes>, StreamError> {
        if !self.line.is_empty() {
            self.end_line()?;
        }
        self.end_event()
    }

    /// Returns the number of bytes held for an unfinished event.
    #[cfg(test)]
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.line.capacity() + self.data.capacity()
    }

    fn count(&mut self, bytes: usize) -> Result<(), StreamError> {
        self.stream_bytes += bytes;
        if self.stream_bytes > MAX_STREAM_BYTES { Err(StreamError::LongStream) } else { Ok(()) }
    }

    fn end_line(&mut self) -> Result<Option<Bytes>, StreamError> {
        let line = std::str::from_utf8(&self.line).map_err(|_| StreamError::NotUtf8)?;
        let line = if self.has_begun { line } else { line.strip_prefix('\u{feff}').unwrap_or(line) };
        self.has_begun = true;
        if line.is_empty() {
            self.line.clear();
            return self.end_event();
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = match name {
            "data" => Some(value.strip_prefix(' ').unwrap_or(value)),
            // A failing gateway writes its error as a bare line of JSON.
            _ if line.starts_with("{\"error\"") => Some(line),
            // The data repeats the event name; comments, ids and retry times are not used.
            _ => None,
        };
        if let Some(value) = value {
            self.data.extend_from_slice(value.as_bytes());
            self.data.push(b'\n');
        }
        self.line.clear();
        Ok(None)
    }

    fn end_event(&mut self) -> Result<Option<Bytes>, StreamError> {
        if self.data.is_empty() {
            return Ok(None);
        }
        self.events += 1;
        if self.events > MAX_EVENTS {
            return Err(StreamError::ManyEvents);
        }
        let mut data = std::mem::take(&mut self.data);
        data.pop();
        Ok(Some(data.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_in(text: &[u8], size: usize) -> Result<Vec<String>, StreamError> {
        let (mut reader, mut found) = (SseReader::default(), Vec::new());
        for part in text.chunks(size.max(1)) {
            let mut chunk = Bytes::copy_from_slice(part);
            while let Some(data) = reader.read(&mut chunk)? {
                found.push(data);
            }
            assert!(chunk.is_empty());
        }
        found.extend(reader.finish()?);
        Ok(found.into_iter().map(|data| String::from_utf8(data.to_vec()).unwrap()).collect())
    }

    #[test]
    fn sse_reader_follows_the_standard() {
        let table: [(&str, &[&str]); 12] = [
            ("data: a\n\ndata: b\n\n", &["a", "b"]),
            ("data: a\r\n\r\ndata: b\r\n\r\n", &["a", "b"]),
            ("data: a\r\rdata: b\r\r", &["a", "b"]),
            ("data:a\n\n", &["a"]),
            ("data:  a\n\n", &[" a"]),
            ("data: a\ndata: b\ndata\n\n", &["a\nb\n"]),
            (": OPENROUTER PROCESSING\n\ndata: a\n: ping\n\n:\n\n", &["a"]),
            ("event: x\nid: 1\nretry: 2\ndata: a\n\nevent: y\n\n", &["a"]),
            ("\u{feff}data: a\n\n", &["a"]),
            ("data: a\n\ndata: [DONE]", &["a", "[DONE]"]),
            ("{\"error\": {\"message\": \"oh\"}}\n\n", &["{\"error\": {\"message\": \"oh\"}}"]),
            ("\n\n\nnonsense\n\n", &[]),
        ];
        for (text, expected) in table {
            for size in [1, 2, 3, 7, 1000] {
                assert_eq!(read_in(text.as_bytes(), size).unwrap(), expected, "{text:?} by {size}");
            }
        }
    }

    #[test]
    fn split_code_point_is_joined_and_invalid_one_is_an_error() {
        assert_eq!(read_in("data: Grüße 🦀\n\n".as_bytes(), 1).unwrap(), ["Grüße 🦀"]);
        for broken in [&b"data: \xff\n\n"[..], b": \xc3\n\n", b"data: \xf0\x9f\n\n", b"data: \xed\xa0\x80"] {
            for size in [1, 1000] {
                assert_eq!(read_in(broken, size), Err(StreamError::NotUtf8), "{broken:?}");
            }
        }
    }

    #[test]
    fn event_over_the_limit_is_refused_before_buffering() {
        let parts: [&[u8]; 3] = [b"data: xxxxxxxxxx", b": comment without an end ", b"data: x\n"];
        for part in parts {
            let mut reader = SseReader::default();
            let fault = loop {
                let mut chunk = Bytes::from(part.repeat(1000));
                match reader.read(&mut chunk) {
                    Ok(found) => assert_eq!(found, None),
                    Err(fault) => break fault,
                }
                assert!(reader.buffered_bytes() <= 4 * MAX_EVENT_BYTES, "{}", reader.buffered_bytes());
            };
            assert_eq!(fault, StreamError::LargeEvent);
        }
        let fits = format!("data: {}\n\n", "x".repeat(MAX_EVENT_BYTES - 6));
        assert_eq!(read_in(fits.as_bytes(), 60_000).unwrap().len(), 1);
        let over = format!("data: {}\n\n", "x".repeat(MAX_EVENT_BYTES - 5));
        assert_eq!(read_in(over.as_bytes(), 60_000), Err(StreamError::LargeEvent));
    }

    #[test]
    fn stream_is_limited_in_bytes_and_events() {
        let keep_alive = b": still there\n\n".repeat(MAX_STREAM_BYTES / 15 + 1);
        assert_eq!(read_in(&keep_alive, 65_536), Err(StreamError::LongStream));
        assert_eq!(read_in(&b"data:\n\n".repeat(MAX_EVENTS + 1), 65_536), Err(StreamError::ManyEvents));
        assert_eq!(read_in(&b"data:\n\n".repeat(MAX_EVENTS), 65_536).unwrap().len(), MAX_EVENTS);
    }

    proptest! {
        #[test]
        fn sse_events_do_not_depend_on_chunking(
            parts in prop::collection::vec(prop::sample::select(vec![
                "data: a", "data: é🦀", "data", ":c", "\n", "\r", "\r\n", "\n\n", "event: x", " ", "{\"error\"", "\u{feff}",
            ]), 0..40),
            cuts in prop::collection::vec(1_usize..6, 1..40),
        ) {
            let text = parts.concat();
            let whole = read_in(text.as_bytes(), text.len());
            let (mut reader, mut found, mut rest) = (SseReader::default(), Vec::new(), text.as_bytes());
            for size in cuts.iter().cycle() {
                let (part, after) = rest.split_at(rest.len().min(*size));
                let mut chunk = Bytes::copy_from_slice(part);
                while let Some(data) = reader.read(&mut chunk).unwrap() {
                    found.push(String::from_utf8(data.to_vec()).unwrap());
                }
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            found.extend(reader.finish().unwrap().map(|data| String::from_utf8(data.to_vec()).unwrap()));
            prop_assert_eq!(Ok(found), whole);
        }
    }
}
