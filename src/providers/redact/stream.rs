//! Removes a key from a stream, also one that comes in pieces.
//!
//! A chunk is held back only while a text ends in what may become the key; the chunks behind it wait with it, so their
//! order stays. A chunk without any of the key is passed on as it came.

use super::{KeyForms, MARK, MIN_CUT_BYTES, MIN_KEY_BYTES};
use crate::chunk::ParsedChunk;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};

/// Most chunks that are held back; then what may become the key is taken for a key that was cut off.
const MAX_HELD: usize = 64;

/// Redactor of one stream.
#[derive(Debug)]
pub(crate) struct StreamRedactor {
    forms: KeyForms,
    channels: BTreeMap<String, Channel>,
    held: VecDeque<HeldChunk>,
    /// Number of the first held chunk.
    first: usize,
}

#[derive(Debug)]
struct HeldChunk {
    value: Value,
    chunk: ParsedChunk,
    is_edited: bool,
}

/// A text that grows with the stream, such as the content of one choice: its end that may become the key.
#[derive(Debug, Default)]
struct Channel {
    text: String,
    pieces: VecDeque<Piece>,
}

/// A part of a channel's text, and its place in the stream.
#[derive(Debug)]
struct Piece {
    chunk: usize,
    /// JSON pointer of the text in the chunk.
    pointer: String,
    /// Offset of the part in that text, in bytes.
    offset: usize,
    length: usize,
}

impl StreamRedactor {
    pub(crate) fn new(forms: KeyForms) -> Self {
        Self { forms, channels: BTreeMap::new(), held: VecDeque::new(), first: 0 }
    }

    /// Takes a chunk in and returns those that can be passed on, in order.
    pub(crate) fn push(&mut self, mut value: Value, chunk: ParsedChunk) -> Vec<ParsedChunk> {
        // The key may also stand in a member that a later one of the same name hides.
        let is_hidden =
            str::from_utf8(&chunk.chat_chunk.data).is_ok_and(|raw| self.forms.redact(raw).is_some());
        let is_edited = self.forms.redact_json(&mut value) | is_hidden;
        let mut texts = Vec::new();
        for (index, choice) in value["choices"].as_array().into_iter().flatten().enumerate() {
            let name = choice["index"].as_u64().unwrap_or(index as u64).to_string();
            collect_texts(&choice["delta"], &name, &format!("/choices/{index}/delta"), &mut texts);
        }
        let number = self.first + self.held.len();
        self.held.push_back(HeldChunk { value, chunk, is_edited });
        for (channel, pointer, text) in texts {
            let channel = self.channels.entry(channel).or_default();
            channel.text.push_str(&text);
            channel.pieces.push_back(Piece { chunk: number, pointer, offset: 0, length: text.len() });
            while let Some((start, end)) = find(&self.forms, &channel.text) {
                channel.cut(start, end, &mut self.held, self.first);
            }
            let (begun, _) = self.forms.begun_at_end(&channel.text);
            channel.forget(channel.text.len() - begun);
        }
        if self.held.len() > MAX_HELD {
            return self.flush();
        }
        self.release()
    }

    /// Returns what is held back, without what may be the beginning of the key.
    pub(crate) fn flush(&mut self) -> Vec<ParsedChunk> {
        for channel in self.channels.values_mut() {
            let (begun, whole) = self.forms.begun_at_end(&channel.text);
            if begun >= MIN_KEY_BYTES && begun * 2 >= whole {
                channel.cut(channel.text.len() - begun, channel.text.len(), &mut self.held, self.first);
            }
            channel.forget(channel.text.len());
        }
        self.release()
    }

    fn release(&mut self) -> Vec<ParsedChunk> {
        let is_held = |channel: &&Channel| channel.text.len() >= MIN_CUT_BYTES;
        let holding = self.channels.values().filter(is_held).filter_map(|channel| channel.pieces.front());
        let until = holding.map(|piece| piece.chunk).min().unwrap_or(usize::MAX);
        let count = until.saturating_sub(self.first).min(self.held.len());
        self.first += count;
        self.held.drain(..count).map(HeldChunk::into_chunk).collect()
    }
}

impl HeldChunk {
    fn into_chunk(self) -> ParsedChunk {
        match self.is_edited {
            true => ParsedChunk::read(&self.value, self.value.to_string().into()),
            false => self.chunk,
        }
    }
}

impl Channel {
    /// Replaces a range of the text by the mark, in the chunks that are still held, and forgets all before its end.
    fn cut(&mut self, start: usize, end: usize, held: &mut VecDeque<HeldChunk>, first: usize) {
        self.forget(start);
        let mut left = end - start;
        let mut mark = MARK;
        while left > 0
            && let Some(piece) = self.pieces.front_mut()
        {
            let length = piece.length.min(left);
            let chunk = piece.chunk.checked_sub(first).and_then(|place| held.get_mut(place));
            if let Some(chunk) = chunk
                && let Some(Value::String(text)) = chunk.value.pointer_mut(&piece.pointer)
            {
                text.replace_range(piece.offset..piece.offset + length, mark);
                chunk.is_edited = true;
                piece.offset += mark.len();
                mark = "";
            } else {
                piece.offset += length;
            }
            piece.length -= length;
            left -= length;
            self.text.drain(..length);
            if piece.length == 0 {
                self.pieces.pop_front();
            }
        }
    }

