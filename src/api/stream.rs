//! Response bodies that are produced while they are read.
//!
//! A body is complete only if it was brought to its [end](Sender::end). Any other body is broken off: the
//! connection closes without the last chunk that HTTP requires, so that no caller takes a part for the whole.
//! The reason does not matter: a failure, a panic, or a caller that was given up.

use std::io;
use std::pin::pin;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use futures_util::stream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How long a caller may take nothing before it is given up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The sending half of a body. It waits for the caller: at most one part is buffered.
#[derive(Clone)]
pub struct Sender(mpsc::Sender<Frame>);

enum Frame {
    Bytes(Bytes),
    /// The body is complete.
    End,
}

/// Creates a body and its sender.
pub fn body() -> (Sender, Body) {
    let (sender, receiver) = mpsc::channel(1);
    let frames = stream::unfold(Some(receiver), |receiver| async {
        let mut receiver = receiver?;
        match receiver.recv().await {
            Some(Frame::Bytes(bytes)) => Some((Ok(bytes), Some(receiver))),
            Some(Frame::End) => None,
            None => Some((Err(io::Error::other("the body is broken off")), None)),
        }
    });
    (Sender(sender), Body::from_stream(frames))
}

impl Sender {
    /// Sends a part; `false` if the caller is gone or was given up. A caller that takes nothing is waited for
    /// as long as `is_active` finds it active, which is asked for once per [`PATIENCE`].
    pub async fn send_while(&self, bytes: Bytes, is_active: impl FnMut() -> bool) -> bool {
        self.put_while(Frame::Bytes(bytes), PATIENCE, is_active).await
    }

    /// Ends the body, which is then complete.
    pub async fn end(self) -> bool {
        self.put(Frame::End, PATIENCE).await
    }

    /// Sends a part from a blocking thread, by a deadline.
    pub fn send_by(&self, deadline: Instant, bytes: Bytes) -> bool {
        self.put_by(deadline, Frame::Bytes(bytes))
    }

    /// Ends the body from a blocking thread, by a deadline.
    pub fn end_by(self, deadline: Instant) -> bool {
        self.put_by(deadline, Frame::End)
    }

    /// Whether the body was dropped, so that nothing reads it any more.
    pub fn is_abandoned(&self) -> bool {
        self.0.is_closed()
    }

    fn put_by(&self, deadline: Instant, frame: Frame) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        Handle::current().block_on(self.put(frame, PATIENCE.min(left)))
    }

    async fn put(&self, frame: Frame, within: Duration) -> bool {
        self.put_while(frame, within, || false).await
    }

    async fn put_while(
        &self,
        frame: Frame,
        patience: Duration,
        mut is_active: impl FnMut() -> bool,
    ) -> bool {
        let mut sending = pin!(self.0.send(frame));
        loop {
            match timeout(patience, &mut sending).await {
                Ok(sent) => return sent.is_ok(),
                Err(_) if is_active() => {}
                Err(_) => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(body: Body) -> Option<Bytes> {
        axum::body::to_bytes(body, usize::MAX).await.ok()
    }

    #[tokio::test]
    async fn a_body_is_whole_only_where_it_was_ended() {
        for whole in [true, false] {
            let (sender, body) = body();
            let sending = tokio::spawn(async move {
                for part in ["a", "b"] {
                    assert!(sender.send_while(part.into(), || false).await);
                }
                if whole {
                    assert!(sender.end().await);
                }
            });
            let expected = whole.then(|| Bytes::from("ab"));
            assert_eq!(read(body).await, expected);
            sending.await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_caller_that_takes_nothing_is_left_with_less_than_all() {
        let (sender, body) = body();
        let left = tokio::task::spawn_blocking(move || {
            let deadline = Instant::now() + Duration::from_millis(20);
            let sent = sender.send_by(deadline, "a".into());
            (sent, sender.send_by(deadline, "b".into()), sender.end_by(deadline))
        });
        assert_eq!(left.await.unwrap(), (true, false, false));
        assert_eq!(read(body).await, None, "what was on its way does not pass for all");
    }

    #[tokio::test]
    async fn a_caller_that_is_gone_is_noticed() {
        let (sender, body) = body();
        assert!(!sender.is_abandoned());
        drop(body);
        assert!(sender.is_abandoned() && !sender.send_while("a".into(), || true).await);
    }

    #[tokio::test]
    async fn a_caller_that_takes_nothing_but_is_active_is_waited_for() {
        let (sender, _body) = body();
        assert!(sender.send_while("a".into(), || false).await);
        let (mut asked, patience) = (0, Duration::from_millis(5));
        let is_active = || {
            asked += 1;
            asked < 4
        };
        assert!(!sender.put_while(Frame::Bytes("b".into()), patience, is_active).await);
        assert_eq!(asked, 4);
    }
}
