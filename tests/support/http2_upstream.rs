//! Upstreams that speak HTTP/2: one that keeps the rules, and one that writes whatever frames it likes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Builder, SendResponse};
use http::{HeaderMap, Request, Response};

use super::http2 as kind;
use super::http2::{ACK, END_HEADERS, END_STREAM, Frame, block, frame};
use super::{PATIENCE, eventually};

/// A request as the upstream got it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Which connection, counted from 0.
    pub connection: usize,
    pub head: Arc<Request<()>>,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
    /// Whether the body came to its end.
    pub complete: bool,
}

impl Asked {
    /// The values of a field, joined; `None` where there is none.
    pub fn field(&self, name: &str) -> Option<String> {
        let values: Vec<_> =
            self.head.headers().get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
        if values.is_empty() { None } else { Some(values.join(", ")) }
    }

    pub fn path(&self) -> String {
        self.head.uri().path_and_query().unwrap().to_string()
    }
}

/// What the handler of one request has in hand.
pub struct Exchange {
    pub connection: usize,
    pub head: Request<()>,
    pub body: RecvStream,
    pub answer: SendResponse<Bytes>,
    seen: Arc<Mutex<Vec<Asked>>>,
}

/// A head, a body, trailers.
pub type Reply = (Response<()>, Vec<u8>, Option<HeaderMap>);

type Handler = std::rc::Rc<dyn Fn(Exchange) -> Handling>;
type Handling = Pin<Box<dyn Future<Output = ()>>>;

/// An upstream that keeps the rules.
pub struct Polite {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Asked>>>,
    connections: Arc<AtomicUsize>,
}

impl Polite {
    /// Takes every request whole, notes it, and answers with what `answer` makes of it: a head, a body, trailers.
    pub fn answering(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let answer = Arc::new(answer);
        Self::handling(Builder::new(), move |exchange| {
            let answer = Arc::clone(&answer);
            Box::pin(async move { exchange.answer_with(&*answer).await })
        })
    }

    /// Says `hello` to everything.
    pub fn start() -> Self {
        Self::answering(|_| (Response::new(()), b"hello".to_vec(), None))
    }

    /// Does with each request whatever `handle` does.
    pub fn handling(
        builder: Builder,
        handle: impl Fn(Exchange) -> Handling + Send + Sync + 'static,
    ) -> Self {
        Self::listening(builder, None, handle)
    }

    /// The same over TLS. A client that does not choose HTTP/2 is answered over HTTP/1.1: with `plain`, or with a tunnel
    /// that sends everything back.
    pub fn over_tls(
        builder: Builder,
        tls: Arc<rustls::ServerConfig>,
        handle: impl Fn(Exchange) -> Handling + Send + Sync + 'static,
    ) -> Self {
        Self::listening(builder, Some(tls.into()), handle)
    }

