//! A body that breaks off when it comes too slowly for too long.

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use s3s::StdError;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// How slowly a body may come.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long we wait for it altogether, beyond what its bytes earn.
    pub grace: Duration,
    /// Bytes that earn a second of waiting; at least 1.
    pub rate: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { grace: Duration::from_secs(60), rate: 1024 }
    }
}

/// A body under a pace. Only time in which we wait for it counts, not time in which we take nothing.
pub struct Paced<B> {
    inner: B,
    pace: Pace,
    /// What is left of the time to wait.
    left: Duration,
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<B> Paced<B> {
    /// From its first byte on.
    pub const fn new(inner: B, pace: Pace) -> Self {
        Self { inner, pace, left: pace.grace, waiting: None }
    }
}

impl<B> Body for Paced<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<StdError>,
{
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(context) {
            if let Some((began, _)) = this.waiting.take() {
                this.left = this.left.saturating_sub(began.elapsed());
            }
            if let Some(Ok(frame)) = &frame {
                let bytes = frame.data_ref().map_or(0, |d| u64::try_from(d.len()).unwrap_or(0));
                let earned = Duration::from_micros(bytes.saturating_mul(1_000_000) / this.pace.rate.max(1));
                this.left = this.left.saturating_add(earned).min(this.pace.grace);
            }
            return Poll::Ready(frame.map(|f| f.map_err(Into::into)));
        }
        let left = this.left;
        let (_, wake) = this.waiting.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(left))));
        if wake.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err("the body comes too slowly; send at least 1 KiB a second".into())));
        }
        Poll::Pending
    }
    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, StreamBody};

    fn body(pieces: u64, every: Duration, size: usize) -> impl Body<Data = Bytes, Error = StdError> + Unpin {
        let stream = futures::stream::unfold(0, move |n| async move {
            if n == pieces {
                return None;
            }
            sleep(every).await;
            Some((Ok(Frame::data(Bytes::from(vec![1; size]))), n + 1))
        });
        StreamBody::new(Box::pin(stream))
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_is_cut_and_a_slow_line_is_not() {
        let pace = Pace::default();
        let trickle = Paced::new(body(1000, Duration::from_secs(10), 1), pace).collect().await;
        assert!(trickle.is_err(), "a byte every ten seconds");
        let slow = Paced::new(body(1000, Duration::from_secs(10), 20_000), pace).collect().await;
        assert_eq!(slow.unwrap().to_bytes().len(), 20_000_000);
        let silent = Paced::new(body(1, Duration::from_secs(3600), 1), pace).collect().await;
        assert!(silent.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_we_take_nothing_does_not_count() {
        let mut paced =
            Paced::new(body(3, Duration::from_secs(1), 1), Pace { grace: Duration::from_secs(5), rate: 1 });
        for _ in 0..3 {
            sleep(Duration::from_secs(600)).await;
            assert!(paced.frame().await.unwrap().is_ok());
        }
        assert!(paced.frame().await.is_none());
    }
}
