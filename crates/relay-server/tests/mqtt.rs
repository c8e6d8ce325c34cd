//! The relay at a real MQTT broker: mosquitto.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

#[path = "common/http.rs"]
mod http;
#[path = "common/mosquitto.rs"]
mod mosquitto;
#[path = "common/process.rs"]
mod process;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;
use testkit::process::Program;

use self::http::{HttpRelay, frame};
use self::mosquitto::{Broker, Client};

/// A camera that sends ten frames a second until it is dropped.
struct Camera {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Camera {
    fn start(relay: &HttpRelay, name: &str) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let (stopped, name) = (stop.clone(), name.to_owned());
        let socket = relay.camera.try_clone().unwrap();
        let thread = thread::spawn(move || {
            for seq in 1.. {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let _ = socket.send(&frame(&name, seq, 0));
                thread::sleep(Duration::from_millis(100));
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn relay(broker: &Broker, flags: &[&str]) -> HttpRelay {
    HttpRelay::start(&[&["--mqtt", &broker.url()], flags].concat())
}

/// Keys that Home Assistant documents for each platform, the required ones first, and how many of those there are.
const PLATFORMS: [(&str, usize, &[&str]); 5] = [
    (
        "binary_sensor",
        1,
        &[
            "state_topic",
            "device_class",
            "payload_on",
            "payload_off",
            "value_template",
        ],
    ),
    (
        "sensor",
        1,
        &[
            "state_topic",
            "device_class",
            "unit_of_measurement",
            "state_class",
        ],
    ),
    (
        "switch",
        1,
        &["command_topic", "state_topic", "payload_on", "payload_off"],
    ),
    ("camera", 1, &["topic"]),
    ("image", 1, &["image_topic", "content_type"]),
];
/// Keys of all platforms.
const COMMON: [&str; 7] = [
    "platform",
    "name",
    "unique_id",
    "icon",
    "entity_category",
    "availability",
    "availability_mode",
];

/// Checks a discovery message field by field. Returns the topics that it reads.
fn check_discovery(message: &Value) -> BTreeSet<String> {
    let known = ["device", "origin", "components", "availability", "qos"];
    let keys = message.as_object().unwrap().keys();
    assert!(
        keys.clone().all(|key| known.contains(&key.as_str())),
        "{keys:?}"
    );
    let device = message["device"].as_object().unwrap();
    let known = [
        "identifiers",
        "name",
        "manufacturer",
        "model",
        "sw_version",
        "via_device",
    ];
    assert!(device.keys().all(|key| known.contains(&key.as_str())));
    assert!(device["identifiers"][0].is_string() && device["name"].is_string());
    assert!(message["origin"]["name"].is_string());
    let mut topics = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for component in message["components"].as_object().unwrap().values() {
        let platform = component["platform"].as_str().unwrap();
        let (_, required, keys) = PLATFORMS
            .iter()
            .find(|(name, ..)| *name == platform)
            .unwrap();
        for key in &keys[..*required] {
            assert!(component[key].is_string(), "{platform} without {key}");
        }
        for (key, value) in component.as_object().unwrap() {
            let key = key.as_str();
            assert!(
                keys.contains(&key) || COMMON.contains(&key),
                "{platform}: {key}"
            );
            if key.ends_with("topic") && key != "command_topic" {
                topics.insert(value.as_str().unwrap().to_owned());
            }
        }
        assert!(
            ids.insert(component["unique_id"].as_str().unwrap()),
            "{component}"
        );
        for available in component["availability"].as_array().into_iter().flatten() {
            topics.insert(available["topic"].as_str().unwrap().to_owned());
        }
    }
    topics
}

#[tokio::test(flavor = "multi_thread")]
async fn home_assistant_finds_a_camera_and_the_relay_with_all_of_their_state() {
    let Some(broker) = Broker::start() else {
        return;
    };
    let relay = relay(&broker, &[]);
    let _camera = Camera::start(&relay, "my yard");
    // As Home Assistant: it comes later, and has to find all as retained messages.
    let first = Client::connect(broker.port);
    first
        .until_it("a picture", |client| {
            client.values().contains_key("sightline/my yard/picture")
        })
        .await;
    let client = Client::connect(broker.port);
    let camera = "homeassistant/device/sightline-my_20yard/config";
    let of_relay = "homeassistant/device/sightline/config";
    client.until("sightline/my yard/online", "online").await;
    client
        .until_it("both devices", |client| {
            [camera, of_relay]
                .iter()
                .all(|topic| client.values().contains_key(*topic))
        })
        .await;
    let is_kept = |topic: &str| {
        client
            .all()
            .iter()
            .any(|sent| sent.topic == topic && sent.retained)
    };
    assert!(is_kept(camera) && is_kept(of_relay));
    let mut topics = check_discovery(&client.json(camera));
    topics.extend(check_discovery(&client.json(of_relay)));
    client
        .until_it("each topic has a value", |client| {
            topics
                .iter()
                .all(|topic| client.values().contains_key(topic))
        })
        .await;
    let values = client.values();
    let value =
        |topic: &str| String::from_utf8_lossy(&values[&format!("sightline/{topic}")]).into_owned();
    assert_eq!(
        [value("available"), value("relay/health")],
        ["online", "no model"]
    );
    assert_eq!(value("relay/version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(value("my yard/detect/state"), "ON");
    assert!(
        value("my yard/fps").parse::<f64>().is_ok() && value("my yard/age").parse::<u64>().is_ok()
    );
    assert!(values["sightline/my yard/picture"].starts_with(b"\xff\xd8\xff"));
    let text = client.json(camera).to_string();
    assert!(
        text.contains(r#""command_topic":"sightline/my yard/detect/set""#),
        "{text}"
    );
    let log = relay.stop().stderr;
    assert!(
        log.contains("outputs of events report cameras alone"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_is_offline_when_it_stops_and_when_it_is_killed_and_online_again_after_that() {
    let Some(broker) = Broker::start() else {
        return;
    };
    let client = Client::connect(broker.port);
    let stopped = relay(&broker, &[]);
    client.until("sightline/available", "online").await;
    let finished = stopped.stop();
    client.until("sightline/available", "offline").await;
    assert!(finished.stopped_in.unwrap() < Duration::from_secs(2));
    let killed = relay(&broker, &[]);
    client.until("sightline/available", "online").await;
    killed.running.kill();
    client.until("sightline/available", "offline").await;
    let again = relay(&broker, &[]);
    client.until("sightline/available", "online").await;
    let sent = client.of("sightline/available");
    assert_eq!(sent, ["online", "offline", "online", "offline", "online"]);
    again.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_at_the_broker_reaches_the_relay_and_its_state_follows() {
    let Some(broker) = Broker::start() else {
        return;
    };
    let client = Client::connect(broker.port);
    // A command of long ago, which the broker has kept.
    client
        .publish("sightline/yard/detect/set", "OFF", true)
        .await;
    let relay = relay(&broker, &[]);
    let _camera = Camera::start(&relay, "yard");
    client.until("sightline/yard/detect/state", "ON").await;
    client
        .publish("sightline/yard/detect/set", "OFF", false)
        .await;
    client.until("sightline/yard/detect/state", "OFF").await;
    client
        .publish("sightline/yard/detect/set", "nonsense", false)
        .await;
    client
        .publish("sightline/no-such-camera/detect/set", "OFF", false)
        .await;
    client
        .publish("sightline/yard/detect/set", "ON", false)
        .await;
    client.until("sightline/yard/detect/state", "ON").await;
    assert_eq!(
        client.of("sightline/yard/detect/state"),
        ["ON", "OFF", "ON"]
    );
    relay.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_read_from_a_file_and_a_wrong_one_is_named_with_the_cure() {
    let make_passwords = |directory: &Path| {
        let made = Command::new("mosquitto_passwd")
            .args(["-b", "-c"])
            .arg(directory.join("passwords"))
            .args(["relay", "s3cret"])
            .status();
        assert!(made.unwrap().success());
    };
    let lines = "allow_anonymous false\npassword_file DIR/passwords\n";
    let Some(broker) = Broker::with(lines, make_passwords) else {
        return;
    };
    let password = broker.directory().join("password");
    std::fs::write(&password, "s3cret\n").unwrap();
    let url = format!("mqtt://relay@127.0.0.1:{}/home/cams", broker.port);
    let flags = [
        "--mqtt",
        &url,
        "--mqtt-password-file",
        password.to_str().unwrap(),
    ];
    let relay = HttpRelay::start(&flags);
    let client = Client::with_login(broker.port, Some(("relay", "s3cret")));
    client.until("home/cams/available", "online").await;
    let doctor = |flags: &[&str]| {
        let mut command = Command::new(process::RELAY);
        command.arg("doctor").args([
            "--model",
            "none",
            "--listen",
            "127.0.0.1:0",
            "--http",
            "off",
        ]);
        let output = command.args(flags).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(
        doctor(&flags).contains("accepts the relay"),
        "{}",
        doctor(&flags)
    );
    std::fs::write(&password, "other").unwrap();
    let wrong = HttpRelay::start(&flags);
    wrong.running.wait_for_line(
        "check the user in --mqtt and --mqtt-password-file",
        mosquitto::SOON,
    );
    assert!(doctor(&flags).contains("refuses user or password"));
    let finished = [relay.stop(), wrong.stop()];
    let anonymous = HttpRelay::start(&["--mqtt", &broker.url()]);
    anonymous
        .running
        .wait_for_line("give --mqtt-password-file", mosquitto::SOON);
    anonymous.stop();
    assert!(
        finished
            .iter()
            .all(|finished| !finished.stderr.contains("s3cret"))
    );
}

/// Makes a certificate authority and a certificate of the broker that it signs, for `localhost`, as files.
fn make_certificates(directory: &Path) {
    let mut authority = rcgen::CertificateParams::new([]).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let write = |name: &str, text: String| std::fs::write(directory.join(name), text).unwrap();
    write("ca.pem", authority_certificate.pem());
    write("cert.pem", certificate.pem());
    write("key.pem", key.serialize_pem());
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtts_trusts_what_the_system_trusts_and_nothing_else() {
    let lines = "allow_anonymous true\ncertfile DIR/cert.pem\nkeyfile DIR/key.pem\n";
    let Some(broker) = Broker::with(lines, make_certificates) else {
        return;
    };
    let url = format!("mqtts://localhost:{}", broker.port);
    let start = |system: &str| {
        Program::new(process::RELAY)
            .args([
                "--listen",
                "127.0.0.1:0",
                "--http",
                "off",
                "--model",
                "none",
            ])
            .args(["--mqtt", &url])
            .env("SSL_CERT_FILE", system)
            .start()
    };
    let authority = broker.directory().join("ca.pem");
    let trusting = start(authority.to_str().unwrap());
    trusting.wait_for_line("MQTT broker connected", mosquitto::SOON);
    trusting.terminate();
    let strict = start("/etc/ssl/certs/ca-certificates.crt");
    strict.wait_for_line("signed for the host in --mqtt", mosquitto::SOON);
    strict.terminate();
    let plain = Program::new(process::RELAY)
        .args([
            "--listen",
            "127.0.0.1:0",
            "--http",
            "off",
            "--model",
            "none",
        ])
        .args(["--mqtt", &url.replace("mqtts", "mqtt")])
        .start();
    plain.wait_for_line("no connection to the MQTT broker", mosquitto::SOON);
}
