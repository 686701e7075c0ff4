//! What goes on on a connection: until the first bytes have told which HTTP it is, and on HTTP/2 afterwards, nothing
//! else bounds how long one keeps its place without asking for anything.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::watch;
use tokio::time::timeout;

/// The requests of one connection. Copies share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Activity {
    counts: Arc<watch::Sender<Counts>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    begun: u64,
    ended: u64,
}

/// One request and its answer, until the answer's end.
#[derive(Debug)]
pub(crate) struct Exchange {
    counts: Arc<watch::Sender<Counts>>,
}

/// An answer's body that ends its exchange.
struct Answering {
    body: Body,
    _exchange: Exchange,
}

impl Activity {
    /// A request has come.
    pub(crate) fn begin(&self) -> Exchange {
        self.counts.send_modify(|counts| counts.begun += 1);
        Exchange { counts: Arc::clone(&self.counts) }
    }

    /// Ends when the first request has not come within a time, or nothing was asked and answered for another.
    pub(crate) async fn silent(&self, first: Duration, idle: Duration) {
        let mut changes = self.counts.subscribe();
        loop {
            let Counts { begun, ended } = *changes.borrow_and_update();
            let limit = if begun == 0 { first } else { idle };
            let changed = timeout(limit, changes.changed()).await;
            if changed.is_err() && begun == ended {
                return;
            }
        }
    }
}

impl Exchange {
    /// The body, with which this ends.
    pub(crate) fn until_end_of(self, body: Body) -> Body {
        Body::new(Answering { body, _exchange: self })
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.counts.send_modify(|counts| counts.ended += 1);
    }
}

impl HttpBody for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_silent_when_nothing_is_asked_or_answered() {
        let (first, idle) = (Duration::from_secs(10), Duration::from_secs(60));
        let activity = Activity::default();
        let began = tokio::time::Instant::now();
        activity.silent(first, idle).await;
        assert_eq!(began.elapsed(), first, "the first request does not come");

        let exchange = activity.begin();
        let body = exchange.until_end_of(Body::from("an answer"));
        assert_eq!(body.size_hint().exact(), Some(9));
        let goes_on = timeout(10 * idle, activity.silent(first, idle)).await;
        assert!(goes_on.is_err(), "an answer is on its way");
        drop(body);
        let began = tokio::time::Instant::now();
        activity.silent(first, idle).await;
        assert_eq!(began.elapsed(), idle);
    }
}
