//! Baseline of the fan-out: bytes from a broadcast channel to sockets, and nothing else.

use crate::{EVENT_INTERVAL, EVENTS, Outcome, SUBSCRIBERS, connect};
use bytes::Bytes;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::broadcast;
use tokio::time::MissedTickBehavior;

/// Opening that a client reads before it counts as connected.
const OPENING: &[u8] = b"event: connected\ndata: {\"last_seq\":0,\"resumed_from\":null}\n\n";
/// Length of a frame of the benchmark's events, in bytes.
const FRAME: usize = 400;

/// Measures the time from sending an event until each client has read it.
pub fn latencies(runtime: &Runtime) -> Outcome<Vec<Duration>> {
    let (sender, _) = broadcast::channel(EVENTS);
    let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
    let address = listener.local_addr()?;
    let serving = runtime.spawn(accept(listener, sender.clone()));
    let clients = connect(address, "")?;
    let sent = runtime.block_on(runtime.spawn(send(sender)))?;
    let arrivals = clients.join().map_err(|_| "the clients panicked")??;
    serving.abort();
    let mut latencies = Vec::with_capacity(SUBSCRIBERS * EVENTS);
    for (seq, at) in arrivals.iter().flatten() {
        let began = sent.get(usize::try_from(*seq)?).ok_or("a frame that was not sent")?;
        latencies.push(at.saturating_duration_since(*began));
    }
    Ok(latencies)
}

async fn accept(listener: TcpListener, sender: broadcast::Sender<Bytes>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, sender.subscribe()));
    }
}

async fn serve(mut stream: TcpStream, mut frames: broadcast::Receiver<Bytes>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut request = [0; 1024];
    let _ = stream.read(&mut request).await?;
    stream.write_all(OPENING).await?;
    while let Ok(frame) = frames.recv().await {
        stream.write_all(&frame).await?;
    }
    Ok(())
}

/// Sends the events at a fixed pace; returns the send times.
async fn send(sender: broadcast::Sender<Bytes>) -> Vec<Instant> {
    let mut pace = tokio::time::interval(EVENT_INTERVAL);
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut sent = Vec::with_capacity(EVENTS);
    for number in 0..EVENTS {
        pace.tick().await;
        let head = format!("id: {number}\nevent: log.message\ndata: ");
        let frame = format!("{head}{}\n\n", "x".repeat(FRAME - head.len() - 2));
        sent.push(Instant::now());
        // A client that has disconnected shows up as missing arrivals.
        let _ = sender.send(Bytes::from(frame));
    }
    sent
}
