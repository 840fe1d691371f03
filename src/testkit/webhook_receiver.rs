//! A receiver of webhooks on loopback that accepts them, refuses them or never answers.

use serde_json::Value;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How long a webhook may take to come.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Behavior of a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseMode {
    /// Reads and never answers; disconnects when the mode changes.
    Hang,
    Status(u16),
}

/// A receiver of webhooks whose bodies are JSON. It ends with its runtime.
pub struct WebhookReceiver {
    url: String,
    mode: watch::Sender<ResponseMode>,
    received: Arc<watch::Sender<Vec<Value>>>,
    texts: Arc<Mutex<String>>,
}

impl WebhookReceiver {
    /// Starts one on a free port.
    pub async fn start(mode: ResponseMode) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has a free port");
        let url = format!("http://{}/hook", listener.local_addr().expect("a bound socket has an address"));
        let mode = watch::Sender::new(mode);
        let receiver = Self { url, mode, received: Arc::default(), texts: Arc::default() };
        let (mode, received, texts) =
            (receiver.mode.subscribe(), Arc::clone(&receiver.received), Arc::clone(&receiver.texts));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, mode.clone(), Arc::clone(&received), Arc::clone(&texts)));
            }
        });
        receiver
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sets the behavior for further requests.
    pub fn set_mode(&self, mode: ResponseMode) {
        self.mode.send_replace(mode);
    }

    /// The bodies of all it was told, as often as it was.
    pub fn received(&self) -> Vec<Value> {
        self.received.borrow().clone()
    }

    /// All it was told as it came, with its headers.
    pub fn text(&self) -> String {
        self.texts.lock().expect("no holder panics").clone()
    }

    /// Waits until it was told so often.
    ///
    /// # Panics
    /// When it is not within a minute.
    pub async fn wait_until_received(&self, count: usize) {
        let mut received = self.received.subscribe();
        let told = tokio::time::timeout(TIMEOUT, received.wait_for(|received| received.len() >= count))
            .await
            .is_ok();
        assert!(told, "told {} times in {TIMEOUT:?}, not {count}", self.received().len());
    }
}

async fn serve(
    mut stream: TcpStream,
    mut mode: watch::Receiver<ResponseMode>,
    received: Arc<watch::Sender<Vec<Value>>>,
    texts: Arc<Mutex<String>>,
) {
    let mut text = Vec::new();
    let body = loop {
        if stream.read_buf(&mut text).await.unwrap_or(0) == 0 {
            return;
        }
        let so_far = String::from_utf8_lossy(&text);
        let whole = so_far.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok());
        if let Some(body) = whole {
            break body;
        }
    };
    // A test that changes the mode after it has seen a text changes the mode of the next request.
    let answer = *mode.borrow_and_update();
    texts.lock().expect("no holder panics").push_str(&String::from_utf8_lossy(&text));
    received.send_modify(|received| received.push(body));
    match answer {
        ResponseMode::Hang => drop(mode.changed().await),
        ResponseMode::Status(status) => {
            let head = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            // The client may have disconnected.
            let _ = stream.write_all(head.as_bytes()).await;
        }
    }
}
