//! A real broker, and a client of it that remembers what it is sent.

#![allow(dead_code, reason = "each test file uses its part")]
#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

use std::collections::BTreeMap;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, PublishOptions, QoS};
use serde_json::Value;
use tokio::task::JoinHandle;

/// Longest wait for what a broker and a relay do.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A broker that forgets everything when it ends.
pub(crate) struct Broker {
    pub(crate) port: u16,
    directory: tempfile::TempDir,
    process: Child,
}

/// Returns the broker's program; `None`, reported as a skip, where it is not installed.
fn program() -> Option<PathBuf> {
    let known = testkit::process::on_path("mosquitto");
    let debian = PathBuf::from("/usr/sbin/mosquitto");
    let found = known.or_else(|| debian.exists().then_some(debian));
    if found.is_none() {
        testkit::skip("mosquitto is not installed (scripts/setup --test)");
    }
    found
}

impl Broker {
    /// Starts a broker that every client may use; `None` where there is none.
    pub(crate) fn start() -> Option<Self> {
        Self::with("allow_anonymous true\n", |_| {})
    }

    /// Starts a broker with these lines in its configuration, in which DIR is its directory; `prepare` puts files
    /// there.
    pub(crate) fn with(lines: &str, prepare: impl FnOnce(&Path)) -> Option<Self> {
        let program = program()?;
        let port = {
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            free.local_addr().unwrap().port()
        };
        let directory = tempfile::tempdir().unwrap();
        let lines = lines.replace("DIR", directory.path().to_str().unwrap());
        // As root the broker becomes another user, who cannot read a private directory.
        let config = format!("user root\nlistener {port} 127.0.0.1\npersistence false\n{lines}");
        fs::write(directory.path().join("mosquitto.conf"), config).unwrap();
        prepare(directory.path());
        let process = run(&program, directory.path(), port);
        Some(Self {
            port,
            directory,
            process,
        })
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    pub(crate) fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Starts the broker again at the same port.
    pub(crate) fn start_again(&mut self) {
        self.process = run(&program().unwrap(), self.directory.path(), self.port);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(program: &Path, directory: &Path, port: u16) -> Child {
    let process = Command::new(program)
        .arg("-c")
        .arg(directory.join("mosquitto.conf"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + SOON;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "the broker does not listen");
        thread::sleep(Duration::from_millis(20));
    }
    process
}

/// A message that the client was sent.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) retained: bool,
}

/// A client that has subscribed to everything.
pub(crate) struct Client {
    client: AsyncClient,
    sent: Arc<Mutex<Vec<Sent>>>,
    pump: JoinHandle<()>,
}

impl Client {
    pub(crate) fn connect(port: u16) -> Self {
        Self::with_login(port, None)
    }

    pub(crate) fn with_login(port: u16, login: Option<(&str, &str)>) -> Self {
        let id = format!("test-{port}-{}", getrandom::u32().unwrap());
        let mut options = MqttOptions::new(id, ("127.0.0.1", port));
        options.set_max_packet_size(4 << 20, 4 << 20);
        if let Some((user, password)) = login {
            options.set_credentials(user, password.to_owned());
        }
        let (client, mut events) = AsyncClient::builder(options).capacity(100).build();
        let sent = Arc::<Mutex<Vec<Sent>>>::default();
        let store = sent.clone();
        let subscriber = client.clone();
        let pump = tokio::spawn(async move {
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        subscriber.subscribe("#", QoS::AtLeastOnce).await.unwrap();
                    }
                    Ok(Event::Incoming(Packet::Publish(message))) => {
                        store.lock().unwrap().push(Sent {
                            topic: String::from_utf8(message.topic.to_vec()).unwrap(),
                            payload: message.payload.to_vec(),
                            retained: message.retain,
                        });
                    }
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        });
        Self { client, sent, pump }
    }

    pub(crate) async fn publish(&self, topic: &str, payload: &str, retain: bool) {
        let options = PublishOptions::at_least_once().retain(retain);
        self.client.publish(topic, payload, options).await.unwrap();
    }

    /// All messages so far.
    pub(crate) fn all(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }

    /// The messages of a topic so far, as text.
    pub(crate) fn of(&self, topic: &str) -> Vec<String> {
        let all = self.all().into_iter();
        all.filter(|sent| sent.topic == topic)
            .map(|sent| String::from_utf8_lossy(&sent.payload).into_owned())
            .collect()
    }

    /// The last value of each topic.
    pub(crate) fn values(&self) -> BTreeMap<String, Vec<u8>> {
        let all = self.all().into_iter();
        all.map(|sent| (sent.topic, sent.payload)).collect()
    }

    /// Waits until the last value of a topic is this.
    pub(crate) async fn until(&self, topic: &str, value: &str) {
        let is_there = |client: &Self| client.of(topic).last().is_some_and(|last| last == value);
        self.until_it(&format!("{topic} is {value}"), is_there)
            .await;
    }

    /// Waits until a condition holds.
    pub(crate) async fn until_it(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + SOON;
        while !holds(self) {
            let topics: Vec<_> = self.values().into_keys().collect();
            assert!(Instant::now() < deadline, "not: {what}; {topics:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The JSON of a topic's last value.
    pub(crate) fn json(&self, topic: &str) -> Value {
        serde_json::from_slice(&self.values()[topic]).unwrap()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.pump.abort();
    }
}
