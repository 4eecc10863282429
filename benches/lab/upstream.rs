//! An HTTP/1.1 upstream that costs clearly less than a proxy: one thread of this program, on a core of its own choice.
//! The path says how much is answered (`/1k`, `/64k`, `/1m`); `X-Body` says how long the request's body was.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc;
use std::thread;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::{Result, While as _, kernel};

/// The longest head of a request, and the longest chunk of a body.
const INPUT: usize = 16 * 1024;
/// What goes out together with the head of an answer.
const TOGETHER: usize = 16 * 1024;
/// What a request, and the answer to it, mostly fit in.
const USUAL: usize = 2 * 1024;
const LARGEST: usize = 1024 * 1024;
const BACKLOG: u32 = 4096;
static FILLER: [u8; LARGEST] = [b'x'; LARGEST];

/// It serves until this program ends.
pub struct Upstream {
    pub port: u16,
    thread: u32,
}

impl Upstream {
    pub fn start(cores: &[usize]) -> Result<Self> {
        let (tell, told) = mpsc::channel();
        let cores = cores.to_vec();
        thread::spawn(move || {
            let failed = tell.clone();
            if let Err(error) = kernel::pin(&cores).and_then(|()| serve_all(tell)) {
                let _ = failed.send(Err(error));
            }
        });
        told.recv().during("the upstream")?
    }

    pub fn cpu_time(&self) -> std::time::Duration {
        kernel::cpu_time_of_thread(self.thread)
    }
}

fn serve_all(tell: mpsc::Sender<Result<Upstream>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.during("the upstream")?;
    runtime.block_on(async move {
        let listener = || {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
            socket.listen(BACKLOG)
        };
        let listener = listener().during("the upstream's listener")?;
        let port = listener.local_addr().during("the upstream's address")?.port();
        let thread = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
        let _ = tell.send(Ok(Upstream { port, thread }));
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let _ = stream.set_nodelay(true);
            tokio::spawn(serve(stream));
        }
    })
}

/// Answers one request after the other, until the peer goes or says something odd.
async fn serve(mut stream: TcpStream) -> io::Result<()> {
    let (mut input, mut output) = (Vec::with_capacity(USUAL), Vec::with_capacity(USUAL));
    loop {
        let Some(request) = head(&mut stream, &mut input).await? else { return Ok(()) };
        let body = match request.framing {
            Framing::Length(length) => skip(&mut stream, &mut input, length).await?,
            Framing::Chunked => skip_chunks(&mut stream, &mut input).await?,
        };
        answer(&mut stream, &request, body, &mut output).await?;
        if request.close {
            return Ok(());
        }
    }
}

struct Request {
    size: usize,
    framing: Framing,
    close: bool,
}

enum Framing {
    Length(usize),
    Chunked,
}

/// The next request, taken off `input`; nothing if the peer has gone.
async fn head(stream: &mut TcpStream, input: &mut Vec<u8>) -> io::Result<Option<Request>> {
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 48];
        let mut parsed = httparse::Request::new(&mut headers);
        let status = parsed.parse(input).map_err(|_| io::ErrorKind::InvalidData)?;
        if let httparse::Status::Complete(end) = status {
            let request = understand(&parsed)?;
            input.drain(..end);
            return Ok(Some(request));
        }
        if !more(stream, input).await? {
            return Ok(None);
        }
    }
}

fn understand(parsed: &httparse::Request<'_, '_>) -> io::Result<Request> {
    let size = match parsed.path.unwrap_or_default() {
        "/64k" => 64 * 1024,
        "/1m" => LARGEST,
        _ => 1024,
    };
    let (mut framing, mut close) = (Framing::Length(0), false);
    for header in parsed.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            let length = std::str::from_utf8(header.value).ok().and_then(|text| text.parse().ok());
            framing = Framing::Length(length.ok_or(io::ErrorKind::InvalidData)?);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            framing = Framing::Chunked;
        } else if header.name.eq_ignore_ascii_case("connection") {
            close = header.value.eq_ignore_ascii_case(b"close");
        }
    }
    Ok(Request { size, framing, close })
}

async fn answer(
    stream: &mut TcpStream,
    request: &Request,
    body: usize,
    output: &mut Vec<u8>,
) -> io::Result<()> {
    output.clear();
    let close = if request.close { "Connection: close\r\n" } else { "" };
    write!(
        output,
        "HTTP/1.1 200 OK\r\nServer: upstream\r\nContent-Type: application/octet-stream\r\nX-Body: {body}\r\n\
         Content-Length: {}\r\n{close}\r\n",
        request.size
    )?;
    let together = request.size.min(TOGETHER);
    output.extend_from_slice(&FILLER[..together]);
    stream.write_all(output).await?;
    stream.write_all(&FILLER[together..request.size]).await
}

/// Takes `length` bytes off.
async fn skip(stream: &mut TcpStream, input: &mut Vec<u8>, length: usize) -> io::Result<usize> {
    let mut left = length;
    loop {
        let here = left.min(input.len());
        input.drain(..here);
        left -= here;
        if left == 0 {
            return Ok(length);
        }
        if !more(stream, input).await? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Takes chunks off, up to the last; trailers are not known.
async fn skip_chunks(stream: &mut TcpStream, input: &mut Vec<u8>) -> io::Result<usize> {
    let mut total = 0;
    loop {
        let Some(end) = memchr::memmem::find(input, b"\r\n") else {
            if !more(stream, input).await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            continue;
        };
        let size = std::str::from_utf8(&input[..end]).ok();
        let size = size.and_then(|text| usize::from_str_radix(text, 16).ok());
        let size = size.filter(|size| *size < INPUT).ok_or(io::ErrorKind::InvalidData)?;
        skip(stream, input, end + 2 + size + 2).await?;
        total += size;
        if size == 0 {
            return Ok(total);
        }
    }
}

async fn more(stream: &mut TcpStream, input: &mut Vec<u8>) -> io::Result<bool> {
    if input.len() >= 2 * INPUT {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(stream.read_buf(input).await? > 0)
}
