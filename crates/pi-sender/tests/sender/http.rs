//! Network cameras by HTTP, each with the quirk of a real one.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use protocol::label::Label;

use crate::support::{Relay, TIMEOUT, expect_exit, jpeg, sender_to, stop, video};

/// A camera that answers each request by a function, and remembers the requests.
struct Camera {
    addr: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Camera {
    fn start(
        answer: impl Fn(&str, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (answer, seen) = (Arc::new(answer), Arc::clone(&requests));
        thread::spawn(move || {
            for client in listener.incoming() {
                let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seen));
                thread::spawn(move || {
                    let mut client = client.unwrap();
                    let mut request = [0; 8192];
                    let length = client.read(&mut request).unwrap_or(0);
                    let request = String::from_utf8_lossy(&request[..length]).into_owned();
                    seen.lock().unwrap().push(request.clone());
                    // An error means that the sender has hung up.
                    drop(answer(&request, &mut client));
                });
            }
        });
        Self { addr, requests }
    }

    /// Starts a camera that sends a head, and `part` again and again until the sender hangs up.
    fn streaming(head: impl Into<Vec<u8>>, part: impl Into<Vec<u8>>) -> Self {
        let (head, part) = (head.into(), part.into());
        Self::start(move |_, client| {
            client.write_all(&head)?;
            loop {
                client.write_all(&part)?;
                thread::sleep(Duration::from_millis(20));
            }
        })
    }

