//! Splits long bodies into pieces. A connection copies each piece into its send buffer and keeps that buffer,
//! so small pieces bound the memory of a connection to about two of them.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::response::Response;
use hyper::body::{Body as _, Frame, SizeHint};

/// The longest piece, in bytes.
pub const PIECE: usize = 64 << 10;

/// A body in pieces.
struct Pieces {
    body: Body,
    /// The rest of the last frame of `body`.
    rest: Bytes,
}

/// Returns a response whose body is sent in pieces if it may be longer than one.
pub fn in_pieces(response: Response) -> Response {
    if response.body().size_hint().upper().is_some_and(|most| most <= PIECE as u64) {
        return response;
    }
    response.map(|body| Body::new(Pieces { body, rest: Bytes::new() }))
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => self.rest = data,
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        let length = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_long_body_comes_whole_and_in_pieces() {
        let text: Vec<u8> = (0..=250).cycle().take(3 * PIECE + 7).collect();
        let mut body = in_pieces(Response::new(Body::from(text.clone()))).into_body();
        let mut got = Vec::new();
        assert_eq!(body.size_hint().exact(), Some(text.len() as u64));
        while let Some(frame) = body.frame().await {
            let piece = frame.unwrap().into_data().unwrap();
            assert!(!piece.is_empty() && piece.len() <= PIECE);
            got.extend_from_slice(&piece);
            assert_eq!(body.size_hint().exact(), Some((text.len() - got.len()) as u64));
        }
        assert!(got == text && body.is_end_stream());
    }

    #[tokio::test]
    async fn a_stream_is_cut_too() {
        let chunks = [vec![1; 3 * PIECE], Vec::new(), vec![2; 5]].map(Ok::<_, std::io::Error>);
        let stream = Body::from_stream(futures_util::stream::iter(chunks));
        let mut body = in_pieces(Response::new(stream)).into_body();
        let mut lengths = Vec::new();
        while let Some(frame) = body.frame().await {
            lengths.push(frame.unwrap().into_data().unwrap().len());
        }
        lengths.retain(|length| *length > 0);
        assert_eq!(lengths, [PIECE, PIECE, PIECE, 5]);
    }

    #[tokio::test]
    async fn a_short_body_stays_as_it_is() {
        let body = in_pieces(Response::new(Body::from("short"))).into_body();
        assert_eq!(body.collect().await.unwrap().to_bytes(), "short");
    }
}
