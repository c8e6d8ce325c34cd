//! A relay with its HTTP server, and an HTTP client on a plain socket.

#![allow(dead_code, reason = "each test file uses its part")]
#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Instant;

use protocol::label::{Label, StreamId};
use testkit::jpeg::Sketch;
use testkit::process::{Finished, Program, Running};
use tungstenite::WebSocket;

use super::process::{RELAY, SOON, stop};

/// A relay, without a model unless it is given one, and the socket of a camera that sends to it.
pub(crate) struct HttpRelay {
    pub(crate) running: Running,
    pub(crate) http: SocketAddr,
    pub(crate) camera: UdpSocket,
    /// Number of the last frame.
    pub(crate) seq: u64,
    state: tempfile::TempDir,
}

impl HttpRelay {
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::with_model("none", flags)
    }

    pub(crate) fn with_model(model: &str, flags: &[&str]) -> Self {
        let state = tempfile::tempdir().unwrap();
        let running = Program::new(RELAY)
            .args(["--listen", "127.0.0.1:0", "--model", model, "--report"])
            .args(["--http", "127.0.0.1:0", "--state"])
            .args([state.path()])
            .args(flags)
            .start();
        let line = running.wait_for_line("listening", SOON);
        let http = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix("http="));
        let http = http.unwrap().parse().unwrap();
        let camera = UdpSocket::bind("127.0.0.1:0").unwrap();
        camera.connect(running.listening()).unwrap();
        Self {
            running,
            http,
            camera,
            seq: 0,
            state,
        }
    }

    /// The relay's state directory.
    pub(crate) fn state(&self) -> &Path {
        self.state.path()
    }

    /// Sends the next frame of a camera, of at least so many bytes.
    pub(crate) fn send_frame(&mut self, camera: &str, bytes: usize) -> Vec<u8> {
        self.seq += 1;
        let frame = frame(camera, self.seq, bytes);
        self.camera.send(&frame).unwrap();
        frame
    }

    /// Starts a relay with a camera that is live.
    pub(crate) fn with_camera(camera: &str, flags: &[&str]) -> Self {
        let mut relay = Self::start(flags);
        let deadline = Instant::now() + SOON;
        while !relay.get("/api/cameras").body().contains("\"live\":true") {
            relay.send_frame(camera, 0);
            assert!(Instant::now() < deadline);
        }
        relay
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        self.request("GET", path, &[])
    }

    pub(crate) fn request(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
        request(self.http, method, path, headers)
    }

    pub(crate) fn stream(&self, path: &str) -> MjpegStream {
        MjpegStream(self.get(path))
    }

    pub(crate) fn socket(&self, path: &str) -> WebSocket<TcpStream> {
        self.try_socket(path, &[]).unwrap()
    }

    pub(crate) fn try_socket(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<WebSocket<TcpStream>, u16> {
        use tungstenite::client::IntoClientRequest as _;
        let url = format!("ws://{}{path}", self.http);
        let mut request = url.into_client_request().unwrap();
        for (name, value) in headers {
            let name: tungstenite::http::HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        match tungstenite::client(request, stream) {
            Ok((socket, _)) => Ok(socket),
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(answer))) => {
                Err(answer.status().as_u16())
            }
            Err(err) => panic!("{err}"),
        }
    }

    pub(crate) fn stop(self) -> Finished {
        stop(self.running)
    }
}

pub(crate) fn frame(camera: &str, seq: u64, bytes: usize) -> Vec<u8> {
    let label = Label {
        stream: StreamId(7),
        seq,
        captured_us: 1_700_000_000_000_000 + seq,
        camera: camera.parse().unwrap(),
    };
    let sketch = Sketch::new(300, 200);
    let sketch = match bytes {
        0 => sketch,
        bytes => sketch.segment(0xFE, &vec![0x20; bytes]),
    };
    label.write(&sketch.bytes())
}

/// A response whose head has been read.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) version: String,
    headers: Vec<(String, String)>,
    /// The connection behind the head.
    pub(crate) rest: BufReader<TcpStream>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn bytes(mut self) -> Vec<u8> {
        let length = self.header("content-length").unwrap().parse().unwrap();
        let mut body = vec![0; length];
        self.rest.read_exact(&mut body).unwrap();
        body
    }

    pub(crate) fn body(self) -> String {
        String::from_utf8(self.bytes()).unwrap()
    }
}

pub(crate) fn request(
    at: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Response {
    let named = headers.iter().any(|(name, _)| *name == "host");
    let host = format!("host: {at}\r\n");
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let host = if named { "" } else { &host };
    let request = format!("{method} {path} HTTP/1.1\r\n{host}{headers}\r\n");
    exchange(at, request.as_bytes()).unwrap()
}

/// Sends these bytes and returns the response; `None` if the connection ends without one.
pub(crate) fn exchange(at: SocketAddr, request: &[u8]) -> Option<Response> {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    // The relay may have closed the connection already.
    let _ = stream.write_all(request);
    let mut rest = BufReader::new(stream);
    let mut line = || {
        let mut line = Vec::new();
        rest.read_until(b'\n', &mut line).ok()?;
        Some(String::from_utf8_lossy(&line).trim_end().to_owned())
    };
    let first = line().filter(|line| !line.is_empty())?;
    let (version, status) = first.split_once(' ').unwrap();
    let (version, status) = (version.to_owned(), status[..3].parse().unwrap());
    let mut headers = Vec::new();
    while let Some((name, value)) = line()?.split_once(": ") {
        headers.push((name.to_owned(), value.to_owned()));
    }
    Some(Response {
        status,
        version,
        headers,
        rest,
    })
}

/// A stream of MJPEG.
pub(crate) struct MjpegStream(pub(crate) Response);

impl MjpegStream {
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.rest.read_line(&mut line).unwrap();
        assert!(line.ends_with("\r\n"), "{line:?}");
        line.trim_end().to_owned()
    }

    pub(crate) fn boundary(&mut self) {
        assert_eq!(self.line(), "--frame");
    }

    /// Reads a part and the boundary behind it; returns the part's timestamp and picture.
    pub(crate) fn part(&mut self) -> (String, Vec<u8>) {
        assert_eq!(self.line(), "Content-Type: image/jpeg");
        let length = self.line();
        let length: usize = length
            .strip_prefix("Content-Length: ")
            .unwrap()
            .parse()
            .unwrap();
        let time = self.line();
        let time = time.strip_prefix("X-Timestamp: ").unwrap().to_owned();
        assert_eq!(self.line(), "");
        let mut jpeg = vec![0; length];
        self.0.rest.read_exact(&mut jpeg).unwrap();
        assert_eq!(self.line(), "");
        self.boundary();
        (time, jpeg)
    }

    pub(crate) fn seq(&mut self) -> u64 {
        seq(&self.part().1)
    }
}

pub(crate) fn seq(jpeg: &[u8]) -> u64 {
    Label::read(jpeg).unwrap().unwrap().seq
}
