//! Events of the real program at its receivers: a broker, a webhook and a command, all at once.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

mod common {
    pub(crate) mod film;
    pub(crate) mod http;
    pub(crate) mod mosquitto;
    pub(crate) mod process;
}

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::film::Film;
use common::http::HttpRelay;
use common::mosquitto::{Broker, Client};
use common::process::{MS, SOON};
use protocol::event::EventMessage;
use relay_server::access::Access;
use relay_server::outputs::picture_url::{PictureSigner, PictureUrls};

/// Time between two frames.
const INTERVAL: Duration = Duration::from_millis(50);

/// A webhook's receiver that takes everything. Returns its port and the bodies.
fn receiver() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let bodies = Arc::<Mutex<Vec<String>>>::default();
    let stored = bodies.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut length = 0;
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).unwrap_or(0) == 0 {
                    break;
                }
                if let Some(value) = line.strip_prefix("content-length: ") {
                    length = value.trim().parse().unwrap();
                }
                if line == "\r\n" {
                    let mut body = vec![0; length];
                    stream.read_exact(&mut body).unwrap();
                    stored
                        .lock()
                        .unwrap()
                        .push(String::from_utf8(body).unwrap());
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                    stream.get_mut().write_all(answer).unwrap();
                }
            }
        }
    });
    (port, bodies)
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + 3 * SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(20 * MS);
    }
}

/// The kinds and ids of messages.
fn kinds<'a>(messages: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let kind = |json: &str| match EventMessage::parse(json.as_bytes()).unwrap() {
        EventMessage::Object(event) => format!("{:?} {}", event.phase, event.id),
        EventMessage::Camera(event) => format!("{:?} {}", event.state, event.camera),
    };
    messages.into_iter().map(kind).collect()
}

fn lines(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_reaches_the_broker_the_webhook_and_the_command() {
    let Some(broker) = Broker::start() else {
        return;
    };
    let client = Client::connect(broker.port);
    let (port, bodies) = receiver();
    let directory = tempfile::tempdir().unwrap();
    let [file, hooked, script] =
        ["events", "hooked", "hook.sh"].map(|name| directory.path().join(name));
    // One write, since several run at a time.
    let text = format!("printf '%s\\n' \"$(cat)\" >>'{}'\n", hooked.display());
    fs::write(&script, text).unwrap();
    let hook = format!("sh {}", script.display());
    let webhook = format!("http://127.0.0.1:{port}/hook");
    let flags = [
        ["--mqtt", &broker.url()],
        ["--webhook", &webhook],
        ["--on-event", &hook],
        ["--http-url", "https://cam.example"],
        ["--events", file.to_str().unwrap()],
    ];
    let relay = HttpRelay::with_model("demo", flags.as_flattened());
    let film = Film::start(&relay.camera, INTERVAL);
    let started = || {
        let started = |line: &&String| line.contains(r#""type":"start""#);
        lines(&file).iter().filter(started).count()
    };
    until("two events have begun", || started() >= 2);
    let picture =
        |topic: &String| topic.starts_with("sightline/yard/") && topic.ends_with("/snapshot");
    let has_picture = |client: &Client| client.values().keys().any(picture);
    client.until_it("a picture of an event", has_picture).await;
    // Without frames the events end.
    drop(film);
    let ended = |kind: &str| {
        lines(&file)
            .iter()
            .filter(|line| line.contains(kind))
            .count()
    };
    until("all have ended", || ended(r#""type":"end""#) == started());
    let wanted = || kinds(lines(&file).iter().map(String::as_str));
    let published = || kinds(client.of("sightline/events").iter().map(String::as_str));
    until("all are at the broker", || published() == wanted());
    let posted = || kinds(bodies.lock().unwrap().iter().map(String::as_str));
    until("all are at the webhook", || posted() == wanted());
    // Four commands run at a time, so their lines may change places.
    let sorted = |mut kinds: Vec<String>| {
        kinds.sort();
        kinds
    };
    let hooked = || kinds(lines(&hooked).iter().map(String::as_str));
    until("all are at the command", || {
        sorted(hooked()) == sorted(wanted())
    });
    let values = client.values();
    let (topic, jpeg) = values.iter().find(|(topic, _)| picture(topic)).unwrap();
    assert!(jpeg.starts_with(b"\xff\xd8\xff"), "{topic}");
    let topic = topic.trim_end_matches("/snapshot");
    client.until(topic, "0").await;
    assert!(
        client.of(topic).iter().any(|count| count != "0"),
        "it was there"
    );
    let body = bodies.lock().unwrap().concat();
    assert!(
        body.contains(r#""snapshot":"https://cam.example/events/"#),
        "{body}"
    );
    let text = relay.get("/metrics").body();
    for output in ["mqtt", "webhook", "on_event"] {
        let delivered = format!("sightline_output_events_total{{output=\"{output}\"}} ");
        assert!(text.contains(&delivered), "{text}");
        let lost = format!("{{output=\"{output}\",reason=\"queue_full\"}} 0");
        assert!(text.contains(&lost), "{text}");
    }
    relay.stop();
}

#[test]
fn a_signed_url_is_for_the_picture_of_its_event_at_a_private_relay_and_for_nothing_else() {
    let relay = HttpRelay::start(&["--private"]);
    let (access, _) = Access::open(Some(relay.state()), true, false).unwrap();
    let signer = PictureSigner::new(&access.identity.picture_secret());
    let urls = PictureUrls::new(Some("http://relay"), Some(signer));
    let now = platform::clock::unix_micros() / 1_000_000;
    let path = "/events/1763820000.123-a1b2/snapshot.jpg";
    let signed = |path: &str| urls.url(path, now).replace("http://relay", "");
    let status = |path: &str| relay.get(path).status;
    // The right to see it, and no such event.
    assert_eq!(status(&signed(path)), 404);
    assert_eq!(status(&format!("{}&boxes=1", signed(path))), 404);
    assert_eq!(status(path), 401);
    let (_, query) = signed(path)
        .split_once('?')
        .map(|(path, query)| (path.to_owned(), query.to_owned()))
        .unwrap();
    for other in [
        "/events/1763820000.123-a1b3/snapshot.jpg",
        "/events",
        "/api/events",
        "/snapshot.jpg",
        "/",
    ] {
        assert_eq!(status(&format!("{other}?{query}")), 401, "{other}");
    }
    assert_eq!(
        status(&signed("/snapshot.jpg")),
        401,
        "a path that is never signed"
    );
    let expired = urls
        .url(path, now - 2 * 24 * 3600)
        .replace("http://relay", "");
    assert_eq!(status(&expired), 401);
    relay.stop();
}
