//! A provider that answers at once and always the same, so that it adds nothing to the measurement.

use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Tokens of a streamed answer.
pub const TOKENS: usize = 100;
/// Model that the provider offers.
pub const MODEL: &str = "m";

const USAGE: &str = r#"{"prompt_tokens":20,"completion_tokens":100,"total_tokens":120}"#;

/// Starts the provider on a thread of its own; it ends with the process.
pub fn start() -> std::io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener)?;
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                tokio::spawn(serve(stream));
            }
        })
    });
    Ok(address)
}

/// Answers the requests of one connection until it ends.
async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let (whole, streamed, models) = (whole(), streamed(), models());
    let mut received: Vec<u8> = Vec::new();
    loop {
        let (from, length) = loop {
            if let Some(found) = request(&received) {
                break found;
            }
            if stream.read_buf(&mut received).await? == 0 {
                return Ok(());
            }
        };
        let body = String::from_utf8_lossy(&received[from..from + length]);
        let answer = if received.starts_with(b"GET") {
            &models
        } else if body.contains("\"stream\":true") || body.contains("\"stream\": true") {
            &streamed
        } else {
            &whole
        };
        stream.write_all(answer.as_bytes()).await?;
        received.drain(..from + length);
    }
}

/// Returns the offset and the length of the body of a complete request.
fn request(received: &[u8]) -> Option<(usize, usize)> {
    let end = received.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&received[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length = length.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    (received.len() >= end + 4 + length).then_some((end + 4, length))
}

fn with_length(json: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{json}",
        json.len()
    )
}

fn models() -> String {
    with_length(&format!(
        r#"{{"object":"list","data":[{{"id":"{MODEL}","object":"model","created":1,"owned_by":"bench"}}]}}"#
    ))
}

fn whole() -> String {
    let text = "word ".repeat(TOKENS);
    with_length(&format!(
        r#"{{"id":"c-1","object":"chat.completion","created":1,"model":"{MODEL}","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}"}},"finish_reason":"stop"}}],"usage":{USAGE}}}"#
    ))
}

fn streamed() -> String {
    let mut text =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
    let mut event = |data: &str| {
        let event = format!("data: {data}\n\n");
        text.push_str(&format!("{:x}\r\n{event}\r\n", event.len()));
    };
    let chunk = |delta: &str, reason: &str| {
        format!(
            r#"{{"id":"c-1","object":"chat.completion.chunk","created":1,"model":"{MODEL}","choices":[{{"index":0,"delta":{delta},"finish_reason":{reason}}}]}}"#
        )
    };
    for _ in 0..TOKENS {
        event(&chunk(r#"{"role":"assistant","content":"word "}"#, "null"));
    }
    event(&chunk("{}", r#""stop""#));
    event(&format!(
        r#"{{"id":"c-1","object":"chat.completion.chunk","created":1,"model":"{MODEL}","choices":[],"usage":{USAGE}}}"#
    ));
    event("[DONE]");
    text + "0\r\n\r\n"
}
