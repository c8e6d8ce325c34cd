//! Events while the MQTT broker is away, slow or silent; the waiting times are shortened.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

#[path = "common/mosquitto.rs"]
mod mosquitto;

use std::time::Duration;

use bytes::Bytes;
use protocol::event::EventMessage;
use relay_server::handle::RelayHandle;
use relay_server::outputs::hub::{Hub, Output, OutputEvent};
use relay_server::outputs::mqtt::broker::BrokerUrl;
use relay_server::outputs::mqtt::connection::Login;
use relay_server::outputs::mqtt::{self, MqttSettings};
use relay_server::outputs::queue::MAX_WAITING;
use relay_server::outputs::retry::{Backoff, OutputSnapshot};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::mosquitto::{Broker, Client, SOON};

const MS: Duration = Duration::from_millis(1);

/// The output without a relay around it.
fn output(url: &str) -> Hub {
    let stop = CancellationToken::new();
    let url: BrokerUrl = url.parse().unwrap();
    let broker = url.broker().unwrap().clone();
    let settings = MqttSettings {
        login: Login::new(broker, "sightline-test".to_owned(), None).unwrap(),
        state: None,
        backoff: Backoff::new(50 * MS, 200 * MS),
    };
    // A loop that is never ready: it reports no status.
    let relay = RelayHandle::new(mpsc::channel(1).0);
    let output = Output::new("mqtt", &stop, |queue, stats, stop| {
        mqtt::run(settings, relay, queue, stats, stop)
    });
    Hub::start(vec![output.with_pictures()], stop).unwrap()
}

/// The `n`th event, the start of a person's stay.
fn event(n: usize, picture: Option<Bytes>) -> OutputEvent {
    let line = format!(
        r#"{{"v":1,"type":"start","id":"{n}.000-0001","camera":"yard","label":"person","score":0.8,"top_score":0.9,"box":[0.1,0.1,0.2,0.2],"zones":[],"entered_zones":[],"start":{n}.0,"end":null,"snapshot":"/x","clip":null}}"#
    );
    let message = EventMessage::parse(line.as_bytes()).unwrap();
    OutputEvent {
        json: message.to_json().into(),
        message,
        picture,
    }
}

/// The numbers of the events that the client was sent.
fn numbers(client: &Client) -> Vec<usize> {
    let start = |text: &String| {
        let message = EventMessage::parse(text.as_bytes()).unwrap();
        match message {
            EventMessage::Object(event) => event.start as usize,
            EventMessage::Camera(_) => panic!("{text}"),
        }
    };
    client.of("sightline/events").iter().map(start).collect()
}

fn figures(hub: &Hub) -> OutputSnapshot {
    hub.stats().snapshot().remove(0).1
}

async fn until(hub: &Hub, what: &str, holds: impl Fn(&OutputSnapshot) -> bool) {
    let deadline = std::time::Instant::now() + SOON;
    while !holds(&figures(hub)) {
        assert!(
            std::time::Instant::now() < deadline,
            "{what}: {:?}",
            figures(hub)
        );
        tokio::time::sleep(20 * MS).await;
    }
}

