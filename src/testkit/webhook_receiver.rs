//! A receiver of webhooks on loopback, which takes them, refuses them or lets whoever sends them wait.

use serde_json::Value;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How long a webhook may take to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a receiver does with whatever it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It reads and never answers, until its manner is another one: then it hangs up.
    Hangs,
    /// It answers with this status.
    Answers(u16),
}

/// A receiver of webhooks whose bodies are JSON. It ends with its runtime.
pub struct WebhookReceiver {
    url: String,
    manner: watch::Sender<Manner>,
    heard: Arc<watch::Sender<Vec<Value>>>,
    texts: Arc<Mutex<String>>,
}

impl WebhookReceiver {
    /// Starts one on a free port.
    pub async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has a free port");
        let url = format!("http://{}/hook", listener.local_addr().expect("a bound socket has an address"));
        let manner = watch::Sender::new(manner);
        let receiver = Self { url, manner, heard: Arc::default(), texts: Arc::default() };
        let (manner, heard, texts) =
            (receiver.manner.subscribe(), Arc::clone(&receiver.heard), Arc::clone(&receiver.texts));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, manner.clone(), Arc::clone(&heard), Arc::clone(&texts)));
            }
        });
        receiver
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Changes what it does with whatever comes from now on.
    pub fn behave(&self, manner: Manner) {
        self.manner.send_replace(manner);
    }

    /// The bodies of all it was told, as often as it was.
    pub fn heard(&self) -> Vec<Value> {
        self.heard.borrow().clone()
    }

    /// All it was told as it came, with its headers.
    pub fn text(&self) -> String {
        self.texts.lock().expect("nobody panics with it").clone()
    }

    /// Waits until it was told so often.
    ///
    /// # Panics
    /// When it is not within a minute.
    pub async fn until_heard(&self, count: usize) {
        let mut heard = self.heard.subscribe();
        let told = tokio::time::timeout(PATIENCE, heard.wait_for(|heard| heard.len() >= count)).await.is_ok();
        assert!(told, "told {} times in {PATIENCE:?}, not {count}", self.heard().len());
    }
}

async fn serve(
    mut stream: TcpStream,
    mut manner: watch::Receiver<Manner>,
    heard: Arc<watch::Sender<Vec<Value>>>,
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
    // Whoever sees that it was told and then changes its manner changes that of the next one.
    let answer = *manner.borrow_and_update();
    texts.lock().expect("nobody panics with it").push_str(&String::from_utf8_lossy(&text));
    heard.send_modify(|heard| heard.push(body));
    match answer {
        Manner::Hangs => drop(manner.changed().await),
        Manner::Answers(status) => {
            let head = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            // Whoever asked may have gone.
            let _ = stream.write_all(head.as_bytes()).await;
        }
    }
}
