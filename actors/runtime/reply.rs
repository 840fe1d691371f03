//! Answers to questions: the channel back to the asker, and the errors of a question without an answer.

use tokio::sync::oneshot;

/// A question to an actor that brought no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AskError {
    /// The actor's mailbox is full.
    Busy { actor: String },
    /// The actor panicked, or rests after too many panics, before it answered.
    Crashed { actor: String },
    /// The program is stopping, so nothing new is begun.
    ShuttingDown,
}

/// The way back to the asker of one question. An actor that drops it answers [`AskError::Crashed`].
#[derive(Debug)]
pub(crate) struct Reply<T>(oneshot::Sender<T>);

impl<T> Reply<T> {
    /// Opens a way back and returns its two ends.
    pub(crate) fn channel() -> (Self, oneshot::Receiver<T>) {
        let (sender, receiver) = oneshot::channel();
        (Self(sender), receiver)
    }

    /// Completes the work, then answers with its result.
    pub(crate) async fn with(self, work: impl Future<Output = T>) {
        self.send(work.await);
    }

    /// Answers. An asker that is gone loses only the answer: the work is done and stored all the same.
    pub(crate) fn send(self, answer: T) {
        let _ = self.0.send(answer);
    }

    /// Answers, or returns the answer when the asker is gone.
    pub(crate) fn try_send(self, answer: T) -> Result<(), T> {
        self.0.send(answer)
    }

    /// Returns whether the asker is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}
