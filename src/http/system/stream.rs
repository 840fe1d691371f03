//! The event stream: frames of one subscriber, from its subscription to the end of its connection.

use crate::http::framework::context::{Context, ShutdownSignal};
use crate::http::framework::metrics::StreamGuard;
use crate::http::framework::quotas::{QuotaGuard, QuotaKey};
use crate::http::wire::sse_frames::{self, KEEP_ALIVE};
use arbiter_actors::{AuthenticatedToken, Delivery, Subscription};
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
    closing: ShutdownSignal,
    keep_alive: Duration,
    state: StreamState,
    /// Ends when its token does.
    ended: BoxFuture<'static, ()>,
    /// Counts the stream for as long as it lives.
    _guards: (StreamGuard, QuotaGuard<QuotaKey>),
}

/// Client of an event stream.
pub struct StreamSession {
    /// Proven token; `None` on a server without authentication.
    pub admission: Option<AuthenticatedToken>,
    /// Count the stream for as long as it lives.
    pub guards: (StreamGuard, QuotaGuard<QuotaKey>),
}

/// State of a stream.
enum StreamState {
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
    session: StreamSession,
) -> impl Stream<Item = Bytes> + Send + use<> {
    let tokens = context.handles().tokens.clone();
    let ended = async move {
        match session.admission {
            Some(admission) => tokens.until_ended(&admission).await,
            None => std::future::pending().await,
        }
    };
    let subscriber = Subscriber {
        subscription,
        closing: context.closing(),
        keep_alive: Duration::from_millis(context.settings().http.stream_keep_alive_ms),
        context: context.clone(),
        state: StreamState::Opening(first),
        ended: ended.boxed(),
        _guards: session.guards,
    };
    futures_util::stream::unfold(subscriber, |mut subscriber| async move {
        let piece = subscriber.next().await?;
        Some((piece, subscriber))
    })
}

impl Subscriber {
    async fn next(&mut self) -> Option<Bytes> {
        match std::mem::replace(&mut self.state, StreamState::Running) {
            StreamState::Opening(first) => return Some(first),
            StreamState::Running => {}
            StreamState::Ended => return None,
        }
        tokio::select! {
            biased;
            () = self.closing.triggered() => Some(self.end(sse_frames::SHUTTING_DOWN)),
            () = &mut self.ended => Some(self.end(sse_frames::TOKEN_ENDED)),
            delivery = self.subscription.next() => Some(self.deliver(delivery)),
            () = sleep(self.keep_alive) => Some(KEEP_ALIVE),
        }
    }

    /// The frames of a delivery and of all that are ready behind it.
    fn deliver(&mut self, delivery: Delivery) -> Bytes {
        let first = self.render(&delivery);
        let mut together = BytesMut::new();
        while matches!(self.state, StreamState::Running) && together.len() < COALESCED_MAX {
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
        self.state = StreamState::Ended;
        sse_frames::closing(reason)
    }
}
