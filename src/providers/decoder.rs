//! Decodes the bytes of a stream to chunks, in either wire format.
//!
//! Detects the end of a stream and a cut stream. Must not wait or connect: `client/stream.rs` supplies the
//! bytes.

use crate::anthropic::StreamTranslator;
use crate::chunk::ParsedChunk;
use crate::error::{CallError, CallErrorKind};
use crate::error_response::{self, RequestContext};
use crate::redact::stream::StreamRedactor;
use crate::redact::{KeyForms, sanitize};
use crate::sse::{SseReader, StreamError};
use bytes::Bytes;
use serde_json::Value;
use std::collections::{BTreeSet, VecDeque};

/// Format of a stream's events.
#[derive(Debug)]
pub(crate) enum StreamFormat {
    OpenAi,
    Anthropic(StreamTranslator),
}

/// Decoder of one stream.
#[derive(Debug)]
pub(crate) struct Decoder {
    events: SseReader,
    format: StreamFormat,
    expected_choices: u64,
    finished: BTreeSet<u64>,
    has_answer: bool,
    is_done: bool,
    redactor: Option<StreamRedactor>,
    /// Chunks that can be returned.
    ready: VecDeque<ParsedChunk>,
}

impl Decoder {
    /// Creates a decoder for a stream of `expected_choices` answers.
    pub(crate) fn new(format: StreamFormat, expected_choices: u64) -> Self {
        Self {
            events: SseReader::default(),
            format,
            expected_choices,
            finished: BTreeSet::new(),
            has_answer: false,
            is_done: false,
            redactor: None,
            ready: VecDeque::new(),
        }
    }

    /// Removes this key from every chunk.
    pub(crate) fn redacting(self, key: Option<&str>) -> Self {
        Self { redactor: KeyForms::for_answers(key).map(StreamRedactor::new), ..self }
    }

    /// Returns whether the stream has announced its end.
    pub(crate) fn is_done(&self) -> bool {
        self.is_done
    }

    /// Returns whether every answer has announced its end. More of it may follow: some providers announce the end
    /// with every chunk.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_done || self.finished.len() as u64 >= self.expected_choices
    }

    /// Consumes bytes until a chunk is complete; `None` if all were consumed or the stream is done.
    ///
    /// # Errors
    /// The provider's error, or a violation of the protocol or a limit.
    pub(crate) fn read(
        &mut self,
        bytes: &mut Bytes,
        context: RequestContext<'_>,
    ) -> Result<Option<ParsedChunk>, CallError> {
        loop {
            if self.is_done {
                self.release_held();
            }
            if let Some(chunk) = self.ready.pop_front() {
                return Ok(Some(chunk));
            }
            if self.is_done {
                return Ok(None);
            }
            let Some(data) = self.events.read(bytes).map_err(fault)? else { return Ok(None) };
            self.event(data, context)?;
        }
    }

    /// Handles the end of the bytes: returns the remaining chunks, then `None`.
    ///
    /// # Errors
    /// The same as [`Self::read`], and [`CallErrorKind::Unreachable`] if an answer is incomplete.
    pub(crate) fn end(&mut self, context: RequestContext<'_>) -> Result<Option<ParsedChunk>, CallError> {
        if self.is_done || !self.ready.is_empty() {
            self.release_held();
            return Ok(self.ready.pop_front());
        }
        if let Some(data) = self.events.finish().map_err(fault)? {
            let is_cut = data != "[DONE]" && serde_json::from_slice::<Value>(&data).is_err();
            if !is_cut {
                self.event(data, context)?;
            }
            if let Some(chunk) = self.ready.pop_front() {
                return Ok(Some(chunk));
            }
        }
        if !self.is_whole() {
            return Err(CallError::new(CallErrorKind::Unreachable, "the stream was cut in the middle"));
        }
        Ok(self.close())
    }

    /// Ends a stream with a complete answer and ignores later data. Returns the last chunk if it is still due.
    pub(crate) fn close(&mut self) -> Option<ParsedChunk> {
        self.is_done = true;
        let last = match &mut self.format {
            StreamFormat::OpenAi => None,
            StreamFormat::Anthropic(translator) => translator.end(),
        };
        if let Some(value) = last {
            let chunk = generated_chunk(&value);
            self.pass_on(value, chunk);
        }
        self.release_held();
        self.ready.pop_front()
    }

    fn pass_on(&mut self, value: Value, chunk: ParsedChunk) {
        match &mut self.redactor {
            Some(redactor) => self.ready.extend(redactor.push(value, chunk)),
            None => self.ready.push_back(chunk),
        }
    }

    /// Moves what the redactor holds back to the chunks that can be returned.
    fn release_held(&mut self) {
        if let Some(redactor) = &mut self.redactor {
            self.ready.extend(redactor.flush());
        }
    }

    fn event(&mut self, data: Bytes, context: RequestContext<'_>) -> Result<(), CallError> {
        match data.trim_ascii() {
            b"" => return Ok(()),
            b"[DONE]" => {
                self.require_answer()?;
                self.is_done = true;
                return Ok(());
            }
            _ => {}
        }
        let broken = |wrong: &str| CallError::new(CallErrorKind::Broken, sanitize(wrong, context.key));
        let value: Value = serde_json::from_slice(&data)
            .map_err(|error| broken(&format!("an event of the stream is no json: {error}")))?;
        if !value.is_object() {
            return Err(broken("an event of the stream is no json object"));
        }
        if let Some(error) = error_response::from_body(&value, context) {
            return Err(error);
        }
        let (chunk, is_last) = match &mut self.format {
            StreamFormat::OpenAi => {
                let chunk = ParsedChunk::read(&value, data);
                (Some((value, chunk)), false)
            }
            StreamFormat::Anthropic(translator) => {
                let generated = translator.event(&value);
                let chunk = generated.map(|value| {
                    let chunk = generated_chunk(&value);
                    (value, chunk)
                });
                (chunk, translator.is_done())
            }
        };
        if let Some((value, chunk)) = chunk {
            self.finished.extend(&chunk.finished);
            self.has_answer |= chunk.chat_chunk.has_answer;
            self.pass_on(value, chunk);
        }
        if is_last {
            self.require_answer()?;
            self.is_done = true;
        }
        Ok(())
    }

    fn require_answer(&self) -> Result<(), CallError> {
        match self.has_answer {
            true => Ok(()),
            false => Err(CallError::new(CallErrorKind::Broken, "the stream holds no answer")),
        }
    }
}

/// Builds a chunk that did not come from the provider.
fn generated_chunk(value: &Value) -> ParsedChunk {
    ParsedChunk::read(value, value.to_string().into())
}

fn fault(fault: StreamError) -> CallError {
    let kind = match fault {
        StreamError::NotUtf8 => CallErrorKind::Broken,
        StreamError::LargeEvent | StreamError::LongStream | StreamError::ManyEvents => {
            CallErrorKind::TooLarge
        }
    };
    CallError::new(kind, fault.to_string())
}

#[cfg(test)]
mod tests;
