//! A webhook's receiver that is slow, refuses, hangs or is not there; the waiting times are shortened.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use protocol::event::EventMessage;
use relay_server::outputs::hub::{Hub, Output, OutputEvent};
use relay_server::outputs::picture_url::PictureUrls;
use relay_server::outputs::retry::OutputSnapshot;
use relay_server::outputs::webhook::request::{Requests, Secret};
use relay_server::outputs::webhook::{Webhook, WebhookTimes};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

const MS: Duration = Duration::from_millis(1);
const SOON: Duration = Duration::from_secs(30);

/// What the receiver does with a request.
#[derive(Debug, Clone, Copy)]
enum Step {
    Answer(&'static str),
    AnswerLate(Duration),
    Hang,
    HangUp,
}

const GOOD: Step = Step::Answer("204 No Content\r\n");

/// A request as it came.
#[derive(Debug, Clone)]
struct Came {
    head: String,
    body: String,
}

/// A receiver that does these steps, and answers all further requests well.
#[derive(Clone, Default)]
struct Receiver {
    steps: Arc<Mutex<VecDeque<Step>>>,
    came: Arc<Mutex<Vec<Came>>>,
    /// Requests without an answer, and the most of them at a time.
    open: Arc<Mutex<(usize, usize)>>,
}

impl Receiver {
    async fn start(steps: &[Step]) -> (Self, u16) {
        let receiver = Self::default();
        receiver.steps.lock().unwrap().extend(steps);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = receiver.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        (receiver, port)
    }

