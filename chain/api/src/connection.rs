//! Connections: no more than there are slots, and none that only keeps one.

use axum::serve::Listener;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// A listener that takes no more connections than it has slots.
pub(crate) struct Counted {
    listener: TcpListener,
    slots: Arc<Semaphore>,
    quiet: Duration,
}

impl Counted {
    /// `quiet`: how long a connection may go without an answer.
    pub(crate) fn new(listener: TcpListener, slots: usize, quiet: Duration) -> Self {
        Self { listener, slots: Arc::new(Semaphore::new(slots)), quiet }
    }
}

impl Listener for Counted {
    type Io = Connection;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Connection, Self::Addr) {
        loop {
            // The semaphore is never closed; should it be, waiting is right.
            let Ok(slot) = self.slots.clone().acquire_owned().await else { continue };
            let (stream, from) = Listener::accept(&mut self.listener).await;
            if let Err(cause) = stream.set_nodelay(true) {
                tracing::debug!(%cause, "a connection goes on with delays");
            }
            let end = Box::pin(sleep(self.quiet));
            return (Connection { stream, quiet: self.quiet, end, _slot: slot }, from);
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A connection that holds its slot, and ends when nothing was written to it for a while.
///
/// Only what is written counts: whoever sends single bytes for ever does not get anywhere, while every request that
/// comes at the pace which the limits on bodies and answers ask for, and every stream with its signs of life, does.
pub(crate) struct Connection {
    stream: TcpStream,
    quiet: Duration,
    end: Pin<Box<Sleep>>,
    _slot: OwnedSemaphorePermit,
}

impl Connection {
    /// Pending, unless the time is over.
    fn pending<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        match self.end.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn wrote(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Pending => self.pending(cx),
            Poll::Ready(Ok(count)) if count > 0 => {
                let end = Instant::now() + self.quiet;
                self.end.as_mut().reset(end);
                Poll::Ready(Ok(count))
            }
            other => other,
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Before the stream: whoever always has a byte more must not put the end off.
        if let Poll::Ready(over) = self.pending(cx) {
            return Poll::Ready(over);
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(cx, written)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(cx, written)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn server(quiet: Duration) -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listener = Counted::new(listener, 1, quiet);
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(|| async { "here" }));
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    async fn ask(address: std::net::SocketAddr) -> (TcpStream, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = vec![0; 1024];
        let mut seen = 0;
        while !answer[..seen].ends_with(b"here") {
            let count = stream.read(&mut answer[seen..]).await.unwrap();
            assert!(count > 0, "closed after {seen} bytes");
            seen += count;
        }
        (stream, String::from_utf8(answer[..seen].to_vec()).unwrap())
    }

    #[tokio::test]
    async fn one_that_sends_its_request_drop_by_drop_loses_its_slot() {
        let address = server(Duration::from_millis(200)).await;
        let mut slow = TcpStream::connect(address).await.unwrap();
        let dripping = async {
            for byte in b"GET / HTTP/1.1\r\nx: ".iter().chain(std::iter::repeat(&b'a')) {
                if slow.write_all(&[*byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        // The only slot is free again when the server has had enough, although bytes keep coming.
        let (_, (_, answer)) = tokio::join!(dripping, ask(address));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    #[tokio::test]
    async fn an_idle_connection_gives_its_slot_back() {
        let address = server(Duration::from_millis(200)).await;
        let (_idle, _) = ask(address).await;
        let (_, answer) = ask(address).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}