    fn listening(
        builder: Builder,
        tls: Option<tokio_rustls::TlsAcceptor>,
        handle: impl Fn(Exchange) -> Handling + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let (noted, counted) = (Arc::clone(&seen), Arc::clone(&connections));
        std::thread::spawn(move || {
            let handle: Handler = std::rc::Rc::new(handle);
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    stream.set_nodelay(true).unwrap();
                    let number = counted.fetch_add(1, Ordering::SeqCst);
                    let (builder, noted, handle, tls) =
                        (builder.clone(), Arc::clone(&noted), handle.clone(), tls.clone());
                    tokio::task::spawn_local(async move {
                        let Some(tls) = tls else {
                            return serve(builder, stream, number, noted, handle).await;
                        };
                        let Ok(stream) = tls.accept(stream).await else { return };
                        match stream.get_ref().1.alpn_protocol() {
                            Some(b"h2") => serve(builder, stream, number, noted, handle).await,
                            _ => plain(stream).await,
                        }
                    });
                }
            });
        });
        Self { address, seen, connections }
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Asked> {
        self.seen.lock().unwrap().clone()
    }

    /// The only request so far.
    pub fn only(&self) -> Asked {
        let mut seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.remove(0)
    }

    /// Waits until this many requests have come.
    pub fn wait_for(&self, count: usize) -> Vec<Asked> {
        eventually("enough requests", || self.seen.lock().unwrap().len() >= count);
        self.seen()
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn serve(
    builder: Builder,
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    number: usize,
    seen: Arc<Mutex<Vec<Asked>>>,
    handle: Handler,
) {
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    while let Some(Ok((request, answer))) = connection.accept().await {
        let (parts, body) = request.into_parts();
        let head = Request::from_parts(parts, ());
        let seen = Arc::clone(&seen);
        tokio::task::spawn_local(handle(Exchange { connection: number, head, body, answer, seen }));
    }
}

/// HTTP/1.1, as far as a test needs it.
async fn plain(mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut read = Vec::new();
    while stream.read_buf(&mut read).await.is_ok_and(|length| length > 0) {
        if !read.ends_with(b"\r\n\r\n") {
            continue;
        }
        let head = String::from_utf8_lossy(&read).to_lowercase();
        read.clear();
        if !head.contains("upgrade: websocket") {
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplain";
            stream.write_all(answer.as_bytes()).await.unwrap();
            continue;
        }
        let answer =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        while stream.read_buf(&mut read).await.is_ok_and(|length| length > 0) {
            stream.write_all(&read).await.unwrap();
            read.clear();
        }
        return;
    }
}

impl Exchange {
    /// Reads the body to its end and notes the request.
    pub async fn take_whole(&mut self) -> Asked {
        let mut asked = Asked {
            connection: self.connection,
            head: Arc::new(std::mem::take(&mut self.head)),
            body: Vec::new(),
            trailers: None,
            complete: true,
        };
        while let Some(piece) = self.body.data().await {
            match piece {
                Ok(piece) => {
                    let _ = self.body.flow_control().release_capacity(piece.len());
                    asked.body.extend_from_slice(&piece);
                }
                Err(_) => asked.complete = false,
            }
            if !asked.complete {
                break;
            }
        }
        if asked.complete {
            asked.trailers = self.body.trailers().await.unwrap_or_default();
        }
        self.seen.lock().unwrap().push(asked.clone());
        asked
    }

    async fn answer_with(mut self, answer: &dyn Fn(&Asked) -> Reply) {
        let asked = self.take_whole().await;
        if !asked.complete {
            return;
        }
        let (head, body, trailers) = answer(&asked);
        let ends = body.is_empty() && trailers.is_none();
        let Ok(mut send) = self.answer.send_response(head, ends) else { return };
        if ends || !send_all(&mut send, Bytes::from(body), trailers.is_none()).await {
            return;
        }
        if let Some(trailers) = trailers {
            let _ = send.send_trailers(trailers);
        }
    }
}

/// Sends under flow control; whether all of it was taken.
pub async fn send_all(send: &mut h2::SendStream<Bytes>, mut body: Bytes, ends: bool) -> bool {
    while !body.is_empty() {
        send.reserve_capacity(body.len());
        let Some(Ok(room)) = std::future::poll_fn(|cx| send.poll_capacity(cx)).await else {
            return false;
        };
        let piece = body.split_to(room.min(body.len()));
        if send.send_data(piece, false).is_err() {
            return false;
        }
    }
    !ends || send.send_data(Bytes::new(), true).is_ok()
}

/// An upstream that does with each connection, frame by frame, whatever `script` does.
pub struct Rude {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
}

/// One connection of the gateway to a [`Rude`] upstream.
pub struct Frames {
    /// Which, counted from 0.
    pub number: usize,
    pub stream: TcpStream,
}

impl Rude {
    pub fn scripted(script: impl Fn(Frames) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (counted, script) = (Arc::clone(&connections), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let number = counted.fetch_add(1, Ordering::SeqCst);
                stream.set_nodelay(true).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let script = Arc::clone(&script);
                std::thread::spawn(move || script(Frames { number, stream }));
            }
        });
        Self { address, connections }
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Frames {
    /// Reads the preface and says these settings.
    pub fn begin(&mut self, settings: &[(u16, u32)]) {
        let mut preface = [0; 24];
        if self.stream.read_exact(&mut preface).is_err() {
            return;
        }
        assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let mut payload = Vec::new();
        for (key, value) in settings {
            payload.extend_from_slice(&key.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        self.send(kind::SETTINGS, 0, 0, &payload);
    }

    /// The next frame; SETTINGS are acknowledged on the way. `None` at the end of the connection.
    pub fn next(&mut self) -> Option<Frame> {
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let mut payload = vec![0; length];
            self.stream.read_exact(&mut payload).ok()?;
            let frame = Frame { kind: head[3], flags: head[4], stream, payload };
            if frame.kind == kind::SETTINGS && frame.flags & ACK == 0 {
                self.send(kind::SETTINGS, ACK, 0, &[]);
                continue;
            }
            if frame.kind == kind::SETTINGS {
                continue;
            }
            return Some(frame);
        }
    }

    /// The next frame of this kind.
    pub fn wait_for(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.next()?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }

    /// Reads a request to the end of its body, and yields its stream.
    pub fn request(&mut self) -> Option<u32> {
        self.request_with_body().map(|(stream, _)| stream)
    }

    /// The same, and the body.
    pub fn request_with_body(&mut self) -> Option<(u32, Vec<u8>)> {
        let head = self.wait_for(kind::HEADERS)?;
        let (mut ended, mut body) = (head.flags & END_STREAM != 0, Vec::new());
        while !ended {
            let frame = self.next()?;
            if frame.stream == head.stream {
                ended = frame.flags & END_STREAM != 0;
                body.extend(frame.payload);
            }
        }
        Some((head.stream, body))
    }

    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.stream.write_all(&frame(kind, flags, stream, payload)).is_ok()
    }

    pub fn headers(&mut self, stream: u32, flags: u8, fields: &[(&str, &str)]) -> bool {
        self.send(kind::HEADERS, END_HEADERS | flags, stream, &block(fields))
    }

    pub fn data(&mut self, stream: u32, flags: u8, piece: &[u8]) -> bool {
        self.send(kind::DATA, flags, stream, piece)
    }

    pub fn reset(&mut self, stream: u32, code: u32) -> bool {
        self.send(kind::RST_STREAM, 0, stream, &code.to_be_bytes())
    }

    /// No stream above `last` was or will be looked at.
    pub fn go_away(&mut self, last: u32, code: u32) -> bool {
        let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
        self.send(kind::GOAWAY, 0, 0, &payload)
    }

    /// A small whole answer.
    pub fn hello(&mut self, stream: u32) -> bool {
        self.headers(stream, 0, &[(":status", "200")]) && self.data(stream, END_STREAM, b"hello")
    }

    /// Answers every further request.
    pub fn hello_for_ever(&mut self) {
        while let Some(stream) = self.request() {
            self.hello(stream);
        }
    }
}
