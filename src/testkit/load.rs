//! Load over HTTP that costs its own process little: keep-alive connections whose requests are written
//! as bytes and whose answers are read no further than needed to find their end.
//!
//! Owns its connections and the thread it runs on. Must not interpret answers beyond status and length.

use crate::http_client::HttpError;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes read at once.
const READ_BUFFER_BYTES: usize = 16_384;

/// A request as the bytes that go over the wire.
pub fn request_bytes(method: &str, path: &str, token: &str, json: Option<&str>) -> Vec<u8> {
    let body = json.unwrap_or_default();
    let described = match json {
        Some(body) => format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()),
        None => String::new(),
    };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n{described}"
    );
    format!("{head}\r\n{body}").into_bytes()
}

/// One keep-alive connection.
pub struct KeepAlive {
    stream: TcpStream,
    received: Vec<u8>,
    body_from: usize,
}

impl KeepAlive {
    /// Connects.
    ///
    /// # Errors
    /// If nothing listens at the address.
    pub async fn connect(address: SocketAddr) -> Result<Self, HttpError> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::with_capacity(READ_BUFFER_BYTES), body_from: 0 })
    }

    /// Sends a request and reads its answer to the end; gives the status.
    ///
    /// # Errors
    /// When the connection ends, the answer is none, or none comes within 30 s.
    pub async fn ask(&mut self, request: &[u8]) -> Result<u16, HttpError> {
        self.stream.write_all(request).await?;
        tokio::time::timeout(ANSWER_TIMEOUT, self.answer()).await?
    }

    /// The body of the last answer.
    pub fn body(&self) -> &[u8] {
        self.received.get(self.body_from..).unwrap_or_default()
    }

    async fn answer(&mut self) -> Result<u16, HttpError> {
        self.received.clear();
        loop {
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err("the connection ended within an answer".into());
            }
            if let Some((status, body_from, length)) = head(&self.received)?
                && self.received.len() >= body_from + length
            {
                self.body_from = body_from;
                return Ok(status);
            }
        }
    }
}

/// Status, where the body begins, and its length; `None` while the head is not whole.
fn head(received: &[u8]) -> Result<Option<(u16, usize, usize)>, HttpError> {
    let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(received.get(..end).unwrap_or_default())?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.get(9..12)).ok_or("no status line")?.parse()?;
    let mut length = 0;
    for line in lines {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
    }
    Ok(Some((status, end + 4, length)))
}

/// Figures of a load.
#[derive(Debug, Default)]
pub struct LoadResult {
    pub latencies: Vec<Duration>,
    pub elapsed: Duration,
    /// Answers with another status than the wanted one.
    pub refused: usize,
}

impl LoadResult {
    /// Requests answered as wanted, per second.
    pub fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }
}

/// Sends requests over `connections` at once for `span`, on this thread alone: each connection asks for
/// its next request (by its own number and a count that all share) as soon as the last one is answered.
///
/// # Errors
/// When a connection cannot be made or is lost.
pub fn run_load(
    address: SocketAddr,
    connections: usize,
    span: Duration,
    wanted: u16,
    next: impl Fn(usize, usize) -> Vec<u8>,
) -> Result<LoadResult, HttpError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let count = std::cell::Cell::new(0);
    runtime.block_on(async {
        let connecting = (0..connections).map(|_| KeepAlive::connect(address));
        let connected = futures_util::future::try_join_all(connecting).await?;
        let started = Instant::now();
        let loops = connected.into_iter().enumerate().map(|(number, mut connection)| {
            let (count, next) = (&count, &next);
            async move {
                let (mut latencies, mut refused) = (Vec::new(), 0);
                while started.elapsed() < span {
                    let request = next(number, count.replace(count.get() + 1));
                    let sent = Instant::now();
                    let status = connection.ask(&request).await?;
                    if status == wanted { latencies.push(sent.elapsed()) } else { refused += 1 }
                }
                Ok::<_, HttpError>((latencies, refused))
            }
        });
        let mut load = LoadResult::default();
        for (latencies, refused) in futures_util::future::try_join_all(loops).await? {
            load.latencies.extend(latencies);
            load.refused += refused;
        }
        load.elapsed = started.elapsed();
        Ok(load)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_end_is_found_by_content_length() {
        let answer = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nx: y\r\n\r\n{}";
        assert_eq!(head(answer).unwrap(), Some((201, answer.len() - 2, 2)));
        assert_eq!(head(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap(), Some((204, 27, 0)));
        assert_eq!(head(b"HTTP/1.1 200 OK\r\ncontent-len").unwrap(), None);
        assert!(head(b"nonsense\r\n\r\n").is_err());
    }
}
