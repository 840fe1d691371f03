//! Bodies of a provider's answers: whole, slow, broken, endless; counts the clients that disconnect early.

use crate::script_fault::Fault;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::sync::watch;

/// A body that may break while it is sent.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;
type ByteStream = BoxStream<'static, io::Result<Bytes>>;

/// How many bytes of an endless body are made at once.
const CHUNK_BYTES: usize = 64 * 1024;
const MEGABYTE: usize = 1024 * 1024;

/// The body that carries `text`, or breaks on the way.
pub(crate) fn body(fault: Option<&Fault>, text: String) -> Body {
    let bytes = Bytes::from(text);
    let half = bytes.slice(..bytes.len() / 2);
    let chunks: ByteStream = match fault {
        None | Some(Fault::Hang) => {
            return Full::new(bytes).map_err(|never| match never {}).boxed_unsync();
        }
        Some(Fault::CutInTheMiddle) => cut_after(half),
        Some(Fault::StallInTheMiddle) => silent_after(half),
        Some(Fault::OneBytePer(pause)) => {
            let pause = *pause;
            stream::iter(0..bytes.len())
                .then(move |at| {
                    let byte = bytes.slice(at..=at);
                    async move {
                        tokio::time::sleep(pause).await;
                        Ok(byte)
                    }
                })
                .boxed()
        }
        Some(Fault::HugeBody) => endless(Bytes::from(vec![b' '; CHUNK_BYTES])),
        Some(Fault::InvalidUtf8) if is_stream(&bytes) => {
            let events = events(&bytes);
            let first = events[..events.len() / 2].concat();
            chunks_of([first.into(), Bytes::from_static(b"data: {\"text\": \"\xff\xfe\"}\n\n")])
        }
        Some(Fault::InvalidUtf8) => chunks_of([Bytes::from_static(b"{\"text\": \"\xff\xfe\"}")]),
        Some(Fault::HangAfterHeaders) => stream::pending().boxed(),
        Some(Fault::CutAfterEvents(count)) => cut_after(first_events(&bytes, *count)),
        Some(Fault::StallAfterEvents(count)) => silent_after(first_events(&bytes, *count)),
        Some(Fault::ErrorAfterEvents(count)) => {
            let error =
                r#"{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}"#;
            let error = format!("event: error\ndata: {error}\n\n");
            chunks_of([first_events(&bytes, *count), error.into()])
        }
        Some(Fault::LineOfMegabytes(count)) => {
            let chunk = Bytes::from(vec![b'x'; CHUNK_BYTES]);
            let line = stream::repeat(chunk).take(count * MEGABYTE / CHUNK_BYTES).map(Ok);
            let (start, end) = (Bytes::from_static(b"data: "), Bytes::from_static(b"\n\n"));
            stream::iter([Ok(start)]).chain(line).chain(stream::iter([Ok(end)])).boxed()
        }
        Some(Fault::EndlessEvents) => {
            let events = events(&bytes);
            let again = Bytes::from(events.get(1).copied().unwrap_or("data: {}\n\n").repeat(64));
            let first = Bytes::from(events.first().copied().unwrap_or_default().to_owned());
            stream::iter([Ok(first)]).chain(endless(again)).boxed()
        }
    };
    let frames = chunks.map(|chunk: io::Result<Bytes>| chunk.map(Frame::data));
    BodyExt::boxed_unsync(StreamBody::new(frames))
}

fn chunks_of<const COUNT: usize>(chunks: [Bytes; COUNT]) -> ByteStream {
    stream::iter(chunks.map(Ok)).boxed()
}

fn cut_after(bytes: Bytes) -> ByteStream {
    let cut = stream::once(async {
        // Lets what was sent leave before the connection goes.
        tokio::task::yield_now().await;
        Err(io::Error::from(io::ErrorKind::ConnectionAborted))
    });
    stream::iter([Ok(bytes)]).chain(cut).boxed()
}

fn silent_after(bytes: Bytes) -> ByteStream {
    stream::iter([Ok(bytes)]).chain(stream::pending()).boxed()
}

/// Yields between the pieces: a client that reads as fast must not keep the provider from all else.
fn endless(chunk: Bytes) -> ByteStream {
    stream::repeat(chunk)
        .then(|chunk| async {
            tokio::task::yield_now().await;
            Ok(chunk)
        })
        .boxed()
}

fn is_stream(bytes: &[u8]) -> bool {
    bytes.starts_with(b"data:") || bytes.starts_with(b"event:")
}

fn events(bytes: &[u8]) -> Vec<&str> {
    std::str::from_utf8(bytes).expect("it was made of a text").split_inclusive("\n\n").collect()
}

fn first_events(bytes: &[u8], count: usize) -> Bytes {
    let events = events(bytes);
    events[..count.min(events.len())].concat().into()
}

/// Counts an answer whose client went away before its end.
pub(crate) struct DisconnectCounter {
    cancelled: watch::Sender<usize>,
    has_ended: bool,
}

impl DisconnectCounter {
    pub(crate) fn new(cancelled: watch::Sender<usize>) -> Self {
        Self { cancelled, has_ended: false }
    }
}

impl Drop for DisconnectCounter {
    fn drop(&mut self) {
        if !self.has_ended {
            self.cancelled.send_modify(|count| *count += 1);
        }
    }
}

/// A body with its witness.
pub(crate) struct CountedBody {
    body: Body,
    counter: DisconnectCounter,
}

impl CountedBody {
    pub(crate) fn new(body: Body, counter: DisconnectCounter) -> Self {
        Self { body, counter }
    }
}

impl HttpBody for CountedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        // A break is the provider's own doing.
        if !matches!(frame, Some(Ok(_))) || self.body.is_end_stream() {
            self.counter.has_ended = true;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