fn lost(figures: &OutputSnapshot) -> u64 {
    figures.lost.iter().map(|(_, count)| count).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_wait_for_a_broker_that_is_gone_and_arrive_in_order() {
    let Some(broker) = Broker::start() else {
        return;
    };
    let proxy = Proxy::start(broker.port).await;
    let hub = output(&format!("mqtt://127.0.0.1:{}", proxy.port));
    let client = Client::connect(broker.port);
    client.until("sightline/available", "online").await;
    hub.publish(event(1, None));
    client.until("sightline/yard/person", "1").await;
    until(&hub, "acknowledged", |figures| figures.delivered == 1).await;
    proxy.set(Way::Cut);
    // The broker has lost the connection and publishes the last will.
    client.until("sightline/available", "offline").await;
    for n in 2..=50 {
        hub.publish(event(n, None));
    }
    until(&hub, "49 wait", |figures| figures.waiting == 49).await;
    proxy.set(Way::Open);
    client.until("sightline/yard/person", "50").await;
    client.until("sightline/available", "online").await;
    until(&hub, "all delivered", |figures| figures.delivered == 50).await;
    assert_eq!(numbers(&client), (1..=50).collect::<Vec<_>>());
    assert_eq!((lost(&figures(&hub)), figures(&hub).waiting), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_has_lost_everything_is_sent_all_state_anew() {
    let Some(mut broker) = Broker::start() else {
        return;
    };
    let hub = output(&broker.url());
    hub.publish(event(1, None));
    let before = Client::connect(broker.port);
    before.until("sightline/yard/person", "1").await;
    let has_all = |client: &Client| client.values().len() >= 8;
    before
        .until_it("two devices with their state", has_all)
        .await;
    let kept = before.values();
    drop(before);
    broker.stop();
    broker.start_again();
    let after = Client::connect(broker.port);
    after
        .until_it("the same state", |client| {
            let values = client.values();
            let is_state = |topic: &&String| *topic != "sightline/events";
            kept.keys()
                .filter(is_state)
                .all(|topic| values.get(topic) == kept.get(topic))
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_gone_for_long_costs_the_oldest_events_and_they_are_counted() {
    let Some(mut broker) = Broker::start() else {
        return;
    };
    broker.stop();
    let hub = output(&broker.url());
    for n in 0..MAX_WAITING / 2 {
        hub.publish(event(n, None));
    }
    until(&hub, "half wait", |figures| {
        figures.waiting == MAX_WAITING as u64 / 2
    })
    .await;
    for n in MAX_WAITING / 2..MAX_WAITING + 30 {
        hub.publish(event(n, None));
    }
    until(&hub, "30 are lost", |figures| lost(figures) == 30).await;
    broker.start_again();
    // It may come after the events, which are not retained.
    until(&hub, "the others are delivered", |figures| {
        figures.delivered == MAX_WAITING as u64
    })
    .await;
    assert_eq!(figures(&hub).lost[0], ("queue_full", 30));
    hub.close(std::time::Instant::now() + SOON);
}

/// What the proxy does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It passes everything on.
    Open,
    /// It reads nothing and passes nothing on.
    Stalled,
    /// It ends all connections.
    Cut,
}

/// A way to a broker.
struct Proxy {
    port: u16,
    way: watch::Sender<Way>,
}

impl Proxy {
    async fn start(broker: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (way, is) = watch::channel(Way::Open);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(pass(client, broker, is.clone()));
            }
        });
        Self { port, way }
    }

    fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

async fn pass(mut client: TcpStream, broker: u16, mut way: watch::Receiver<Way>) {
    let mut server = TcpStream::connect(("127.0.0.1", broker)).await.unwrap();
    loop {
        let is = *way.borrow_and_update();
        match is {
            Way::Open => tokio::select! {
                _ = copy_bidirectional(&mut client, &mut server) => return,
                _ = way.changed() => {}
            },
            Way::Stalled => drop(way.changed().await),
            Way::Cut => return,
        }
    }
}

/// Resident memory of this process, in kB.
fn memory_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_reads_nothing_costs_a_bounded_memory_and_gets_the_newest_events_later() {
    let Some(broker) = Broker::start() else {
        return;
    };
    let proxy = Proxy::start(broker.port).await;
    let hub = output(&format!("mqtt://127.0.0.1:{}", proxy.port));
    let client = Client::connect(broker.port);
    client.until("sightline/available", "online").await;
    hub.publish(event(0, Some("first".into())));
    client
        .until("sightline/yard/person/snapshot", "first")
        .await;
    proxy.set(Way::Stalled);
    let before = memory_kb();
    const EVENTS: usize = 3 * MAX_WAITING;
    for n in 1..=EVENTS {
        // 150 MB in all.
        hub.publish(event(n, Some(vec![b'x'; 50_000].into())));
        if n % 50 == 0 {
            tokio::time::sleep(5 * MS).await;
        }
    }
    until(&hub, "most are lost", |figures| {
        lost(figures) as usize >= EVENTS - MAX_WAITING - 64
    })
    .await;
    let grown = memory_kb().saturating_sub(before);
    assert!(grown < 75_000, "{grown} kB, of 150 MB that were sent");
    let so_far = numbers(&client).len();
    proxy.set(Way::Open);
    client
        .until_it("the newest event", |client| {
            numbers(client).last() == Some(&EVENTS)
        })
        .await;
    let came = numbers(&client).len() - so_far;
    assert!(
        (MAX_WAITING / 2..=MAX_WAITING + 100).contains(&came),
        "{came}"
    );
}
