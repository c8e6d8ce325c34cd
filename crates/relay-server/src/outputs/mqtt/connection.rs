//! One connection to the broker: from TCP to the moment at which it ends. What waits beyond that is the [`Outbox`]'s.
//!
//! [`Outbox`]: super::outbox::Outbox

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, LastWill, MqttOptions,
    NetworkOptions, Packet, PublishNotice, PublishOptions, QoS, TlsConfiguration, Transport,
};
use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::broker::Broker;
use super::outbox::{Message, WINDOW};

/// Longest wait for a connection, and for a broker that does not read.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time between two signs of life, in seconds. A broker that answers none is noticed within two of them, and a broker that
/// receives none publishes the last will after one and a half.
const KEEP_ALIVE_S: u16 = 15;
/// Largest message from the broker: a switch has three bytes.
const MAX_INCOMING: usize = 4096;
/// Largest message to the broker: a picture with its topic.
const MAX_OUTGOING: usize = super::session::MAX_PICTURE + 4096;

/// What a connection needs.
#[derive(Clone)]
pub struct Login {
    broker: Broker,
    client_id: String,
    password: Option<Vec<u8>>,
    tls: Option<Arc<ClientConfig>>,
}

/// What a connection reports.
#[derive(Debug)]
pub enum Report {
    /// The broker has accepted the relay.
    Connected,
    /// A message of a topic that was subscribed to: topic, content, and whether the broker had kept it.
    Message(Bytes, Bytes, bool),
    /// The connection has ended: why, with the cure where there is one.
    Ended(String),
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    client: AsyncClient,
    reports: mpsc::Receiver<Report>,
    pump: JoinHandle<()>,
}

impl Login {
    /// Returns what connections to a broker need; `client_id` is the same after each start, so that the broker ends a
    /// connection of before that it still believes in.
    ///
    /// # Errors
    /// If TLS cannot be prepared.
    pub fn new(
        broker: Broker,
        client_id: String,
        password: Option<Vec<u8>>,
    ) -> anyhow::Result<Self> {
        let tls = broker.tls.then(tls).transpose()?;
        Ok(Self {
            broker,
            client_id,
            password,
            tls,
        })
    }

    /// Returns the broker.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    fn options(&self, last_will: Option<Message>) -> MqttOptions {
        let address = (self.broker.host.clone(), self.broker.port);
        let mut options = MqttOptions::new(self.client_id.clone(), address);
        options
            .set_keep_alive(KEEP_ALIVE_S)
            .set_max_packet_size(MAX_INCOMING, MAX_OUTGOING)
            .set_inflight(2 * WINDOW as u16);
        if let Some(user) = &self.broker.user {
            match &self.password {
                Some(password) => options.set_credentials(user, password.clone()),
                None => options.set_username(user),
            };
        }
        if let Some(Message {
            topic,
            payload,
            retain,
        }) = last_will
        {
            options.set_last_will(LastWill::new(topic, payload, QoS::AtLeastOnce, retain));
        }
        if let Some(tls) = &self.tls {
            let tls = TlsConfiguration::Rustls(tls.clone());
            options.set_transport(Transport::tls_with_config(tls));
        }
        options
    }
}

/// Returns a configuration that trusts what the system trusts.
fn tls() -> anyhow::Result<Arc<ClientConfig>> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()
        .context("preparing mqtts: is the package ca-certificates installed?")?
        .with_no_client_auth();
    Ok(Arc::new(config))
}

impl Connection {
    /// Begins to connect; a report follows.
    pub fn open(login: &Login, last_will: Option<Message>) -> Self {
        let (client, mut event_loop) = AsyncClient::builder(login.options(last_will))
            .capacity(2 * WINDOW)
            .build();
        let mut network = NetworkOptions::new();
        network.set_connection_timeout(PATIENCE.as_secs());
        network.set_tcp_nodelay(true);
        event_loop.set_network_options(network);
        let (reports_tx, reports) = mpsc::channel(WINDOW);
        let advice = advice(login);
        let pump = tokio::spawn(pump(event_loop, advice, reports_tx));
        Self {
            client,
            reports,
            pump,
        }
    }