    fn url(&self, login: &str, path: &str) -> String {
        format!("http://{login}{}/{path}", self.addr)
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

const MULTIPART: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n";

fn ok(content_type: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n\r\n")
}

fn part(head: &str, jpeg: &[u8], end: &[u8]) -> Vec<u8> {
    [
        head.replace("LENGTH", &jpeg.len().to_string()).as_bytes(),
        jpeg,
        end,
    ]
    .concat()
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// Returns the sender's log after one frame, which has to be the picture to the byte.
fn log_of_a_passed_picture(camera: &Camera, source: &str, picture: &[u8], quirk: &str) -> String {
    let relay = Relay::start();
    let running = sender_to(relay.addr(), source, &["--fps", "50"])
        .env("RUST_LOG", "trace")
        .start();
    let frame = relay.datagram();
    let label = Label::read(&frame).unwrap().unwrap();
    assert!(
        frame == label.write(picture),
        "{quirk}: {:?}",
        camera.requests()
    );
    stop(running).stderr
}

#[test]
fn the_quirks_of_real_cameras_give_their_pictures_to_the_byte() {
    let jpeg = jpeg(300, 200, 77.0);
    let typed = "--frame\r\nContent-Type: image/jpeg\r\nContent-Length: LENGTH\r\n\r\n";
    let chunked = "HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=B\r\nTransfer-Encoding: chunked\r\n\r\n";
    let text = b"\r\n--frame\r\nContent-Type: text/plain\r\n\r\nmotion=0\r\n";
    let quirks = [
        ("as in the books", MULTIPART.to_owned(), part(typed, &jpeg, b"\r\n")),
        ("the boundary behind the part, in chunks", chunked.to_owned(),
            chunk(&part("Content-Type: image/jpeg\r\n\r\n", &jpeg, b"\r\n--B\r\n"))),
        ("no boundary at all", ok("multipart/x-mixed-replace"), part(typed, &jpeg, b"\r\n")),
        ("parts of no type", MULTIPART.to_owned(), part("--frame\r\nContent-Length: LENGTH\r\n\r\n", &jpeg, b"\r\n")),
        ("parts of another type", MULTIPART.to_owned(), part("--frame\r\nContent-Type: image/jpg\r\n\r\n", &jpeg, b"")),
        ("text between the pictures", MULTIPART.to_owned(), part(typed, &jpeg, text)),
        ("a preamble", ok("multipart/mixed; boundary=frame") + "This is a preamble.\r\n", part(typed, &jpeg, b"\r\n")),
        ("line feeds alone", MULTIPART.to_owned(), part("--frame\nContent-Type: image/jpeg\n\n", &jpeg, b"\n")),
        ("a length that is too large", MULTIPART.to_owned(), part("--frame\r\nContent-Length: 999999\r\n\r\n", &jpeg, &[0; 512])),
        ("a length that is too small", MULTIPART.to_owned(), part("--frame\r\nContent-Length: 9\r\n\r\n", &jpeg, b"\r\n")),
        ("back to back", ok("video/x-motion-jpeg"), jpeg.clone()),
        ("of a type that says nothing", ok("application/octet-stream"), part(typed, &jpeg, b"\r\n")),
        ("of no type", "HTTP/1.0 200 OK\r\n\r\n".to_owned(), part("", &jpeg, b"\xAA\xAA")),
        ("headers that are broken", "HTTP/1.1 200 OK\r\nX Y: z\r\n folded\r\nContent-Type : multipart/x-mixed-replace\r\n\r\n".to_owned(), part(typed, &jpeg, b"")),
        ("no HTTP at all", String::new(), jpeg.clone()),
    ];
    for (quirk, head, part) in quirks {
        let camera = Camera::streaming(head, part);
        log_of_a_passed_picture(&camera, &camera.url("", "video"), &jpeg, quirk);
    }
}

/// Answers like a camera that takes this `Authorization` alone.
fn guarded(
    request: &str,
    client: &mut TcpStream,
    offer: &str,
    wanted: &str,
    jpeg: &[u8],
) -> std::io::Result<()> {
    let authorization = request
        .lines()
        .find_map(|line| line.strip_prefix("authorization: "));
    if !authorization.is_some_and(|value| value.starts_with(wanted)) {
        let head = format!(
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: {offer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        return client.write_all(head.as_bytes());
    }
    client.write_all(MULTIPART.as_bytes())?;
    loop {
        client.write_all(jpeg)?;
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_login_is_answered_and_reaches_no_line_of_the_log() {
    let picture = jpeg(300, 200, 77.0);
    let basic = "Basic cm9vdDpnZS9oQGVpbSM="; // root:ge/h@eim#
    for (offer, wanted) in [
        ("Basic realm=\"cam\"", basic),
        (
            "Digest realm=\"cam\", nonce=\"abc\", qop=\"auth\"",
            "Digest ",
        ),
    ] {
        for login in ["root:ge%2Fh%40eim%23@", "root:ge/h@eim#@"] {
            let jpeg = picture.clone();
            let camera = Camera::start(move |request, client| {
                guarded(request, client, offer, wanted, &jpeg)
            });
            let source = camera.url(login, "user=admin_password=geheim?token=geheim");
            let log = log_of_a_passed_picture(&camera, &source, &picture, offer);
            for secret in ["geheim", "h@eim", "h%40eim", "admin", "token", "cm9vd"] {
                assert!(!log.contains(secret), "{secret}: {log}");
            }
            let first = &camera.requests()[0];
            assert!(
                !first.contains("authorization"),
                "a password went out before the camera asked: {first}"
            );
        }
    }
}

#[test]
fn a_realm_beyond_ascii_is_answered() {
    let picture = jpeg(300, 200, 77.0);
    let jpeg = picture.clone();
    let offer = "Digest realm=\"K\u{fc}che \u{6771}\", nonce=\"abc\", qop=\"auth\"";
    let camera =
        Camera::start(move |request, client| guarded(request, client, offer, "Digest ", &jpeg));
    log_of_a_passed_picture(&camera, &camera.url("u:p@", "x"), &picture, offer);
    let with_realm = |request: &String| request.contains("realm=\"K\u{fc}che \u{6771}\"");
    assert!(camera.requests().iter().any(with_realm));
}

#[test]
fn a_challenge_that_cannot_be_read_does_not_draw_the_password_itself() {
    let camera = Camera::start(|_, client| {
        client.write_all(
            b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\
              WWW-Authenticate: Digest realm=\"K\xFCche\", nonce=\"abc\", qop=\"auth\"\r\n\r\n",
        )
    });
    let relay = Relay::start();
    let source = camera.url("u:p@", "x");
    let program = sender_to(relay.addr(), &source, &["--exit-on-source-error"]);
    let done = expect_exit(program, 1);
    assert!(
        done.stderr.contains("letters that are not UTF-8"),
        "{}",
        done.stderr
    );
    let mut requests = camera.requests().into_iter();
    assert!(requests.all(|request| !request.contains("authorization")));
}

#[test]
fn a_missing_or_wrong_login_ends_with_its_cure() {
    let camera = Camera::start(|request, client| {
        guarded(request, client, "Basic realm=\"cam\"", "Basic right", b"")
    });
    let relay = Relay::start();
    for (login, cure) in [
        ("", "http://USER:PASSWORD@HOST"),
        ("u:p@", "refuses the user or the password"),
    ] {
        let done = expect_exit(
            sender_to(
                relay.addr(),
                &camera.url(login, ""),
                &["--exit-on-source-error"],
            ),
            1,
        );
        assert!(done.stderr.contains(cure), "{}", done.stderr);
    }
}

#[test]
fn a_redirect_is_followed_and_no_login_goes_to_another_host() {
    let picture = jpeg(300, 200, 77.0);
    let parts = picture.clone();
    let other = Camera::start(move |request, client| {
        assert!(!request.contains("authorization"), "{request}");
        client.write_all(MULTIPART.as_bytes())?;
        loop {
            client.write_all(&parts)?;
            thread::sleep(Duration::from_millis(20));
        }
    });
    let there = other.url("", "K\u{fc}che");
    let camera = Camera::start(move |request, client| {
        let answer = match request.contains("authorization") {
            true => format!("302 Found\r\nLocation: {there}"),
            false => "401 Unauthorized\r\nWWW-Authenticate: Basic".to_owned(),
        };
        client.write_all(
            format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .as_bytes(),
        )
    });
    log_of_a_passed_picture(&camera, &camera.url("u:p@", ""), &picture, "redirect");
    assert!(
        !other.requests().is_empty()
            && other
                .requests()
                .iter()
                .all(|request| !request.contains("authorization"))
    );
}

#[test]
fn what_came_instead_of_a_picture_is_in_the_error() {
    let relay = Relay::start();
    for (answer, words) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>\x1b[2JLog in",
            "200 OK, text/html, which begins with '<html>\\u{1b}[2JLog in'",
        ),
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone",
            "404 Not Found, no content type, which begins with 'gone'",
        ),
        (
            "HTTP/1.1 302 Found\r\nLocation: rtsp://u:geheim@cam/1\r\n\r\n",
            "it redirects from HTTP to rtsp",
        ),
        (
            "HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n",
            "redirects in a circle",
        ),
    ] {
        let camera = Camera::start(move |_, client| client.write_all(answer.as_bytes()));
        let source = camera.url("", "?pwd=geheim");
        let done = expect_exit(
            sender_to(relay.addr(), &source, &["--exit-on-source-error"]),
            1,
        );
        assert!(
            done.stderr.contains(words) && !done.stderr.contains("geheim"),
            "{}",
            done.stderr
        );
    }
}

#[test]
fn errors_of_the_network_and_of_ffmpeg_do_not_show_what_is_secret() {
    let relay = Relay::start();
    let closed = testkit::port::free();
    for source in [
        format!("http://root:geheim@127.0.0.1:{closed}/x?pwd=geheim"),
        format!("rtsp://root:geh/eim@127.0.0.1:{closed}/user=admin_password=geheim_channel=1"),
        "gst:rtspsrc location=rtsp://root:geheim@127.0.0.1:1/geheim ! appsink".to_owned(),
    ] {
        let program = sender_to(relay.addr(), &source, &["--exit-on-source-error"]);
        let done = expect_exit(program.env("RUST_LOG", "trace"), 1);
        for secret in ["geheim", "eim@", "root", "admin"] {
            assert!(!done.stderr.contains(secret), "{}", done.stderr);
        }
    }
}

#[test]
fn a_snapshot_is_polled_at_the_rate_without_a_line_each_time() {
    let picture = jpeg(300, 200, 77.0);
    let camera = Camera::start(move |_, client| {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            picture.len()
        );
        client.write_all(&[head.as_bytes(), &picture].concat())
    });
    let relay = Relay::start();
    let words = ["--fps", "20", "--frames", "40"];
    let done = expect_exit(
        sender_to(relay.addr(), &camera.url("", "snap"), &words).env("RUST_LOG", "info"),
        0,
    );
    let lines = done.stderr.lines().count();
    assert!(lines <= 4, "{}", done.stderr);
    let polled = camera.requests().len();
    assert!(
        (40..=45).contains(&polled),
        "{polled} requests for 40 frames"
    );
    assert!(done.took > Duration::from_millis(1900), "{:?}", done.took);
}

#[test]
fn a_kept_connection_that_the_camera_closes_costs_no_picture_and_no_line() {
    let picture = jpeg(300, 200, 77.0);
    let camera = Camera::start(move |_, client| {
        let length = picture.len();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        client.write_all(&[head.as_bytes(), &picture].concat())?;
        // The next request on this connection has no answer.
        client.read(&mut [0; 8192]).map(drop)
    });
    let relay = Relay::start();
    let source = format!(" {} ", camera.url("", "snap"));
    let words = ["--fps", "20", "--frames", "20", "--exit-on-source-error"];
    let done = expect_exit(sender_to(relay.addr(), &source, &words), 0);
    assert!(!done.stderr.contains("WARN"), "{}", done.stderr);
    assert!(camera.requests().len() >= 20, "each by another connection");
}

/// Returns a camera that answers with a file.
fn serving(file: Vec<u8>) -> Camera {
    Camera::start(move |_, client| {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
            file.len()
        );
        client.write_all(&[head.as_bytes(), &file].concat())
    })
}

#[test]
fn what_ends_behind_a_url_is_named_once_with_its_cure_however_often_it_starts_over() {
    let dir = tempfile::tempdir().unwrap();
    let video = std::fs::read(video(dir.path(), 10.0, 5)).unwrap();
    let grey = opencv::core::Mat::new_rows_cols_with_default(
        48,
        64,
        opencv::core::CV_8UC3,
        opencv::core::Scalar::all(90.0),
    );
    let png = dir.path().join("a.png");
    let written = opencv::imgcodecs::imwrite_def(png.to_str().unwrap(), &grey.unwrap());
    assert!(written.unwrap());
    let relay = Relay::start();
    for (file, words, cure) in [
        (video.clone(), &[][..], "add --loop"),
        (video, &["--loop"], ""),
        (std::fs::read(png).unwrap(), &[], "choose JPEG"),
    ] {
        let camera = serving(file);
        let running = sender_to(relay.addr(), &camera.url("", "x"), words).start();
        // Each start takes two requests or more: ours, and FFmpeg's.
        while camera.requests().len() < 12 {
            relay.frame();
        }
        let log = stop(running).stderr;
        let lines: Vec<_> = log.lines().filter(|line| line.contains("WARN")).collect();
        let named = lines.iter().filter(|line| line.contains("the URL gives"));
        assert_eq!(named.count(), usize::from(!cure.is_empty()), "{log}");
        assert!(lines.iter().all(|line| line.contains(cure)), "{log}");
        assert!(!log.contains("is back"), "{log}");
    }
}

#[test]
fn a_video_behind_a_url_goes_to_ffmpeg() {
    let dir = tempfile::tempdir().unwrap();
    let camera = serving(std::fs::read(video(dir.path(), 10.0, 5)).unwrap());
    let relay = Relay::start();
    let running = sender_to(relay.addr(), &camera.url("", "video.avi"), &[]).start();
    relay.frame();
    stop(running);
    let agents = camera
        .requests()
        .into_iter()
        .filter(|request| request.contains("Lavf"))
        .count();
    assert!(agents > 0, "FFmpeg asked for nothing");
}

#[test]
fn a_camera_that_is_away_for_a_moment_comes_back() {
    let picture = jpeg(300, 200, 77.0);
    let answers = Mutex::new(0);
    let camera = Camera::start(move |_, client| {
        let mut answers = answers.lock().unwrap();
        *answers += 1;
        let n = *answers;
        drop(answers);
        if n == 2 {
            return client
                .write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
        client.write_all(MULTIPART.as_bytes())?;
        (0..5).try_for_each(|_| {
            thread::sleep(Duration::from_millis(30));
            client.write_all(&picture)
        })
    });
    let relay = Relay::start();
    let running = sender_to(relay.addr(), &camera.url("", "video"), &["--fps", "30"]).start();
    running.wait_for_line("503", TIMEOUT);
    running.wait_for_line("the source is back", TIMEOUT);
    stop(running);
}