    async fn serve(self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        while let Some(came) = read(&mut stream).await {
            self.came.lock().unwrap().push(came);
            self.count(true);
            let step = self.steps.lock().unwrap().pop_front().unwrap_or(GOOD);
            let answer = match step {
                Step::Answer(answer) => answer,
                Step::AnswerLate(after) => {
                    tokio::time::sleep(after).await;
                    "200 OK\r\n"
                }
                Step::Hang => {
                    // Until the client gives up.
                    let _ = stream.read(&mut [0]).await;
                    return self.count(false);
                }
                Step::HangUp => return self.count(false),
            };
            self.count(false);
            let answer = format!("HTTP/1.1 {answer}content-length: 0\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    }

    fn count(&self, begins: bool) {
        let mut open = self.open.lock().unwrap();
        open.0 = if begins { open.0 + 1 } else { open.0 - 1 };
        open.1 = open.1.max(open.0);
    }

    fn came(&self) -> Vec<Came> {
        self.came.lock().unwrap().clone()
    }

    /// The labels of the events that came, in their order.
    fn labels(&self) -> Vec<String> {
        let label = |came: Came| match EventMessage::parse(came.body.as_bytes()).unwrap() {
            EventMessage::Object(event) => event.label,
            EventMessage::Camera(_) => panic!("{}", came.body),
        };
        self.came().into_iter().map(label).collect()
    }
}

/// Reads a request; `None` at the end of the connection.
async fn read(stream: &mut BufReader<TcpStream>) -> Option<Came> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.unwrap().parse().unwrap()];
    stream.read_exact(&mut body).await.ok()?;
    let body = String::from_utf8(body).unwrap();
    Some(Came { head, body })
}

fn webhook(port: u16) -> Hub {
    let times = WebhookTimes {
        patience: 300 * MS,
        first: 20 * MS,
        longest: 80 * MS,
        attempts: 4,
    };
    let requests = Requests {
        urls: PictureUrls::new(Some("https://cam.example"), None),
        secret: Some(Secret::new(b"key")),
        template: None,
    };
    let url = format!("http://127.0.0.1:{port}/hook?token=topsecret");
    let webhook = Webhook::new(url.parse().unwrap(), requests, times).unwrap();
    let stop = CancellationToken::new();
    let output = Output::new("webhook", &stop, |queue, stats, stop| {
        webhook.run(queue, stats, stop)
    });
    Hub::start(vec![output], stop).unwrap()
}

fn event(label: &str) -> OutputEvent {
    let line = format!(
        r#"{{"v":1,"type":"start","id":"1.000-0001","camera":"yard","label":"{label}","score":0.8,"top_score":0.9,"box":[0.1,0.1,0.2,0.2],"zones":[],"entered_zones":[],"start":1.0,"end":null,"snapshot":"/events/1.000-0001/snapshot.jpg","clip":null}}"#
    );
    let message = EventMessage::parse(line.as_bytes()).unwrap();
    OutputEvent {
        json: message.to_json().into(),
        message,
        picture: None,
    }
}

fn figures(hub: &Hub) -> OutputSnapshot {
    hub.stats().snapshot().remove(0).1
}

fn lost(hub: &Hub, why: &str) -> u64 {
    let lost = figures(hub).lost;
    lost.into_iter().find(|(name, _)| *name == why).unwrap().1
}

async fn until(hub: &Hub, what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: {:?}", figures(hub));
        tokio::time::sleep(10 * MS).await;
    }
}

#[tokio::test]
async fn an_event_is_posted_as_json_with_type_and_signature() {
    let (receiver, port) = Receiver::start(&[]).await;
    let hub = webhook(port);
    hub.publish(event("person"));
    until(&hub, "delivered", || figures(&hub).delivered == 1).await;
    let came = receiver.came().remove(0);
    assert!(
        came.head
            .starts_with("POST /hook?token=topsecret HTTP/1.1\r\n"),
        "{}",
        came.head
    );
    let has = |header: &str| came.head.lines().any(|line| line.starts_with(header));
    assert!(has("content-type: application/json") && has("x-sightline-event: start"));
    assert!(
        has("x-sightline-signature: sha256=") && has("user-agent: sightline/"),
        "{}",
        came.head
    );
    assert!(
        came.body
            .contains("https://cam.example/events/1.000-0001/snapshot.jpg")
    );
}

#[tokio::test]
async fn a_receiver_that_fails_is_tried_again_and_the_events_stay_in_order() {
    let steps = [
        Step::Answer("503 Service Unavailable\r\n"),
        Step::HangUp,
        Step::Hang,
        GOOD,
    ];
    let (receiver, port) = Receiver::start(&steps).await;
    let hub = webhook(port);
    for label in ["a", "b", "c"] {
        hub.publish(event(label));
    }
    until(&hub, "delivered", || figures(&hub).delivered == 3).await;
    assert_eq!(receiver.labels(), ["a", "a", "a", "a", "b", "c"]);
    assert_eq!(
        (figures(&hub).retries, receiver.open.lock().unwrap().1),
        (3, 1)
    );
}

#[tokio::test]
async fn a_receiver_that_refuses_is_not_tried_again() {
    let steps = [
        Step::Answer("404 Not Found\r\n"),
        Step::Answer("302 Found\r\nlocation: /other\r\n"),
    ];
    let (receiver, port) = Receiver::start(&steps).await;
    let hub = webhook(port);
    for label in ["a", "b", "c"] {
        hub.publish(event(label));
    }
    until(&hub, "c delivered", || figures(&hub).delivered == 1).await;
    assert_eq!(receiver.labels(), ["a", "b", "c"]);
    assert_eq!((lost(&hub, "refused"), figures(&hub).retries), (2, 0));
}

#[tokio::test]
async fn a_receiver_that_is_away_too_long_costs_an_event_and_not_the_next_one() {
    let (receiver, port) = Receiver::start(&[Step::Answer("500 Oh\r\n"); 4]).await;
    let hub = webhook(port);
    hub.publish(event("a"));
    hub.publish(event("b"));
    until(&hub, "b delivered", || figures(&hub).delivered == 1).await;
    assert_eq!(receiver.labels(), ["a", "a", "a", "a", "b"]);
    assert_eq!(lost(&hub, "given_up"), 1);
}

#[tokio::test]
async fn a_slow_receiver_holds_up_its_own_events_alone_and_one_that_waits_long_is_asked_again() {
    let (receiver, port) = Receiver::start(&[Step::AnswerLate(150 * MS), GOOD]).await;
    let (other, other_port) = Receiver::start(&[Step::Hang; 100]).await;
    let [hub, hanging] = [webhook(port), webhook(other_port)];
    for label in ["a", "b"] {
        hub.publish(event(label));
        hanging.publish(event(label));
    }
    until(&hub, "delivered", || figures(&hub).delivered == 2).await;
    assert_eq!(receiver.labels(), ["a", "b"]);
    until(&hanging, "given up", || lost(&hanging, "given_up") == 1).await;
    assert!(other.came().len() >= 4 && other.open.lock().unwrap().1 <= 2);
}

#[tokio::test]
async fn a_stop_waits_a_moment_for_a_receiver_that_hangs() {
    let (_, port) = Receiver::start(&[Step::Hang; 100]).await;
    let hub = webhook(port);
    for _ in 0..5 {
        hub.publish(event("a"));
    }
    until(&hub, "begun", || figures(&hub).waiting == 4).await;
    let begin = Instant::now();
    tokio::task::spawn_blocking(move || hub.close(begin + SOON))
        .await
        .unwrap();
    assert!(begin.elapsed() < SOON / 2);
}

#[tokio::test]
async fn no_receiver_at_all_is_tried_again_too() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let hub = webhook(port);
    hub.publish(event("a"));
    until(&hub, "given up", || lost(&hub, "given_up") == 1).await;
    assert_eq!(figures(&hub).retries, 3);
}