    /// Waits for the next report. Cancel-safe.
    pub async fn report(&mut self) -> Report {
        let lost = || Report::Ended("the connection was lost".to_owned());
        self.reports.recv().await.unwrap_or_else(lost)
    }

    /// Subscribes to a pattern of topics. Returns whether there was room for the request.
    pub fn subscribe(&self, pattern: String) -> bool {
        self.client.try_subscribe(pattern, QoS::AtLeastOnce).is_ok()
    }

    /// Publishes a message. Returns what waits for the broker's acknowledgement; `None` if there is no room.
    pub fn publish(&self, message: Message) -> Option<PublishNotice> {
        let options = PublishOptions::at_least_once().retain(message.retain);
        let Message { topic, payload, .. } = message;
        let sent = self.client.try_publish_tracked(topic, payload, options);
        sent.ok()
    }

    /// Closes the connection after what was published, so that the broker drops the last will.
    pub async fn close(mut self, timeout: Duration) {
        if self.client.try_disconnect_with_timeout(timeout).is_ok() {
            let ended = async { while !matches!(self.report().await, Report::Ended(_)) {} };
            let _ = tokio::time::timeout(timeout, ended).await;
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

async fn pump(mut event_loop: EventLoop, advice: Advice, reports: mpsc::Sender<Report>) {
    loop {
        let report = match event_loop.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => Report::Connected,
            Ok(Event::Incoming(Packet::Publish(message))) => {
                Report::Message(message.topic, message.payload, message.retain)
            }
            Ok(_) => continue,
            Err(err) => Report::Ended(advice.explain(&err)),
        };
        let ended = matches!(report, Report::Ended(_));
        if reports.send(report).await.is_err() || ended {
            return;
        }
    }
}

/// What the cure of a failure depends on.
struct Advice {
    has_password: bool,
    tls: bool,
}

fn advice(login: &Login) -> Advice {
    Advice {
        has_password: login.password.is_some(),
        tls: login.tls.is_some(),
    }
}

impl Advice {
    /// Returns why a connection has failed, and the cure.
    fn explain(&self, err: &ConnectionError) -> String {
        let refused = |code: &ConnectReturnCode| match code {
            ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized => {
                match self.has_password {
                    true => {
                        "the broker refuses user or password: check the user in --mqtt and --mqtt-password-file"
                    }
                    false => {
                        "the broker wants a login: name the user in --mqtt and give --mqtt-password-file"
                    }
                }
            }
            ConnectReturnCode::BadClientId => "the broker refuses the client id",
            _ => "the broker is not ready",
        };
        match err {
            ConnectionError::ConnectionRefused(code) => refused(code).to_owned(),
            ConnectionError::NetworkTimeout => format!(
                "no answer within {} s: check host and port of --mqtt, and firewalls{}",
                PATIENCE.as_secs(),
                if self.tls {
                    ""
                } else {
                    "; a broker with TLS alone wants mqtts://"
                }
            ),
            ConnectionError::FlushTimeout => {
                format!("the broker reads nothing for {} s", PATIENCE.as_secs())
            }
            ConnectionError::Tls(err) => format!(
                "TLS: {err:#}; the broker's certificate has to be signed for the host in --mqtt by an authority that this system trusts"
            ),
            err => err.to_string(),
        }
    }
}

/// Connects once, for `doctor`; the client id has to be another than that of a relay that runs.
///
/// # Errors
/// The cause with its cure.
pub async fn try_login(login: &Login) -> Result<(), String> {
    let mut connection = Connection::open(login, None);
    match connection.report().await {
        Report::Ended(why) => Err(why),
        Report::Connected | Report::Message(..) => {
            connection.close(Duration::from_millis(500)).await;
            Ok(())
        }
    }
}
