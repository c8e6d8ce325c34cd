//! Reads network cameras that speak HTTP: streams of JPEGs, and URLs of one picture, which are polled.
//!
//! ```text
//! client --> answer: what is this? --> splitter --> Picture
//!   ^  login, redirects       \
//!   |                          '--> FFmpeg (videos, playlists)
//!   '-- again when the answer ends, `fps` times a second at most
//! ```
//!
//! FFmpeg's own reader of such streams wants a boundary in front of the first part, `image/jpeg` as each part's type, and
//! more that cameras do not do. So the markers of the JPEGs alone tell here where a picture begins and ends.

mod answer;
mod client;
mod login;
mod poll_times;

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use protocol::jpeg::Splitter;
use reqwest::Response;
use tokio::runtime::Builder;
use tokio::time::timeout;
use tracing::{debug, info};

use self::answer::{BodyKind, HEAD};
use self::client::{CameraClient, content_type};
pub(super) use self::login::Login;
use self::poll_times::PollTimes;
use super::Picture;
use super::broken::BrokenRow;
use super::camera_url::CameraUrl;
use super::live::ReadPicture;

/// Longest time without a byte; cameras for one picture every few seconds exist. One interval of `--fps` is added to it.
const STALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time with bytes and without a picture: a large one on a thin line takes this long.
const PICTURE_TIMEOUT: Duration = Duration::from_secs(40);

/// What a URL turned out to be.
pub(super) enum Opened {
    /// Pictures, read here.
    Pictures(ReadPicture),
    /// A video, for FFmpeg. The connection is closed.
    Video,
    /// One picture of another kind than JPEG, for FFmpeg. The connection is closed.
    Still,
}

/// Requests a URL and waits for its first picture.
pub(super) fn open(url: &CameraUrl<'_>, fps: f64) -> anyhow::Result<Opened> {
    let interval = Duration::from_secs_f64(1.0 / fps);
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime of HTTP")?;
    let patience = STALL_TIMEOUT + interval;
    let mut camera = HttpCamera {
        client: CameraClient::new(url, patience)?,
        times: PollTimes::new(interval),
        body: None,
        patience,
        logged_end: false,
    };
    match runtime.block_on(camera.kind())? {
        BodyKind::Video => return Ok(Opened::Video),
        BodyKind::Still => return Ok(Opened::Still),
        BodyKind::Jpegs => {}
    }
    let mut first = Some(runtime.block_on(camera.picture())?);
    Ok(Opened::Pictures(Box::new(move || match first.take() {
        Some(picture) => Ok(picture),
        None => runtime.block_on(camera.picture()),
    })))
}

/// A camera, and the answer of it that is being read.
struct HttpCamera {
    client: CameraClient,
    times: PollTimes,
    body: Option<Body>,
    patience: Duration,
    logged_end: bool,
}

impl HttpCamera {
    /// Returns how to read what the URL gives; JPEGs are read on from the same answer.
    async fn kind(&mut self) -> anyhow::Result<BodyKind> {
        let mut body = self.request().await?;
        body.read_head().await?;
        let kind = BodyKind::of(content_type(&body.response), &body.head);
        if kind == BodyKind::Jpegs {
            self.body = Some(body);
        }
        Ok(kind)
    }

    /// Returns the next picture that is whole.
    async fn picture(&mut self) -> anyhow::Result<Picture> {
        let mut broken = BrokenRow::of("the camera");
        loop {
            match Picture::from_jpeg(self.next().await?) {
                Ok(picture) => return Ok(picture),
                Err(why) => broken.skip(&why)?,
            }
        }
    }

    /// Returns the next picture's bytes. An answer that gave pictures and ended is requested again: cameras for snapshots
    /// end it behind each picture, and some streams end after a while.
    async fn next(&mut self) -> anyhow::Result<Vec<u8>> {
        loop {
            let body = match &mut self.body {
                Some(body) => body,
                None => {
                    let body = self.request().await?;
                    self.body.insert(body)
                }
            };
            let next = body.next_picture().await;
            let body_pictures = body.pictures;
            match next {
                Ok(Some(jpeg)) => return Ok(jpeg),
                Ok(None) if body_pictures == 0 => bail!(body.description()),
                Err(why) if body_pictures == 0 => return Err(why.context(body.description())),
                ended => {
                    self.log_end(body_pictures, &ended);
                    self.body = None;
                }
            }
        }
    }

