//! A server for tests: answers its connections one after the other from a script and records the requests.

use crate::cli::client::Client;
use crate::cli::client::connection::Target;
use crate::cli::client::trust::Trust;
use secrecy::SecretString;
use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
};

/// A server on loopback.
pub struct ScriptedServer {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

/// A whole answer with a status, header lines and a body.
pub fn answer(status: &str, headers: &[&str], body: &str) -> String {
    let mut text = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n", body.len());
    for header in headers {
        text.push_str(&format!("{header}\r\n"));
    }
    text + "connection: close\r\n\r\n" + body
}

impl ScriptedServer {
    /// Starts it on a free port; it gives each connection one of `answers` and then closes it.
    pub fn start(answers: Vec<String>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&asked);
        let thread = thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let request = read_request(&mut stream);
                // A connection without a request ends the server.
                if request.is_empty() {
                    return;
                }
                kept.lock().unwrap().push(request);
                stream.write_all(answer.as_bytes()).unwrap();
                let _ = stream.shutdown(Shutdown::Write);
            }
        });
        Self { address, asked, thread: Some(thread) }
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// How to reach it.
    pub fn target(&self, token: Option<&str>) -> Target {
        let url = format!("http://{}", self.address).parse().unwrap();
        Target { url, token: token.map(SecretString::from), trust: Trust::default() }
    }

    /// A client of it.
    pub fn client(&self, token: Option<&str>) -> Client {
        Client::new(&self.target(token)).unwrap()
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).unwrap_or(0);
        bytes.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let length = head.to_ascii_lowercase().lines().find_map(|line| {
                line.strip_prefix("content-length: ").and_then(|text| text.parse::<usize>().ok())
            });
            body.len() >= length.unwrap_or(0)
        });
        if whole || count == 0 {
            return text;
        }
    }
}