    /// Forgets the first bytes of the text.
    fn forget(&mut self, mut count: usize) {
        self.text.drain(..count);
        while count > 0
            && let Some(piece) = self.pieces.front_mut()
        {
            let length = piece.length.min(count);
            (piece.offset, piece.length) = (piece.offset + length, piece.length - length);
            count -= length;
            if piece.length == 0 {
                self.pieces.pop_front();
            }
        }
    }
}

/// Returns the range of the first form of the key in a text.
fn find(forms: &KeyForms, text: &str) -> Option<(usize, usize)> {
    let found = forms.0.iter().filter_map(|form| text.find(form).map(|start| (start, start + form.len())));
    found.min()
}

/// Collects the texts below a value: the name of the channel, the JSON pointer and the text. An item of a list
/// belongs to the channel of its `index`, if it has one.
fn collect_texts(value: &Value, name: &str, pointer: &str, texts: &mut Vec<(String, String, String)>) {
    match value {
        Value::String(text) if !text.is_empty() => {
            texts.push((name.to_owned(), pointer.to_owned(), text.clone()));
        }
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                let index = item["index"].as_u64().unwrap_or(place as u64);
                collect_texts(item, &format!("{name}/{index}"), &format!("{pointer}/{place}"), texts);
            }
        }
        Value::Object(fields) => {
            for (field, item) in fields {
                let escaped = field.replace('~', "~0").replace('/', "~1");
                collect_texts(item, &format!("{name}/{field}"), &format!("{pointer}/{escaped}"), texts);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const KEY: &str = "sk-secret-0123456789";

    fn run(chunks: &[Value]) -> (Vec<Value>, Vec<usize>) {
        let mut redactor = StreamRedactor::new(KeyForms::for_answers(Some(KEY)).unwrap());
        let (mut passed, mut counts) = (Vec::new(), Vec::new());
        for value in chunks {
            let data = format!(" {value}");
            let released = redactor.push(value.clone(), ParsedChunk::read(value, data.into()));
            counts.push(released.len());
            passed.extend(released);
        }
        passed.extend(redactor.flush());
        let read = |chunk: &ParsedChunk| serde_json::from_slice(&chunk.chat_chunk.data).unwrap();
        (passed.iter().map(read).collect(), counts)
    }

    fn content(text: &str) -> Value {
        json!({"choices": [{"index": 0, "delta": {"content": text}}]})
    }

    fn joined(chunks: &[Value]) -> String {
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect()
    }

    #[test]
    fn key_in_pieces_is_redacted_at_every_cut() {
        use base64::Engine;
        let encoded = base64::engine::general_purpose::STANDARD.encode(format!("Bearer {KEY}!"));
        for secret in [KEY, &encoded, &KEY.replace('-', "%2D")] {
            let text = format!("It is {secret}, {secret} indeed.");
            for size in 1..text.len() {
                let pieces: Vec<Value> = text
                    .as_bytes()
                    .chunks(size)
                    .map(|piece| content(std::str::from_utf8(piece).unwrap()))
                    .collect();
                let (passed, _) = run(&pieces);
                assert_eq!(passed.len(), pieces.len());
                let shown = joined(&passed);
                assert!(shown.starts_with("It is ") && shown.ends_with(" indeed."), "{size}: {shown}");
                assert_eq!(shown.matches(MARK).count(), 2, "{size}: {shown}");
                // Of a form at most the first letters have left, before it could be told from other text.
                for start in (0..secret.len() - MIN_KEY_BYTES).filter(|_| secret == KEY) {
                    assert!(!shown.contains(&secret[start..start + MIN_KEY_BYTES]), "{size}: {shown}");
                }
            }
        }
    }

    #[test]
    fn other_text_is_passed_on_as_it_came() {
        let chunks = ["As", "k sk-", "ing sk-sec", "ond, ", "and so on sk-s"].map(content);
        let (passed, counts) = run(&chunks);
        assert_eq!(passed, chunks);
        assert_eq!(counts, [1, 1, 0, 2, 0], "only what may become the key waits");
    }

    #[test]
    fn channels_are_redacted_apart_and_keep_their_order() {
        let call = |index: u64, text: &str| json!({"choices": [{"delta": {"tool_calls": [{"index": index, "function": {"arguments": text}}]}}]});
        let chunks = [call(0, "sk-secret"), call(1, "-0123456789"), call(0, "-0123456789"), content("done")];
        let (passed, counts) = run(&chunks);
        assert_eq!(passed, [call(0, MARK), call(1, "-0123456789"), call(0, ""), content("done")]);
        assert_eq!(counts, [0, 0, 3, 1]);
        let (passed, _) = run(&[content("sk-secret-01234"), json!({"model": KEY, "choices": []})]);
        assert_eq!(
            passed,
            [content(MARK), json!({"model": MARK, "choices": []})],
            "cut off, and in another field"
        );
        let waiting: Vec<Value> =
            [content("sk-secret-0")].into_iter().chain((0..100).map(|n| call(n, "x"))).collect();
        assert!(run(&waiting).1.iter().sum::<usize>() > MAX_HELD, "the wait is bounded");
    }
}