    /// Logs the end of a stream, once: one that ends each minute is no news, and a snapshot's end is none at all.
    fn log_end(&mut self, pictures: u64, ended: &anyhow::Result<Option<Vec<u8>>>) {
        let why = ended.as_ref().err().map(|why| format!("{why:#}"));
        if pictures > 1 && !std::mem::replace(&mut self.logged_end, true) {
            info!(
                pictures,
                why, "the camera's stream ended; it is requested again, now and each further time"
            );
        } else {
            debug!(pictures, why, "the camera's answer ended");
        }
    }

    async fn request(&mut self) -> anyhow::Result<Body> {
        let due = self.times.next(Instant::now());
        tokio::time::sleep_until(due.into()).await;
        Ok(Body {
            response: self.client.request().await?,
            splitter: Splitter::new(),
            head: Vec::new(),
            bytes: 0,
            pictures: 0,
            patience: self.patience,
        })
    }
}

/// An answer while it is read.
struct Body {
    response: Response,
    splitter: Splitter,
    /// The first bytes.
    head: Vec<u8>,
    /// Count of its bytes so far.
    bytes: usize,
    /// Count of the pictures in it so far.
    pictures: u64,
    patience: Duration,
}

impl Body {
    /// Reads until the first bytes tell what they are, the answer ends, or too few have come for too long.
    async fn read_head(&mut self) -> anyhow::Result<()> {
        let start = Instant::now();
        while self.head.len() < HEAD && start.elapsed() < self.patience && self.receive().await? {}
        Ok(())
    }

    /// Returns the next picture; `None` at the end.
    async fn next_picture(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        let (start, before) = (Instant::now(), self.bytes);
        loop {
            if let Some(jpeg) = self.splitter.next_picture() {
                self.pictures += 1;
                return Ok(Some(jpeg));
            }
            let limit = match self.splitter.is_inside() {
                true => PICTURE_TIMEOUT,
                false => self.patience,
            };
            ensure!(
                start.elapsed() <= limit,
                "{} bytes came within {} s and no whole picture; is the connection to the camera too slow?",
                self.bytes - before,
                limit.as_secs()
            );
            if !self.receive().await? {
                return Ok(None);
            }
        }
    }

    /// Takes the next bytes; false at the end.
    async fn receive(&mut self) -> anyhow::Result<bool> {
        let Ok(chunk) = timeout(self.patience, self.response.chunk()).await else {
            bail!("no byte came for {} s", self.patience.as_secs());
        };
        let Some(chunk) = chunk.map_err(reqwest::Error::without_url)? else {
            return Ok(false);
        };
        self.bytes += chunk.len();
        let missing = HEAD.saturating_sub(self.head.len());
        self.head
            .extend_from_slice(&chunk[..missing.min(chunk.len())]);
        self.splitter.push(&chunk);
        Ok(true)
    }

