//! The event stream: frames of one subscriber, from its subscription to the end of its connection.

use crate::http::framework::context::{Closing, Context};
use crate::http::framework::limits::{Payer, Share};
use crate::http::framework::metrics::StreamGuard;
use crate::http::wire::sse_frames::{self, KEEP_ALIVE};
use arbiter_actors::{Admission, Delivery, Subscription};
use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, Stream};
use std::time::Duration;
use tokio::time::sleep;

/// Frames that are ready together are sent together, up to this many bytes.
const COALESCED_MAX: usize = 65_536;

/// A subscriber.
struct Subscriber {
    subscription: Subscription,
    context: Context,
    closing: Closing,
    keep_alive: Duration,
    stage: Stage,
    /// Ends when its token does.
    ended: BoxFuture<'static, ()>,
    /// Counts the stream for as long as it lives.
    _guards: (StreamGuard, Share<Payer>),
}

/// Who listens.
pub struct Listener {
    /// What it showed; nothing on a server that asks for nothing.
    pub admission: Option<Admission>,
    /// Count the stream for as long as it lives.
    pub _guards: (StreamGuard, Share<Payer>),
}

/// Where a stream stands.
enum Stage {
    /// This is sent first.
    Opening(Bytes),
    /// Events are sent.
    Running,
    /// All was said.
    Ended,
}

/// The frames of a subscription. `first` is sent before anything else.
pub fn frames(
    context: &Context,
    subscription: Subscription,
    first: Bytes,
    listener: Listener,
) -> impl Stream<Item = Bytes> + Send + use<> {
    let tokens = context.handles().tokens.clone();
    let ended = async move {
        match listener.admission {
            Some(admission) => tokens.until_ended(&admission).await,
            None => std::future::pending().await,
        }
    };
    let subscriber = Subscriber {
        subscription,
        closing: context.closing(),
        keep_alive: Duration::from_millis(context.settings().http.stream_keep_alive_ms),
        context: context.clone(),
        stage: Stage::Opening(first),
        ended: ended.boxed(),
        _guards: listener._guards,
    };
    futures_util::stream::unfold(subscriber, |mut subscriber| async move {
        let piece = subscriber.next().await?;
        Some((piece, subscriber))
    })
}

impl Subscriber {
    async fn next(&mut self) -> Option<Bytes> {
        match std::mem::replace(&mut self.stage, Stage::Running) {
            Stage::Opening(first) => return Some(first),
            Stage::Running => {}
            Stage::Ended => return None,
        }
        tokio::select! {
            biased;
            () = self.closing.begun() => Some(self.end(sse_frames::SHUTTING_DOWN)),
            () = &mut self.ended => Some(self.end(sse_frames::TOKEN_ENDED)),
            delivery = self.subscription.next() => Some(self.deliver(delivery)),
            () = sleep(self.keep_alive) => Some(KEEP_ALIVE),
        }
    }

    /// The frames of a delivery and of all that are ready behind it.
    fn deliver(&mut self, delivery: Delivery) -> Bytes {
        let first = self.render(&delivery);
        let mut together = BytesMut::new();
        while matches!(self.stage, Stage::Running) && together.len() < COALESCED_MAX {
            let Some(delivery) = self.subscription.try_next() else { break };
            if together.is_empty() {
                together.extend_from_slice(&first);
            }
            let frame = self.render(&delivery);
            together.extend_from_slice(&frame);
        }
        if together.is_empty() { first } else { together.freeze() }
    }

    fn render(&mut self, delivery: &Delivery) -> Bytes {
        match delivery {
            Delivery::Event(event) => self.context.frames().of(event),
            Delivery::Gap { from, to, available_from } => sse_frames::gap(*from, *to, *available_from),
            Delivery::Closed => self.end(sse_frames::SHUTTING_DOWN),
        }
    }

    fn end(&mut self, reason: &str) -> Bytes {
        self.stage = Stage::Ended;
        sse_frames::closing(reason)
    }
}
