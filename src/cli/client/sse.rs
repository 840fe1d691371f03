//! Server-sent events: bytes in, frames out.
//!
//! Owns the text format of the HTML standard. Knows neither HTTP nor what an event means.

/// One frame of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SseFrame {
    /// The `id:` of the frame, if it has one.
    pub id: Option<String>,
    /// The `event:` of the frame; empty when it has none.
    pub event: String,
    /// The `data:` lines, joined by line breaks.
    pub data: String,
}

/// Cuts a stream of bytes into frames.
#[derive(Debug, Default)]
pub struct SseParser {
    line: Vec<u8>,
    frame: SseFrame,
    data_lines: usize,
    after_return: bool,
}

impl SseParser {
    /// Takes the next bytes and returns the frames that they complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<SseFrame> {
        let mut frames = Vec::new();
        for &byte in bytes {
            let second_of_pair = byte == b'\n' && self.after_return;
            self.after_return = byte == b'\r';
            match byte {
                _ if second_of_pair => {}
                b'\n' | b'\r' => {
                    let line = std::mem::take(&mut self.line);
                    frames.extend(self.end_line(&String::from_utf8_lossy(&line)));
                }
                _ => self.line.push(byte),
            }
        }
        frames
    }

    fn end_line(&mut self, line: &str) -> Option<SseFrame> {
        if line.is_empty() {
            let frame = std::mem::take(&mut self.frame);
            let lines = std::mem::take(&mut self.data_lines);
            return (lines > 0).then_some(frame);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" if !value.contains('\0') => self.frame.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut self.frame.event),
            "data" => {
                if self.data_lines > 0 {
                    self.frame.data.push('\n');
                }
                self.frame.data.push_str(value);
                self.data_lines += 1;
            }
            // A comment, a field we have no use for, or one we do not know.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "event: connected\ndata: {\"last_seq\":4}\n\n: keep-alive\n\n\
        id: 5\r\nevent: bead.created\r\ndata: one\r\ndata:two\r\n\r\nid: 6\n\nevent: cut off\n";

    fn frames(chunk: usize) -> Vec<SseFrame> {
        let mut parser = SseParser::default();
        STREAM.as_bytes().chunks(chunk).flat_map(|bytes| parser.feed(bytes)).collect()
    }

    #[test]
    fn sse_frames_do_not_depend_on_chunking() {
        let whole = frames(STREAM.len());
        assert_eq!(whole.len(), 2);
        assert_eq!((whole[0].id.as_deref(), whole[0].event.as_str()), (None, "connected"));
        assert_eq!(whole[1].id.as_deref(), Some("5"));
        assert_eq!(whole[1].data, "one\ntwo");
        for chunk in 1..8 {
            assert_eq!(frames(chunk), whole, "in chunks of {chunk}");
        }
    }
}