    /// Describes an answer without a picture.
    fn description(&self) -> String {
        answer::describe(
            self.response.status(),
            content_type(&self.response),
            &self.head,
        )
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use testkit::jpeg::Sketch;

    use super::*;

    /// Returns a camera with little patience.
    fn camera(url: &str) -> HttpCamera {
        let patience = Duration::from_millis(300);
        HttpCamera {
            client: CameraClient::new(&CameraUrl::parse(url).unwrap(), patience).unwrap(),
            times: PollTimes::new(Duration::from_millis(10)),
            body: None,
            patience,
            logged_end: false,
        }
    }

    /// Returns the size of the next picture of a camera that sends so many bytes and then hangs, and the error after it.
    fn hanging(content: &[u8]) -> (Option<Picture>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let content = content.to_vec();
        let server = thread::spawn(move || {
            let mut open = Vec::new();
            for content in [&content[..], b""] {
                let (mut client, _) = listener.accept().unwrap();
                let _ = client.read(&mut [0; 4096]).unwrap();
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
                client.write_all(content).unwrap();
                open.push(client);
            }
            open
        });
        let mut camera = camera(&url);
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let first = runtime.block_on(camera.picture());
        let (first, why) = match first {
            Ok(picture) => (
                Some(picture),
                runtime.block_on(camera.picture()).unwrap_err(),
            ),
            Err(why) => (None, why),
        };
        drop(server);
        (first, format!("{why:#}"))
    }

    #[test]
    fn a_stream_that_stalls_is_requested_again_and_lost_if_nothing_comes_then() {
        let (first, why) = hanging(&Sketch::new(300, 200).bytes());
        assert!(first.is_some());
        assert!(why.contains("no byte came for"), "{why}");
    }

    /// Returns why a URL gives no picture within a short time.
    fn failure(url: &str) -> String {
        let patience = Duration::from_secs(1);
        let mut client = CameraClient::new(&CameraUrl::parse(url).unwrap(), patience).unwrap();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        format!("{:#}", runtime.block_on(client.request()).unwrap_err())
    }

    #[test]
    fn a_camera_that_is_off_is_answered_with_what_to_check() {
        let closed = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let why = failure(&format!("http://{closed}/"));
        assert!(
            why.contains("Connection refused") && why.contains("is the port in the URL right"),
            "{why}"
        );

        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let why = failure(&format!("http://{}/", silent.local_addr().unwrap()));
        assert!(
            why.contains("no answer for 1 s; is the camera on") && !why.contains("elapsed"),
            "{why}"
        );
    }

    #[test]
    fn a_name_that_does_not_resolve_is_named_and_a_piece_of_a_password_is_not() {
        // No resolver has names of this domain (RFC 6761, section 6.4).
        let why = failure("http://yard.invalid/");
        assert!(
            why.contains("the name yard.invalid does not resolve"),
            "{why}"
        );
        let why = failure("http://me:a@geheim.invalid/b@cam/1");
        assert!(
            why.contains("does not resolve") && !why.contains("geheim"),
            "{why}"
        );
    }

    #[test]
    fn a_stall_in_front_of_the_first_picture_names_what_had_come() {
        let (first, why) = hanging(b"<html>please wait");
        assert!(first.is_none());
        assert!(
            why.contains("<html>please wait") && why.ends_with("no byte came for 0 s"),
            "{why}"
        );
    }

    /// Opens a camera that sends a head and then a byte every 20 ms. Returns why it gives nothing, and the bytes that it sent.
    fn dripping(head: &'static [u8], byte: u8) -> (String, usize) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let _ = client.read(&mut [0; 4096]).unwrap();
            client.write_all(head).unwrap();
            let sent = (0..100_000).take_while(|_| {
                thread::sleep(Duration::from_millis(20));
                client.write_all(&[byte]).is_ok()
            });
            sent.count()
        });
        let mut camera = camera(&url);
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let why = runtime.block_on(async {
            match camera.kind().await {
                Ok(_) => camera.picture().await.unwrap_err(),
                Err(why) => why,
            }
        });
        drop((camera, runtime));
        (format!("{why:#}"), server.join().unwrap())
    }

    #[test]
    fn a_camera_that_sends_byte_after_byte_is_reported_long_before_its_first_bytes_are_there() {
        let (why, sent) = dripping(b"HTTP/1.1 200 OK\r\n\r\n", b'x');
        assert!(
            why.contains("begins with 'xx") && why.contains("no whole picture"),
            "{why}"
        );
        assert!(sent < HEAD, "{sent}");
        let (why, sent) = dripping(b"HTTP/1.1 404 Not Found\r\n\r\n", b'x');
        assert!(why.contains("404 Not Found"), "{why}");
        assert!(sent < HEAD, "{sent}");
        let (why, _) = dripping(b"HTTP/1.1 200", b'x');
        assert!(why.contains("no answer for"), "{why}");
    }
}
